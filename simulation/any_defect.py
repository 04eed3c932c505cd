"""Pairs of any scene through any microscope: what a generator is pretrained on, before it sees an image of the user's.

Axis 0 is the optical axis of every axial defect: pairs may be flipped, not turned.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulation.random_microscopes import Microscope, draw_microscope, record
from simulation.random_scenes import random_scene


class AnyPair(NamedTuple):
    """A simulated pair, and the microscope that made x."""

    x: np.ndarray
    y: np.ndarray
    microscope: Microscope


def simulate_any(
    seed: int, index: int, size: int = 128, kind: str | None = None, photons: float | None = None
) -> AnyPair:
    """One pair; a pure function of its arguments.

    Args:
        seed, index: of the random numbers.
        size: height and width in pixels, at least 32.
        kind: of the defect, one of random_microscopes.KINDS; None for any.
        photons: at the scene's value 1 in one camera pixel; None for any.

    Returns:
        x and y, (size, size) float32 on one scale: 1 at the scene's bright structures, 0 where there is no light.
    """
    rng = np.random.default_rng([seed, index])
    microscope = draw_microscope(rng, size, kind)
    if photons is not None:
        microscope = microscope._replace(photons=photons)
    x, y = record(rng, random_scene(rng, size), microscope)
    while min(np.ptp(x), np.ptp(y)) == 0:  # a camera that is saturated everywhere: nothing to learn
        x, y = record(rng, random_scene(rng, size), microscope)
    return AnyPair(x.astype(np.float32), y.astype(np.float32), microscope)
