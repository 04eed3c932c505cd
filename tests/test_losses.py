"""An oracle for every loss."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import losses

RNG = np.random.default_rng(0)


def random(*shape):
    return tf.constant(RNG.standard_normal(shape), tf.float32)


def test_gradient_penalty_of_a_linear_critic():
    """For critic(x) = <w, x> the gradient is w everywhere: the penalty is (||w|| - 1)^2."""
    w = random(1, 8, 8, 1)
    penalty = losses.gradient_penalty(
        lambda images: tf.reduce_sum(images * w, axis=(1, 2, 3))[:, None],
        random(4, 8, 8, 1),
        random(4, 8, 8, 1),
        tf.random.uniform((4, 1, 1, 1)),
    )
    assert float(penalty) == pytest.approx((float(tf.norm(w)) - 1) ** 2, rel=1e-5)


def test_gradient_penalty_is_taken_between_real_and_generated():
    """For critic(x) = ||x||^2 / 2 the gradient at the mixed image is that image itself."""
    real, generated = random(3, 4, 4, 1), random(3, 4, 4, 1)
    epsilon = tf.constant([0.0, 0.25, 1.0])[:, None, None, None]
    penalty = losses.gradient_penalty(
        lambda images: tf.reduce_sum(images**2, axis=(1, 2, 3))[:, None] / 2, real, generated, epsilon
    )
    mixed = (epsilon * real + (1 - epsilon) * generated).numpy().reshape(3, -1)
    assert float(penalty) == pytest.approx(np.mean((np.linalg.norm(mixed, axis=1) - 1) ** 2), rel=1e-5)


def test_gradient_penalty_has_a_finite_gradient_where_the_critic_is_flat():
    w = tf.Variable(0.0)
    with tf.GradientTape() as tape:
        images = tf.ones((1, 4, 4, 1))
        penalty = losses.gradient_penalty(
            lambda x: w * tf.reduce_sum(x, axis=(1, 2, 3))[:, None], images, images, tf.ones((1, 1, 1, 1))
        )
    assert np.isfinite(float(tape.gradient(penalty, w)))


def test_gram_matrix_by_hand():
    features = random(2, 3, 5, 4)
    flat = features.numpy().reshape(2, 15, 4)
    expected = np.einsum("bpc,bpd->bcd", flat, flat) / (4 * 15)
    assert np.allclose(losses.gram_matrix(features), expected, atol=1e-6)


def test_style_loss_forgets_where_things_are():
    features = random(1, 4, 4, 3)
    shuffled = tf.reverse(features, axis=[1])
    assert float(losses.style_loss([features], [shuffled])) == pytest.approx(0, abs=1e-10)
    gram_a, gram_b = (losses.gram_matrix(f).numpy() for f in (features, 2 * features))
    expected = np.sum((gram_a - gram_b) ** 2)
    assert float(losses.style_loss([features], [2 * features])) == pytest.approx(expected, rel=1e-5)


def test_adversarial_losses_are_keras_cross_entropy_on_logits():
    real, restored = random(2, 6, 6, 1), random(2, 6, 6, 1)
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
    expected = cross_entropy(tf.ones_like(real), real) + cross_entropy(tf.zeros_like(restored), restored)
    assert float(losses.discriminator_loss(real, restored)) == pytest.approx(float(expected), rel=1e-5)
    expected = cross_entropy(tf.ones_like(restored), restored)
    assert float(losses.adversarial_loss(restored)) == pytest.approx(float(expected), rel=1e-5)


def test_wasserstein_losses():
    real, generated = tf.constant([[1.0], [3.0]]), tf.constant([[0.5], [0.0]])
    assert float(losses.critic_loss(real, generated)) == pytest.approx(0.25 - 2.0)
    assert float(losses.wasserstein_loss(generated)) == pytest.approx(-0.25)


def test_pixel_and_content_loss_by_hand():
    a, b = random(2, 16, 16, 1), random(2, 16, 16, 1)
    assert float(losses.pixel_loss(a, b)) == pytest.approx(np.abs(a - b).mean(), rel=1e-5)
    assert float(losses.absolute_content_loss(a, b)) == pytest.approx(abs((a - b).numpy()).mean(), rel=1e-5)
    assert float(losses.content_loss(a, b)) == pytest.approx(((a - b).numpy() ** 2).mean(), rel=1e-5)


def test_psnr_loss_is_minus_the_mean_psnr_of_the_images():
    a, b = random(3, 20, 24, 1), random(3, 20, 24, 1)
    b = a + b * tf.constant([0.02, 0.1, 0.5])[:, None, None, None]
    expected = np.mean(
        [peak_signal_noise_ratio(x, y, data_range=1.0) for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    )
    assert float(losses.psnr_loss(a, b)) == pytest.approx(-expected, abs=0.05)
    # A perfect image is worth 50 dB, no more, and has a finite gradient.
    assert float(losses.psnr_loss(a, a)) == pytest.approx(-50, abs=1e-4)


def test_gray_is_repeated():
    gray = random(1, 2, 2, 1)
    assert np.array_equal(losses.gray_to_rgb(gray), np.repeat(gray, 3, -1))


def test_ssim_loss_equals_scikit_image():
    a, b = (tf.random.uniform((3, 20, 24, 1), seed=seed) for seed in (1, 2))
    b = 0.6 * a + 0.4 * b
    expected = [
        structural_similarity(x[..., 0], y[..., 0], data_range=1.0) for x, y in zip(a.numpy(), b.numpy(), strict=True)
    ]
    assert float(losses.ssim_loss(a, b)) == pytest.approx(1 - np.mean(expected), abs=1e-5)
    assert float(losses.ssim_loss(a, a)) == pytest.approx(0, abs=1e-6)
