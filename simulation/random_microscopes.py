"""Random microscopes: what one records of a scene, drawn from wide ranges, in the units of the scene.

An image and its truth share one scale: x is the blurred scene plus noise, gain 1 and offset 0, whatever the camera did.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy  # its parts are loaded where they are used: --help is to answer at once

from simulation.microscopes import expose
from simulation.structures import log_uniform

KINDS = {"noise": 0.32, "axial": 0.26, "coarse": 0.26, "blur": 0.08, "mild": 0.08}  # share of each


class Microscope(NamedTuple):
    """What was drawn. Lengths in pixels; photons and electrons at the scene's value 1 in one camera pixel."""

    kind: str
    sigma: float = 0.0  # lateral Gaussian blur along axis 0 ...
    ratio: float = 1.0  # ... times this along axis 1
    tail: float = 0.0  # share of the light in a Gaussian three times as wide
    axial_sigma: float = 0.0  # blur along axis 0
    step: int = 1  # every step-th plane of axis 0 is exposed, linear interpolation between
    phase: int = 0  # the first one
    binning: int = 1  # fine pixels along each side of a camera pixel
    order: int = 3  # of the splines back to fine pixels: 0 nearest, 1 linear, 3 cubic
    photons: float = np.inf  # inf: no noise at all
    read_noise: float = 0.0  # electrons
    excess: float = 1.0  # variance per photon (multiplying detectors: 1 to 2)
    offset: float = np.inf  # electrons between a dark pixel and the camera's lowest reading
    saturation: float = np.inf  # the camera's highest reading, scene units
    quantum: float = 0.0  # scene units per count
    smoothing: tuple[float, float] = (0.0, 0.0)  # Gaussian that correlates the noise along both axes
    row_noise: float = 0.0  # deviation from row to row, scene units
    defects: tuple[int, int, int, int] = (0, 0, 0, 0)  # hot pixels, dead pixels, cosmic-ray tracks, hot columns


def draw_microscope(rng: np.random.Generator, size: int, kind: str | None = None) -> Microscope:
    """A microscope of a kind, None for any: docs/simulation.md has the ranges.

    Args:
        size: of its images, for the number of defective pixels.
        kind: one of KINDS.
    """
    kind = kind or str(rng.choice(list(KINDS), p=list(KINDS.values())))
    drawn = {"kind": kind}
    if kind == "axial":
        step, spacing = draw_sampling(rng, 2, 8)
        lateral = rng.uniform(0, 1.2) * (rng.random() < 0.5)
        drawn |= {
            "axial_sigma": np.clip(spacing * rng.uniform(0.4, 0.9), 1, 5),
            "step": step,
            "phase": int(rng.integers(step)),
            "sigma": lateral,
        }
    elif kind == "coarse":
        order = int(rng.choice([0, 1, 3], p=[0.05, 0.15, 0.8]))
        binning, spacing = draw_sampling(rng, 2, 4)
        sigma = np.clip(spacing * rng.uniform(0.3, 0.8), 0.6, 3)
        drawn |= {"sigma": sigma, "binning": binning, "order": order}
    elif kind == "blur":
        drawn |= {"sigma": log_uniform(rng, 0.4, 3)}
    elif kind == "mild":
        drawn |= {"sigma": rng.uniform(0, 0.4) * (rng.random() < 0.5)}
    if drawn.get("sigma", 0) and rng.random() < 0.3:
        drawn |= {"ratio": rng.uniform(0.6, 1.5), "tail": rng.uniform(0, 0.3)}
    drawn |= draw_camera(rng, kind)
    if rng.random() < 0.15:
        most = max(1, 0.001 * size**2)  # fewer than move the 99.8 percentile
        hot, dead = (int(rng.random() < 0.6) * round(log_uniform(rng, 1, most)) for _ in range(2))
        drawn["defects"] = (hot, dead, int(rng.random() < 0.2) * int(rng.integers(1, 3)), int(rng.random() < 0.15))
    return Microscope(**drawn)


def draw_sampling(rng: np.random.Generator, least: int, most: int) -> tuple[int, float]:
    """Fine pixels from one sample to the next, and those for which the lens was chosen.

    Microscopes sample as finely as their lens resolves, or a little coarser: how an image is sampled, which its noise
    shows, says how blurred it is. A fifth of them does not keep to that.
    """
    step = int(rng.integers(least, most + 1))
    return step, step if rng.random() < 0.8 else log_uniform(rng, least, most)


def draw_camera(rng: np.random.Generator, kind: str) -> dict:
    """Noise and range of a camera: fields of Microscope."""
    least, most, noiseless = {"mild": (1e3, 1e5, 0.3), "noise": (1, 1000, 0)}.get(kind, (10, 1000, 0.06))
    photons = log_uniform(rng, least, most)
    if rng.random() < noiseless:
        return {}
    read_noise = min(log_uniform(rng, 0.3, 6), photons / 2) * (rng.random() < 0.8)  # below it nothing is seen
    drawn = {"photons": photons, "read_noise": read_noise}
    if rng.random() < 0.3:
        drawn["excess"] = rng.uniform(1, 2)
    if rng.random() < 0.12:
        drawn["saturation"] = rng.uniform(0.6, 1.1)
    if rng.random() < 0.15:
        drawn["row_noise"] = log_uniform(rng, 0.002, 0.05)
    return drawn if kind in ("axial", "coarse") else drawn | draw_readout(rng, read_noise)


def draw_readout(rng: np.random.Generator, read_noise: float) -> dict:
    """What a camera, or the software behind it, does to single pixels: fields of Microscope."""
    drawn = {}
    if rng.random() < 0.4:  # a confocal whose zero lies in or near the noise
        drawn["offset"] = rng.choice([0.0, rng.exponential(2 * read_noise + 0.5)])
    if rng.random() < 0.35:
        drawn["smoothing"] = (rng.uniform(0, 0.8), rng.uniform(0, 0.8))
    if rng.random() < 0.3:  # 8 bits, of which the scene fills a part
        drawn["quantum"] = 1 / rng.uniform(60, 255)
    return drawn


def record(rng: np.random.Generator, scene: np.ndarray, microscope: Microscope) -> tuple[np.ndarray, np.ndarray]:
    """What a microscope records of a scene, and the truth on the same scale.

    Args:
        scene: (H, W), at least 0, about 1 at its bright structures.

    Returns:
        (x, y), (H, W) each. y is the scene, as the mean of very many exposures would show it: where a camera clips, its
        darkest and brightest values differ from the scene. Defective pixels, rows and tracks are in x alone.
    """
    height, width = scene.shape
    y = truth(scene, microscope)
    image = blur(scene, microscope)
    if microscope.step > 1:
        step, phase = microscope.step, microscope.phase
        beyond = np.pad(image, [(step, step), (0, 0)], mode="reflect")
        planes = read(rng, beyond[phase % step :: step], microscope)
        position = (np.arange(height) + step - phase % step) / step
        below = np.minimum(position.astype(int), len(planes) - 2)
        share = (position - below)[:, None]
        x = planes[below] * (1 - share) + planes[below + 1] * share
    elif microscope.binning > 1:
        b = microscope.binning
        padded = np.pad(image, [(0, -height % b), (0, -width % b)], mode="reflect")
        binned = padded.reshape(padded.shape[0] // b, b, padded.shape[1] // b, b).mean(axis=(1, 3))
        fine = scipy.ndimage.zoom(
            read(rng, binned, microscope), b, order=microscope.order, mode="grid-mirror", grid_mode=True
        )
        x = fine[:height, :width]
    else:
        x = read(rng, image, microscope)
        if any(microscope.smoothing):
            mean = truth(image, microscope)
            x = mean + scipy.ndimage.gaussian_filter(x - mean, microscope.smoothing)
    if microscope.row_noise:
        x = x + rng.normal(0, microscope.row_noise, (height, 1))
    return add_defects(rng, x, microscope.defects), y


def blur(scene: np.ndarray, microscope: Microscope) -> np.ndarray:
    """The scene through the microscope's lens."""
    lateral = np.array([microscope.sigma, microscope.sigma * microscope.ratio])
    image = scipy.ndimage.gaussian_filter(scene, lateral) if lateral.any() else scene
    if microscope.tail:
        image = (1 - microscope.tail) * image + microscope.tail * scipy.ndimage.gaussian_filter(scene, 3 * lateral)
    if microscope.axial_sigma:
        image = scipy.ndimage.gaussian_filter1d(image, microscope.axial_sigma, axis=0)
    return image


def read(rng: np.random.Generator, image: np.ndarray, microscope: Microscope) -> np.ndarray:
    """One exposure: shot and read noise, the camera's lowest and highest reading, its counts; scene units."""
    photons = microscope.photons
    if np.isfinite(photons):
        electrons = expose(rng, image * photons, microscope.read_noise)
        if microscope.excess > 1:
            electrons = electrons + rng.standard_normal(image.shape) * np.sqrt(
                (microscope.excess - 1) * image * photons
            )
        image = np.maximum(electrons, -microscope.offset) / photons
    image = np.minimum(image, microscope.saturation)
    return np.round(image / microscope.quantum) * microscope.quantum if microscope.quantum else image


def truth(scene: np.ndarray, microscope: Microscope) -> np.ndarray:
    """The scene as the mean of many exposures shows it: a camera that clips at zero lifts what is dark."""
    if np.isfinite(microscope.offset):
        photons = microscope.photons
        brightest = float(scene.max() * photons)
        electrons = np.unique(np.concatenate([np.linspace(0, min(30, brightest), 60), [brightest]]))
        scene = np.interp(scene * photons, electrons, mean_reading(electrons, microscope)) / photons
    return np.minimum(scene, microscope.saturation)


def mean_reading(photons: np.ndarray, microscope: Microscope) -> np.ndarray:
    """Expected electrons of a camera that clips at -offset, for each of the (N,) expected photons.

    The mean of max(P + n, -offset), where P is Poisson and n Gaussian of variance read_noise^2 + (excess - 1) photons:
    max(z, c) of a Gaussian z has the mean c + (m - c) Phi(t) + s phi(t), t = (m - c) / s.
    """
    count = np.arange(160)[None]
    chance = np.exp(scipy.special.xlogy(count, photons[:, None]) - photons[:, None] - scipy.special.gammaln(count + 1))
    spread = np.sqrt(microscope.read_noise**2 + (microscope.excess - 1) * photons)[:, None] + 1e-9
    above = count + microscope.offset
    t = above / spread
    clipped = -microscope.offset + above * scipy.special.ndtr(t) + spread * np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi)
    return np.where(photons < 100, (chance * clipped).sum(axis=1), photons)


def add_defects(rng: np.random.Generator, x: np.ndarray, defects: tuple[int, int, int, int]) -> np.ndarray:
    """An image with hot pixels, dead pixels, cosmic-ray tracks and hot columns; hot ones up to 1,000 bright levels."""
    if not any(defects):
        return x
    hot, dead, tracks, columns = defects
    height, width = x.shape
    x = x.copy()
    most = rng.choice([3.0, 30.0, 1000.0])
    for _ in range(hot):
        x[rng.integers(height), rng.integers(width)] += log_uniform(rng, 0.3, most)
    for _ in range(dead):
        x[rng.integers(height), rng.integers(width)] = min(0.0, x.min())
    for _ in range(tracks):
        along, angle = np.arange(rng.uniform(3, 15)), rng.uniform(0, np.pi)
        row = np.round(rng.uniform(0, height) + along * np.sin(angle)).astype(int)
        column = np.round(rng.uniform(0, width) + along * np.cos(angle)).astype(int)
        seen = (row < height) & (column >= 0) & (column < width)
        x[row[seen], column[seen]] += log_uniform(rng, 0.5, most) * rng.uniform(0.3, 1, seen.sum())
    for _ in range(columns):
        x[:, rng.integers(width)] += log_uniform(rng, 0.1, 3)
    return x
