"""Making stacks isotropic: sections along z are interpolated to rows a pixel apart and restored, from both sides.

Every stack is cut into XZ sections, then into YZ sections. Both are what the generator calls an axial defect: blurred,
and interpolated between planes, along axis 0. The result is the mean of both views, which see different neighbours of a
voxel (Weigert et al. 2018, Nature Methods 15:1090, average them geometrically). Where they disagree, it is less sure.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from restoring.apply import symmetries
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

SUMMARY = 16  # sections, evenly spread, from which the summary of a file is taken
LONG = 60  # seconds; restoring that takes longer is announced


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
        rows = len(plane_positions(stacks.shape[1], voxels.factor))
        print(f"{source.path}: {voxels.describe()}: {stacks.shape[1]} planes become {rows}")
        note_layers(source, stacks[0], voxels.factor)
        if how.generator == SHIPPED:
            note_far_planes(source, voxels)
        result = np.empty((len(stacks), rows, *stacks.shape[2:]), np.float32)
        apart = np.empty_like(result) if how.disagreement else [None] * len(stacks)
        runs = sum(side * self.count_tiles((rows, other)) for side, other in (result.shape[2:], result.shape[:1:-1]))
        with self._bar(source, len(stacks) * runs) as self.bar:
            self.done, self.sections = 0, len(stacks) * sum(stacks.shape[2:])
            for number, channel in enumerate(channels_of(source, but="Z")):
                self._restore_stack(stacks[number], scales[channel], voxels.factor, result[number], apart[number])
        pairs = [
            (result[number][:, row], section(stack, 1, row, voxels.factor))
            for number, stack in enumerate(stacks)
            for row in np.linspace(0, stack.shape[1] - 1, min(SUMMARY, stack.shape[1])).astype(int)
        ]
        self.isotropic = with_stacks(source, result, voxels)
        self.apart = with_stacks(source, apart, voxels).planes if how.disagreement else None
        self._note_beyond(source, [scales[channel] for channel in channels_of(source)])
        self._write(self.isotropic, self.isotropic.planes, target)
        self._print_summary(source, target, pairs, "sections")
        return self.isotropic.planes

    def _restore_stack(self, stack, scale, factor, result, apart):
        """Fill the (N, Y, X) result of a (Z, Y, X) stack, and how far both views are apart, where that is not None."""
        scales = self.apply.scales(scale, self.options.task)
        for row in range(stack.shape[1]):
            result[:, row] = self._restore_section(section(stack, 1, row, factor), scales)
        for column in range(stack.shape[2]):
            other = self._restore_section(section(stack, 2, column, factor), scales)
            first = result[:, :, column]
            if apart is not None:
                apart[:, :, column] = np.abs(other - first) / 2  # the deviation of two values
            result[:, :, column] = (first + other) / 2

    def _restore_section(self, image, scales: tuple[Scale, Scale]):
        """An (N, W) section in raw units, restored."""
        how, (before, after) = self.options, scales
        outputs = self.apply.turned(before.normalize(image), self.symmetries, how.task, 0, how.tile, how.overlap)
        restored = after.undo(sum(outputs) / len(self.symmetries))
        self._estimate()
        return restored

    def _estimate(self):
        """Say how long it takes, if it takes long, by the fifth to the eighth section: the first ones compile."""
        self.done += 1
        if self.done == 4:
            self.began = time.monotonic()
        if self.done == 8:
            seconds = (self.sections - 8) * (time.monotonic() - self.began) / 4
            if seconds > LONG:
                print(f"note: this takes about {seconds / 60:.0f} minutes")

    def seen(self, source: ImageFile) -> np.ndarray:
        """The planes that a ground truth is compared with: interpolated linearly along z."""
        voxels = find_voxels(source, self.options.spacing)
        stacks = stacks_of(source)
        positions = plane_positions(stacks.shape[1], voxels.factor)
        return with_stacks(source, np.stack([rows_at(stack, positions) for stack in stacks]), voxels).planes

    def write_maps(self, source: ImageFile, planes: np.ndarray, target: Path) -> None:
        """Write how far both views are apart, where the options ask for it."""
        if self.apart is not None:
            from restoring.trust_maps import write_map

            path = beside(target, "disagreement")
            write_map(path, self.isotropic, self.apart)
            print(f"  {path}: deviation of both views, not calibrated, {np.median(self.apart):.3g} in the median")
