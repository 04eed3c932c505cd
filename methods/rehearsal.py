"""Simulated pairs in the batches of a fine-tuning, so that the generator does not learn a few real pairs by heart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from methods.batches import Pairs
from restoring.normalization import PercentileNormalization
from simulation.any_defect import simulate_any

SIMULATED = "simulated"  # stands for a task's name; its pairs are never turned, some are blurred along axis 0
# Pairs that a training can meet, each simulated when it is first drawn; and their sides in pixels: patches of 64 and
# enough around them for percentiles.
POOL, SIDE = 600, 96
# Far from the seeds of the shipped generator's own training, which count from 0.
FIRST = 10**6


class _Images(Sequence):
    """x (side 0) or y (side 1) of the pool, each (SIDE, SIDE) float32 in raw units."""

    def __init__(self, simulate: Callable[[int], tuple[np.ndarray, np.ndarray]], side: int):
        self._simulate, self._side = simulate, side

    def __len__(self):
        return POOL

    def __getitem__(self, row: int) -> np.ndarray:
        return self._simulate(int(row))[self._side]


def simulated_pairs(seed: int) -> Pairs:
    """The pool of a training: `Pairs` of one task, SIMULATED, deterministic by seed."""

    @lru_cache(maxsize=POOL)
    def simulate(row):
        pair = simulate_any(seed, FIRST + row, SIDE)
        return pair.x, pair.y

    images = {SIMULATED: (_Images(simulate, 0), _Images(simulate, 1))}
    return Pairs(images, PercentileNormalization({SIMULATED: (1.0, 0.0)}))
