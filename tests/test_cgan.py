"""The cGAN's step against autodiff of both objectives."""

import numpy as np
import tensorflow as tf
from small_methods import is_descent, pair_batch, small_cgan, tensors

import losses


def test_cgan_step_is_gradient_descent_on_the_whole_objective():
    """The shared forward passes give the gradients that autodiff of the two objectives gives."""
    gan, reference = small_cgan(), small_cgan()
    batch = tensors(pair_batch(np.random.default_rng(0)))
    gan.train_step(batch)
    generator, discriminator = reference.networks["generator"], reference.networks["discriminator"]
    with tf.GradientTape(persistent=True) as tape:
        restored = generator(batch["x"])
        objective = 0.005 * losses.psnr_loss(restored, batch["y"]) + 0.1 * losses.ssim_loss(restored, batch["y"])
        objective += 0.1 * losses.adversarial_loss(discriminator([batch["x"], restored]))
        real_logits = discriminator([batch["x"], batch["y"]])
        restored_logits = discriminator([batch["x"], tf.stop_gradient(restored)])
        judged = losses.discriminator_loss(real_logits, restored_logits)
    for name, loss in (("generator", objective), ("discriminator", judged)):
        network = reference.networks[name]
        assert is_descent(network, tape.gradient(loss, network.trainable_variables), gan.networks[name], 0.1)
