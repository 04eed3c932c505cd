"""Pairs of the three simulated tasks: a scene, and what its microscope makes of it, in counts of their cameras."""

from __future__ import annotations

import numpy as np

from simulation.microscopes import axial_blur, coarse_camera, counts, few_photons
from simulation.scenes import layers_scene, nuclei_scene, tubules_scene

TASKS = ("Nuclei", "Layers", "Tubules")
SCENES = {"Nuclei": nuclei_scene, "Layers": layers_scene, "Tubules": tubules_scene}
DEFECTS = {"Nuclei": few_photons, "Layers": axial_blur, "Tubules": coarse_camera}
PHOTONS = {"Nuclei": 12.0, "Layers": 120.0, "Tubules": 60.0}  # at the brightest structures of x
X_OFFSET, X_GAIN = 100.0, 2.0  # counts; counts per photoelectron
Y_OFFSET = 100.0  # counts
Y_COUNTS = 4000.0  # counts above the offset of the brightest structures in y


def simulate_pair(
    task: str, seed: int, index: int, size: int = 128, photons: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """One pair of a task; a pure function of its arguments.

    Args:
        task: "Nuclei", "Layers" or "Tubules".
        seed, index: of the random numbers.
        size: height and width in pixels.
        photons: expected photons at the brightest structures of x; None for the task's own.

    Returns:
        (x, y), each (size, size) uint16.
    """
    rng = np.random.default_rng([seed, TASKS.index(task), index])
    scene = SCENES[task](rng, size)
    x = counts(DEFECTS[task](rng, scene, photons or PHOTONS[task]), X_OFFSET, X_GAIN)
    return x, counts(scene * Y_COUNTS, Y_OFFSET, 1.0)
