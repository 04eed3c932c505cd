"""Normalisation: oracles for the affine maps, the fitted gain, and the way back to raw units."""

import json

import numpy as np
import pytest

from common.errors import InputError
from data_utils import load_tasks
from restoring.normalization import (
    FixedNormalization,
    OwnPercentileNormalization,
    PercentileNormalization,
    Scale,
    block_means,
    fit_cgan,
    fit_cin,
    fit_gain,
    from_json,
)


def test_scale_undoes_itself():
    raw = np.array([-3.0, 0.0, 250.0])
    scale = Scale(10.0, 4.0)
    assert np.allclose(scale.normalize(raw), (raw - 10) / 4)
    assert np.allclose(scale.undo(scale.normalize(raw)), raw)


def test_paper_maps_training_range_to_minus_one_and_one(pair_folder):
    tasks, _ = load_tasks(pair_folder, images_limit=4)
    normalization = fit_cgan("paper", tasks)
    for task in tasks:
        for images, scale in zip((task.train_x, task.train_y), normalization.scales[task.name], strict=True):
            values = np.stack([scale.normalize(image) for image in images])
            assert values.min() == pytest.approx(-1, abs=1e-6) and values.max() == pytest.approx(1, abs=1e-6)


def test_tuned_uses_each_images_own_percentiles():
    image = np.random.default_rng(0).gamma(2, 50, (64, 64))
    normalized = PercentileNormalization({"A": (1, 0)}).x_scale("A", image).normalize(image)
    assert np.percentile(normalized, [2, 99.8]) == pytest.approx([0, 1], abs=1e-5)


def test_tuned_y_follows_x_after_the_gain():
    """Where x = 0.2 y + 30 exactly, x and y get the same normalised values."""
    y = np.random.default_rng(0).random((64, 64)) * 1000
    x = 0.2 * y + 30
    normalization = PercentileNormalization({"A": (0.2, 30.0)})
    assert np.allclose(
        normalization.x_scale("A", x).normalize(x), normalization.y_scale("A", x).normalize(y), atol=1e-5
    )


@pytest.mark.parametrize(("gain", "offset", "fitted"), [(0.2, 30, (0.2, 30)), (1.02, 4, (1, 0)), (7.0, -50, (7, -50))])
def test_fitted_gain_is_the_true_one(gain, offset, fitted):
    rng = np.random.default_rng(0)
    y = [block.repeat(8, 0).repeat(8, 1) * 1000 for block in rng.random((6, 8, 8))]
    x = [gain * image + offset + rng.normal(0, 100 * gain, image.shape) for image in y]
    found = fit_gain(x, y)
    assert found[0] == pytest.approx(fitted[0], rel=0.05)
    # An offset may be 0: its tolerance is a twentieth of the span of x.
    assert found[1] == (0 if fitted == (1, 0) else pytest.approx(fitted[1], abs=0.05 * 1000 * gain))


def test_fitted_gain_ignores_outliers():
    rng = np.random.default_rng(0)
    y = [block.repeat(8, 0).repeat(8, 1) * 1000 for block in rng.random((6, 8, 8))]
    x = [0.5 * image for image in y]
    x[0][:16, :16] = 60000
    assert fit_gain(x, y)[0] == pytest.approx(0.5, rel=0.02)


def test_unpaired_scales_do_not_need_pairs(pair_folder):
    """x and y of CIN-GAN's normalisation agree in brightness although no pair is used."""
    tasks, _ = load_tasks(pair_folder)
    normalization = fit_cin("tuned", tasks)
    for task in tasks:
        x_scale, y_scale = normalization.scales[task.name]
        x = np.mean([x_scale.normalize(image) for image in task.train_x])
        y = np.mean([y_scale.normalize(image) for image in task.train_y])
        assert x == pytest.approx(y, abs=0.02)


def test_block_means_drop_what_is_left_over():
    image = np.arange(20 * 18, dtype=float).reshape(20, 18)
    expected = [image[r : r + 8, c : c + 8].mean() for r in (0, 8) for c in (0, 8)]
    assert np.allclose(block_means(image), expected)


@pytest.mark.parametrize(
    "normalization",
    [
        FixedNormalization({"A": ((1, 2), (3, 4))}),
        PercentileNormalization({"A": (2, 3)}),
        OwnPercentileNormalization({"A": (2, 3)}),
    ],
)
def test_json_round_trip(normalization):
    again = from_json(json.loads(json.dumps(normalization.to_json())))
    assert type(again) is type(normalization)
    image = np.random.default_rng(0).random((16, 16))
    assert again.x_scale("A", image) == normalization.x_scale("A", image)
    assert again.restored_scale("A", image) == normalization.restored_scale("A", image)


def test_unknown_normalisation_is_named():
    with pytest.raises(InputError, match="'sqrt'"):
        from_json({"kind": "sqrt"})
