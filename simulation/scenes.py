"""Scenes: sharp, noise-free images of cells, tissue and filaments. A pixel is 0.1 micrometres.

Each takes a random generator and a size, and gives (size, size) floats from 0 to about 1.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import scipy  # its parts are loaded where they are used: --help is to answer at once


def nuclei_scene(rng: np.random.Generator, size: int) -> np.ndarray:
    """Elliptical nuclei of 2 to 3 micrometres with chromatin texture and nucleoli; values 0 to about 1."""
    rows, columns = np.mgrid[:size, :size].astype(float)
    scene = 0.03 + 0.02 * np.clip(smooth_noise(rng, (size, size), 20), -1, 2)
    spacing = rng.uniform(24, 34)
    for center in jittered_grid(rng, size, spacing):
        radius = rng.uniform(0.30, 0.46) * spacing
        angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.65, 1.0)
        dy, dx = rows - center[0], columns - center[1]
        u, v = dy * np.cos(angle) + dx * np.sin(angle), (dx * np.cos(angle) - dy * np.sin(angle)) / ratio
        inside = scipy.special.expit((radius - np.hypot(u, v)) / 0.7)
        texture = np.clip(1 + 0.35 * smooth_noise(rng, (size, size), 1.6), 0.2, 2)
        for _ in range(rng.integers(1, 4)):
            spot = center + rng.uniform(-0.5, 0.5, 2) * radius
            texture *= 1 - 0.7 * np.exp(-((rows - spot[0]) ** 2 + (columns - spot[1]) ** 2) / (2 * 2.0**2))
        scene = np.maximum(scene, rng.uniform(0.35, 1.0) * inside * texture)
    return scipy.ndimage.gaussian_filter(scene, 0.8)


def layers_scene(rng: np.random.Generator, size: int) -> np.ndarray:
    """Retina-like tissue: bands of cells and of fibres, wavy, across axis 0; values 0 to about 1."""
    rows, columns = np.mgrid[:size, :size].astype(float)
    depth = rows + 6 * smooth_noise(rng, (1, size), 25) + rng.uniform(0, 60)
    scene = np.full((size, size), 0.04)
    edges = np.cumsum(rng.uniform(12, 30, size // 10 + 8))
    for index, (start, stop) in enumerate(pairwise(edges)):
        band = scipy.special.expit(depth - start) - scipy.special.expit(depth - stop)
        if index % 2:
            scene += band * 0.16 * np.clip(1 + 0.7 * smooth_noise(rng, (size, size), (0.9, 4)), 0, 3)
        else:
            scene += band * 0.9 * cells(rng, rows, columns, spacing=rng.uniform(9, 15))
    return scipy.ndimage.gaussian_filter(scene, 0.6)


def tubules_scene(rng: np.random.Generator, size: int) -> np.ndarray:
    """Filaments of 25 nanometres as persistent random walks on a four times finer grid; values 0 to about 1."""
    fine = 4
    canvas = np.zeros((size * fine, size * fine))
    for _ in range(int(rng.uniform(10, 26) * (size / 128) ** 2) + 1):
        length = int(rng.uniform(0.5, 1.6) * 128 * fine)
        turns = rng.standard_normal(length) * 0.02 + rng.normal(0, 0.001)
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(turns)
        start = rng.uniform(-0.1, 1.1, 2)[:, None] * size * fine
        path = np.round(start + np.cumsum([np.sin(heading), np.cos(heading)], axis=1)).astype(int)
        inside = ((path >= 0) & (path < size * fine)).all(axis=0)
        np.add.at(canvas, tuple(path[:, inside]), rng.uniform(0.5, 1.0))
    scene = canvas.reshape(size, fine, size, fine).sum(axis=(1, 3))
    scene = scipy.ndimage.gaussian_filter(scene, 0.8)
    return scene / np.percentile(scene, 99.5) + 0.02 + 0.01 * np.clip(smooth_noise(rng, (size, size), 16), -1, 2)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float | tuple[float, float]) -> np.ndarray:
    """Gaussian random field of unit deviation with correlation length sigma pixels."""
    field = scipy.ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return field / field.std()


def jittered_grid(rng: np.random.Generator, size: int, spacing: float) -> np.ndarray:
    """Points of a grid, (N, 2) rows and columns, each moved by up to 0.3 of the spacing; a tenth is left out."""
    steps = np.arange(-spacing / 2, size + spacing, spacing)
    points = np.array([(row, column) for row in steps for column in steps])
    points = points + rng.uniform(-0.3, 0.3, points.shape) * spacing
    return points[rng.random(len(points)) > 0.1]


def cells(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray, spacing: float) -> np.ndarray:
    """Packed round cell bodies of differing brightness; values 0 to 1."""
    centers = jittered_grid(rng, rows.shape[0], spacing)
    values = np.zeros(rows.shape)
    for (row, column), peak in zip(centers, rng.uniform(0.3, 1.0, len(centers)), strict=True):
        window = tuple(slice(max(int(c - spacing), 0), max(int(c + spacing) + 1, 0)) for c in (row, column))
        distance = np.hypot(rows[window] - row, columns[window] - column)
        values[window] = np.maximum(values[window], peak * scipy.special.expit((0.4 * spacing - distance) / 0.6))
    return values
