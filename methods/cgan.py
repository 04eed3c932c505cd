"""The conditional GAN that restores (arXiv 1910.14207, section 2.2): content + adversarial loss, on pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import tensorflow as tf

import losses
from methods.method import Method, build_float32, make_adam

if TYPE_CHECKING:
    from recipes.recipe import CganPart


class ConditionalGAN(Method):
    """A generator that makes y of x, and a discriminator that sees (x, y) and (x, restored)."""

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One update of both networks, from one forward pass of each.

        Args:
            batch: {"x", "y"}, each (batch, height, width, 1).

        Returns:
            {name: scalar}: this replica's losses and gradient norms.
        """
        x, y = batch["x"], batch["y"]
        discriminator = self.networks["discriminator"]
        real = {"y": self.look_at(y)}
        with tf.GradientTape() as generator_tape:
            restored = self.generator(x, training=True)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(restored)
            logits = discriminator([x, restored], training=True)
            terms = self.losses_of({**self.look_at(restored), "judgement": logits}, real)
            judged = losses.discriminator_loss(discriminator([x, y], training=True), logits)
            replica_loss = self.scaled("discriminator", judged / self.replicas)
        # Taken before the generator's update, applied after it: both see the other network as it was.
        gradients = tape.gradient(replica_loss, discriminator.trainable_variables)
        norms = self.update_generator(generator_tape, tape, terms, self.weights(), restored)
        self.update("discriminator", gradients)
        return {**terms, "discriminator": judged, **norms}


def build(part: CganPart, seed: int, num_iters: int, features: keras.Model | None) -> ConditionalGAN:
    """The cGAN of a recipe, ready to train: see `CganPart.build`."""
    networks = {"generator": part.generator(), "discriminator": part.discriminator()}
    adams = {name: make_adam(part.adam, num_iters) for name in networks}
    released = build_float32(part.generator)
    return ConditionalGAN(networks, adams, released, part.average_decay, seed, features, part.terms)
