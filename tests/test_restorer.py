"""The restorer: recipe `tuned` trains and keeps a generator alone."""

import keras
import numpy as np
import tensorflow as tf
from small_methods import is_descent, pair_batch, small_restorer, tensors

import losses
import models
from methods.restorer import Restorer
from recipes import RECIPES


def test_restorer_step_is_gradient_descent_on_the_whole_objective():
    restorer, reference = small_restorer(), small_restorer()
    batch = tensors(pair_batch(np.random.default_rng(0)))
    batch["x"] = tf.clip_by_value(batch["x"], models.LOWEST_SEEN, models.HIGHEST_SEEN)
    restorer.train_step(batch)
    with tf.GradientTape() as tape:
        restored = reference.generator(batch["x"])
        objective = 0.005 * losses.psnr_loss(restored, batch["y"]) + 0.1 * losses.ssim_loss(restored, batch["y"])
    gradients = tape.gradient(objective, reference.generator.trainable_variables)
    assert is_descent(reference.generator, gradients, restorer.generator, 0.1)


def test_a_pixel_beyond_the_limits_is_to_stay_as_it_is_whatever_its_height_and_its_y():
    updated = []
    for height, y in ((60.0, 0.0), (1e4, 50.0)):
        keras.utils.set_random_seed(1)
        networks = [models.tuned_generator((4, 4)) for _ in range(2)]
        restorer = Restorer({"generator": networks[0]}, {"generator": keras.optimizers.SGD(0.1)}, networks[1], 0.9, 7)
        restorer.terms, batch = RECIPES["tuned"].cgan.terms, pair_batch(np.random.default_rng(0))
        batch["x"] = np.clip(batch["x"], models.LOWEST_SEEN, models.HIGHEST_SEEN)
        batch["x"][:, 3, 4], batch["y"][:, 3, 4] = height, y
        values = restorer.train_step(tensors(batch))
        updated.append([float(values["psnr"]), *(w.numpy() for w in restorer.generator.weights)])
    for once, again in zip(*updated, strict=True):
        np.testing.assert_allclose(once, again, atol=2e-3)


def test_recipe_tuned_has_no_discriminator():
    keras.utils.set_random_seed(1)
    restorer = RECIPES["tuned"].cgan.build(1, 2, None)
    assert list(restorer.networks) == ["generator"]
    assert list(restorer.variables()) == ["generator", "released", "generator_optimizer"]
    values = restorer.train_step(tensors(pair_batch(np.random.default_rng(0))))
    assert list(values) == ["psnr", "ssim", "gradient_psnr", "gradient_ssim"]
