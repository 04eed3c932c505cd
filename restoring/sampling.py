"""How a stack samples a volume along z, and what linear interpolation makes of its planes, on axis 0 of an image."""

from __future__ import annotations

import numpy as np


def rows_at(image: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The rows of an (H, ...) array at positions of 0 to H - 1, interpolated linearly, float32."""
    below = np.minimum(positions.astype(int), max(len(image) - 2, 0))
    share = (positions - below).astype(np.float32).reshape(-1, *[1] * (image.ndim - 1))
    image = np.asarray(image, np.float32)
    return image[below] * (1 - share) + image[np.minimum(below + 1, len(image) - 1)] * share


def sampled_rows(rows: int, stride: float, phase: float) -> tuple[np.ndarray, np.ndarray]:
    """Which rows of an image a stack would have recorded as planes, and where among these each row then lies.

    Recorded are whole rows, every stride-th on average, so that the noise of a plane is that of a row whatever the
    stride. `rows_at(image[recorded], positions)` is the image as a section of that stack; beyond its first and last
    plane it is constant.

    Args:
        rows: of the image.
        stride: rows between planes.
        phase: row of the first plane, 0 to stride.

    Returns:
        (recorded, positions): (planes,) int, and (rows,) of 0 to planes - 1.
    """
    recorded = np.arange(min(phase, rows - 1), rows, stride).astype(int)
    return recorded, np.interp(np.arange(rows), recorded, np.arange(len(recorded)))


def sampling_matrix(rows: int, stride: float, phase: float) -> np.ndarray:
    """(rows, rows) float32 that multiplies an image to what a stack shows of it: see `sampled_rows`."""
    recorded, positions = sampled_rows(rows, stride, phase)
    return rows_at(np.eye(rows, dtype=np.float32)[recorded], positions)
