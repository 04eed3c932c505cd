"""When not to trust a restored image: how far it may be off, and whether the microscope could have seen it so.

Uncertainty: the restored image is computed several times, by the network's own dropout or, where it has none, turned
and flipped; pixels on which the passes disagree are uncertain. How large the error is for a given disagreement is
fitted once on pairs that were set aside (`calibrate.py`).

Check: CIN-GAN makes the defect again from the restored image, several times with new noise. Where the input lies
further from the mean of these than their deviation allows, the input does not support what was restored.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.optimize import minimize

from common.errors import InputError
from restoring.apply import OVERLAP, TILE, Applier, symmetries
from restoring.normalization import HIGH_PERCENTILE, LOW_PERCENTILE, Scale

DRAWS = 16  # of the noise, per image
WINDOW = 7  # pixels over which contradictions and disagreements are gathered: single pixels are noise
LEVELS = {50: 0.674, 80: 1.282, 95: 1.960}  # half-widths of normal intervals, in deviations
CONTRADICTED = 4.0  # deviations; chance alone passes them in 6 of 100,000 windows


class Calibration(NamedTuple):
    """The error's deviation as a function of the passes' deviation: sqrt(floor^2 + (slope * passes)^2).

    Both numbers belong to intensities in units of the image's own span (`image_span` of x).
    """

    floor: float
    slope: float

    def error(self, deviation: np.ndarray) -> np.ndarray:
        """Deviation of the error, from that of the passes."""
        return np.sqrt(self.floor**2 + (self.slope * deviation) ** 2)


def image_span(image: np.ndarray) -> float:
    """The 99.8 percentile minus the 2 percentile of an image, in its units; 1 where they are equal."""
    return float(np.subtract(*np.percentile(image, [HIGH_PERCENTILE, LOW_PERCENTILE]))) or 1.0


def passes(
    apply: Applier,
    dropout: Applier | None,
    image: np.ndarray,
    task: str | None,
    count: int,
    tile: int | None,
    overlap: int,
) -> np.ndarray:
    """`count` restored images, (count, H, W), that differ by dropout masks or by flips and turns.

    Args:
        dropout: as `apply`, with dropout on; None where the network has none.
        image, task, tile, overlap: as for `apply`.

    Raises:
        InputError: more passes than there are flips and turns, where the network has no dropout.
    """
    check_passes(apply, dropout, task, count)
    scales = apply.scales(image, task)
    return restored_with_passes(apply, dropout, image, scales, task, count, tile, overlap, 1)[1]


def restored_with_passes(
    apply: Applier,
    dropout: Applier | None,
    image: np.ndarray,
    scales: tuple[Scale, Scale],
    task: str | None,
    count: int,
    tile: int | None,
    overlap: int,
    average: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The restored image, (H, W) float32, and `passes`; flips and turns that both need are computed once.

    Args:
        scales: of `apply.scales`, of the image or of the stack that it belongs to.
        average: 1 or 8, as for `apply`; the others as for `passes`.
    """
    before, after = scales
    if dropout is not None:
        restored = apply.with_scales(image, scales, task, 0, tile, overlap, average)
        outputs = [dropout.with_scales(image, scales, task, 0, tile, overlap, 1) for _ in range(count)]
        return restored, np.stack(outputs)
    # The first of the eight leaves the image as it is.
    turns = symmetries(8, apply.may_rotate(task))[: max(count, average)]
    outputs = list(apply.turned(before.normalize(image), turns, task, 0, tile, overlap))
    averaged = outputs[:average]
    return after.undo(sum(averaged) / len(averaged)), np.stack([after.undo(output) for output in outputs[:count]])


def most_passes(apply: Applier, dropout: Applier | None, task: str | None) -> float:
    """How many different passes there can be: any number with dropout, else the flips and turns of the task."""
    return math.inf if dropout is not None else len(symmetries(8, apply.may_rotate(task)))


def check_passes(apply: Applier, dropout: Applier | None, task: str | None, count: int) -> None:
    """Raise InputError where there are fewer than `count` passes."""
    most = most_passes(apply, dropout, task)
    if count > most:
        raise InputError(
            f"--uncertainty={count}: without dropout there are {most} passes, flips and turns; pass "
            f"--uncertainty={most}"
        )


def disagreement(outputs: np.ndarray) -> np.ndarray:
    """Deviation of the passes, (H, W) of (count, H, W): their variance averaged over a window, because they are few."""
    return np.sqrt(uniform_filter(outputs.var(axis=0, ddof=1), WINDOW, mode="reflect"))


def measure(
    apply: Applier, dropout: Applier | None, x: list[np.ndarray], y: list[np.ndarray], task: str | None, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The passes' deviations and the errors of their means, two flat arrays, in units of each image's span.

    y is put on x's scale by a straight line first, as the affine metric does: what is left was restored wrongly.
    """
    deviations, errors = [], []
    for image, truth in zip(x, y, strict=True):
        span = image_span(image)
        outputs = passes(apply, dropout, image, task, count, TILE, OVERLAP)
        mean = outputs.mean(axis=0)
        gain, offset = np.polyfit(truth.ravel(), mean.ravel(), 1)
        deviations.append((disagreement(outputs) / span).ravel())
        errors.append(((mean - gain * truth - offset) / span).ravel())
    return np.concatenate(deviations), np.concatenate(errors)


def fit_calibration(deviations: np.ndarray, errors: np.ndarray) -> Calibration:
    """The calibration under which errors are most likely, as normal deviates.

    Args:
        deviations, errors: arrays of the same shape, in units of the images' spans.
    """
    squares, deviations = np.square(errors).ravel(), np.asarray(deviations).ravel()

    def cost(logs):
        variance = np.exp(logs[0]) + np.exp(logs[1]) * deviations**2
        return np.mean(np.log(variance) + squares / variance)

    start = [np.log(squares.mean() / 2 + 1e-12), 0.0]
    logs = minimize(cost, start, method="Nelder-Mead").x
    return Calibration(*(float(np.exp(log / 2)) for log in logs))


def coverage(calibration: Calibration, deviations: np.ndarray, errors: np.ndarray) -> dict[int, float]:
    """{level: percent of the errors inside the interval of that level}."""
    error = calibration.error(deviations)
    return {level: float(100 * np.mean(np.abs(errors) <= width * error)) for level, width in LEVELS.items()}


def read_calibration(path: str | Path) -> Calibration:
    """Read what calibrate.py wrote. Raises InputError where it did not."""
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
        calibration = Calibration(float(stored["floor"]), float(stored["slope"]))
    except (ValueError, KeyError, TypeError) as failure:
        raise InputError(f"--calibration={path}: not what calibrate.py writes ({failure!r})") from failure
    if not (np.isfinite(calibration).all() and min(calibration) >= 0):
        raise InputError(f"--calibration={path}: {calibration} are not standard deviations")
    return calibration


def made_again(apply_cin: Applier, y: np.ndarray, task: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation, (H, W) each, of the defective images that CIN-GAN makes of y, in x's raw units."""
    mean, squares = np.zeros(y.shape), np.zeros(y.shape)
    for draw in range(DRAWS):  # One at a time: sixteen large images need not be held at once.
        x = apply_cin(y, task, draw=draw)
        step = x - mean
        mean += step / (draw + 1)
        squares += step * (x - mean)
    return mean, np.sqrt(squares / (DRAWS - 1))


def contradiction(x: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """How many deviations the input lies from what the microscope should have shown, (H, W), gathered over a window.

    The mean over a window of WINDOW^2 pixels, times WINDOW: a standard normal deviate where noise is independent from
    pixel to pixel and everything is supported. What is constant over the image (an offset between the two GANs) is not
    counted.
    """
    typical = np.median(deviation)
    residual = (x - mean - np.median(x - mean)) / np.maximum(deviation, 0.3 * typical + 1e-12)
    gathered = WINDOW * uniform_filter(residual, WINDOW, mode="reflect")
    # Noise that is correlated over pixels, and small faults of CIN-GAN everywhere, widen it; a part of it stands out.
    spread = 1.4826 * np.median(np.abs(gathered - np.median(gathered)))
    return gathered / max(spread, 1.0)
