"""Simulated scenes in place of clean images that a user does not have: what CIN-GAN makes defects of."""

from __future__ import annotations

import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from data_utils import Task
from simulation.any_defect import simulate_any

COUNT = 200  # scenes of a task, each simulated when it is first read
LEAST, LARGEST = 96, 256  # pixels: smaller scenes are cut from one of LEAST; of larger images the scenes are parts
# Far from the seeds of the shipped generator's training and of the rehearsed pairs.
FIRST = 2 * 10**6


class CleanScenes:
    """Sharp and clean images of `simulation.any_defect`, which take the place of `data_utils.Images`.

    Args:
        seed: they are a pure function of it.
        shape: (height, width) in pixels.
        count: of scenes.
    """

    def __init__(self, seed: int, shape: tuple[int, int], count: int = COUNT):
        self.shape, self.rows, self.path, self.factor = shape, np.arange(count), Path("simulated scenes"), 1
        self.checksum = zlib.crc32(repr((seed, FIRST, self.shape)).encode())
        self._read = lru_cache(COUNT)(lambda row: self._simulate(seed, row))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._read(int(self.rows[index]))

    def _simulate(self, seed, row):
        height, width = self.shape
        return simulate_any(seed, FIRST + row, max(LEAST, height, width)).y[:height, :width]


def with_clean_scenes(task: Task, seed: int) -> Task:
    """A task that has x alone, with scenes as its y; where there are no test files, as test images too."""
    scenes, test_y = CleanScenes(seed, tuple(min(size, LARGEST) for size in task.shape)), task.test_y
    if test_y.path == task.test_x.path:
        test_y = CleanScenes(seed, task.shape, len(task.test_x))
    return task._replace(train_y=scenes, unpaired_y=scenes, test_y=test_y)
