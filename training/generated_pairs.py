"""Pairs that CIN-GAN makes: clean images y of the real pairs and of the unpaired pool, each with generated x.

Draws are made once, before the training, and kept in memory: a pool of many draws costs a fraction of a step each,
where running the CIN generator inside every step would cost as much as the restoring generator. Of images that would
not fit, each draw keeps one part: the pairs of a task take MOST_BYTES at most, whatever the size of the images, or one
training patch a pair where patches alone take more. One whole image more is in memory while its x is made.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from common.progress import progress_bar
from data_utils import Task
from restoring.apply import Applier
from restoring.normalization import Scale, percentile_scale

DRAWS = 200  # generated x per task, if the generator has noise
MOST = 2000  # clean images per task at most, spread evenly
MOST_BYTES = 2**28  # of x and y of a task: 200 pairs of 409 x 409 pixels, or 2000 of 129 x 129
STREAM_PARTS = 20  # beside the streams of batches.py


def generate_pairs(
    path: Path, tasks: list[Task], seed: int, patch: tuple[int, int]
) -> tuple[dict[str, tuple[list[np.ndarray], list[np.ndarray]]], dict[str, list[Scale]]]:
    """Generate defective images with a CIN generator.

    Args:
        path: its generator.h5.
        seed: of the noise, and of which parts are kept.
        patch: (height, width) of the training patches in pixels; every part holds at least one.

    Returns:
        ({task name: (x images, y images)}, {task name: percentile scales of the whole x}), all lists; images are (H, W)
        float32 in raw units, whole or cut, and x[i] was made from y[i].
    """
    applier = Applier.load(path, seed)
    plans = [_plan(len(task.unpaired_y), applier.metadata.noise_channels) for task in tasks]
    pairs, scales = {}, {}
    total = sum(len(rows) * draws for rows, draws in plans)
    with progress_bar(total=total, desc="generating pairs", unit="image") as bar:
        for index, (task, plan) in enumerate(zip(tasks, plans, strict=True)):
            x, y, whole = _pairs_of(task, applier, *plan, patch, [seed, STREAM_PARTS, index], bar)
            pairs[task.name], scales[task.name] = (x, y), whole
    return pairs, scales


def _plan(count, noise_channels):
    """(rows, draws of each): several draws of each clean image where noise makes them differ."""
    rows = np.unique(np.linspace(0, count - 1, min(count, MOST)).astype(int))
    return rows, -(-DRAWS // len(rows)) if noise_channels else 1


def _pairs_of(task, applier, rows, draws, patch, seed, bar):
    """x images, y images and percentile scales of the whole x of a task: all rows of the first draw, then the next."""
    side = math.isqrt(MOST_BYTES // (2 * 4 * len(rows) * draws))
    made = {}
    for place, row in enumerate(rows):
        clean = task.unpaired_y[row]
        parts = _parts(clean.shape, patch, side, draws, np.random.default_rng([*seed, row]))
        for draw in range(draws):
            # Planes of a stack lie at the same rows in all x of one draw: every x is then a draw of its own.
            number = draws * place + draw if task.name in applier.metadata.strides else draw
            x = applier(clean, task.name, draw=number)
            part = parts[draw % len(parts)]
            made[draw, place] = (_cut(x, part), _cut(clean, part), percentile_scale(x))
            bar.update()
    return map(list, zip(*(made[key] for key in sorted(made)), strict=True))


def _parts(shape, patch, side, draws, rng):
    """Where up to `draws` parts of an image are, in random order: (slice of rows, slice of columns).

    Parts are at most `side` pixels high and wide, or a patch where that is larger. Each position that a patch can have
    lies in one part alone, and parts have the same number of positions within one row or column: random patches of
    random parts are distributed as those of the whole image.
    """
    positions = [size - small + 1 for size, small in zip(shape, patch, strict=True)]
    counts = [-(-n // max(side - small + 1, 1)) for n, small in zip(positions, patch, strict=True)]
    total = math.prod(counts)
    chosen = np.unravel_index(rng.choice(total, min(total, draws), replace=False), counts)
    return [
        tuple(
            slice(k * n // count, (k + 1) * n // count + small - 1)
            for k, n, count, small in zip(part, positions, counts, patch, strict=True)
        )
        for part in zip(*chosen, strict=True)
    ]


def _cut(image, part):
    """A part of an image, copied so that the rest need not stay in memory; the image itself where it is the whole."""
    return image if image[part].shape == image.shape else image[part].copy()
