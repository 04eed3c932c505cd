"""Defect statistics against what is known of white noise and of waves, and against numpy's running means."""

import numpy as np
import pytest
import tensorflow as tf

from methods.defect_statistics import (
    BINS,
    DECAY,
    FREQUENCIES,
    SIDE,
    DefectStatistics,
    RunningMeans,
    sort_by_brightness,
    tile_spectra,
)

RNG = np.random.default_rng(0)
TASK = tf.constant([[0], [1]])


def white(deviation, shape=(2, 160, 160, 1)):
    return tf.constant(deviation * RNG.standard_normal(shape), tf.float32)


def test_power_of_white_noise_is_its_variance():
    power, means = tile_spectra(white(0.3))
    assert power.shape == (2, 19 * 19, FREQUENCIES) and means.shape == (2, 19 * 19)
    power = power.numpy().mean(axis=(0, 1)).reshape(SIDE, SIDE // 2 + 1)[3:-3, 3:]
    assert np.allclose(power, 0.09, rtol=0.35) and power.mean() == pytest.approx(0.09, rel=0.03)


def test_power_of_a_wave_is_at_its_frequency():
    rows = np.sin(2 * np.pi * 4 / SIDE * np.arange(64))
    wave = tf.constant(np.tile(rows[:, None], (1, 64))[None, :, :, None], tf.float32)
    power = tile_spectra(wave)[0].numpy()[0].mean(axis=0).reshape(SIDE, SIDE // 2 + 1)
    assert np.unravel_index(power.argmax(), power.shape) in [(4, 0), (SIDE - 4, 0)]


def test_means_are_those_of_the_tiles():
    image = RNG.random((1, SIDE, SIDE + SIDE // 2, 1)).astype(np.float32)
    expected = [image[:, :, :SIDE].mean(), image[:, :, SIDE // 2 :].mean()]
    assert np.allclose(tile_spectra(tf.constant(image))[1], [expected], rtol=1e-5)


def test_bins_of_brightness_by_hand():
    """Means 0, 0.1 and 3 lie on the first bin, half way to the second, and beyond the last."""
    values = tf.constant([[[1.0], [2.0], [4.0]]])
    sums, tiles = sort_by_brightness(values, tf.constant([[0.0, 0.1, 3.0]]))
    assert np.allclose(sums[0, :, 0], [1 + 2 / 2, 2 / 2, *[0] * (BINS - 3), 4], atol=1e-5)
    assert np.allclose(tiles[0, :, 0], [1.5, 0.5, *[0] * (BINS - 3), 1], atol=1e-5)


def test_running_means_per_task():
    means = RunningMeans(2, (3,))
    batches = RNG.random((4, 2, 3)).astype(np.float32)
    for batch in batches:
        values, weights = means.update(TASK, tf.constant(batch), tf.ones((2, 3)))
    decays = DECAY ** np.arange(4)[::-1]
    assert np.allclose(weights, decays.sum(), rtol=1e-5)
    assert np.allclose(values, np.tensordot(decays, batches, 1) / decays.sum(), rtol=1e-5)


def test_terms_are_zero_for_equal_and_positive_for_different_defects():
    x = white(1.0, (2, 96, 96, 1)) + 0.5
    same = DefectStatistics(2).terms(x, x, TASK)
    assert float(same["spectrum"]) == 0 and float(same["noise"]) == 0
    stronger = 0.5 + 2 * (x - 0.5)
    terms = DefectStatistics(2).terms(x, stronger, TASK)
    assert float(terms["spectrum"]) == pytest.approx(np.log(4), rel=0.02)
    assert float(terms["noise"]) == pytest.approx(np.log(4), rel=0.1)


def test_gradients_move_generated_images_towards_the_real_statistics():
    real, generated = white(0.2, (2, 48, 48, 1)) + 0.5, tf.Variable(white(0.1, (2, 48, 48, 1)) + 0.5)
    with tf.GradientTape(persistent=True) as tape:
        terms = DefectStatistics(2).terms(real, generated, TASK)
    for term in terms.values():
        gradient = tape.gradient(term, generated)
        assert float(tf.reduce_sum(gradient * (generated - 0.5))) < 0


def test_a_task_that_was_not_seen_adds_nothing():
    x = white(0.1, (2, 48, 48, 1))
    only_first = tf.zeros((2, 1), tf.int32)
    with_both, alone = (DefectStatistics(n).terms(x, 2 * x, only_first)["spectrum"] for n in (2, 1))
    assert float(with_both) == pytest.approx(float(alone) / 2, rel=1e-5)


def test_noise_is_told_from_structure_of_the_same_power():
    """White noise everywhere, and twice its power in one half of the image alone: one spectrum, other logarithms."""
    even = white(np.sqrt(0.5), (2, 240, 240, 1))
    halves = np.where(np.arange(240) < 120, 1.0, 1e-3).astype(np.float32)[None, :, None, None]
    terms = DefectStatistics(2).terms(even + 0.5, halves * white(1.0, (2, 240, 240, 1)) + 0.5, TASK)
    assert float(terms["spectrum"]) < 0.3 and float(terms["noise"]) > 1.0
