"""Defect statistics against what is known of white noise, of shot noise, and against numpy's running means."""

import numpy as np
import pytest
import tensorflow as tf

from defect_statistics import (
    BINS,
    DECAY,
    HIGH,
    LOW,
    SIDE,
    DefectStatistics,
    RunningMeans,
    noise_by_intensity,
    power_spectrum,
)

RNG = np.random.default_rng(0)
TASK = tf.constant([[0], [1]])


def white(deviation, shape=(2, 160, 160, 1)):
    return tf.constant(deviation * RNG.standard_normal(shape), tf.float32)


def test_power_of_white_noise_is_its_variance():
    power = power_spectrum(white(0.3)).numpy()
    assert power.shape == (2, SIDE, SIDE // 2 + 1)
    assert np.allclose(power[:, 3:-3, 3:], 0.09, rtol=0.35)
    assert power[:, 3:-3, 3:].mean() == pytest.approx(0.09, rel=0.03)


def test_power_of_a_wave_is_at_its_frequency():
    rows = np.sin(2 * np.pi * 4 / SIDE * np.arange(64))
    wave = tf.constant(np.tile(rows[:, None], (1, 64))[None, :, :, None], tf.float32)
    power = power_spectrum(wave).numpy()[0]
    assert np.unravel_index(power.argmax(), power.shape) in [(4, 0), (SIDE - 4, 0)]


def test_shot_noise_grows_with_intensity():
    """Variance 0.01 + 0.04 * intensity; a pixel's difference from its 5 x 5 mean has 24/25 of the variance."""
    intensity = np.repeat(np.linspace(0.0, 1.2, 200), 50)[None, None, :, None] * np.ones((1, 60, 1, 1))
    noise = RNG.standard_normal(intensity.shape) * np.sqrt(0.01 + 0.04 * intensity)
    sums, pixels = noise_by_intensity(tf.constant(intensity + noise, tf.float32))
    centers = np.linspace(LOW, HIGH, BINS)
    measured = (sums / pixels).numpy()[0]
    inner = slice(2, BINS - 2)
    assert np.allclose(measured[inner], (24 / 25) * (0.01 + 0.04 * centers[inner]), rtol=0.05)


def test_every_pixel_is_in_the_bins_once():
    _, pixels = noise_by_intensity(white(5.0, (1, 30, 40, 1)))
    assert float(tf.reduce_sum(pixels)) == pytest.approx(26 * 36, rel=1e-5)


def test_running_means_per_task():
    means = RunningMeans(2, (3,))
    batches = RNG.random((4, 2, 3)).astype(np.float32)
    for batch in batches:
        values, weights = means.update(TASK, tf.constant(batch), tf.ones((2, 3)))
    decays = DECAY ** np.arange(4)[::-1]
    assert np.allclose(weights, decays.sum(), rtol=1e-5)
    assert np.allclose(values, np.tensordot(decays, batches, 1) / decays.sum(), rtol=1e-5)


def test_terms_are_zero_for_equal_and_positive_for_different_defects():
    x = white(0.1, (2, 48, 48, 1)) + 0.5
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
