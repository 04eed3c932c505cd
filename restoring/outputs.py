"""Where restored images go, and that nothing is lost there: checked before the first one is restored."""

from __future__ import annotations

import os
from pathlib import Path

from common.errors import InputError
from restoring.image_files import SUFFIXES, find_images
from restoring.options import RestoreOptions


def plan_outputs(source: Path, sources: list[Path], output: Path) -> list[Path]:
    """Output paths, one per image file.

    Args:
        source: --input, an image file or a folder.
        sources: the image files there.
        output: --output.

    Raises:
        InputError: the two do not fit.
    """
    name = output.suffix.lower() in SUFFIXES
    if source.is_dir():
        if name:
            raise InputError(f"--input={source} is a folder, so --output={output} must be one too")
        targets = [output / source.name for source in sources]
    else:
        if output.suffix and not name and not output.is_dir():
            raise InputError(f"--output={output}: expected a name in {', '.join(SUFFIXES)}, or a folder")
        targets = [output if name else output / sources[0].name]
    return targets


def check_outputs(
    options: RestoreOptions, output: Path, sources: list[Path], targets: list[Path], truth: Path | None, overwrite: bool
) -> None:
    """Raise InputError rather than overwrite an input ever, or anything unasked, or find out late that writing fails.

    Args:
        output: --output.
        sources, targets: image files, and what becomes of each.
        truth: --ground_truth or None.
        overwrite: whether outputs may replace files other than inputs.
    """
    written = [[target, *(beside(target, kind) for kind in options.maps)] for target in targets]
    check_collisions(sources, written)
    inputs = {path.resolve() for path in (*sources, options.generator, *([truth] if truth else []))}
    for target, is_map in [(path, path is not paths[0]) for paths in written for path in paths]:
        if target.resolve() in inputs or (truth and target.parent.resolve() == truth.resolve()):
            raise InputError(f"--output={output} would overwrite the input {target}; choose another")
        if target.suffix.lower() == ".png" and (options.dtype == "float32" or is_map):
            raise InputError(f"{target}: PNG holds no float32; choose --dtype=uint16, or a name in .tif")
        if target.is_dir():
            raise InputError(f"--output: {target} is a folder; choose the name of a file")
        if target.exists() and not overwrite:
            raise InputError(f"{target} exists; choose another --output, or pass --overwrite")
    folder = next(folder for folder in targets[0].absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"--output={output}: {folder} is no folder that you may write to")


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


def find_ground_truths(source: Path, sources: list[Path], truth: Path | None) -> list[Path | None]:
    """Paths of the clean images, one per image file, or Nones; arguments as those of the other functions here."""
    if truth is None:
        return [None] * len(sources)
    if truth.is_file() and not source.is_dir():
        return find_images(truth)
    truths = [truth / source.name for source in sources]
    for truth in truths:
        if not truth.is_file():
            raise InputError(f"--ground_truth: {truth} is missing")
    return truths
