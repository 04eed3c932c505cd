"""Making stacks isotropic: sections along z are interpolated to rows a pixel apart and restored, from both sides.

Every stack is cut into XZ sections, then into YZ sections. Both are what the generator calls an axial defect: blurred,
and interpolated between planes, along axis 0. The result is the mean of both views, which see different neighbours of a
voxel (Weigert et al. 2018, Nature Methods 15:1090, average them geometrically). Where they disagree, it is less sure.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from restoring.apply import Applier, symmetries
from restoring.generator_file import SHIPPED
from restoring.image_files import ImageFile
from restoring.normalization import Scale
from restoring.options import RestoreOptions
from restoring.outputs import beside
from restoring.restore_files import Restorer
from restoring.stacks import (
    channel_scales,
    channels_of,
    find_voxels,
    note_far_planes,
    note_layers,
    plane_positions,
    rows_at,
    section,
    stacks_of,
    with_stacks,
)

if TYPE_CHECKING:
    from restoring.volumes import VolumeJob

SUMMARY = 16  # sections, evenly spread, from which the summary of a file is taken
LONG = 60  # seconds; restoring that takes longer is announced


def restore_section(
    apply: Applier,
    image: np.ndarray,
    scales: tuple[Scale, Scale],
    how: RestoreOptions | VolumeJob,
    turns: list[tuple[Callable, Callable]],
) -> np.ndarray:
    """An (N, W) section in raw units, restored, (N, W) float32.

    Args:
        scales: of its stack.
        how: its task, tile and overlap.
        turns: of `apply.symmetries`.
    """
    before, after = scales
    outputs = apply.turned(before.normalize(image), turns, how.task, 0, how.tile, how.overlap)
    return after.undo(sum(outputs) / len(turns))


def restore_first_view(
    stack: np.ndarray, stride: float, restore: Callable[[np.ndarray], np.ndarray], result: np.ndarray
) -> None:
    """Fill a result with restored XZ sections.

    Args:
        stack: (Z, Y, X), or a slab of some of its rows.
        stride: pixels that its planes lie apart.
        restore: gives the restored (N, X) section of an interpolated one.
        result: (N, Y, X) float32.
    """
    for row in range(stack.shape[1]):
        result[:, row] = restore(section(stack, 1, row, stride))


def restore_second_view(
    stack: np.ndarray,
    stride: float,
    restore: Callable[[np.ndarray], np.ndarray],
    result: np.ndarray,
    apart: np.ndarray | None = None,
) -> None:
    """Replace restored XZ sections by the mean of them and of restored YZ sections.

    Args:
        stack: (Z, Y, X), or a slab of some of its columns.
        stride, restore, result: as for `restore_first_view`; here `restore` sees (N, Y) sections.
        apart: like `result`, becomes half the distance between both views.
    """
    for column in range(stack.shape[2]):
        other = restore(section(stack, 2, column, stride))
        first = result[:, :, column]
        if apart is not None:
            apart[:, :, column] = np.abs(other - first) / 2  # the deviation of two values
        result[:, :, column] = (first + other) / 2


def note_long(seconds: float) -> None:
    """Say how long restoring takes, if it takes long."""
    if seconds > LONG:
        print(f"note: this takes about {seconds / 60:.0f} minutes")


def summary_sections(count: int) -> np.ndarray:
    """Which of so many sections the summary of a stack is taken from."""
    return np.linspace(0, count - 1, min(SUMMARY, count)).astype(int)


class IsotropicRestorer(Restorer):
    """A generator, loaded once, that makes stacks isotropic.

    Args:
        options: how.
    """

    def __init__(self, options: RestoreOptions):
        super().__init__(options)
        # Flips alone, whatever the generator allows: a quarter turn would lay z along axis 1.
        self.symmetries = symmetries(options.average, rotate=False)
        self.turns = len(self.symmetries)

    def restore(self, source: ImageFile, target: Path) -> np.ndarray:
        """Restore every stack of one file, write the result, and print how its intensities relate to the input's.

        Returns:
            The planes of the result, (N, H, W) float32, in the order of its axes.

        Raises:
            InputError: it is no stack whose planes lie further apart than its pixels.
        """
        how, voxels = self.options, find_voxels(source, self.options.spacing)
        stacks, scales = stacks_of(source), channel_scales(source)
        rows = len(plane_positions(stacks.shape[1], voxels.stride))
        print(f"{source.path}: {voxels.describe()}: {stacks.shape[1]} planes become {rows}")
        note_layers(source, stacks[0], voxels.stride)
        if how.generator == SHIPPED:
            note_far_planes(source, voxels)
        result = np.empty((len(stacks), rows, *stacks.shape[2:]), np.float32)
        apart = np.empty_like(result) if how.disagreement else [None] * len(stacks)
        runs = sum(side * self.count_tiles((rows, other)) for side, other in (result.shape[2:], result.shape[:1:-1]))
        with self._bar(source, len(stacks) * runs) as self.bar:
            self.done, self.sections = 0, len(stacks) * sum(stacks.shape[2:])
            for number, channel in enumerate(channels_of(source, but="Z")):
                self._restore_stack(stacks[number], scales[channel], voxels.stride, result[number], apart[number])
        pairs = [
            (result[number][:, row], section(stack, 1, row, voxels.stride))
            for number, stack in enumerate(stacks)
            for row in summary_sections(stack.shape[1])
        ]
        self.isotropic = with_stacks(source, result, voxels)
        self.apart = with_stacks(source, apart, voxels).planes if how.disagreement else None
        self._note_beyond(source, [scales[channel] for channel in channels_of(source)])
        self._write(self.isotropic, self.isotropic.planes, target)
        self._print_summary(source, target, pairs, "sections")
        return self.isotropic.planes

    def _restore_stack(self, stack, scale, stride, result, apart):
        """Fill the (N, Y, X) result of a (Z, Y, X) stack, and how far both views are apart, where that is not None."""
        scales = self.apply.scales(scale, self.options.task)

        def restore(image):
            self._estimate()
            return restore_section(self.apply, image, scales, self.options, self.symmetries)

        restore_first_view(stack, stride, restore, result)
        restore_second_view(stack, stride, restore, result, apart)

    def _estimate(self):
        """Say how long it takes by the fifth to the eighth section: the first ones compile."""
        self.done += 1
        if self.done == 5:
            self.began = time.monotonic()
        if self.done == 9:
            note_long((self.sections - 8) * (time.monotonic() - self.began) / 4)

    def seen(self, source: ImageFile) -> np.ndarray:
        """The planes that a ground truth is compared with: interpolated linearly along z."""
        voxels = find_voxels(source, self.options.spacing)
        stacks = stacks_of(source)
        positions = plane_positions(stacks.shape[1], voxels.stride)
        return with_stacks(source, np.stack([rows_at(stack, positions) for stack in stacks]), voxels).planes

    def write_maps(self, source: ImageFile, planes: np.ndarray, target: Path) -> None:
        """Write how far both views are apart, where the options ask for it."""
        if self.apart is not None:
            from restoring.trust_maps import write_map

            path = beside(target, "disagreement")
            write_map(path, self.isotropic, self.apart)
            print(f"  {path}: deviation of both views, not calibrated, {np.median(self.apart):.3g} in the median")
