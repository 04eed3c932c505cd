"""Maps beside a restored image: its uncertainty, and where the input contradicts it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from common.errors import InputError
from restoring import trust
from restoring.apply import Applier
from restoring.generator_file import Metadata, read_metadata
from restoring.image_files import ImageFile, write_image
from restoring.normalization import Normalization, OwnPercentileNormalization, Scale
from restoring.options import RestoreOptions


class UncertaintyMap:
    """Restores images and writes OUTPUT_uncertainty: deviation of the passes or, calibrated, of the error; x's units.

    Args:
        apply: a loaded generator.
        options: of the command.

    Raises:
        InputError: there are fewer passes than asked for, or the calibration cannot be read.
    """

    def __init__(self, apply: Applier, options: RestoreOptions):
        self.apply, self.dropout, self.options = apply, apply.with_dropout(), options
        trust.check_passes(apply, self.dropout, options.task, options.uncertainty)
        self.calibration = trust.read_calibration(options.calibration) if options.calibration else None
        self.maps = []

    def restore(self, x: np.ndarray, scales: tuple[Scale, Scale]) -> np.ndarray:
        """Restore one (H, W) float32 image, and keep its map for the file that is written next.

        Args:
            scales: of the image, or of the stack that it belongs to.
        """
        how = self.options
        restored, outputs = trust.restored_with_passes(
            self.apply, self.dropout, x, scales, how.task, how.uncertainty, how.tile, how.overlap, how.average
        )
        deviation = trust.disagreement(outputs)
        if self.calibration:
            # The calibration is in units of percentile spans, and a stack's is that of all its planes.
            span = trust.image_span(x) if self.apply.metadata.normalization.kind == "fixed" else scales[0].span
            deviation = span * self.calibration.error(deviation / span)
        self.maps.append(deviation)
        return restored

    def write(self, source: ImageFile, target: Path) -> None:
        """Write the maps of one file."""
        maps, self.maps = self.maps, []
        write_map(target, source, maps)
        meaning = "deviation of the error" if self.calibration else "deviation of the passes, not calibrated"
        print(f"  {target}: {meaning}, {np.median(maps):.3g} in the median")


class CheckMap:
    """Writes OUTPUT_check: deviations by which the input contradicts the restored image, and says how many pixels do.

    Args:
        apply_cin: CIN-GAN's generator.
        normalization: of the restoring generator.
        task: name.
    """

    def __init__(self, apply_cin: Applier, normalization: Normalization, task: str):
        self.apply_cin, self.normalization, self.task = apply_cin, normalization, task

    def __call__(
        self, source: ImageFile, planes: np.ndarray, wholes: Sequence[np.ndarray | Scale], target: Path
    ) -> None:
        """Write the map of one file; `planes` are the restored images, `wholes` what their scales were taken from."""
        images = enumerate(zip(source.planes, planes, wholes, strict=True))
        write_map(target, source, [self.of_plane(index, *each) for index, each in images])

    def of_plane(self, index: int, x: np.ndarray, restored: np.ndarray, whole: np.ndarray | Scale) -> np.ndarray:
        """The (H, W) map of one plane, and a line on it; `whole` is what its scale was taken from."""
        y = self.in_units_of_y(restored, whole)
        found = trust.contradiction(np.asarray(x, np.float32), *trust.made_again(self.apply_cin, y, self.task))
        share = 100 * np.mean(np.abs(found) > trust.CONTRADICTED)
        most = np.abs(found).max()
        print(f"  plane {index}: {share:.2f} % contradicted by the input, by {most:.1f} deviations at most")
        return found

    def in_units_of_y(self, restored: np.ndarray, x: np.ndarray | Scale) -> np.ndarray:
        """A restored image in the raw units of the task's y, which CIN-GAN expects.

        Where pairs differ in gain, or the generator has seen none of the task (the shipped one), y's scale is unknown:
        it is CIN-GAN's then, under which x and y are equally bright.
        """
        known = self.task in self.normalization.tasks()
        if not known or self.task in with_own_gains(self.normalization):
            x_scale, y_scale = self.apply_cin.metadata.normalization.scales[self.task]
            return y_scale.undo(x_scale.normalize(restored))
        out, y = (getattr(self.normalization, name)(self.task, x) for name in ("restored_scale", "y_scale"))
        return y.undo(out.normalize(restored))


def with_own_gains(normalization: Normalization) -> Collection[str]:
    """Names of the tasks whose training pairs differ in gain, so that the scale of y of a new image is unknown."""
    return getattr(normalization, "own_gains", {}).keys()


def write_map(target: Path, source: ImageFile, maps: Sequence[np.ndarray]) -> None:
    """Write (H, W) maps with the metadata of their image, but for its display range: a viewer would show them black."""
    details = source.metadata.get("metadata")
    if isinstance(details, dict):
        kept = {key: value for key, value in details.items() if key not in ("min", "max", "Ranges", "LUTs")}
        source = source._replace(metadata={**source.metadata, "metadata": kept})
    write_image(target, source, np.asarray(maps, np.float32))


def check_cin_generator(options: RestoreOptions, metadata: Metadata) -> None:
    """Raise InputError where the options, the restoring generator and CIN-GAN's do not fit for a check."""
    path, task = options.cin_generator, options.task
    if path is None or task is None:
        raise InputError("--check needs --cin_generator_path=CIN-GAN_results/generator.h5 and --task=NAME")
    cin = read_metadata(path)
    if not cin.makes_defects or task not in cin.tasks:
        raise InputError(f"{path}: expected a CIN-GAN's generator that knows {task}")
    if task in cin.strides:
        raise InputError(f"{path}: --check cannot know which rows of a section of {task} are planes; leave it out")
    if not cin.noise_channels:
        raise InputError(f"{path} makes no noise, so --check cannot estimate a tolerance; use a tuned CIN-GAN")
    if task in with_own_gains(metadata.normalization):
        print(
            f"note: --check: the training pairs of {task} differ in gain, so the scale of its y is unknown; the one at "
            "which CIN-GAN's x and y are equally bright is used"
        )
    if metadata.script == "CARE" and not isinstance(metadata.normalization, OwnPercentileNormalization):
        raise InputError(
            f"--check: {options.generator} is CARE's, of an older version, and does not hold how the intensities of "
            "y relate to those of x; train it again with train_baseline.py --method=care, or leave out --check"
        )
