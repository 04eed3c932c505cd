"""Small cGAN, restorer and CIN-GAN, batches for them, and a few iterations of their training."""

import keras
import numpy as np
import tensorflow as tf

import models
from methods.cgan import ConditionalGAN
from methods.cin_gan import CINGAN
from methods.defect_statistics import DefectStatistics
from methods.restorer import Restorer
from recipes.recipe import Term
from training.loop import compile_step, distribute_batches

SIZE = 20
DISTANCES = (Term("psnr", 0.005, "psnr_loss"), Term("ssim", 0.1, "ssim_loss"))
ADVERSARIAL = Term("adversarial", 0.1, "adversarial_loss", "judgement", None)
DEFECTS = (
    Term("wasserstein", 1.0, "wasserstein_loss", "judgement", None),
    Term("spectrum", 1.0, "spectrum_loss", "spectrum", "x"),
    Term("noise", 1.0, "noise_loss", "noise", "x"),
)


class FixedBatches:
    """Batches drawn from the iteration number, as the real ones are."""

    def __init__(self, make):
        self.make, self.batch_size = make, 4

    def __call__(self, iteration):
        return self.make(np.random.default_rng(iteration))


def pair_batch(rng):
    return {name: rng.standard_normal((4, SIZE, SIZE, 1)).astype(np.float32) for name in "xy"}


def unpaired_batch(rng):
    image = (4, 3, SIZE, SIZE, 1)
    batch = {name: rng.standard_normal(image).astype(np.float32) for name in ("x", "y", "noise")}
    task = rng.integers(0, 2, (4, 3, 1)).astype(np.int32)
    return {**batch, "task": task, "epsilon": rng.random((4, 3, 1, 1, 1)).astype(np.float32)}


def small_generator(dropout=0.0):
    image = keras.Input((None, None, 1))
    z = keras.layers.Conv2D(4, 3, padding="same", activation="tanh")(image)
    z = keras.layers.Dropout(dropout)(z)
    return keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(z))


def small_cgan(optimizer=lambda: keras.optimizers.SGD(0.1), average_decay=0.9, dropout=0.0, seed=1):
    keras.utils.set_random_seed(seed)
    return ConditionalGAN(
        {"generator": small_generator(dropout), "discriminator": models.patch_discriminator((4, 8), normalize=False)},
        {"generator": optimizer(), "discriminator": optimizer()},
        small_generator(dropout),
        average_decay,
        7,
        terms=(*DISTANCES, ADVERSARIAL),
    )


def small_restorer(optimizer=lambda: keras.optimizers.SGD(0.1)):
    keras.utils.set_random_seed(1)
    optimizers = {"generator": optimizer()}
    return Restorer({"generator": small_generator()}, optimizers, small_generator(), 0.9, 7, terms=DISTANCES)


def small_cin_gan(optimizer=lambda: keras.optimizers.SGD(0.01)):
    keras.utils.set_random_seed(1)
    return CINGAN(
        {"generator": models.tuned_cin_generator(2), "critic": models.patch_critic(2, (4, 8))},
        {"generator": optimizer(), "critic": optimizer()},
        models.tuned_cin_generator(2),
        0.9,
        7,
        terms=DEFECTS,
        n_critic=2,
        gp_weight=10.0,
        margin=2,
        statistics=DefectStatistics(2),
    )


BUILDERS = {
    "cgan": (small_cgan, pair_batch),
    "restorer": (small_restorer, pair_batch),
    "cin_gan": (small_cin_gan, unpaired_batch),
}


def run(method, make_batch, start, stop, strategy=None):
    """Train some iterations; returns (weights of all networks and the released copy, last losses)."""
    strategy = strategy or tf.distribute.get_strategy()
    step = compile_step(strategy, method)
    data = iter(distribute_batches(strategy, FixedBatches(make_batch), start, stop))
    for iteration in range(start, stop):
        values = step(tf.constant(iteration, tf.int64), next(data))
    values = {name: float(value) for name, value in values.items()}
    assert np.isfinite(list(values.values())).all()
    names = [*method.networks, "released"]
    return [np.asarray(v) for name in names for v in method.variables()[name]], values


def tensors(batch):
    return {name: tf.constant(value) for name, value in batch.items()}


def is_descent(before, gradients, after, rate):
    """Whether each variable moved against its gradient by `rate` times it."""
    moved = zip(before.trainable_variables, gradients, after.trainable_variables, strict=True)
    return all(np.allclose(old - rate * tf.convert_to_tensor(gradient), new, atol=1e-5) for old, gradient, new in moved)
