"""Export a generator for other tools: a BioImage Model Zoo package, ONNX, or a TensorFlow SavedModel.

    python export.py --generator_path=Microscopy_cGAN_results/generator.h5 --format=bioimageio \\
        --sample=IMAGE.tif --name="Denoising of nuclei" --author="A. Name" --output=package.zip
    python export.py --generator_path=... --format=onnx --output=generator.onnx
    python export.py --generator_path=... --format=saved_model --output=saved_model

The package holds Keras HDF5 and ONNX weights, test input and output, axes, normalisation, a cover and the citation; its
own command line checks it: `bioimageio test package.zip`. ONNX and SavedModel are the bare network, (batch, height,
width, 1): the README says how to normalise. Recipe `tuned`, per-image percentiles: the zoo has no step back to x's
units, so a package's output is in units of x's percentiles, (x - p2) / (p99.8 - p2). Recipe `paper`: in y's units.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from common.command_line import OneLineParser
from common.errors import InputError, run_script
from common.files import written_whole
from restoring.generator_file import Metadata, load_generator, read_metadata
from restoring.image_files import find_images, read_image
from restoring.normalization import HIGH_PERCENTILE, LOW_PERCENTILE, Scale
from training.options import tell_idle

if TYPE_CHECKING:
    import keras

SUFFIXES = {"bioimageio": ".zip", "onnx": ".onnx", "saved_model": ""}
PAPERS = {"arXiv:1910.14207": "https://arxiv.org/abs/1910.14207"}
SMALLEST, HALO = 96, 32  # pixels: smallest image, and what is left out at the borders of other tools' tiles


def make_parser() -> argparse.ArgumentParser:
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--generator_path", type=Path, required=True, help="generator.h5 of train_cGAN.py or train_baseline.py")
    add("--format", choices=list(SUFFIXES), required=True)
    add("--output", type=Path, required=True, help="file (.zip, .onnx) or folder (saved_model) to write")
    add("--sample", type=Path, help="bioimageio: a defective image as those in use, for test, cover and check")
    add("--task", help="bioimageio, recipe paper: the defect type whose normalisation is exported")
    add("--name", default="MicroscopyGAN restoration", help="bioimageio: 5 to 128 letters, digits, spaces")
    add("--author", default="MicroscopyGAN user", help="bioimageio: who trained it")
    add("--license", default="CC-BY-4.0", help="bioimageio: SPDX identifier (default: CC-BY-4.0)")
    return parser


def main(args: argparse.Namespace) -> int:
    """Export with parsed arguments; returns the exit code."""
    metadata = read_metadata(args.generator_path)
    check(args, metadata)
    tell_idle("export", args, metadata)
    from common.devices import start_tensorflow

    start_tensorflow(0)
    model, _ = load_generator(args.generator_path)
    if args.format == "saved_model":
        export_saved_model(model, args.output)
    elif args.format == "onnx":
        with written_whole(args.output) as beside:
            export_onnx(model, beside)
    else:
        export_bioimageio(args, model, metadata)
    print(f"{args.generator_path} -> {args.output}")
    return 0


def check(args: argparse.Namespace, metadata: Metadata) -> None:
    """Raise InputError where arguments and generator do not fit."""
    if metadata.makes_defects:
        raise InputError(f"{args.generator_path} makes defects; export is for generators that restore")
    if args.output.suffix.lower() != SUFFIXES[args.format]:
        wanted = SUFFIXES[args.format] or "no suffix: a folder"
        raise InputError(f"--output={args.output}: expected {wanted} for --format={args.format}")
    if args.output.exists():
        raise InputError(f"{args.output} exists; choose another --output")
    if args.format != "bioimageio":
        return
    if args.sample is None:
        raise InputError("--format=bioimageio needs --sample=IMAGE, a defective image as those in use")
    find_images(args.sample)
    if metadata.needs_task and args.task is None:
        raise InputError(f"--format=bioimageio needs --task, one of {', '.join(metadata.tasks)}")
    if args.task is not None and args.task not in metadata.tasks:
        raise InputError(f"--task={args.task}: {args.generator_path} knows {', '.join(metadata.tasks)}")


def require(package: str) -> None:
    """Raise InputError where a package of requirements/export.txt is missing."""
    import importlib.util

    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        found = None
    if not found:
        raise InputError(f"this format needs {package}; pip install -r requirements/export.txt")


def quietly(function: Callable[[], Any]) -> Any:
    """Call without what Keras and tf2onnx print on the way."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return function()


def export_saved_model(model: keras.Model, folder: Path) -> None:
    """Write a TensorFlow SavedModel; renamed into place when it is whole."""
    model(np.zeros((1, 64, 64, 1), np.float32))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
        quietly(lambda: model.export(f"{beside}/model", verbose=False))
        Path(beside, "model").rename(folder)


def export_onnx(model: keras.Model, path: Path) -> int:
    """Write ONNX; its version of operators is returned. Raises InputError where tf2onnx is missing."""
    require("tf2onnx")
    import onnx

    # A model that was never called has no signature to export.
    model(np.zeros((1, 64, 64, 1), np.float32))
    quietly(lambda: model.export(str(path), format="onnx", verbose=False))
    return next(opset.version for opset in onnx.load(path).opset_import if not opset.domain)


def export_bioimageio(args: argparse.Namespace, model: keras.Model, metadata: Metadata) -> None:
    """Write a package of the BioImage Model Zoo, format 0.5."""
    require("bioimageio.core")
    from bioimageio.spec import save_bioimageio_package

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        opset = write_files(args, model, metadata, folder)
        description = describe(args, metadata, folder, opset)
        with written_whole(args.output) as beside:
            save_bioimageio_package(description, output_path=beside)


def write_files(args: argparse.Namespace, model: keras.Model, metadata: Metadata, folder: Path) -> int:
    """Weights, test images, cover and documentation, into a folder; returns ONNX's operator version."""
    import shutil

    shutil.copyfile(args.generator_path, folder / "generator.h5")
    opset = export_onnx(model, folder / "generator.onnx")
    image = crop(np.asarray(read_image(find_images(args.sample)[0]).planes[0], np.float32), metadata.size_multiple)
    before, after = scales(args, metadata, image)
    output = np.asarray(model(before.normalize(image)[None, ..., None], training=False))
    output = output if metadata.normalization.kind == "percentile" else after.undo(output)
    np.save(folder / "test_input.npy", image[None, ..., None])
    np.save(folder / "test_output.npy", output.astype(np.float32))
    save_cover(folder / "cover.png", image, output[0, ..., 0])
    (folder / "README.md").write_text(documentation(args, metadata), encoding="utf-8")
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


def scales(args: argparse.Namespace, metadata: Metadata, image: np.ndarray) -> tuple[Scale, Scale]:
    """(Scale of x, Scale of the restored image)."""
    task = args.task or metadata.tasks[0]
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


def documentation(args: argparse.Namespace, metadata: Metadata) -> str:
    """README of the package, with the section that the zoo asks for."""
    units = "units of x's percentiles" if metadata.normalization.kind == "percentile" else "units of y of the task"
    return f"""# {args.name}

A generator of MicroscopyGAN (recipe {metadata.recipe}) that restores {", ".join(metadata.tasks)}.
The output is in {units}.

## Validation
Restore images whose ground truth you know, and compare; a network can invent structure that looks right.
"""


def describe(args: argparse.Namespace, metadata: Metadata, folder: Path, opset: int) -> Any:
    """The model's description for the zoo. Raises InputError where a text is not accepted."""
    from bioimageio.spec.generic.v0_3 import CiteEntry
    from bioimageio.spec.model import v0_5
    from pydantic import ValidationError

    try:
        return v0_5.ModelDescr(
            name=args.name,
            description=f"Restores {', '.join(metadata.tasks)} (MicroscopyGAN, recipe {metadata.recipe}).",
            authors=[v0_5.Author(name=args.author)],
            cite=[CiteEntry(text=text, url=url) for text, url in PAPERS.items()],
            license=args.license,
            documentation=v0_5.FileDescr(source=folder / "README.md"),
            covers=[v0_5.FileDescr(source=folder / "cover.png")],
            tags=["restoration", "denoising", "gan", "2d", "fluorescence-light-microscopy"],
            inputs=[input_tensor(v0_5, args, metadata, folder)],
            outputs=[output_tensor(v0_5, args, metadata, folder)],
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


def input_tensor(v0_5: ModuleType, args: argparse.Namespace, metadata: Metadata, folder: Path) -> Any:
    """Axes and preprocessing of x."""
    size = v0_5.ParameterizedSize(min=SMALLEST, step=max(metadata.size_multiple, 1))
    axes = [v0_5.BatchAxis(), *[v0_5.SpaceInputAxis(id=name, size=size) for name in "yx"]]
    if metadata.normalization.kind == "percentile":
        kwargs = v0_5.ScaleRangeKwargs(axes=("y", "x"), min_percentile=LOW_PERCENTILE, max_percentile=HIGH_PERCENTILE)
        step = v0_5.ScaleRangeDescr(kwargs=kwargs)
    else:
        offset, span = metadata.normalization.x_scale(args.task or metadata.tasks[0], None)
        step = v0_5.ScaleLinearDescr(kwargs=v0_5.ScaleLinearKwargs(gain=1 / span, offset=-offset / span))
    return v0_5.InputTensorDescr(
        id="x",
        axes=[*axes, v0_5.ChannelAxis(channel_names=["intensity"])],
        test_tensor=v0_5.FileDescr(source=folder / "test_input.npy"),
        preprocessing=[v0_5.EnsureDtypeDescr(kwargs=v0_5.EnsureDtypeKwargs(dtype="float32")), step],
    )


def output_tensor(v0_5: ModuleType, args: argparse.Namespace, metadata: Metadata, folder: Path) -> Any:
    """Axes and postprocessing of the restored image."""

    def axis(name):
        size = v0_5.SizeReference(tensor_id="x", axis_id=name)
        return v0_5.SpaceOutputAxisWithHalo(id=name, size=size, halo=HALO)

    steps = []
    if metadata.normalization.kind == "fixed":
        offset, span = metadata.normalization.restored_scale(args.task or metadata.tasks[0], None)
        steps = [v0_5.ScaleLinearDescr(kwargs=v0_5.ScaleLinearKwargs(gain=span, offset=offset))]
    return v0_5.OutputTensorDescr(
        id="restored",
        axes=[v0_5.BatchAxis(), axis("y"), axis("x"), v0_5.ChannelAxis(channel_names=["intensity"])],
        test_tensor=v0_5.FileDescr(source=folder / "test_output.npy"),
        postprocessing=steps,
    )


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
