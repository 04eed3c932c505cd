"""Losses as pure functions, float32 in, float32 out. Images are (batch, height, width, 1) in network units.

Every function returns the mean over the images it is given; a train step on one of several replicas divides by
their number itself, because gradients are summed over replicas.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf


def gray_to_rgb(images: tf.Tensor) -> tf.Tensor:
    """Repeat the gray channel: the released code feeds VGG16 images in [-1, 1] without VGG's own preprocessing."""
    return tf.repeat(images, 3, axis=-1)


def content_loss(features_a: tf.Tensor, features_b: tf.Tensor) -> tf.Tensor:
    """Mean squared difference of VGG16 block3_conv3 features (Johnson et al., arXiv 1603.08155), a scalar."""
    return tf.reduce_mean(tf.square(features_a - features_b))


def absolute_content_loss(features_a: tf.Tensor, features_b: tf.Tensor) -> tf.Tensor:
    """Mean absolute difference of VGG16 block3_conv3 features, a scalar (released code, network_blocks.py:416-424)."""
    return tf.reduce_mean(tf.abs(features_a - features_b))


def gram_matrix(features: tf.Tensor) -> tf.Tensor:
    """Channel correlations of (batch, h, w, channels) features, divided by channels * h * w: (batch, c, c)."""
    height, width, channels = tf.unstack(tf.shape(features)[1:])
    gram = tf.einsum("bhwc,bhwd->bcd", features, features)
    return gram / tf.cast(channels * height * width, features.dtype)


def style_loss(features_a: list[tf.Tensor], features_b: list[tf.Tensor]) -> tf.Tensor:
    """Squared Gram matrix differences, summed over the matrix, mean over images and layers (arXiv 1603.08155, eq. 4).

    Args:
        features_a, features_b: lists of features, one (batch, h, w, channels) tensor per layer.
    """
    per_layer = [
        tf.reduce_mean(tf.reduce_sum(tf.square(gram_matrix(a) - gram_matrix(b)), axis=(1, 2)))
        for a, b in zip(features_a, features_b, strict=True)
    ]
    return tf.add_n(per_layer) / len(per_layer)


def discriminator_loss(real_logits: tf.Tensor, restored_logits: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy of a discriminator: real pairs are 1, restored ones 0 (arXiv 1406.2661, on logits)."""
    return tf.reduce_mean(tf.nn.softplus(-real_logits)) + tf.reduce_mean(tf.nn.softplus(restored_logits))


def adversarial_loss(restored_logits: tf.Tensor) -> tf.Tensor:
    """Non-saturating generator loss: the cross-entropy of calling the restored image real."""
    return tf.reduce_mean(tf.nn.softplus(-restored_logits))


def critic_loss(real_scores: tf.Tensor, generated_scores: tf.Tensor) -> tf.Tensor:
    """Wasserstein critic loss without the penalty (Gulrajani et al. 2017, arXiv 1704.00028, algorithm 1)."""
    return tf.reduce_mean(generated_scores) - tf.reduce_mean(real_scores)


def wasserstein_loss(generated_scores: tf.Tensor) -> tf.Tensor:
    """Wasserstein generator loss: minus the critic's score of generated images."""
    return -tf.reduce_mean(generated_scores)


def gradient_penalty(
    critic: Callable[[tf.Tensor], tf.Tensor], real: tf.Tensor, generated: tf.Tensor, epsilon: tf.Tensor
) -> tf.Tensor:
    """(||grad critic(epsilon * real + (1 - epsilon) * generated)|| - 1)^2, the norm over all pixels of one image.

    Gulrajani et al. 2017, algorithm 1.

    Args:
        critic: callable from images to (batch, 1) scores.
        real, generated: images, (batch, height, width, 1).
        epsilon: (batch, 1, 1, 1), from U[0, 1].

    Returns:
        The mean penalty, a scalar.
    """
    mixed = epsilon * real + (1.0 - epsilon) * generated
    with tf.GradientTape() as tape:
        tape.watch(mixed)
        scores = critic(mixed)
    gradient = tape.gradient(scores, mixed)
    # The tiny constant keeps the square root differentiable where the gradient is zero.
    norm = tf.sqrt(tf.reduce_sum(tf.square(gradient), axis=(1, 2, 3)) + 1e-12)
    return tf.reduce_mean(tf.square(norm - 1.0))


def least_squares_loss(logits: tf.Tensor, target: float) -> tf.Tensor:
    """Mean squared distance of a discriminator's map from `target`, 1 for real (Mao et al., arXiv 1611.04076)."""
    return tf.reduce_mean(tf.square(logits - target))


def spectrum_loss(generated: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """Mean absolute difference of logarithms of power, any shape (`methods/defect_statistics.py`)."""
    return tf.reduce_mean(tf.abs(generated - real))


def noise_loss(generated: tuple[tf.Tensor, tf.Tensor], real: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Mean absolute difference of (logarithms, weights), weighted by the smaller of both weights; 0 without any."""
    weights = tf.minimum(real[1], generated[1])
    return tf.math.divide_no_nan(tf.reduce_sum(weights * tf.abs(generated[0] - real[0])), tf.reduce_sum(weights))


def pixel_loss(restored: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Mean absolute difference."""
    return tf.reduce_mean(tf.abs(restored - y))


def psnr_loss(restored: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Minus the PSNR of each image at data range 1, in dB, mean over images; an error of 0.3 % counts as none.

    Every image is judged by its own error, as the metric does. Under a mean of differences the few images that are
    hard to restore outweigh the rest (Chen et al., arXiv 2105.06086, trained restoring networks with it).
    """
    mean_square = tf.reduce_mean(tf.square(restored - y), axis=(1, 2, 3))
    return tf.reduce_mean(tf.math.log(mean_square + 1e-5)) * (10.0 / math.log(10.0))


def ssim_loss(restored: tf.Tensor, y: tf.Tensor, window: int = 7) -> tf.Tensor:
    """1 - SSIM (Wang et al. 2004) over window x window pixels of equal weight, scikit-image's way, data range 1."""

    def local_mean(images):
        return tf.nn.avg_pool2d(images, window, 1, "VALID")

    unbiased = window**2 / (window**2 - 1)
    mean_a, mean_b = local_mean(restored), local_mean(y)
    variances = unbiased * (local_mean(tf.square(restored)) + local_mean(tf.square(y)) - mean_a**2 - mean_b**2)
    covariance = unbiased * (local_mean(restored * y) - mean_a * mean_b)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return 1.0 - tf.reduce_mean(luminance * (2 * covariance + c2) / (variances + c2))
