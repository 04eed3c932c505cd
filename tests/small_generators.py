"""Generators of one layer whose result is known, with metadata; run folders of trainings that never were."""

import json

import keras

from restoring.generator_file import Metadata, save_generator
from restoring.normalization import FixedNormalization, PercentileNormalization, Scale


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


def write_run(run, tasks, iterations, gained=1, **arguments):
    """A generator that gives its input back, and a log: 0.5 s an iteration, `gained` dB in the last third."""
    run.mkdir(parents=True)
    same = FixedNormalization({task: (Scale(0, 1), Scale(0, 1)) for task in tasks})
    save_generator(identity_generator(), run / "generator.h5", Metadata("cGAN", "paper", tasks, same, [], 4))
    heads = ["iteration", "seconds", *(f"affine_psnr_{task}" for task in tasks)]
    rows = [(i, i / 2, *(21 - gained * (i < iterations) for _ in tasks)) for i in (2 * iterations // 3, iterations)]
    (run / "args.json").write_text(json.dumps({"arguments": arguments, "versions": {}, "not_default": []}))
    (run / "log.csv").write_text("\n".join(",".join(map(str, row)) for row in [heads, *rows]) + "\n")
