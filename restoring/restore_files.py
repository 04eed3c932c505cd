"""Restoring image files: every plane of each, maps of how far to trust it, and its scores where the truth is known."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import InputError
from common.memory import strips
from restoring.apply import Applier, symmetries
from restoring.generator_file import Metadata, read_metadata
from restoring.image_files import ImageFile, WritingError, enlarged, read_image, to_dtype, write_image
from restoring.options import RestoreOptions
from restoring.outputs import Job, beside
from restoring.reading import WHOLE, Part
from restoring.stacks import wholes_of

if TYPE_CHECKING:
    from common.metrics import Moments

FLUX = 0.1  # by which a restored image's mean may differ from its input's before a warning


def check_maps(options: RestoreOptions, metadata: Metadata) -> None:
    """Raise InputError where the maps that are asked for beside the restored image do not fit its generator."""
    if options.maps and metadata.makes_defects:
        raise InputError("--uncertainty and --check are for generators that restore")
    if options.check:
        from restoring.trust_maps import check_cin_generator

        check_cin_generator(options, metadata)


def restore_all(
    restorer_of: Callable[[RestoreOptions], Restorer],
    options: RestoreOptions,
    jobs: list[Job],
    axes: str | None = None,
    part: Part = WHOLE,
) -> int:
    """Restore image files, one after the other; one that fails does not stop those after it.

    Args:
        restorer_of: `Restorer`, or `isotropic.IsotropicRestorer`.
        options: how.
        jobs: the files, what becomes of them, and their ground truths.
        axes, part: as for `read_image`.

    Returns:
        The exit code: 1 where some of several files failed; they are listed at the end.

    Raises:
        InputError: the only file failed, or nothing can be written any more.
    """
    failures, restorer = [], None
    factor = read_metadata(options.generator).factor(options.task)
    if factor > 1:
        print(f"images are enlarged {factor} times (cubic splines), as in this generator's training")
    for job in jobs:
        source = truth = planes = None  # Two large images need not be held at once.
        with _collected(failures, jobs):
            source = enlarged(read_image(job.source, axes, part), factor)
            truth = read_image(job.truth, axes, part) if job.truth else None
        if source is None or (job.truth and truth is None):
            continue
        restorer = restorer or restorer_of(options)  # TensorFlow is imported once there is something to restore.
        with _collected(failures, jobs):
            planes = restorer.restore(source, job.target)
            if truth:
                if truth.planes.shape != planes.shape:
                    raise InputError(
                        f"{truth.path}: {truth.planes.shape} images, but the restored ones are {planes.shape}"
                    )
                print_scores(restorer.seen(source), planes, truth.planes)
            restorer.write_maps(source, planes, job.target)
            restorer.write_view(source, planes, job.target)
    if failures:
        print(f"error: {len(failures)} of {len(jobs)} files were not restored:", file=sys.stderr)
        print("\n".join(f"  {failure}" for failure in failures), file=sys.stderr)
    return 1 if failures else 0


@contextmanager
def _collected(failures: list[str], jobs: list[Job]) -> Iterator[None]:
    """Keep the message of a file that fails, where there are others; what cannot be written ends everything."""
    try:
        yield
    except WritingError:
        raise
    except (InputError, OSError, MemoryError) as failure:
        if len(jobs) == 1:
            raise
        failures.append(" ".join((str(failure) or type(failure).__name__).split()))
        print(f"note: {failures[-1]}; going on with the next file")


class Restorer:
    """A generator, loaded once, that restores image files and writes the maps beside them.

    Args:
        options: how.
    """

    def __init__(self, options: RestoreOptions):
        self.options = options
        self.apply = Applier.load(options.generator, options.seed, options.precision)
        self.turns = len(symmetries(options.average, self.apply.may_rotate(options.task)))
        if self.turns < options.average and options.task is None:
            tasks, fixed = set(self.apply.metadata.tasks), set(self.apply.metadata.no_rotate)
            why = "without --task, and some of its tasks must" if tasks - fixed else "what this generator restores must"
            print(f"note: averaging over the four flips alone: {why} not be turned")
        self.uncertain = self.check = None
        if options.maps:
            self._load_maps()
        self.bar = None
        for applier in (self.apply, self.uncertain and self.uncertain.dropout):
            if applier:
                applier.model = self._counted(applier.model)

    def _load_maps(self):
        from restoring import trust_maps

        options = self.options
        if options.uncertainty:
            self.uncertain = trust_maps.UncertaintyMap(self.apply, options)
            passes = (
                self.turns + options.uncertainty if self.uncertain.dropout else max(self.turns, options.uncertainty)
            )
            self.turns = passes
        if options.check:
            normalization = self.apply.metadata.normalization
            self.check = trust_maps.CheckMap(Applier.load(options.cin_generator), normalization, options.task)

    def _counted(self, model):
        """A model, each call of which moves the bar."""

        def run(inputs, training):
            output = model(inputs, training=training)
            self.bar.update()
            return output

        return run

    def restore(self, source: ImageFile, target: Path) -> np.ndarray:
        """Restore every plane of one file, write the result, and print how its intensities relate to the input's.

        Returns:
            The restored planes, (N, H, W) float32.
        """
        how, planes = self.options, np.empty(source.planes.shape, np.float32)
        self.wholes = wholes_of(source, how.normalize)
        scales = [self.apply.scales(whole, how.task) for whole in self.wholes]
        with self._bar(source, len(planes) * self.count_tiles(planes.shape[1:])) as self.bar:
            for index, x in enumerate(source.planes):
                if self.uncertain:
                    planes[index] = self.uncertain.restore(np.asarray(x, np.float32), scales[index])
                else:
                    size = (how.tile, how.overlap, how.average)
                    planes[index] = self.apply.with_scales(x, scales[index], how.task, index, *size)
        self._note_beyond(source, [before for before, _ in scales])
        self._write(source, planes, target)
        self._print_summary(source, target, list(zip(planes, source.planes, strict=True)), "planes")
        return planes

    def count_tiles(self, shape: tuple[int, int]) -> int:
        """How often the network runs for an (H, W) image."""
        return self.turns * self.apply.count_tiles(shape, self.options.tile, self.options.overlap)

    def _bar(self, source, tiles):
        from common.progress import progress_bar

        words = f"{source.path.name}, {source.axes}"
        return progress_bar(total=tiles, desc=words, unit="tile", leave=False, delay=2)

    def _note_beyond(self, source, scales):
        """Say how many pixels the network does not look at, by the Scale of each plane."""
        pairs = zip(source.planes, scales, strict=True)
        beyond = sum(self.apply.count_beyond(plane, scale) for plane, scale in pairs)
        if beyond:
            print(
                f"note: {source.path}: {beyond} pixels are far brighter or darker than the image (hot pixels? beads?); "
                "what is beyond twice its brightness range is kept as it is"
            )

    def _write(self, source, planes, target):
        """Write restored planes in the shape of an image. Raises InputError where they are not finite."""
        how = self.options
        if not all(np.isfinite(plane[rows]).all() for plane in planes for rows in strips(plane)):
            raise InputError(f"{source.path}: the generator's output is not finite; is {how.generator} damaged?")
        values, clipped = to_dtype(planes, how.dtype)
        if clipped:
            print(f"note: {target}: {clipped} of {planes.size} pixels clipped to the range of {how.dtype}")
        write_image(target, source, values)

    def _print_summary(self, source, target, pairs, kind):
        """As `print_summary`, of [(restored, input)], images of a kind, "planes" or "sections"."""
        from common.metrics import Moments

        moments = [Moments.of(*pair) for pair in pairs]
        keeps_units = self.apply.metadata.normalization.kind != "fixed"
        head = f"{source.path}: {source.describe()} -> {target}"
        print_summary(head, target, moments, kind, keeps_units, self.options.verbose)

    def seen(self, source: ImageFile) -> np.ndarray:
        """The planes of a file that a ground truth is compared with, beside the restored ones."""
        return source.planes

    def write_maps(self, source: ImageFile, planes: np.ndarray, target: Path) -> None:
        """Write the maps that the options ask for beside a restored file."""
        if self.uncertain:
            self.uncertain.write(source, beside(target, "uncertainty"))
        if self.check:
            self.check(source, planes, self.wholes, beside(target, "check"))

    def write_view(self, source: ImageFile, planes: np.ndarray, target: Path) -> None:
        """Write the page on a restored file and its maps, where the options ask for it."""
        if self.options.view:
            from restoring.view import read_maps, write_view

            print(f"  {write_view(target, source, planes, read_maps(target, self.options.maps))}: open it in a browser")


def print_summary(
    head: str, target: Path, moments: Sequence[Moments], kind: str, keeps_units: bool, verbose: bool
) -> None:
    """One line on a file, one more for each plane where it is verbose, and a warning where intensities are lost.

    Args:
        head: how the line begins.
        target: what was restored.
        moments: of each plane or section.
        kind: what they are, "planes" or "sections".
        keeps_units: False where y's units are restored: x's gain and flux need not be kept.
        verbose: whether each gets a line.
    """
    lines = np.array([each.line() for each in moments])
    gain, offset, flux = np.median(lines, axis=0)
    many = f" (medians of {len(lines)} {kind})" if len(lines) > 1 else ""
    print(f"{head}: restored = {gain:.3g} * x + {offset:.3g}, flux {flux:.3f} of x's{many}")
    for index, (gain, offset, flux) in enumerate(lines) if verbose else ():
        print(f"  {kind[:-1]} {index}: restored = {gain:.3g} * x + {offset:.3g}, flux {flux:.3f} of x's")
    if not keeps_units:
        return
    # Where the mean is about 0 (a background was subtracted), the ratio of two means says nothing.
    bright = [each.x > FLUX * np.sqrt(each.variance) for each in moments]
    odd = [i for i, (gain, _, flux) in enumerate(lines) if (bright[i] and abs(flux - 1) > FLUX) or gain < 0]
    if odd:
        gain, _, flux = lines[odd[0]]
        print(
            f"warning: {target}: do not measure intensities in {len(odd)} of {len(lines)} {kind}; "
            f"{kind[:-1]} {odd[0]} has {flux:.2f} of x's flux" + (" and is inverted" if gain < 0 else "")
        )


def print_scores(seen: Sequence[np.ndarray], planes: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> None:
    """Print PSNR and SSIM of input and output against the ground truth, (H, W) images each, in both metrics."""
    from common.metrics import mean_scores

    for name, images in (("input", seen), ("output", planes)):
        scores = mean_scores(images, truths)
        parts = [f"{m} {scores[f'{m}_psnr']:.2f} dB / {scores[f'{m}_ssim']:.3f}" for m in ("affine", "paper")]
        print(f"  {name:6s} {'   '.join(parts)}")
