"""Pairs that CIN-GAN makes: clean images y of the real pairs and of the unpaired pool, each with generated x.

Draws are made once, before the training, and kept in memory: a pool of many draws costs a fraction of a step each,
where running the CIN generator inside every step would cost as much as the restoring generator.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.progress import progress_bar
from data_utils import Task
from restoring.apply import Applier

DRAWS = 200  # generated x per task, if the generator has noise
MOST = 2000  # clean images per task at most, spread evenly


def generate_pairs(path: Path, tasks: list[Task], seed: int) -> dict[str, tuple[list[np.ndarray], list[np.ndarray]]]:
    """Generate defective images with a CIN generator.

    Args:
        path: its generator.h5.
        seed: of the noise.

    Returns:
        {task name: (x images, y images)}, lists of (H, W) float32 in raw units; x[i] was made from y[i].
    """
    applier = Applier.load(path, seed)
    plans = {task.name: _plan(len(task.unpaired_y), applier.metadata.noise_channels) for task in tasks}
    pairs = {}
    with progress_bar(total=sum(map(len, plans.values())), desc="generating pairs", unit="image") as bar:
        for task in tasks:
            clean = {row: task.unpaired_y[row] for row, draw in plans[task.name] if draw == 0}
            xs, ys = [], [clean[row] for row, _ in plans[task.name]]
            for y, (_, draw) in zip(ys, plans[task.name], strict=True):
                xs.append(applier(y, task.name, draw=draw))
                bar.update()
            pairs[task.name] = (xs, ys)
    return pairs


def _plan(count, noise_channels):
    """(row, draw) of every image to make: several draws of each clean image where noise makes them differ."""
    rows = np.unique(np.linspace(0, count - 1, min(count, MOST)).astype(int))
    draws = -(-DRAWS // len(rows)) if noise_channels else 1
    return [(row, draw) for draw in range(draws) for row in rows]
