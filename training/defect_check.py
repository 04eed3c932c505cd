"""After CIN-GAN's training: whether the x that it makes are like real ones, by their noise and fine detail."""

from __future__ import annotations

import numpy as np

from data_utils import Task
from methods.defect_statistics import FLOOR, sort_by_brightness, tile_spectra
from restoring.apply import Applier

MOST = 20  # images of a task on each side
# Nepers of power (0.69 is a factor of 2), and how many times what halves of the real x differ by.
# From training x of both collections trained generators differ by 0.12 to 0.26, and those before their training by 1.2
# to 1.6, but in the two noise tasks by 0.3 to 0.6: there a training without effect can pass.
FAILED, TIMES = 0.5, 2.0


def notices_of_failure(applier: Applier, tasks: list[Task]) -> list[str]:
    """A line for each task whose generated x differ from the real x of its test images clearly more than those do.

    Args:
        applier: of CIN-GAN's generator.
        tasks: of its training.
    """
    notices = []
    for task in tasks:
        made = [applier(task.unpaired_y[i], task.name, draw=i) for i in _spread(len(task.unpaired_y))]
        real = [task.test_x[i] for i in _spread(len(task.test_x))]
        scale = applier.metadata.normalization.x_scale(task.name, real[0])
        made, real = ([scale.normalize(image) for image in images] for images in (made, real))
        differs = distance(made, real)
        halves = distance(real[::2], real[1::2]) if len(real) > 1 else 0.0
        if differs > max(FAILED, TIMES * halves):
            notices.append(
                f"{task.name}: noise and fine detail of generated x differ from real x {np.exp(differs):.1f}-fold, "
                f"halves of real x {np.exp(halves):.1f}-fold: do not train on its pairs before looking at samples/; "
                "train longer, or on more x"
            )
    return notices


def distance(images: list[np.ndarray], others: list[np.ndarray]) -> float:
    """Mean absolute difference in nepers of the mean logarithm of power, at each brightness and frequency.

    Args:
        images, others: (H, W) arrays in network units, at least 16 x 16; no image belongs to another.
    """
    (a, tiles_a), (b, tiles_b) = _by_brightness(images), _by_brightness(others)
    weights = np.minimum(tiles_a, tiles_b)
    return float(np.sum(weights * np.abs(a - b)) / max(np.sum(weights), 1e-9))


def _by_brightness(images):
    """Mean logarithms of power, (brightness bins, frequencies), and the share of tiles that each is of."""
    total, tiles = 0.0, 0.0
    for image in images:
        power, means = tile_spectra(image[None, ..., None])
        sums, counts = sort_by_brightness(np.log(power + FLOOR), means)
        total, tiles = total + sums.numpy()[0], tiles + counts.numpy()[0]
    return total / np.maximum(tiles, 1e-9), tiles / tiles.sum()


def _spread(count):
    return np.unique(np.linspace(0, count - 1, min(count, MOST)).round().astype(int)).tolist()
