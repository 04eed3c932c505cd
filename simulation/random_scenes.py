"""Random scenes: one to three kinds of structures put together, uneven light, haze, beads; and scenes of the sample."""

from __future__ import annotations

import numpy as np
import scipy  # its parts are loaded where they are used: --help is to answer at once

from simulation.scenes import layers_scene, tubules_scene
from simulation.structures import STRUCTURES, blob, log_uniform, random_field, window

SAMPLE_SCENES = (layers_scene, tubules_scene)
BRIGHT_PERCENTILE = 99.5  # of a scene, where its value is 1: structures, not beads


def random_scene(rng: np.random.Generator, size: int) -> np.ndarray:
    """A sharp scene with a few parts, as a good camera would show it.

    Args:
        size: height and width in pixels.

    Returns:
        (size, size) float, at least 0, about 1 at its bright structures; beads and a few objects are brighter.
    """
    if rng.random() < 0.02:  # nothing but background
        return rng.uniform(0.05, 1) * (1 + rng.uniform(0, 0.2) * shading(rng, size))
    scene = composition(rng, size)
    if rng.random() < 0.3:
        scene = bend(rng, scene)
    if rng.random() < 0.4:  # light from above and below the focus
        haze = scipy.ndimage.gaussian_filter(
            scene if rng.random() < 0.5 else composition(rng, size), rng.uniform(3, 15)
        )
        scene = scene + log_uniform(rng, 0.05, 1.5) * haze / (haze.max() + 1e-9)
    scene = to_bright(scene) ** rng.choice([1.0, log_uniform(rng, 0.5, 2.5)])
    if rng.random() < 0.06:  # dark on bright: electron micrographs, transmitted light
        scene = np.clip(1 - rng.uniform(0.3, 1) * scene, 0, None)
    if rng.random() < 0.4:  # vignetting, uneven illumination
        scene = scene * np.clip(1 + rng.uniform(0, 0.4) * shading(rng, size), 0.2, None)
    background = log_uniform(rng, 0.003, 0.4) * np.clip(1 + rng.uniform(0, 0.6) * shading(rng, size), 0.1, None)
    scene = to_bright(to_bright(scene) + background)
    if rng.random() < 0.06:
        scene = scene + beads(rng, size)
    if rng.random() < 0.5:  # the microscope's own sharpness
        scene = scipy.ndimage.gaussian_filter(scene, rng.uniform(0.3, 1.2))
    if rng.random() < 0.3:  # a ground truth has a little noise left
        scene = np.clip(
            scene + log_uniform(rng, 0.003, 0.06) * np.sqrt(scene) * rng.standard_normal(scene.shape), 0, None
        )
    return scene


def to_bright(scene: np.ndarray) -> np.ndarray:
    """A scene divided by its bright level; by its peak where nearly all of it is dark."""
    bright = np.percentile(scene, BRIGHT_PERCENTILE)
    return scene / max(bright, scene.max() / 20, 1e-9)


def part(rng: np.random.Generator, size: int) -> np.ndarray:
    """One kind of structure at a scale of 2 to 60 pixels; a third of them drawn larger or smaller and resampled."""
    if rng.random() < 0.06:
        return rng.choice(SAMPLE_SCENES)(rng, size)
    structure = STRUCTURES[rng.choice(list(STRUCTURES))]
    drawn = size
    if rng.random() < 0.35:
        drawn = int(size * rng.choice([2.0, log_uniform(rng, 0.35, 1)], p=[0.15, 0.85]))
    scene = structure(rng, drawn, log_uniform(rng, 2.5, 60))
    if drawn == 2 * size:
        scene = scene.reshape(size, 2, size, 2).mean(axis=(1, 3))
    elif drawn != size:
        scene = scipy.ndimage.zoom(scene, size / drawn, order=rng.choice([1, 3]), mode="grid-mirror", grid_mode=True)
    return np.clip(to_bright(scene), 0, 30)


def composition(rng: np.random.Generator, size: int) -> np.ndarray:
    """One to three parts: added, the brighter one, one inside the other, or side by side."""
    scene = part(rng, size)
    for _ in range(rng.choice([0, 1, 2], p=[0.4, 0.4, 0.2])):
        other = part(rng, size) * rng.lognormal(0, 0.7)
        way = rng.integers(0, 4)
        if way == 0:
            scene = scene + other
        elif way == 1:
            scene = np.maximum(scene, other)
        else:
            mask = regions(rng, size)
            inside = scene * mask
            scene = inside + other * (1 - mask) if way == 2 else inside + rng.uniform(0, 0.3) * other
    return scene


def regions(rng: np.random.Generator, size: int) -> np.ndarray:
    """A mask from 0 to 1: one half, islands, or one cell with a rough outline; sharp or gradual."""
    if rng.random() < 0.4:
        radius = size * log_uniform(rng, 0.15, 0.7)
        _, down, right = window(size, rng.uniform(0, size, 2), 4 * size)
        return blob(rng, down, right, radius, rng.uniform(0.4, 1), rng.uniform(0, 0.4), log_uniform(rng, 1, 20))
    field = random_field(rng, size, log_uniform(rng, 8, size), rng.uniform(2, 4))
    return np.clip((field - rng.uniform(-1, 1)) / log_uniform(rng, 0.02, 1) + 0.5, 0, 1)


def bend(rng: np.random.Generator, scene: np.ndarray) -> np.ndarray:
    """A scene pulled and pressed by a smooth field."""
    size, length = len(scene), log_uniform(rng, 8, 60)
    places = np.mgrid[:size, :size].astype(float)
    places += [length * rng.uniform(0.05, 0.35) * random_field(rng, size, length, 4) for _ in range(2)]
    return np.clip(scipy.ndimage.map_coordinates(scene, places, order=1, mode="mirror"), 0, None)


def shading(rng: np.random.Generator, size: int) -> np.ndarray:
    """A smooth field, about -1 to 1: a slope, a bowl, or clouds."""
    down, right = np.ogrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    slope = rng.normal() * down + rng.normal() * right - rng.uniform(0, 1) * (down**2 + right**2)
    return np.clip(slope + rng.uniform(0, 1) * random_field(rng, size, size / 3, 4), -2, 2) / 2


def beads(rng: np.random.Generator, size: int) -> np.ndarray:
    """One to six discs 2 to 60 times as bright as the structures, sharp to far out of focus."""
    canvas = np.zeros((size, size))
    for _ in range(rng.integers(1, 7)):
        place, down, right = window(size, rng.uniform(0, size, 2), 22)
        width = log_uniform(rng, 0.6, 6)
        canvas[place] += log_uniform(rng, 2, 60) * np.exp(
            -(((down**2 + right**2) / (2 * width**2)) ** rng.uniform(1, 3))
        )
    return canvas
