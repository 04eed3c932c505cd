"""Restoration without learning, to compare with: total variation, and BM3D where its package is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence

import numpy as np
from skimage.restoration import denoise_tv_chambolle, estimate_sigma

from common.metrics import affine_metric
from data_utils import Task
from restoring.normalization import PercentileNormalization

TV_WEIGHTS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)
BM3D_FACTORS = (1, 2, 4, 8, 16)


def total_variation(image: np.ndarray, weight: float) -> np.ndarray:
    """Total variation denoising (Chambolle 2004) of an (H, W) image, its 2 and 99.8 percentiles taken as 0 and 1.

    Returns:
        (H, W) float32 in the image's units.
    """
    scale = PercentileNormalization({}).x_scale(None, image)
    return scale.undo(denoise_tv_chambolle(scale.normalize(image), weight=weight))


def fit(restore: Callable[[np.ndarray, float], np.ndarray], strengths: Sequence[float], task: Task) -> float:
    """The strength with the best mean affine PSNR on the training pairs of a `data_utils.Task`.

    Args:
        restore: function of an (H, W) image and a strength.
        strengths: candidates.
    """
    pairs = [(task.train_x[i], task.train_y[i]) for i in range(len(task.train_x))]

    def mean_psnr(strength):
        return np.mean([affine_metric(restore(x, strength), y)["psnr"] for x, y in pairs])

    return max(strengths, key=mean_psnr)


def has_bm3d() -> bool:
    """Whether the optional package bm3d is installed. Its licence allows non-commercial use only."""
    return importlib.util.find_spec("bm3d") is not None


def bm3d(image: np.ndarray, factor: float) -> np.ndarray:
    """BM3D (Dabov et al. 2007) after a square root, which makes photon noise equally strong everywhere.

    Args:
        image: (H, W).
        factor: noise level, in units of what is estimated from the image itself: correlated noise is underestimated.

    Returns:
        (H, W) float32 in the image's units.
    """
    import bm3d as package

    scale = PercentileNormalization({}).x_scale(None, image)
    low = float(np.min(image))
    root = np.sqrt((np.asarray(image, np.float64) - low) / scale.span * 255 + 3 / 8)
    restored = package.bm3d(root, sigma_psd=factor * float(estimate_sigma(root)))
    return ((restored**2 - 3 / 8) / 255 * scale.span + low).astype(np.float32)


# Filters with one strength, and the strengths to choose from.
FILTERS = {"total_variation": (total_variation, TV_WEIGHTS), "bm3d": (bm3d, BM3D_FACTORS)}
