"""The restorer: recipe `tuned` trains and keeps a generator alone."""

import keras
import numpy as np
import tensorflow as tf
from small_methods import is_descent, pair_batch, small_restorer, tensors

import losses
from recipes import RECIPES


def test_restorer_step_is_gradient_descent_on_the_whole_objective():
    restorer, reference = small_restorer(), small_restorer()
    batch = tensors(pair_batch(np.random.default_rng(0)))
    restorer.train_step(batch)
    with tf.GradientTape() as tape:
        restored = reference.generator(batch["x"])
        objective = 0.005 * losses.psnr_loss(restored, batch["y"]) + 0.1 * losses.ssim_loss(restored, batch["y"])
    gradients = tape.gradient(objective, reference.generator.trainable_variables)
    assert is_descent(reference.generator, gradients, restorer.generator, 0.1)


def test_recipe_tuned_has_no_discriminator():
    keras.utils.set_random_seed(1)
    restorer = RECIPES["tuned"].cgan.build(1, 2, None)
    assert list(restorer.networks) == ["generator"]
    assert list(restorer.variables()) == ["generator", "released", "generator_optimizer"]
    values = restorer.train_step(tensors(pair_batch(np.random.default_rng(0))))
    assert list(values) == ["psnr", "ssim", "gradient_psnr", "gradient_ssim"]
