"""The methods that the paper compares with: CARE, DeblurGAN and CycleGAN, one network per task, as published.

CARE's network and loss are csbdeep's own. DeblurGAN and CycleGAN use the networks and losses of this project, which
are theirs: the paper's generator is DeblurGAN's, and both papers judge with a PatchGAN.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Callable
from types import ModuleType

import keras
import tensorflow as tf
from keras import layers

import losses
import models
from methods import gans
from recipes import Baseline

DEBLUR_WEIGHTS = {"content": 100.0, "wasserstein": 1.0}  # arXiv 1711.07064, section 3.1
CYCLE_WEIGHT, IDENTITY_WEIGHT = 10.0, 5.0  # arXiv 1703.10593, section 5.2: identity is half of cycle
POOL_SIZE = 50


class CARE(gans.Method):
    """Content-aware restoration (Weigert et al. 2018): a U-Net trained on pairs with csbdeep's loss, no GAN."""

    def __init__(self, *args, loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], **kwargs):
        super().__init__(*args, **kwargs)
        # Its source is not to be converted: AutoGraph cannot read it, and would say so.
        self.loss = tf.autograph.experimental.do_not_convert(loss)

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One update; `batch` is {"x", "y"}, each (batch, height, width, 1)."""
        with tf.GradientTape() as tape:
            restored = tf.cast(self.generator(batch["x"], training=True), tf.float32)
            loss = tf.reduce_mean(self.loss(batch["y"], restored))
            replica_loss = loss / self.replicas
        self._update("generator", tape.gradient(replica_loss, self.generator.trainable_variables))
        return {"mae": loss}


class DeblurGAN(gans.Method):
    """Kupyn et al. 2018, arXiv 1711.07064: WGAN-GP on the restored image and VGG content."""

    def __init__(self, *args, n_critic: int, **kwargs):
        super().__init__(*args, **kwargs)
        self.critic, self.n_critic = self.networks["critic"], n_critic

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """`n_critic` critic updates and one generator update on the same pairs, as the authors' code does.

        Args:
            batch: {"x", "y": (batch, height, width, 1), "epsilon": (batch, n_critic, 1, 1, 1) from U[0, 1]}.

        Returns:
            {name: scalar}: losses and gradient norms.
        """
        x, y = batch["x"], batch["y"]
        y_features = self._vgg(y)[-1]
        with tf.GradientTape() as generator_tape:
            restored = self.generator(x, training=True)
        for update in range(self.n_critic):
            critic_losses = self._update_critic(self._score, y, restored, batch["epsilon"][:, update])
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(restored)
            terms = {
                "wasserstein": losses.wasserstein_loss(self._score(restored)),
                "content": losses.content_loss(self._vgg(restored)[-1], y_features),
            }
        norms = self._update_generator(generator_tape, tape, terms, DEBLUR_WEIGHTS, restored)
        return {**terms, **critic_losses, **norms}

    def _score(self, images):
        # This project's critic knows its task; here there is one task per network.
        return self.critic([images, tf.zeros((tf.shape(images)[0], 1), tf.int32)], training=True)


class CycleGAN(gans.Method):
    """Zhu et al. 2017, arXiv 1703.10593: x to y and back, least-squares discriminators, unpaired."""

    def __init__(self, *args, patch: tuple[int, int], **kwargs):
        super().__init__(*args, **kwargs)
        self.reverse = self.networks["reverse_generator"]
        self.judge_y, self.judge_x = self.networks["discriminator_y"], self.networks["discriminator_x"]
        self.pools = [tf.Variable(tf.zeros((POOL_SIZE, *patch, 1)), trainable=False) for _ in range(2)]

    def variables(self) -> dict[str, list]:
        """Adds the two pools of generated images to the checkpoint."""
        return {**super().variables(), "pools": self.pools}

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One update of both generators, then of both discriminators on images from the pools.

        Args:
            batch: {"x", "y": (batch, height, width, 1), unpaired; "slot": (batch, 2) int32; "swap": (batch, 2) bool},
                the last two for y's pool and x's (`from_pool`).

        Returns:
            {name: scalar}: losses.
        """
        x, y = batch["x"], batch["y"]
        generators = [*self.generator.trainable_variables, *self.reverse.trainable_variables]
        with tf.GradientTape() as tape:
            made_y, made_x = self.generator(x, training=True), self.reverse(y, training=True)
            terms = self._generator_terms(x, y, made_x, made_y)
            loss = terms["adversarial"] + CYCLE_WEIGHT * terms["cycle"] + IDENTITY_WEIGHT * terms["identity"]
        gradients = tape.gradient(loss, generators)
        old_y = from_pool(self.pools[0], made_y, batch["slot"][:, 0], batch["swap"][:, 0])
        old_x = from_pool(self.pools[1], made_x, batch["slot"][:, 1], batch["swap"][:, 1])
        split = len(self.generator.trainable_variables)
        self._update("generator", gradients[:split])
        self._update("reverse_generator", gradients[split:])
        judged_y = self._update_discriminator("discriminator_y", y, old_y)
        return {**terms, "discriminator": judged_y + self._update_discriminator("discriminator_x", x, old_x)}

    def _generator_terms(self, x, y, made_x, made_y):
        judged = [self.judge_y(made_y, training=True), self.judge_x(made_x, training=True)]
        back_x, back_y = self.reverse(made_y, training=True), self.generator(made_x, training=True)
        same_y, same_x = self.generator(y, training=True), self.reverse(x, training=True)
        return {
            "adversarial": tf.add_n([losses.least_squares_loss(logits, 1.0) for logits in judged]),
            "cycle": losses.pixel_loss(back_x, x) + losses.pixel_loss(back_y, y),
            "identity": losses.pixel_loss(same_y, y) + losses.pixel_loss(same_x, x),
        }

    def _update_discriminator(self, name, real, generated):
        network = self.networks[name]
        with tf.GradientTape() as tape:
            judged_real, judged_generated = network(real, training=True), network(generated, training=True)
            # Halved, so that the discriminator learns more slowly than the generators (section 7.1 of the paper).
            loss = 0.5 * (
                losses.least_squares_loss(judged_real, 1.0) + losses.least_squares_loss(judged_generated, 0.0)
            )
        self._update(name, tape.gradient(loss, network.trainable_variables))
        return loss


def from_pool(pool: tf.Variable, images: tf.Tensor, slots: tf.Tensor, swaps: tf.Tensor) -> tf.Tensor:
    """Exchange newly generated images for older ones (Shrivastava et al., arXiv 1612.07828, section 2.3).

    Args:
        pool: variable, (size, height, width, 1).
        images: new images, (batch, height, width, 1).
        slots: (batch,) int32, where each new image is kept; -1 keeps it nowhere.
        swaps: (batch,) bool, whether the image that was there is given instead of the new one.

    Returns:
        Images of `images`' shape. One after the other: an image of this batch may be given for a later one.
    """
    given = []
    for image, slot, swap in zip(
        tf.unstack(images), tf.unstack(slots, images.shape[0]), tf.unstack(swaps, images.shape[0]), strict=True
    ):
        place = tf.maximum(slot, 0)
        old = tf.gather(pool, place)
        given.append(tf.where(swap, old, image))
        pool.scatter_update(tf.IndexedSlices(tf.where(slot >= 0, image, old)[None], place[None]))
    return tf.stack(given)


def deblur_generator() -> keras.Model:
    """DeblurGAN's generator: 9 residual blocks of 256, dropout 0.5, and a global skip.

    The authors' code clips the sum to [-1, 1]. A clipped pixel has no gradient: dark images, most of them near -1,
    were all clipped within 40 iterations and stayed so. Here the sum is left as it is.
    """
    image = keras.Input((None, None, 1), name="image")
    correction = models.resnet(image, models.instance_normalization, 9, 0.5)
    return keras.Model(image, layers.Add(dtype="float32")([image, correction]), name="deblur_generator")


def cycle_generator(width: int = 64) -> keras.Model:
    """CycleGAN's generator: 9 residual blocks of 4 `width`, no skip around the network."""
    image = keras.Input((None, None, 1), name="image")
    body = models.resnet(image, models.instance_normalization, 9, width=width)
    return keras.Model(image, body, name="cycle_generator")


class HalfThenLinear(keras.optimizers.schedules.LearningRateSchedule):
    """Constant for the first half of the updates, then linearly to 0, as DeblurGAN and CycleGAN are published."""

    def __init__(self, start: float, updates: int):
        self.start, self.updates = start, updates

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Learning rate of an update."""
        left = 1.0 - tf.cast(step, tf.float32) / self.updates
        return self.start * tf.clip_by_value(2.0 * left, 0.0, 1.0)

    def get_config(self) -> dict[str, float]:
        """Arguments, for Keras."""
        return {"start": self.start, "updates": self.updates}


def load_csbdeep() -> ModuleType:
    """CARE's own library; it greets on import where it finds no GPU, which is held back."""
    with contextlib.redirect_stdout(io.StringIO()):
        import csbdeep.models
    return csbdeep


def build_care(
    args: argparse.Namespace, baseline: Baseline, patch: tuple[int, int], features: keras.Model | None
) -> CARE:
    """CARE as csbdeep builds it: 2-D U-Net, depth 2, 32 filters of 5 x 5, residual, mean absolute error."""
    csbdeep = load_csbdeep()
    from csbdeep.internals.losses import loss_mae

    def build():
        return csbdeep.models.CARE(csbdeep.models.Config("YX"), name="care", basedir=None).keras_model

    return CARE(
        {"generator": build()},
        {"generator": keras.optimizers.Adam(baseline.learning_rate)},
        gans.build_float32(build),
        baseline.average_decay if args.augment else None,
        args.seed,
        loss=loss_mae(),
    )


def build_deblurgan(
    args: argparse.Namespace, baseline: Baseline, patch: tuple[int, int], features: keras.Model | None
) -> DeblurGAN:
    """DeblurGAN with this project's critic, which has no normalisation: the gradient penalty is per image."""
    updates = {"generator": args.num_iters, "critic": args.num_iters * args.n_critic}
    rates = {name: HalfThenLinear(baseline.learning_rate, count) for name, count in updates.items()}
    return DeblurGAN(
        {"generator": deblur_generator(), "critic": models.patch_critic(1)},
        {name: keras.optimizers.Adam(rate, beta_1=0.5) for name, rate in rates.items()},
        gans.build_float32(deblur_generator),
        None,
        args.seed,
        features,
        n_critic=args.n_critic,
    )


def build_cyclegan(
    args: argparse.Namespace, baseline: Baseline, patch: tuple[int, int], features: keras.Model | None
) -> CycleGAN:
    """CycleGAN with 70 x 70 PatchGANs."""
    networks = {
        "generator": cycle_generator(),
        "reverse_generator": cycle_generator(),
        "discriminator_y": models.patch_discriminator(conditional=False),
        "discriminator_x": models.patch_discriminator(conditional=False),
    }
    rate = HalfThenLinear(baseline.learning_rate, args.num_iters)
    adams = {name: keras.optimizers.Adam(rate, beta_1=0.5) for name in networks}
    return CycleGAN(networks, adams, gans.build_float32(cycle_generator), None, args.seed, patch=patch)


BUILDERS = {"care": build_care, "deblurgan": build_deblurgan, "cyclegan": build_cyclegan}
