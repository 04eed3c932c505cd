"""Apply a saved generator to your own images: restore them, or make defective ones with CIN-GAN's generator.

    python restore.py --generator_path=Microscopy_cGAN_results/generator.h5 --input=IMAGE.tif --output=RESTORED.tif
    python restore.py --generator_path=... --input=FOLDER --output=FOLDER2 --average=8
    python restore.py --generator_path=... --input=X.npy --output=R.npy --ground_truth=Y.npy
    python restore.py --generator_path=... --input=VOLUME.zarr --output=RESTORED.zarr [--scheduler=tcp://HOST:8786]
    python restore.py --generator_path=CIN-GAN_results/generator.h5 --task=Nuclei --input=CLEAN.npy --output=X.npy

.npy, TIFF and PNG files of any size, single images or stacks (each plane is an image of its own); shape, axes, channels
and pixel size are kept. Axes come from the file's metadata or its shape and are printed; --axes=ZYX corrects them.
OME-Zarr volumes are restored block by block, whatever their size (volumes.py). The result is float32 in the units of
the input (recipe paper: of the task's y; CIN-GAN: of its x).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.command_line import OneLineParser, axes, integer
from common.errors import InputError, run_script
from restoring.generator_file import Metadata, load_generator, read_metadata
from restoring.image_files import SUFFIXES, ImageFile, find_images, read_image, to_dtype, write_image
from training.options import tell_idle

if TYPE_CHECKING:
    from restoring.apply import Applier

DTYPES = ("float32", "uint8", "uint16")


def make_parser() -> OneLineParser:
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--generator_path", type=Path, required=True, help="generator.h5 of a training")
    add("--input", type=Path, required=True, help="a .npy, TIFF or PNG file, or a folder of them; or OME-Zarr")
    add("--output", type=Path, required=True, help="file to write, or folder where --input is one")
    add("--axes", type=axes, metavar="ZYX", help="a letter per dimension of the input, where what is printed is wrong")
    add("--task", help="the defect type; needed by recipe paper and by CIN-GAN's generators")
    add("--ground_truth", type=Path, help="file or folder of the clean images: prints PSNR and SSIM")
    add("--tile", type=integer(64), default=512, help="larger images are restored in tiles of this side (512)")
    add("--overlap", type=integer(0), help="pixels that tiles share, blended (default: 64, half a tile at most)")
    add("--average", type=int, choices=[1, 8], default=1, help="8: mean over flips and turns; slower, often better")
    add("--dtype", choices=DTYPES, default="float32", help="of the result; what is clipped is counted and said")
    add("--uncertainty", type=integer(2), metavar="N", help="also write OUTPUT_uncertainty: how far pixels may be off")
    add("--calibration", type=Path, help="calibrate.py's file: the uncertainty is then the error's deviation")
    add("--check", action="store_true", help="also write OUTPUT_check: where the input contradicts what was restored")
    add("--cin_generator_path", type=Path, help="generator.h5 of train_CIN_GAN.py, for --check; needs --task")
    choices = ["float32", "bfloat16", "float16"]
    add("--precision", choices=choices, default="float32", help="of the network: faster where the hardware has it")
    add("--seed", type=integer(0), default=0, help="of the noise of CIN-GAN's generators (default: 0)")
    add("--scheduler", metavar="ADDRESS", help="dask cluster for OME-Zarr volumes (default: a process of this machine)")
    add("--overwrite", action="store_true", help="replace output files that exist")
    return parser


def main(args: argparse.Namespace) -> int:
    """Restore with parsed arguments; returns the exit code."""
    metadata = read_metadata(args.generator_path)
    task = check_task(args, metadata)
    args.overlap = min(64, args.tile // 2) if args.overlap is None else args.overlap
    check_flags(args, metadata)
    tell_idle("restore", args, metadata)
    if args.input.suffix == ".zarr":
        from restoring.volumes import restore_volume

        return restore_volume(args, metadata, task)
    sources = find_images(args.input)
    targets = plan_outputs(args, sources)
    check_reports(args, metadata, task)
    truths = find_ground_truths(args, sources)
    images = (read_image(path, args.axes) for path in sources)
    first = next(images)
    restore, reports = load_restorer(args, metadata, task)
    for source, target, truth in zip(chain([first], images), targets, truths, strict=True):
        planes = restore_file(args, restore, source, target, truth)
        for report in reports:
            report(source, planes, target)
    return 0


def check_flags(args: argparse.Namespace, metadata: Metadata) -> None:
    """Raise InputError where flags do not fit each other, the generator or the kind of the input."""
    if args.average == 8 and metadata.makes_defects:
        raise InputError("--average=8 is for generators that restore: the mean of defects has less noise than one")
    if args.overlap > args.tile // 2:
        raise InputError(f"--overlap={args.overlap}: expected at most half of --tile={args.tile}")
    for flag in ("uncertainty", "calibration", "check", "cin_generator_path", "ground_truth", "axes", "overwrite"):
        if args.input.suffix == ".zarr" and getattr(args, flag):
            raise InputError(f"--{flag} is for image files, not for volumes; leave it out")


def check_task(args: argparse.Namespace, metadata: Metadata) -> str | None:
    """The task to use, or None where the generator needs none. Raises InputError."""
    known = ", ".join(metadata.tasks)
    if args.task is not None and args.task not in metadata.tasks:
        raise InputError(f"--task={args.task}: {args.generator_path} knows {known}")
    if args.task is None and metadata.makes_defects:
        raise InputError(
            f"{args.generator_path} is a CIN-GAN's: it makes clean images defective and cannot restore; restore with a "
            f"cGAN's generator.h5, or name the defect to make with --task, one of {known}"
        )
    if args.task is None and metadata.needs_task:
        raise InputError(f"{args.generator_path} needs --task, one of {known}")
    is_fixed = metadata.normalization.kind == "fixed"
    return metadata.tasks[0] if args.task is None and is_fixed else args.task


def plan_outputs(args: argparse.Namespace, sources: list[Path]) -> list[Path]:
    """Output paths, one per source. Raises InputError rather than overwrite anything unasked, or an input ever."""
    if args.input.is_dir():
        if args.output.suffix.lower() in SUFFIXES:
            raise InputError(f"--input={args.input} is a folder, so --output={args.output} must be one too")
        targets = [args.output / source.name for source in sources]
    else:
        name = args.output.suffix.lower() in SUFFIXES
        if args.output.suffix and not name and not args.output.is_dir():
            raise InputError(f"--output={args.output}: expected a name in {', '.join(SUFFIXES)}, or a folder")
        targets = [args.output if name else args.output / sources[0].name]
    check_outputs(args, targets, sources)
    folder = next(folder for folder in targets[0].absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"--output={args.output}: {folder} is no folder that you may write to")
    return targets


def check_outputs(args: argparse.Namespace, targets: list[Path], sources: list[Path]) -> None:
    """Raise InputError where a result, or a map beside it, would replace something or cannot be held by its format."""
    inputs = [*sources, args.generator_path, *([args.ground_truth] if args.ground_truth else [])]
    taken = {path.resolve() for path in inputs}
    kinds = [kind for kind in ("uncertainty", "check") if getattr(args, kind)]
    maps = [beside(target, kind) for target in targets for kind in kinds]
    check_collisions(sources, [[target, *(beside(target, kind) for kind in kinds)] for target in targets])
    for target in [*targets, *maps]:
        if target.resolve() in taken or (args.ground_truth and target.parent.resolve() == args.ground_truth.resolve()):
            raise InputError(f"--output={args.output} would overwrite the input {target}; choose another")
        if target.suffix.lower() == ".png" and (args.dtype == "float32" or target in maps):
            raise InputError(f"{target}: PNG holds no float32; choose --dtype=uint16, or a name in .tif")
        if target.is_dir():
            raise InputError(f"--output: {target} is a folder; choose the name of a file")
        if target.exists() and not args.overwrite:
            raise InputError(f"{target} exists; choose another --output, or pass --overwrite")


def check_collisions(sources: list[Path], outputs: list[list[Path]]) -> None:
    """Raise InputError where two sources would write one file, also by names that differ in case alone.

    Args:
        sources: image files.
        outputs: what becomes of each, lists of paths.
    """
    writers = {}
    for source, paths in zip(sources, outputs, strict=True):
        for path in paths:
            # Many file systems take a.tif and A.tif for one file.
            other = writers.setdefault(str(path.resolve()).casefold(), source)
            if other is not source:
                raise InputError(f"{other} and {source} would both write {path}; rename one of them")


def beside(target: Path, kind: str) -> Path:
    """Path of a map of the given kind beside a restored image."""
    return target.with_name(f"{target.stem}_{kind}{target.suffix}")


def find_ground_truths(args: argparse.Namespace, sources: list[Path]) -> list[Path | None]:
    """Paths of the clean images, one per source, or Nones."""
    if args.ground_truth is None:
        return [None] * len(sources)
    if args.ground_truth.is_file() and not args.input.is_dir():
        return find_images(args.ground_truth)
    truths = [args.ground_truth / source.name for source in sources]
    for truth in truths:
        if not truth.is_file():
            raise InputError(f"--ground_truth: {truth} is missing")
    return truths


def load_applier(generator_path: Path, seed: int = 0, precision: str = "float32") -> Applier:
    """The generator as a function of raw images."""
    return load_uncertain(generator_path, seed, precision)[0]


def load_uncertain(generator_path: Path, seed: int = 0, precision: str = "float32") -> tuple[Applier, Applier | None]:
    """(the generator, the generator with dropout on or None where it has no dropout) as functions of raw images."""
    from common.devices import start_tensorflow

    start_tensorflow(None)
    from restoring.apply import Applier, in_precision

    model, metadata = load_generator(generator_path)
    model = in_precision(model, precision)
    has_dropout = any(getattr(layer, "rate", 0) for layer in model.layers)
    dropout = Applier(lambda inputs, training: model(inputs, training=True), metadata) if has_dropout else None
    return Applier(lambda inputs, training: model.predict_on_batch(inputs), metadata, seed), dropout


def check_reports(args: argparse.Namespace, metadata: Metadata, task: str | None) -> None:
    """Raise InputError where what is asked for beside the restored image does not fit."""
    if not (args.uncertainty or args.check):
        return
    if metadata.makes_defects:
        raise InputError("--uncertainty and --check are for generators that restore")
    if args.check:
        from restoring.trust_maps import check_cin_generator

        check_cin_generator(args, metadata, task)


def load_restorer(
    args: argparse.Namespace, metadata: Metadata, task: str | None
) -> tuple[Callable[[np.ndarray, int], np.ndarray], list[Callable]]:
    """The generator, loaded once, and what is told beside every restored image.

    Returns:
        (function of a plane, (H, W) float32, and its index, that gives the restored plane;
        functions of (source, restored planes, output path)).
    """
    apply, dropout = load_uncertain(args.generator_path, args.seed, args.precision)
    if args.average == 8 and task is None and not apply.may_rotate(None):
        print("note: without --task, averaging over the four flips alone (some of its tasks must not be turned)")

    def plain(image, index):
        return apply(image, task, index, args.tile, args.overlap, args.average)

    restore, reports = plain, []
    if not (args.uncertainty or args.check):
        return restore, reports
    from restoring import trust_maps

    if args.uncertainty:
        uncertain = trust_maps.UncertaintyReport(apply, dropout, args, task)
        restore = uncertain.restore
        reports.append(lambda source, planes, target: uncertain.write(source, beside(target, "uncertainty")))
    if args.check:
        check = trust_maps.make_check(args, metadata, task)
        reports.append(lambda source, planes, target: check(source, planes, beside(target, "check")))
    return restore, reports


def restore_file(
    args: argparse.Namespace, restore: Callable, source: ImageFile, target: Path, truth: Path | None
) -> np.ndarray:
    """Restore every plane of one file, write the result, and print its scores where the truth is known.

    Args:
        restore: `load_restorer`'s.

    Returns:
        The restored planes, (N, H, W) float32.
    """
    from common.progress import progress_bar

    print(f"{source.path}: {source.describe()}")
    with progress_bar(total=len(source.planes), desc=source.path.name, unit="image", leave=False, delay=2) as bar:
        planes = []
        for index, plane in enumerate(source.planes):
            planes.append(restore(np.asarray(plane, np.float32), index))
            bar.update()
    planes = np.stack(planes)
    if not np.isfinite(planes).all():
        raise InputError(f"{source.path}: the generator's output is not finite; is {args.generator_path} damaged?")
    values, clipped = to_dtype(planes, args.dtype)
    if clipped:
        print(f"note: {target}: {clipped} of {planes.size} pixels clipped to the range of {args.dtype}")
    write_image(target, source, values)
    print(f"{source.path} -> {target}")
    print_intensities(source, planes)
    if truth is not None:
        print_scores(source, planes, read_image(truth, args.axes))
    return planes


def print_intensities(source: ImageFile, planes: np.ndarray) -> None:
    """Print how the intensities of each restored image relate to those of its input."""
    from common.metrics import intensities

    for index, (restored, image) in enumerate(zip(planes, source.planes, strict=True)):
        gain, offset, flux = intensities(restored, image)
        print(f"  plane {index}: restored = {gain:.3g} * x + {offset:.3g}, flux {flux:.3f} of x's")


def print_scores(source: ImageFile, planes: np.ndarray, truth: ImageFile) -> None:
    """Print PSNR and SSIM of input and output against the ground truth, in both metrics."""
    from common.metrics import mean_scores

    if truth.planes.shape != planes.shape:
        raise InputError(f"{truth.path}: {truth.planes.shape} images, but {source.path} has {planes.shape}")
    for name, images in (("input", source.planes), ("output", planes)):
        scores = mean_scores(images, truth.planes)
        parts = [f"{m} {scores[f'{m}_psnr']:.2f} dB / {scores[f'{m}_ssim']:.3f}" for m in ("affine", "paper")]
        print(f"  {name:6s} {'   '.join(parts)}")


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
