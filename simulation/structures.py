"""What micrographs show, in random variety: nuclei, cells, membranes, filaments, puncta, networks, bacteria, textures.

Each function takes a random generator, a size and a scale, the typical length of its structures in pixels (diameter of
a nucleus, mesh of a network, spacing of filaments), and gives (size, size) floats of at least 0. All other numbers are
random. Brightness is arbitrary: `simulation.random_scenes` scales it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy  # its parts are loaded where they are used: --help is to answer at once

MOST_OBJECTS = 140  # stamped one by one into one image


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between low and high, each factor equally probable."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


@lru_cache(maxsize=32)
def frequencies(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cycles per pixel along both axes of a real (size, size) image's Fourier transform."""
    return np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]


def random_field(
    rng: np.random.Generator, size: int, length: float, slope: float = 3.0, stretch: float = 1.0, angle: float = 0.0
) -> np.ndarray:
    """Gaussian random field, mean 0, deviation 1, whose amplitude falls as frequency to the power -slope.

    Args:
        length: correlation length in pixels; the spectrum of longer waves is flat.
        slope: natural images have about 1, smooth fields 3 and more.
        stretch: how many times longer structures are along `angle` (radians from axis 0).
    """
    down, right = frequencies(size)
    along = (down * np.cos(angle) + right * np.sin(angle)) * stretch
    across = right * np.cos(angle) - down * np.sin(angle)
    amplitude = (along**2 + across**2 + 1 / (2 * np.pi * length) ** 2) ** (-slope / 2)
    field = scipy.fft.irfft2(scipy.fft.rfft2(rng.standard_normal((size, size))) * amplitude, s=(size, size))
    field -= field.mean()
    return field / (field.std() + 1e-12)


def scattered(rng: np.random.Generator, size: int, spacing: float) -> np.ndarray:
    """Points in and around the image, (N, 2), N at least 1: between a loose grid and pure chance, some left out."""
    steps = np.arange(-spacing * rng.uniform(0.5, 1.5), size + spacing, spacing)
    points = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    points = points + rng.normal(0, spacing * rng.uniform(0.1, 0.6), points.shape)
    points = rng.permutation(points[rng.random(len(points)) > rng.uniform(0, 0.5)])
    return np.concatenate([rng.uniform(0, size, (1, 2)), points])  # one in the image for certain


def window(size: int, center: np.ndarray, reach: float) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """The part of an image within `reach` pixels of a center: its slices, and rows and columns from the center."""
    low = np.clip(np.floor(center - reach), 0, size).astype(int)
    high = np.clip(np.ceil(center + reach) + 1, 0, size).astype(int)
    rows, columns = (np.arange(start, max(stop, start)) for start, stop in zip(low, high, strict=True))
    return (slice(low[0], high[0]), slice(low[1], high[1])), rows[:, None] - center[0], columns[None] - center[1]


def blob(
    rng: np.random.Generator,
    down: np.ndarray,
    right: np.ndarray,
    radius: float,
    ratio: float,
    rough: float,
    soft: float,
) -> np.ndarray:
    """1 inside a randomly turned ellipse whose outline waves by `rough` of its radius, 0 outside, `soft` pixels wide.

    Args:
        down, right: distances from its center along both axes.
        ratio: short to long axis.
    """
    angle = rng.uniform(0, np.pi)
    u, v = down * np.cos(angle) + right * np.sin(angle), (right * np.cos(angle) - down * np.sin(angle)) / ratio
    outline = radius
    if rough > 0:
        around = np.arctan2(u, v)
        waves = [rng.normal(0, 1 / k) * np.cos(k * around + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)]
        outline = radius * (1 + rough * sum(waves))
    return np.clip((outline - np.hypot(u, v)) / soft + 0.5, 0, 1)


def splat(points: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """Weights added to the four pixels around each of the (N, 2) points, in proportion."""
    inside = ((points >= 0) & (points < size - 1)).all(axis=1)
    points, weights = points[inside], weights[inside]
    corner = points.astype(int)
    part = points - corner
    canvas = np.zeros(size * size)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        shares = np.abs(1 - row - part[:, 0]) * np.abs(1 - column - part[:, 1])
        index = (corner[:, 0] + row) * size + corner[:, 1] + column
        canvas += np.bincount(index, weights * shares, minlength=size * size)
    return canvas.reshape(size, size)


def nuclei(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Nuclei with chromatin texture, dark or bright nucleoli, rims; some in mitosis, as bright plates."""
    canvas = np.zeros((size, size))
    chromatin = 1 + rng.uniform(0, 0.5) * random_field(rng, size, scale * log_uniform(rng, 0.03, 0.3) + 0.5, 2.5)
    soft, rough, spread = rng.uniform(0.7, 3), rng.uniform(0, 0.15), rng.uniform(0, 0.7)
    nucleoli, depth = rng.integers(0, 6) * (scale > 8), rng.choice([rng.uniform(0.2, 0.9), -rng.uniform(0.3, 2)])
    rim, mitotic = rng.uniform(-0.3, 0.8) * (rng.random() < 0.3), rng.uniform(0, 0.2)
    for center in scattered(rng, size, scale * log_uniform(rng, 0.9, 2.5))[:MOST_OBJECTS]:
        radius = scale / 2 * rng.lognormal(0, 0.2)
        place, down, right = window(size, center, 1.5 * radius + 2)
        if down.size == 0 or right.size == 0:
            continue
        if rng.random() < mitotic:
            body = 2 * blob(rng, down, right, 0.8 * radius, rng.uniform(0.15, 0.5), 0.3, soft)
        else:
            body = blob(rng, down, right, radius, rng.uniform(0.6, 1), rough, soft)
            if rim:
                body = body * (1 + rim * ((down / radius) ** 2 + (right / radius) ** 2))
            for _ in range(nucleoli):
                y, x = rng.uniform(-0.6, 0.6, 2) * radius
                width = radius * rng.uniform(0.08, 0.25) + 0.5
                body = body * (1 - depth * np.exp(-((down - y) ** 2 + (right - x) ** 2) / (2 * width**2)))
        canvas[place] = np.maximum(canvas[place], body * rng.lognormal(0, spread))
    return canvas * np.clip(chromatin, 0.1, 3)


def voronoi(rng: np.random.Generator, size: int, scale: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Curved cells of unequal size: distance to the nearest border in pixels, number of each pixel's cell, cells."""
    points = scattered(rng, size, scale)
    if rng.random() < 0.5:  # smaller towards one corner
        points = size * np.abs(points / size) ** rng.uniform(0.6, 1.7, 2)
    rows, columns = np.mgrid[:size, :size].astype(float)
    bend = scale * rng.uniform(0, 0.25)
    rows += bend * random_field(rng, size, scale / 2, 4)
    columns += bend * random_field(rng, size, scale / 2, 4)
    if len(points) < 2:
        points = np.concatenate([points, rng.uniform(0, size, (2, 2))])
    distances, owners = scipy.spatial.cKDTree(points).query(np.stack([rows.ravel(), columns.ravel()], 1), k=2)
    border = ((distances[:, 1] - distances[:, 0]) / 2).reshape(size, size)
    return border, owners[:, 0].reshape(size, size), len(points)


def membranes(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Outlines of packed cells, thin to thick, uneven in width and brightness, with cytoplasm of differing level."""
    border, owner, count = voronoi(rng, size, scale)
    if rng.random() < 0.4:  # round lumina, as in plants
        border = scipy.ndimage.gaussian_filter(border, scale * rng.uniform(0.05, 0.15))
    width = max(0.5, scale * log_uniform(rng, 0.02, 0.2)) * np.exp(rng.uniform(0, 0.4) * random_field(rng, size, scale))
    sharp = rng.choice([1, 2, 4])
    wall = np.exp(-((border / width) ** sharp)) * np.exp(rng.uniform(0, 0.8) * random_field(rng, size, scale * 0.7))
    level = rng.lognormal(0, rng.uniform(0.1, 1), count) * rng.choice([0, 0.05, 0.3, 1])
    grain = np.clip(1 + rng.uniform(0, 0.5) * random_field(rng, size, scale * log_uniform(rng, 0.03, 0.3) + 0.5), 0, 3)
    return wall + level[owner] * grain * (1 - np.minimum(wall, 1))


def walks(rng: np.random.Generator, size: int, count: int, length: float, persistence: float) -> np.ndarray:
    """`count` persistent random walks in steps of half a pixel: (count, steps, 2) points.

    Args:
        length: of each walk, pixels.
        persistence: length over which it keeps its direction, pixels.
    """
    steps = max(2, int(2 * length))
    turns = rng.normal(0, np.sqrt(1 / persistence), (count, steps)) + rng.normal(0, 0.3 / persistence, (count, 1))
    turns = scipy.ndimage.uniform_filter1d(turns, 5, axis=1)
    heading = (
        rng.uniform(0, 2 * np.pi) + rng.normal(0, log_uniform(rng, 0.03, 4), (count, 1)) + np.cumsum(turns, axis=1)
    )
    start = rng.uniform(-0.3, 1.3, (count, 1, 2)) * size
    if rng.random() < 0.2:  # from one organising centre
        start = rng.uniform(0, size, 2) + rng.normal(0, size * 0.03, (count, 1, 2))
        heading += rng.uniform(0, 2 * np.pi, (count, 1))
    return start + np.cumsum(np.stack([np.sin(heading), np.cos(heading)], -1), axis=1) / 2


def filaments(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Thin lines, straight to curly, parallel to crossing: microtubules, actin, neurites; a few widths at once."""
    canvas = np.zeros((size, size))
    for _ in range(rng.integers(1, 3)):
        count = int(np.clip(2 * size / scale * log_uniform(rng, 0.6, 5), 3, 120))
        path = walks(rng, size, count, size * log_uniform(rng, 0.3, 1.5), log_uniform(rng, 4, 400))
        along = rng.lognormal(0, rng.uniform(0, 1), (count, 1)) * np.ones(path.shape[1])
        if rng.random() < 0.3:  # beaded
            along = along * np.clip(1 + np.sin(np.arange(path.shape[1]) / log_uniform(rng, 1, 20) + 7 * along), 0.1, 2)
        width = log_uniform(rng, 0.4, max(0.8, min(scale / 4, 5)))
        canvas += scipy.ndimage.gaussian_filter(splat(path.reshape(-1, 2), along.ravel(), size), width) * width
    return canvas


def stress_fibres(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Dense parallel fibres that fade and fan out."""
    stretch, angle = log_uniform(rng, 4, 30), rng.uniform(0, np.pi)
    field = random_field(rng, size, scale / 4 + 0.4, log_uniform(rng, 1.2, 3), stretch, angle)
    fibres = np.clip(field - rng.uniform(-1.5, 0.7), 0, None) ** rng.uniform(0.7, 2)
    return fibres * np.exp(rng.uniform(0, 0.7) * random_field(rng, size, size / 6))


def worms(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Mitochondria, neurites, vessels: tubes of one width, solid or hollow, short or branched."""
    count = int(np.clip((size / scale) ** 2 * log_uniform(rng, 0.1, 1), 3, 200))
    path = walks(rng, size, count, scale * log_uniform(rng, 0.3, 5), scale * log_uniform(rng, 0.3, 5))
    hit = splat(path.reshape(-1, 2), np.ones(path.shape[0] * path.shape[1]), size) > 0.25
    if not hit.any():
        hit[size // 2, size // 4 :] = True
    distance = scipy.ndimage.distance_transform_edt(~hit)
    radius = max(0.7, scale * rng.uniform(0.08, 0.3)) * np.exp(0.25 * random_field(rng, size, scale))
    tube = np.clip((radius - distance) / rng.uniform(0.7, 2) + 0.5, 0, 1)
    if rng.random() < 0.4:
        tube = tube * (rng.uniform(0.1, 0.8) + (distance / (radius + 0.5)) ** 2)
    return tube * np.exp(rng.uniform(0, 0.8) * random_field(rng, size, scale))


def puncta(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Points from a few to thousands, of three sizes and many brightnesses, in clusters; rings among them."""
    crowd = np.exp(rng.uniform(0, 2.5) * random_field(rng, size, log_uniform(rng, 4, size / 3)))
    count = int(np.clip((size / scale) ** 2 * log_uniform(rng, 0.3, 5), 3, 4000))
    points = rng.choice(size * size, count, p=(crowd / crowd.sum()).ravel())
    points = np.stack(np.divmod(points, size), 1) + rng.uniform(0, 1, (count, 2))
    flux, kind = rng.lognormal(0, rng.uniform(0.2, 1.3), count), rng.integers(0, 3, count)
    canvas = np.zeros((size, size))
    for one in range(3):
        sigma = log_uniform(rng, 0.5, max(1, scale / 3))
        spots = splat(points[kind == one], flux[kind == one], size)
        spread = scipy.ndimage.gaussian_filter(spots, sigma) * sigma**2
        if rng.random() < 0.25:  # rings: vesicles, pores
            spread = (
                np.clip(spread - scipy.ndimage.gaussian_filter(spots, sigma / 1.5) * (sigma / 1.5) ** 2, 0, None) * 3
            )
        canvas += spread
    return canvas


def network(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Polygons of tubules with sheets between some of them, as the endoplasmic reticulum."""
    border, owner, count = voronoi(rng, size, scale)
    width = max(0.5, scale * rng.uniform(0.05, 0.15))
    tubules = np.exp(-((border / width) ** 2) / 2)
    return np.maximum(tubules, rng.uniform(0, 1) * (rng.random(count) < rng.uniform(0, 0.4))[owner]) * np.exp(
        rng.uniform(0.2, 0.9) * random_field(rng, size, size / 5)
    )


def bacteria(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Rods with round ends, alone, in chains or in cords of one direction."""
    canvas = np.zeros((size, size))
    turn = random_field(rng, size, log_uniform(rng, 5, size)) * rng.uniform(0, 2) + rng.uniform(0, np.pi)
    half, radius = scale / 2 * rng.uniform(0.6, 2), max(0.6, scale * rng.uniform(0.12, 0.3))
    soft, hollow, spread = rng.uniform(0.7, 2), rng.uniform(0, 0.9) * (rng.random() < 0.4), rng.uniform(0, 0.6)
    for center in scattered(rng, size, scale * log_uniform(rng, 0.5, 2))[:MOST_OBJECTS]:
        place, down, right = window(size, center, half + radius + 2)
        if down.size == 0 or right.size == 0:
            continue
        angle = turn[tuple(np.clip(center, 0, size - 1).astype(int))] + rng.normal(0, 0.1)
        along = down * np.cos(angle) + right * np.sin(angle)
        away = np.hypot(right * np.cos(angle) - down * np.sin(angle), along - np.clip(along, -half, half))
        rod = np.clip((radius - away) / soft + 0.5, 0, 1) * (1 - hollow * np.exp(-((away / radius) ** 2) * 2))
        canvas[place] = np.maximum(canvas[place], rod * rng.lognormal(0, spread))
    return canvas


def cells(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Whole cells with rough outlines, thick around a dark or bright nucleus, with filaments or organelles inside."""
    fine = max(2.0, scale * log_uniform(rng, 0.06, 0.3))
    content = (filaments, stress_fibres, worms, puncta, texture)[rng.integers(0, 5)](rng, size, fine)
    content /= np.percentile(content, 99.5) + 1e-9
    canvas = np.zeros((size, size))
    soft, rough, flat, spread = rng.uniform(0.7, 4), rng.uniform(0.1, 0.5), rng.uniform(0, 1), rng.uniform(0, 0.6)
    nucleus, level = rng.uniform(0.2, 0.5), rng.uniform(0, 1.5)
    for center in scattered(rng, size, scale * log_uniform(rng, 1, 2.5))[: MOST_OBJECTS // 2]:
        radius = scale * rng.lognormal(-0.3, 0.25)
        place, down, right = window(size, center, 2 * radius + 2)
        if down.size == 0 or right.size == 0:
            continue
        thick = flat + (1 - flat) * np.exp(-(down**2 + right**2) / radius**2)
        body = blob(rng, down, right, radius, rng.uniform(0.4, 1), rough, soft) * thick
        body = body * (1 + (level - 1) * blob(rng, down, right, nucleus * radius, rng.uniform(0.6, 1), 0, soft))
        canvas[place] = np.maximum(canvas[place], body * rng.lognormal(0, spread))
    return canvas * (rng.uniform(0, 1) + np.clip(content, 0, 5))


def dead_leaves(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Opaque shapes that cover each other, sizes by a power law, each with a level and texture of its own.

    The dead leaves model has the edges and the scaling of natural images (Lee, Mumford & Huang 2001).
    """
    grain = random_field(rng, size, log_uniform(rng, 1, 20), rng.uniform(1, 3))
    canvas = np.full((size, size), rng.uniform(0, 1))
    contrast, soft, rough = rng.uniform(0, 0.4), rng.uniform(0.5, 2), rng.uniform(0, 0.4)
    least, most = max(1.5, scale / 5), max(6.0, 2 * scale)
    uniform = rng.uniform(0, 1, int(np.clip(3 * (size / scale) ** 2, 20, 170)))
    radii = least / np.sqrt(1 - uniform * (1 - (least / most) ** 2))  # density falls as radius to the power -3
    for radius in radii:
        place, down, right = window(size, rng.uniform(-0.1, 1.1, 2) * size, 1.6 * radius + 2)
        if down.size == 0 or right.size == 0:
            continue
        leaf = blob(rng, down, right, radius, rng.uniform(0.3, 1), rough, soft)
        paint = rng.uniform(0, 1) * (1 + contrast * rng.normal() * grain[place])
        canvas[place] += leaf * (paint - canvas[place])
    return np.clip(canvas, 0, None)


def texture(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Random fields with spectra from 1/f to smooth: as they are, exponential, ridged, or cut at a level."""
    stretch = log_uniform(rng, 1, 4) if rng.random() < 0.4 else 1.0
    field = random_field(rng, size, scale, rng.uniform(0.9, 3.5), stretch, rng.uniform(0, np.pi))
    way = rng.integers(0, 4)
    if way == 0:
        return np.clip(field + rng.uniform(0.5, 3), 0, None)
    if way == 1:
        return np.exp(rng.uniform(0.3, 1.5) * np.clip(field, -4, 4))
    if way == 2:
        return np.exp(-np.abs(field) / log_uniform(rng, 0.05, 0.5))
    cut = np.clip((field - rng.uniform(-1, 1.5)) / log_uniform(rng, 0.05, 0.5), 0, 1)
    return cut * np.clip(1 + rng.uniform(0, 0.5) * random_field(rng, size, log_uniform(rng, 1, 20)), 0, 3)


def layers(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Tissue of wavy bands in any direction, each with a level, a grain and a share of cell bodies of its own."""
    angle = rng.choice([0, rng.uniform(0, np.pi)])
    rows, columns = np.mgrid[:size, :size].astype(float)
    depth = (
        rows * np.cos(angle)
        + columns * np.sin(angle)
        + size
        + scale * rng.uniform(0, 0.6) * random_field(rng, size, 25)
    )
    edges = np.cumsum(scale * rng.lognormal(0, 0.5, int(np.clip(5 * size / scale, 8, 400))))
    band = np.searchsorted(edges, depth)
    grains = [
        np.clip(
            1 + rng.uniform(0, 0.8) * random_field(rng, size, log_uniform(rng, 0.7, 6), 2, log_uniform(rng, 1, 6), way),
            0,
            3,
        )
        for way in (angle, angle + np.pi / 2)
    ]
    grains.append(membranes(rng, size, scale * log_uniform(rng, 0.2, 0.8)))
    level, which = rng.lognormal(-0.5, 0.8, len(edges) + 1), rng.integers(0, 3, len(edges) + 1)
    return level[band] * np.choose(which[band], grains)


STRUCTURES = {
    "nuclei": nuclei,
    "cells": cells,
    "membranes": membranes,
    "filaments": filaments,
    "stress fibres": stress_fibres,
    "worms": worms,
    "puncta": puncta,
    "network": network,
    "bacteria": bacteria,
    "dead leaves": dead_leaves,
    "texture": texture,
    "layers": layers,
}
