"""Pairs that were exported with a contrast of their own each are put on x's scale one by one."""

import json

import numpy as np
import pytest

from data_utils import load_tasks
from restoring.normalization import LARGEST_MISFIT, fit_each, fit_gain, fit_gains, fit_task_gains, from_json

RNG = np.random.default_rng(3)


def scenes(count, blur=0):
    """Clean images of 96 x 96, 0 to about 200, of differing brightness and contrast."""
    import scipy

    fields = RNG.standard_normal((count, 96, 96))
    fields = np.stack([scipy.ndimage.gaussian_filter(field, 4) for field in fields])
    fields = fields / fields.std(axis=(1, 2), keepdims=True) * RNG.uniform(10, 60, (count, 1, 1))
    return np.clip(fields + 80, 0, None)


def pairs(gains, offsets, defect=lambda y: y):
    y = scenes(len(gains))
    x = np.stack(
        [g * RNG.poisson(np.clip(defect(image), 0, None)) + o for g, o, image in zip(gains, offsets, y, strict=True)]
    )
    return x.astype(np.float32), y.astype(np.float32)


def fitted(tmp_path, x, y):
    np.save(tmp_path / "A_X.npy", x)
    np.save(tmp_path / "A_Y.npy", y)
    return fit_gains(load_tasks(tmp_path, eval_limit=1)[0])


@pytest.mark.parametrize("count", [2, 3, 10])
def test_pairs_that_agree_share_one_gain(tmp_path, count):
    normalization = fitted(tmp_path, *pairs([0.4] * (count + 1), [30] * (count + 1)))
    gain, offset = normalization.gains["A"]
    assert gain == pytest.approx(0.4, rel=0.05) and offset == pytest.approx(30, abs=2)
    assert not normalization.own_gains


@pytest.mark.parametrize("count", [2, 3, 10])
def test_pairs_that_do_not_agree_are_each_on_the_scale_of_their_x(tmp_path, count):
    gains, offsets = np.geomspace(0.3, 1.4, count + 1), np.linspace(300, 0, count + 1)
    x, y = pairs(gains, offsets)
    normalization = fitted(tmp_path, x, y)
    assert "A" in normalization.own_gains
    for image, clean, gain, offset in zip(x, y, gains, offsets, strict=True):
        normal_y = normalization.normalize_pair("A", image, clean)[1]
        expected = normalization.x_scale("A", image).normalize(gain * clean + offset)
        assert np.abs(normal_y - expected).mean() < 0.03


def test_a_defect_that_lowers_contrast_is_no_gain_of_its_own(tmp_path):
    """Blur along an axis takes contrast away, from fine structures more than from coarse ones; the gain stays."""
    import scipy

    x, y = pairs([0.5] * 9, [20] * 9, lambda image: scipy.ndimage.gaussian_filter1d(image, 4, axis=0))
    assert not fitted(tmp_path, x, y).own_gains


def test_gains_in_between_are_judged_by_what_the_tasks_gain_costs():
    """A spread of 5 % costs less than a twentieth of y's span, one of a factor of 3 more."""
    for spread, own in ((0.05, False), (1.1, True)):
        gains = np.exp(np.linspace(-spread / 2, spread / 2, 8))
        x, y = pairs(gains, [0] * 8)
        found, misfit = fit_each(x, y, fit_gain(x, y))
        assert found == pytest.approx(gains, rel=0.12) and (misfit > LARGEST_MISFIT) == own


def test_what_was_found_is_kept_and_older_files_and_runs_have_one_gain(tmp_path):
    x, y = pairs([0.3, 0.6, 1.2, 0.9], [0, 50, 20, 100])
    normalization = fitted(tmp_path, x, y)
    again = from_json(json.loads(json.dumps(normalization.to_json())))
    assert again.own_gains == normalization.own_gains and again.gains == normalization.gains
    older = fit_task_gains(load_tasks(tmp_path, eval_limit=1)[0])
    assert older.gains == normalization.gains and not older.own_gains
    assert "own_gains" not in older.to_json()
