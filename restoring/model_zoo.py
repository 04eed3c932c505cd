"""Packages of the BioImage Model Zoo, format 0.5: weights, test images, axes, normalisation, cover and citation."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import InputError
from common.files import written_whole
from data_utils import enlarge
from restoring.exporting import load_on_cpu, require, write_onnx
from restoring.generator_file import Metadata
from restoring.image_files import find_images, read_image
from restoring.normalization import HIGH_PERCENTILE, LOW_PERCENTILE, Scale

if TYPE_CHECKING:
    import keras

PAPERS = {"arXiv:1910.14207": "https://arxiv.org/abs/1910.14207"}
ENLARGING = 'scipy.ndimage.zoom(x, {}, order=3, mode="grid-mirror", grid_mode=True)'
SMALLEST, HALO = 96, 32  # pixels: smallest image, and what is left out at the borders of other tools' tiles


@dataclass(frozen=True)
class Package:
    """What a package is made of.

    Args:
        generator: generator.h5.
        sample: a defective image as those in use, for test, cover and check.
        task: name, or None where the generator normalises all tasks alike.
        name: 5 to 128 letters, digits, spaces.
        author: who trained it.
        license: SPDX identifier.
    """

    generator: Path
    sample: Path
    task: str | None
    name: str
    author: str
    license: str


def export_bioimageio(package: Package, output: Path) -> None:
    """Write a package. Raises InputError where it cannot be made, or the zoo does not accept a text."""
    model, metadata = load_on_cpu(package.generator)
    require("bioimageio.core")
    from bioimageio.spec import save_bioimageio_package

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        opset = write_files(package, model, metadata, folder)
        description = describe(package, metadata, folder, opset)
        with written_whole(output) as beside:
            save_bioimageio_package(description, output_path=beside)


def write_files(package: Package, model: keras.Model, metadata: Metadata, folder: Path) -> int:
    """Weights, test images, cover and documentation, into a folder; returns ONNX's operator version."""
    shutil.copyfile(package.generator, folder / "generator.h5")
    opset = write_onnx(model, folder / "generator.onnx")
    plane = read_image(find_images(package.sample)[0]).planes[0]
    image = crop(enlarge(plane, metadata.factor(package.task)), metadata.size_multiple)
    before, after = scales(package, metadata, image)
    output = np.asarray(model(before.normalize(image)[None, ..., None], training=False))
    output = output if metadata.normalization.kind == "percentile" else after.undo(output)
    np.save(folder / "test_input.npy", image[None, ..., None])
    np.save(folder / "test_output.npy", output.astype(np.float32))
    save_cover(folder / "cover.png", image, output[0, ..., 0])
    (folder / "README.md").write_text(documentation(package, metadata), encoding="utf-8")
    return opset


def crop(image: np.ndarray, multiple: int) -> np.ndarray:
    """The middle of an (H, W) image, 512 x 512 at most, sides that the network takes."""
    sides = [min(size, 512) // multiple * multiple for size in image.shape]
    if min(sides) < SMALLEST:
        raise InputError(
            f"--sample: {image.shape[0]} x {image.shape[1]} pixels; expected {SMALLEST} x {SMALLEST} at least"
        )
    starts = [(size - side) // 2 for size, side in zip(image.shape, sides, strict=True)]
    return image[starts[0] : starts[0] + sides[0], starts[1] : starts[1] + sides[1]]


def scales(package: Package, metadata: Metadata, image: np.ndarray) -> tuple[Scale, Scale]:
    """(Scale of x, Scale of the restored image)."""
    task = package.task or metadata.tasks[0]
    return metadata.normalization.x_scale(task, image), metadata.normalization.restored_scale(task, image)


def save_cover(path: Path, image: np.ndarray, output: np.ndarray) -> None:
    """Input above the diagonal, output below it, each from its own percentiles to 8 bits; 2:1, as the zoo asks."""
    from skimage.io import imsave

    side = min(image.shape)
    shown = []
    for part in (image[:side, :side], output[:side, :side]):
        low, high = np.percentile(part, [LOW_PERCENTILE, HIGH_PERCENTILE])
        shown.append((255 * np.clip((part - low) / max(high - low, 1e-9), 0, 1)).astype(np.uint8))
    imsave(path, np.hstack(shown), check_contrast=False)


def documentation(package: Package, metadata: Metadata) -> str:
    """README of the package, with the section that the zoo asks for."""
    units = "units of x's percentiles" if metadata.normalization.kind == "percentile" else "units of y of the task"
    factor = metadata.factor(package.task)
    enlarge_before = f"Enlarge your images {factor} times before: `{ENLARGING.format(factor)}`.\n" if factor > 1 else ""
    return f"""# {package.name}

A generator of MicroscopyGAN (recipe {metadata.recipe}) that restores {", ".join(metadata.tasks)}.
The output is in {units}.
{enlarge_before}
## Validation
Restore images whose ground truth you know, and compare; a network can invent structure that looks right.
"""


def describe(package: Package, metadata: Metadata, folder: Path, opset: int) -> Any:
    """The model's description for the zoo. Raises InputError where a text is not accepted."""
    from bioimageio.spec.generic.v0_3 import CiteEntry
    from bioimageio.spec.model import v0_5
    from pydantic import ValidationError

    try:
        return v0_5.ModelDescr(
            name=package.name,
            description=f"Restores {', '.join(metadata.tasks)} (MicroscopyGAN, recipe {metadata.recipe}).",
            authors=[v0_5.Author(name=package.author)],
            cite=[CiteEntry(text=text, url=url) for text, url in PAPERS.items()],
            license=package.license,
            documentation=v0_5.FileDescr(source=folder / "README.md"),
            covers=[v0_5.FileDescr(source=folder / "cover.png")],
            tags=["restoration", "denoising", "gan", "2d", "fluorescence-light-microscopy"],
            inputs=[input_tensor(v0_5, package, metadata, folder)],
            outputs=[output_tensor(v0_5, package, metadata, folder)],
            weights=_both_weights(v0_5, folder, opset),
        )
    except ValidationError as failure:
        first = failure.errors()[0]
        raise InputError(f"the zoo does not accept {'.'.join(map(str, first['loc']))}: {first['msg']}") from failure


def _both_weights(v0_5, folder, opset):
    """Keras' file and its ONNX translation."""
    import tensorflow as tf

    return v0_5.WeightsDescr(
        keras_hdf5=v0_5.KerasHdf5WeightsDescr(source=folder / "generator.h5", tensorflow_version=tf.__version__),
        onnx=v0_5.OnnxWeightsDescr(source=folder / "generator.onnx", opset_version=opset, parent="keras_hdf5"),
    )


def input_tensor(v0_5: ModuleType, package: Package, metadata: Metadata, folder: Path) -> Any:
    """Axes and preprocessing of x."""
    size = v0_5.ParameterizedSize(min=SMALLEST, step=max(metadata.size_multiple, 1))
    axes = [v0_5.BatchAxis(), *[v0_5.SpaceInputAxis(id=name, size=size) for name in "yx"]]
    if metadata.normalization.kind == "percentile":
        kwargs = v0_5.ScaleRangeKwargs(axes=("y", "x"), min_percentile=LOW_PERCENTILE, max_percentile=HIGH_PERCENTILE)
        step = v0_5.ScaleRangeDescr(kwargs=kwargs)
    else:
        offset, span = metadata.normalization.x_scale(package.task or metadata.tasks[0], None)
        step = v0_5.ScaleLinearDescr(kwargs=v0_5.ScaleLinearKwargs(gain=1 / span, offset=-offset / span))
    return v0_5.InputTensorDescr(
        id="x",
        axes=[*axes, v0_5.ChannelAxis(channel_names=["intensity"])],
        test_tensor=v0_5.FileDescr(source=folder / "test_input.npy"),
        preprocessing=[v0_5.EnsureDtypeDescr(kwargs=v0_5.EnsureDtypeKwargs(dtype="float32")), step],
    )


def output_tensor(v0_5: ModuleType, package: Package, metadata: Metadata, folder: Path) -> Any:
    """Axes and postprocessing of the restored image."""

    def axis(name):
        size = v0_5.SizeReference(tensor_id="x", axis_id=name)
        return v0_5.SpaceOutputAxisWithHalo(id=name, size=size, halo=HALO)

    steps = []
    if metadata.normalization.kind == "fixed":
        offset, span = metadata.normalization.restored_scale(package.task or metadata.tasks[0], None)
        steps = [v0_5.ScaleLinearDescr(kwargs=v0_5.ScaleLinearKwargs(gain=span, offset=offset))]
    return v0_5.OutputTensorDescr(
        id="restored",
        axes=[v0_5.BatchAxis(), axis("y"), axis("x"), v0_5.ChannelAxis(channel_names=["intensity"])],
        test_tensor=v0_5.FileDescr(source=folder / "test_output.npy"),
        postprocessing=steps,
    )
