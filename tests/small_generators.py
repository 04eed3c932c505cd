"""Generators of one layer whose result is known, with metadata."""

import keras

from restoring.generator_file import Metadata
from restoring.normalization import FixedNormalization, PercentileNormalization


def local_mean_generator():
    """A generator that shows tile borders: the mean of 5 x 5 pixels, zeros outside the image."""
    image = keras.Input((None, None, 1))
    layer = keras.layers.Conv2D(1, 5, padding="same", use_bias=False, kernel_initializer="ones")
    return keras.Model(image, keras.layers.Rescaling(1 / 25)(layer(image)))


def identity_generator():
    image = keras.Input((None, None, 1))
    return keras.Model(image, keras.layers.Rescaling(1.0)(image))


TUNED = PercentileNormalization({"A": (0.5, 20.0)})
PAPER = FixedNormalization({"A": ((100, 50), (1000, 400))})


def metadata(normalization=TUNED, script="cGAN", no_rotate=(), **changes):
    return Metadata(script, "tuned", ["A"], normalization, no_rotate, 8, **changes)
