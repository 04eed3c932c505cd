"""Restoration without learning, to compare with: total variation, and BM3D where its package is installed."""

import importlib.util

import numpy as np
from skimage.restoration import denoise_tv_chambolle, estimate_sigma

from metrics import affine_metric
from normalization import PercentileNormalization

TV_WEIGHTS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)


def total_variation(image, weight):
    """Total variation denoising (Chambolle 2004) of an (H, W) image, its 2 and 99.8 percentiles taken as 0 and 1.

    Returns:
        (H, W) float32 in the image's units.
    """
    scale = PercentileNormalization({}).x_scale(None, image)
    return scale.undo(denoise_tv_chambolle(scale.normalize(image), weight=weight))


def fit_total_variation(task):
    """The weight of TV_WEIGHTS with the best mean affine PSNR on the training pairs of a `data_utils.Task`."""
    pairs = [(task.train_x[i], task.train_y[i]) for i in range(len(task.train_x))]

    def mean_psnr(weight):
        return np.mean([affine_metric(total_variation(x, weight), y)["psnr"] for x, y in pairs])

    return max(TV_WEIGHTS, key=mean_psnr)


def has_bm3d():
    """Whether the optional package bm3d is installed. Its licence allows non-commercial use only."""
    return importlib.util.find_spec("bm3d") is not None


def bm3d(image):
    """BM3D (Dabov et al. 2007) after a square root, which makes photon noise equally strong everywhere.

    The noise level is estimated from the image itself.

    Returns:
        (H, W) float32 in the image's units.
    """
    import bm3d as package

    low = float(np.min(image))
    root = np.sqrt(np.asarray(image, np.float64) - low + 3 / 8)
    restored = package.bm3d(root, sigma_psd=float(estimate_sigma(root)))
    return (restored**2 - 3 / 8 + low).astype(np.float32)
