"""CIN-GAN's step against autodiff, and what it leaves alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_methods import is_descent, small_cin_gan, tensors, unpaired_batch

import losses
import models
from methods.defect_statistics import DefectStatistics


@pytest.fixture(autouse=True)
def short_blur(monkeypatch):
    """Two of the seven averages that a blur of the tuned CIN generator is made of: the steps are tested, not they."""
    monkeypatch.setattr(models, "BLUR_SIDES", (3, 5))


def test_cin_gan_step_is_two_critic_updates_and_one_of_the_generator():
    """WGAN-GP's algorithm 1 and the generator's objective written out, with the margin of 2 pixels cut off."""
    gan, reference = small_cin_gan(), small_cin_gan()
    batch = tensors(unpaired_batch(np.random.default_rng(0)))
    gan.train_step(batch)
    generator, critic, inside = reference.generator, reference.networks["critic"], np.s_[:, 2:-2, 2:-2]

    def part(update):
        x, y, noise, task, epsilon = (batch[name][:, update] for name in ("x", "y", "noise", "task", "epsilon"))
        return x[inside], epsilon, task, lambda: generator([y, task, noise])[inside]

    for update in range(2):
        x, epsilon, task, generate = part(update)
        generated = generate()
        mixed = epsilon * x + (1 - epsilon) * generated
        with tf.GradientTape() as tape:
            with tf.GradientTape() as inner:
                inner.watch(mixed)
                scores = critic([mixed, task])
            slope = tf.sqrt(tf.reduce_sum(inner.gradient(scores, mixed) ** 2, axis=(1, 2, 3)))
            loss = tf.reduce_mean(critic([generated, task])) - tf.reduce_mean(critic([x, task]))
            loss += 10 * tf.reduce_mean((slope - 1) ** 2)
        for variable, gradient in zip(
            critic.trainable_variables, tape.gradient(loss, critic.trainable_variables), strict=True
        ):
            variable.assign_sub(0.01 * tf.convert_to_tensor(gradient))
    x, _, task, generate = part(2)
    with tf.GradientTape() as tape:
        generated = generate()
        real, made = DefectStatistics(2)(x, generated, task)
        objective = losses.spectrum_loss(made["spectrum"], real["spectrum"]) + losses.noise_loss(
            made["noise"], real["noise"]
        )
        objective -= tf.reduce_mean(critic([generated, task]))
    assert all(
        np.allclose(a, b, atol=1e-5) for a, b in zip(critic.weights, gan.networks["critic"].weights, strict=True)
    )
    assert is_descent(generator, tape.gradient(objective, generator.trainable_variables), gan.generator, 0.01)


def test_cin_gan_trains_generator_and_critic_of_drawn_tasks_only():
    """Embedding rows of a task that is not drawn stay as they were under SGD."""
    gan = small_cin_gan()
    table = next(layer for layer in gan.generator.layers if isinstance(layer, keras.layers.Embedding)).embeddings
    before = table.numpy()
    batch = unpaired_batch(np.random.default_rng(0))
    batch["task"] = np.ones_like(batch["task"])
    gan.train_step(tensors(batch))
    after = table.numpy()
    assert np.array_equal(before[0], after[0]) and not np.array_equal(before[1], after[1])
