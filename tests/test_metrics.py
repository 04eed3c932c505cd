"""The metrics equal scikit-image's on images prepared by hand, and keep their promises."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from common import metrics


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    y = rng.gamma(2, 50, (48, 40))
    return y + rng.normal(0, 10, y.shape), y


def test_paper_metric_is_scikit_images_on_min_max_scaled_images(images):
    restored, y = images
    a, b = ((i - i.min()) / (i.max() - i.min()) for i in (restored, y))
    scores = metrics.paper_metric(restored, y)
    assert scores["psnr"] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1))
    assert scores["ssim"] == pytest.approx(structural_similarity(b, a, data_range=1))


def test_affine_metric_is_scikit_images_after_least_squares(images):
    restored, y = images
    gain, offset = np.polyfit(restored.ravel(), y.ravel(), 1)
    low, high = np.percentile(y, [0.1, 99.9])
    fitted = gain * restored + offset
    scores = metrics.affine_metric(restored, y)
    assert scores["psnr"] == pytest.approx(peak_signal_noise_ratio(y, fitted, data_range=high - low))
    assert scores["ssim"] == pytest.approx(structural_similarity(y, fitted, data_range=high - low))
    assert scores["nrmse"] == pytest.approx(np.sqrt(np.mean((fitted - y) ** 2)) / (high - low))


def test_affine_metric_ignores_gain_and_offset_but_not_inversion(images):
    restored, y = images
    plain = metrics.affine_metric(restored, y)
    assert metrics.affine_metric(3 * restored - 70, y) == pytest.approx(plain)
    inverted = metrics.affine_metric(-restored, y)
    assert inverted["psnr"] < plain["psnr"] - 5
    assert np.ptp(metrics.fit_affine(-restored, y)) == 0


def test_perfect_image_is_infinitely_good(images):
    _, y = images
    assert metrics.paper_metric(y, y) == {"psnr": float("inf"), "ssim": pytest.approx(1)}


def test_constant_image_scores_without_a_warning(images, recwarn):
    _, y = images
    scores = metrics.mean_scores([np.zeros_like(y)], [y])
    assert np.isfinite(list(scores.values())).all() and not recwarn.list


def test_mean_scores_are_means(images):
    restored, y = images
    both = metrics.mean_scores([restored, y + 1], [y, y])
    single = [metrics.affine_metric(image, y)["ssim"] for image in (restored, y + 1)]
    assert both["affine_ssim"] == pytest.approx(np.mean(single))
