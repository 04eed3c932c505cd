"""The filters to compare with, in the image's own units."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from skimage.restoration import denoise_tv_chambolle, estimate_sigma

from methods import filters

RNG = np.random.default_rng(0)


def noisy_image():
    rows, columns = np.mgrid[:32, :32]
    return RNG.poisson(200 + 100 * np.sin(rows / 4) * np.cos(columns / 5)).astype(np.float32)


def test_total_variation_is_scikit_images_between_the_percentiles():
    image = noisy_image()
    low, high = np.percentile(image, [2, 99.8])
    expected = denoise_tv_chambolle((image - low) / (high - low), weight=0.1) * (high - low) + low
    assert np.allclose(filters.total_variation(image, 0.1), expected, rtol=1e-4)


def test_bm3d_gets_the_square_root_and_its_noise_and_is_undone(monkeypatch):
    """A stand-in that gives back what it gets: nothing may change, whatever the image's units."""
    calls = []

    def give_back(root, sigma_psd):
        calls.append((root, sigma_psd))
        return root

    monkeypatch.setitem(sys.modules, "bm3d", SimpleNamespace(bm3d=give_back))
    image = 7 * noisy_image() - 500
    restored = filters.bm3d(image, 4)
    assert restored.dtype == np.float32 and np.allclose(restored, image, atol=1e-3)
    root, sigma = calls[0]
    assert sigma == pytest.approx(4 * estimate_sigma(root)) and root.min() == pytest.approx(np.sqrt(3 / 8))
