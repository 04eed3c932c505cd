"""Microscopes: what a camera reads of a scene, in photoelectrons. Each takes the photons at the scene's value 1."""

from __future__ import annotations

import numpy as np
import scipy  # its parts are loaded where they are used: --help is to answer at once

READ_NOISE = 1.6  # electrons, root mean square
AXIAL_SIGMA, AXIAL_STEP = 2.5, 4  # pixels; planes
WIDEFIELD_SIGMA, BINNING = 1.8, 3  # pixels; fine pixels a camera pixel


def expose(rng: np.random.Generator, photons: np.ndarray, read_noise: float = READ_NOISE) -> np.ndarray:
    """Photoelectrons read from a camera: Poisson shot noise of the expected photons, Gaussian read noise."""
    return rng.poisson(np.maximum(photons, 0)) + rng.normal(0, read_noise, photons.shape)


def counts(electrons: np.ndarray, offset: float, gain: float) -> np.ndarray:
    """Camera counts, uint16."""
    return np.clip(np.round(offset + gain * electrons), 0, 65535).astype(np.uint16)


def few_photons(rng: np.random.Generator, scene: np.ndarray, photons: float) -> np.ndarray:
    """Denoising: a short exposure of the sharp scene."""
    return expose(rng, scene * photons)


def axial_blur(rng: np.random.Generator, scene: np.ndarray, photons: float) -> np.ndarray:
    """Axial inpainting: blur along axis 0, every AXIAL_STEP-th plane exposed, linear interpolation between."""
    size = scene.shape[0]
    taken = np.arange(0, size + AXIAL_STEP, AXIAL_STEP)
    blurred = scipy.ndimage.gaussian_filter1d(scene, AXIAL_SIGMA, axis=0, mode="nearest")
    planes = expose(rng, blurred[np.minimum(taken, size - 1)] * photons)
    position = np.arange(size) / AXIAL_STEP
    below = position.astype(int)
    share = (position - below)[:, None]
    return planes[below] * (1 - share) + planes[below + 1] * share


def coarse_camera(rng: np.random.Generator, scene: np.ndarray, photons: float) -> np.ndarray:
    """Super-resolution: wide-field blur, BINNING x BINNING fine pixels a camera pixel, cubic interpolation back."""
    size = scene.shape[0]
    padded = np.pad(scene, [(0, -size % BINNING)] * 2, mode="reflect")
    blurred = scipy.ndimage.gaussian_filter(padded, WIDEFIELD_SIGMA)
    coarse = len(padded) // BINNING
    binned = blurred.reshape(coarse, BINNING, coarse, BINNING).mean(axis=(1, 3))
    electrons = expose(rng, binned * photons)
    return scipy.ndimage.zoom(electrons, BINNING, order=3, mode="grid-mirror", grid_mode=True)[:size, :size]
