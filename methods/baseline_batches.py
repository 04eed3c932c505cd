"""Batches of the baselines, pure functions of seed and iteration like those of `batches.py`; one task each."""

from __future__ import annotations

import itertools

import numpy as np

from data_utils import Task
from methods.batches import PairBatches, Pairs, Sampling, UnpairedBatches, epoch_row
from restoring.normalization import Normalization

STREAM_EPSILON, STREAM_POOL = 10, 11  # beside the streams of batches.py


class GridPatchBatches:
    """CARE's training set: every image pair cut into patches once, all patches in shuffled order per epoch.

    `batches(iteration)` gives {"x", "y"}, each (batch_size, height, width, 1) float32.

    Args:
        normalization: maps raw images to network units.
        batch_size: patches of one iteration.
        patch: (height, width) of the patches in pixels.
        seed: of the order.
    """

    def __init__(self, task: Task, normalization: Normalization, batch_size: int, patch: tuple[int, int], seed: int):
        self.task, self.batch_size = task, batch_size
        self.pairs = Pairs({task.name: (task.train_x, task.train_y)}, normalization)
        self.patch, self.seed = patch, seed
        # Side by side, the last one moved to the image's end.
        starts = [[*range(0, size - side, side), size - side] for size, side in zip(task.shape, patch, strict=True)]
        self.corners = list(itertools.product(*starts))

    def __call__(self, iteration: int) -> dict[str, np.ndarray]:
        draws = range(iteration * self.batch_size, (iteration + 1) * self.batch_size)
        x, y = (np.stack(patches)[..., None] for patches in zip(*map(self._pair, draws), strict=True))
        return {"x": x, "y": y}

    def _pair(self, draw):
        count = len(self.task.train_x) * len(self.corners)
        row, corner = divmod(epoch_row(self.seed, 0, draw, count), len(self.corners))
        (top, left), (height, width) = self.corners[corner], self.patch
        window = np.s_[top : top + height, left : left + width]
        return self.pairs.patches(self.task.name, row, lambda images: [image[window] for image in images])


class CriticPairBatches(PairBatches):
    """DeblurGAN's: pairs, and "epsilon" (batch_size, n_critic, 1, 1, 1) for the gradient penalties."""

    def __init__(self, task: Task, normalization: Normalization, sampling: Sampling, n_critic: int):
        super().__init__([task], normalization, sampling)
        self.n_critic = n_critic

    def __call__(self, iteration: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, STREAM_EPSILON, iteration])
        epsilon = rng.random((self.batch_size, self.n_critic, 1, 1, 1), np.float32)
        return {**super().__call__(iteration), "epsilon": epsilon}


class CycleBatches(UnpairedBatches):
    """CycleGAN's: x and y drawn independently, and what its pools of generated images do.

    `batches(iteration)` gives {"x", "y": (batch_size, height, width, 1), "slot": (batch_size, 2) int32, "swap":
    (batch_size, 2) bool}. The first `pool_size` images fill a pool. Of every later one a coin decides: it takes a
    random slot and the image that was there is used, or it is used itself and not kept (slot -1).
    """

    def __init__(self, task: Task, normalization: Normalization, sampling: Sampling, pool_size: int):
        super().__init__([task], normalization, sampling, updates=1, mixed_tasks=True, noise_channels=0)
        self.pool_size = pool_size

    def __call__(self, iteration: int) -> dict[str, np.ndarray]:
        images = super().__call__(iteration)
        rng = np.random.default_rng([self.seed, STREAM_POOL, iteration])
        number = iteration * self.batch_size + np.arange(self.batch_size)[:, None]
        random_slot, coin = rng.integers(self.pool_size, size=(self.batch_size, 2)), rng.random((self.batch_size, 2))
        filling = np.broadcast_to(number < self.pool_size, coin.shape)
        swap = ~filling & (coin < 0.5)
        slot = np.where(filling, number, np.where(swap, random_slot, -1))
        return {"x": images["x"][:, 0], "y": images["y"][:, 0], "slot": slot.astype(np.int32), "swap": swap}
