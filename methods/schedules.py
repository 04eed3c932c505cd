"""Learning rates that depend on the update and on how many are planned, never on the clock."""

from __future__ import annotations

import keras
import tensorflow as tf


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
