"""Where restored images go, and that nothing is lost there: checked before the first one is restored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from common.errors import InputError
from restoring.image_files import WRITTEN, find_images, image_name
from restoring.options import RestoreOptions
from restoring.tiff_files import siblings


class Job(NamedTuple):
    """An image file, the file that is written from it, and its clean image or None."""

    source: Path
    target: Path
    truth: Path | None = None


def plan_jobs(
    source: Path, output: Path, truth: Path | None, options: RestoreOptions, recursive: bool = False
) -> list[Job]:
    """What becomes of which file.

    Args:
        source, output, truth: --input, --output and --ground_truth, files or folders.
        options: how; what PNG cannot hold becomes a TIFF in an output folder.
        recursive: whether images in the folders of a folder are restored too.

    Raises:
        InputError: they do not fit each other, or a clean image is missing.
    """
    sources = find_images(source, recursive)
    targets = plan_outputs(source, sources, output, options)
    truths = find_ground_truths(source, sources, truth, recursive)
    return [Job(*paths) for paths in zip(sources, targets, truths, strict=True)]


def plan_outputs(source: Path, sources: list[Path], output: Path, options: RestoreOptions) -> list[Path]:
    """Output paths, one per image file; arguments as those of `plan_jobs`. Raises InputError where they do not fit."""
    name = output.suffix.lower() in WRITTEN
    if source.is_dir():
        if name:
            raise InputError(f"--input={source} is a folder, so --output={output} must be one too")
        return [output / written_name(path.relative_to(source), options) for path in sources]
    if output.suffix and not name and not output.is_dir():
        raise InputError(f"--output={output}: expected a name in {', '.join(WRITTEN)}, or a folder")
    return [output if name else output / written_name(Path(sources[0].name), options)]


def written_name(path: Path, options: RestoreOptions) -> Path:
    """The name of a restored file in the output folder: the same, or .tif where its format cannot hold the result."""
    if path.suffix.lower() == ".png" and (options.dtype == "float32" or options.maps):
        return path.with_suffix(".tif")
    return path if path.suffix.lower() in WRITTEN else path.with_name(f"{image_name(path)}.ome.tif")


def check_outputs(options: RestoreOptions, output: Path, jobs: list[Job], truth: Path | None, overwrite: bool) -> None:
    """Raise InputError rather than overwrite an input ever, or anything unasked, or find out late that writing fails.

    Args:
        output: --output.
        jobs: of `plan_jobs`.
        truth: --ground_truth or None.
        overwrite: whether outputs may replace files other than inputs.
    """
    written = [written_files(job, options) for job in jobs]
    sources = [job.source for job in jobs]
    check_collisions(sources, written)
    inputs = {
        *sources,
        options.generator,
        *([truth] if truth else []),
        *(siblings(sources[0]) if len(jobs) == 1 else ()),
    }
    inputs = {path.resolve() for path in inputs}
    for target, is_map in [(path, path is not paths[0]) for paths in written for path in paths]:
        if target.resolve() in inputs or (truth and target.parent.resolve() == truth.resolve()):
            raise InputError(f"--output={output} would overwrite the input {target}; choose another")
        if target.suffix.lower() == ".png" and (options.dtype == "float32" or is_map):
            raise InputError(f"{target}: PNG cannot hold float32; choose --dtype=uint16, or a name in .tif")
        if target.is_dir():
            raise InputError(f"--output: {target} is a folder; choose the name of a file")
        if target.exists() and not overwrite:
            raise InputError(f"{target} exists; choose another --output, or pass --overwrite or --skip_existing")
    for target in {job.target.absolute().parent for job in jobs}:
        folder = next(folder for folder in (target, *target.parents) if folder.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(f"--output={output}: {folder} is not a folder that you may write to")


def written_files(job: Job, options: RestoreOptions) -> list[Path]:
    """All files that come of one image: the restored one, its maps and its page."""
    maps = [beside(job.target, kind) for kind in options.maps]
    return [job.target, *maps, *[view_path(job.target)] * options.view]


def not_yet_restored(jobs: list[Job], options: RestoreOptions) -> list[Job]:
    """The jobs of which a file is not there yet; a note counts the others."""
    left = [job for job in jobs if not all(path.is_file() for path in written_files(job, options))]
    print(f"note: {len(jobs) - len(left)} of {len(jobs)} files are restored already and are skipped")
    return left


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


def view_path(target: Path) -> Path:
    """Path of the page on a restored image."""
    return target.with_name(f"{image_name(target)}_view.html")


def find_ground_truths(
    source: Path, sources: list[Path], truth: Path | None, recursive: bool = False
) -> list[Path | None]:
    """Paths of the clean images, one per image file, or Nones; arguments as those of `plan_jobs`.

    In folders they have the same name, or the same but for the suffixes: f0.ome.tif has f0.tif.
    """
    if truth is None:
        return [None] * len(sources)
    if truth.is_file() and not source.is_dir():
        return find_images(truth)
    start = source if source.is_dir() else source.parent
    there = [path.relative_to(truth) for path in find_images(truth, recursive)]
    found = []
    for wanted in (path.relative_to(start) for path in sources):
        alike = [path for path in there if path.parent == wanted.parent and image_name(path) == image_name(wanted)]
        alike = [wanted] if wanted in alike else alike
        if not alike:
            raise InputError(f"--ground_truth: {truth / wanted} is missing")
        if len(alike) > 1:
            raise InputError(f"--ground_truth: {alike[0]} and {alike[1]} both are partners of {wanted}; remove one")
        found.append(truth / alike[0])
    return found
