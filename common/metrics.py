"""PSNR, SSIM and NRMSE with explicit ranges; scikit-image does the arithmetic. Images are (H, W) in raw units."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from common.memory import strips


def min_max(image: np.ndarray) -> np.ndarray:
    """Scale an image to [0, 1] by its own minimum and maximum; a constant image becomes 0."""
    image = np.asarray(image, np.float64)
    span = image.max() - image.min()
    return (image - image.min()) / span if span else np.zeros_like(image)


def fit_affine(restored: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Gain (not below 0) and offset, by least squares, that map `restored` onto `y`.

    A negative gain is refused: an inverted image scores as bad as it is.

    Returns:
        gain * restored + offset, float64.
    """
    restored, y = np.asarray(restored, np.float64), np.asarray(y, np.float64)
    centered = restored - restored.mean()
    variance = np.mean(centered**2)
    gain = max(0.0, np.mean(centered * (y - y.mean())) / variance) if variance else 0.0
    return gain * centered + y.mean()


def paper_metric(restored: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The published metric: each image min-max scaled by itself, data range 1. Hides offset, gain and outliers.

    Returns:
        {"psnr": dB, "ssim": -1 to 1}.
    """
    return _psnr_ssim(min_max(restored), min_max(y), 1.0)


def affine_metric(restored: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """PSNR, SSIM and NRMSE after `fit_affine`, with the span of y's 0.1 to 99.9 percentiles as data range.

    Returns:
        {"psnr": dB, "ssim": -1 to 1, "nrmse": root mean square error over the data range}.
    """
    y = np.asarray(y, np.float64)
    low, high = np.percentile(y, [0.1, 99.9])
    span = high - low or float(np.ptp(y)) or 1.0
    fitted = fit_affine(restored, y)
    return {**_psnr_ssim(fitted, y, span), "nrmse": float(np.sqrt(np.mean((fitted - y) ** 2)) / span)}


def _psnr_ssim(image, y, data_range):
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        # Two equal images have an infinite PSNR, which is right.
        warnings.simplefilter("ignore", RuntimeWarning)
        psnr = peak_signal_noise_ratio(y, image, data_range=data_range)
    window = min(7, (min(y.shape) - 1) // 2 * 2 + 1)
    return {
        "psnr": float(psnr),
        "ssim": float(structural_similarity(y, image, data_range=data_range, win_size=window)),
    }


def both_metrics(restored: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """{"affine_psnr", "affine_ssim", "affine_nrmse", "paper_psnr", "paper_ssim"} of one pair of images."""
    scores = {"affine": affine_metric(restored, y), "paper": paper_metric(restored, y)}
    return {f"{metric}_{key}": value for metric, row in scores.items() for key, value in row.items()}


def mean_scores(restored_images: Iterable[np.ndarray], y_images: Iterable[np.ndarray]) -> dict[str, float]:
    """Means of `both_metrics` over pairs of images, under the same names."""
    rows = [both_metrics(restored, y) for restored, y in zip(restored_images, y_images, strict=True)]
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


class Moments(NamedTuple):
    """Joint moments of an image x and of what was restored from it: all that a straight line between them needs.

    Args:
        pixels: number.
        x, restored: means.
        variance: of x.
        covariance: of both.
    """

    pixels: int
    x: float
    restored: float
    variance: float
    covariance: float

    @classmethod
    def of(cls, restored: np.ndarray, x: np.ndarray) -> Moments:
        """Moments of (H, W) images, in float64 without copies of them."""
        x_mean, mean, squares, products = x.mean(dtype=np.float64), restored.mean(dtype=np.float64), 0.0, 0.0
        for rows in strips(x):
            difference = np.asarray(x[rows], np.float64) - x_mean
            squares += np.sum(difference**2)
            products += np.sum(difference * (restored[rows] - mean))
        return cls(x.size, float(x_mean), float(mean), float(squares / x.size), float(products / x.size))

    @classmethod
    def merged(cls, parts: Sequence[Moments]) -> Moments:
        """Moments of an image from those of its parts."""
        pixels, xs, restored, variances, covariances = np.array(parts).T
        share = pixels / pixels.sum()
        x, mean = share @ xs, share @ restored
        variance = share @ (variances + (xs - x) ** 2)
        covariance = share @ (covariances + (xs - x) * (restored - mean))
        return cls(int(pixels.sum()), float(x), float(mean), float(variance), float(covariance))

    def line(self) -> tuple[float, float, float]:
        """(gain, offset, flux): least-squares line from x to the restored image, and the ratio of their means."""
        gain = self.covariance / max(self.variance, 1e-12)
        return gain, self.restored - gain * self.x, self.restored / (self.x or 1.0)


def intensities(restored: np.ndarray, x: np.ndarray) -> tuple[float, float, float]:
    """(gain, offset, flux), as of `Moments.line`."""
    return Moments.of(restored, x).line()
