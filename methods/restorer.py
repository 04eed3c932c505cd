"""A generator that restores, trained on pairs by distances to y alone: recipe `tuned`'s, which is no GAN."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import tensorflow as tf

import models
from methods.method import Method, build_float32, make_adam

if TYPE_CHECKING:
    from recipes.recipe import CganPart


class Restorer(Method):
    """A generator that makes y of x."""

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One update.

        Args:
            batch: {"x", "y"}, each (batch, height, width, 1).

        Returns:
            {name: scalar}: this replica's losses and gradient norms.
        """
        x, y = batch["x"], batch["y"]
        # What lies beyond the limits, a hot pixel or a bead, is added to what the generator makes: it is to stay.
        beyond = x - tf.clip_by_value(x, models.LOWEST_SEEN, models.HIGHEST_SEEN)
        y = tf.where(beyond == 0.0, y, x - beyond)
        real = {"y": self.look_at(y)}
        with tf.GradientTape() as generator_tape:
            restored = self.generator(x, training=True)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(restored)
            terms = self.losses_of(self.look_at(restored - beyond), real)
        return {**terms, **self.update_generator(generator_tape, tape, terms, self.weights(), restored)}


def build(part: CganPart, seed: int, num_iters: int, features: keras.Model | None) -> Restorer:
    """The restorer of a recipe, ready to train: see `CganPart.build`."""
    networks = {"generator": part.generator()}
    adams = {"generator": make_adam(part.adam, num_iters)}
    released = build_float32(part.generator)
    return Restorer(networks, adams, released, part.average_decay, seed, features, part.terms)
