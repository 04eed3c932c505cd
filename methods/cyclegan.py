"""CycleGAN (Zhu et al. 2017, arXiv 1703.10593): x to y and back, least-squares discriminators, unpaired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_utils import Task
from methods.baseline import Baseline
from methods.batches import Sampling, UnpairedBatches
from methods.method import Method, build_float32
from restoring.normalization import FixedNormalization, Normalization, fit_unpaired_range

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

CYCLE_WEIGHT, IDENTITY_WEIGHT = 10.0, 5.0  # section 5.2: identity is half of cycle
POOL_SIZE = 50
STREAM_POOL = 11  # of random numbers, beside those of batches.py


class CycleGAN(Method):
    """Two generators and a discriminator for the images of each."""

    def __init__(self, *args, patch: tuple[int, int], **kwargs):
        import tensorflow as tf

        super().__init__(*args, **kwargs)
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
        import tensorflow as tf

        x, y, slot, swap = batch["x"], batch["y"], batch["slot"], batch["swap"]
        forward, reverse = self.generator, self.networks["reverse_generator"]
        with tf.GradientTape() as tape:
            made_y, made_x = forward(x, training=True), reverse(y, training=True)
            terms = self.generator_terms(x, y, made_x, made_y)
            loss = terms["adversarial"] + CYCLE_WEIGHT * terms["cycle"] + IDENTITY_WEIGHT * terms["identity"]
        gradients = tape.gradient(loss, [*forward.trainable_variables, *reverse.trainable_variables])
        old_y = from_pool(self.pools[0], made_y, slot[:, 0], swap[:, 0])
        old_x = from_pool(self.pools[1], made_x, slot[:, 1], swap[:, 1])
        split = len(forward.trainable_variables)
        self.update("generator", gradients[:split])
        self.update("reverse_generator", gradients[split:])
        judged_y = self._update_discriminator("discriminator_y", y, old_y)
        return {**terms, "discriminator": judged_y + self._update_discriminator("discriminator_x", x, old_x)}

    def generator_terms(self, x: tf.Tensor, y: tf.Tensor, made_x: tf.Tensor, made_y: tf.Tensor) -> dict[str, tf.Tensor]:
        """{name: scalar}: what both generators minimise together, unweighted."""
        import tensorflow as tf

        import losses

        forward, reverse = self.generator, self.networks["reverse_generator"]
        judged = [
            self.networks["discriminator_y"](made_y, training=True),
            self.networks["discriminator_x"](made_x, training=True),
        ]
        back_x, back_y = reverse(made_y, training=True), forward(made_x, training=True)
        same_y, same_x = forward(y, training=True), reverse(x, training=True)
        return {
            "adversarial": tf.add_n([losses.least_squares_loss(logits, 1.0) for logits in judged]),
            "cycle": losses.pixel_loss(back_x, x) + losses.pixel_loss(back_y, y),
            "identity": losses.pixel_loss(same_y, y) + losses.pixel_loss(same_x, x),
        }

    def _update_discriminator(self, name, real, generated):
        import tensorflow as tf

        import losses

        network = self.networks[name]
        with tf.GradientTape() as tape:
            judged_real, judged_generated = network(real, training=True), network(generated, training=True)
            # Halved, so that the discriminator learns more slowly than the generators (section 7.1 of the paper).
            loss = 0.5 * (
                losses.least_squares_loss(judged_real, 1.0) + losses.least_squares_loss(judged_generated, 0.0)
            )
        self.update(name, tape.gradient(loss, network.trainable_variables))
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
    import tensorflow as tf

    given = []
    for image, slot, swap in zip(
        tf.unstack(images), tf.unstack(slots, images.shape[0]), tf.unstack(swaps, images.shape[0]), strict=True
    ):
        place = tf.maximum(slot, 0)
        old = tf.gather(pool, place)
        given.append(tf.where(swap, old, image))
        pool.scatter_update(tf.IndexedSlices(tf.where(slot >= 0, image, old)[None], place[None]))
    return tf.stack(given)


class CycleBatches(UnpairedBatches):
    """x and y drawn independently, so that no pairing leaks in, and what the pools of generated images do.

    `batches(iteration)` gives {"x", "y": (batch_size, height, width, 1), "slot": (batch_size, 2) int32, "swap":
    (batch_size, 2) bool}. The first `pool_size` images fill a pool. Of every later one a coin decides: it takes a
    random slot and the image that was there is used, or it is used itself and not kept (slot -1).
    """

    def __init__(self, task: Task, normalization: Normalization, sampling: Sampling, pool_size: int):
        super().__init__([task], normalization, sampling, updates=1, mixed_tasks=True, noise_channels=0)
        self.pool_size = pool_size

    def __call__(self, iteration: int) -> dict[str, np.ndarray]:
        images = super().__call__(iteration)
        rng = np.random.default_rng([self.seed, STREAM_POOL, iteration])
        number = iteration * self.batch_size + np.arange(self.batch_size)[:, None]
        random_slot, coin = rng.integers(self.pool_size, size=(self.batch_size, 2)), rng.random((self.batch_size, 2))
        filling = np.broadcast_to(number < self.pool_size, coin.shape)
        swap = ~filling & (coin < 0.5)
        slot = np.where(filling, number, np.where(swap, random_slot, -1))
        return {"x": images["x"][:, 0], "y": images["y"][:, 0], "slot": slot.astype(np.int32), "swap": swap}


def cycle_generator(width: int = 64) -> keras.Model:
    """9 residual blocks of 4 `width`, no skip around the network."""
    import keras

    import models

    image = keras.Input((None, None, 1), name="image")
    body = models.resnet(image, models.instance_normalization, 9, width=width)
    return keras.Model(image, body, name="cycle_generator")


@dataclass(frozen=True, kw_only=True)
class CycleBaseline(Baseline):
    """CycleGAN with 70 x 70 PatchGANs; all networks have `width` filters at full resolution."""

    width: int = 64

    def fit_normalization(self, task: Task) -> FixedNormalization:
        """The range of the unpaired images."""
        return fit_unpaired_range([task])

    def make_batches(
        self, task: Task, normalization: Normalization, sampling: Sampling, augment: bool, n_critic: int
    ) -> Callable[[int], dict]:
        """Random crops with flips."""
        return CycleBatches(task, normalization, sampling, POOL_SIZE)

    def build(
        self,
        patch: tuple[int, int],
        seed: int,
        num_iters: int,
        augment: bool,
        n_critic: int,
        features: keras.Model | None,
    ) -> CycleGAN:
        """One rate for all networks."""
        import keras

        import models
        from methods.schedules import HalfThenLinear

        def generator():
            return cycle_generator(self.width)

        def discriminator():
            filters = tuple(self.width * factor for factor in (1, 2, 4, 8))
            return models.patch_discriminator(filters, conditional=False)

        networks = {
            "generator": generator(),
            "reverse_generator": generator(),
            "discriminator_y": discriminator(),
            "discriminator_x": discriminator(),
        }
        rate = HalfThenLinear(self.learning_rate, num_iters)
        adams = {name: keras.optimizers.Adam(rate, beta_1=0.5) for name in networks}
        return CycleGAN(networks, adams, build_float32(generator), None, seed, patch=patch)


BASELINE = CycleBaseline(
    name="CycleGAN",
    folder="CycleGAN_results",
    batch_size=1,
    patch=64,
    learning_rate=2e-4,
    linear=True,
    gflop=390.0,
    unpaired=True,
)
