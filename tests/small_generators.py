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


def uneven_generator(tmp_path, dropout=0.0, no_rotate=()):
    """Saves a generator whose result depends on how the image is turned; its path."""
    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, 1))
    z = keras.layers.Dropout(dropout)(keras.layers.Conv2D(4, 3, padding="same")(image)) if dropout else image
    model = keras.Model(image, keras.layers.Add()([image, keras.layers.Conv2D(1, 3, padding="same")(z)]))
    details = Metadata("cGAN", "tuned", ["A"], PercentileNormalization({"A": (1.0, 0.0)}), no_rotate, 4)
    save_generator(model, tmp_path / "generator.h5", details)
    return tmp_path / "generator.h5"


def cin_generator(tmp_path, noise=1):
    """Saves a CIN-GAN's generator that adds noise of a tenth of the image's span; its path."""
    image, task = keras.Input((None, None, 1)), keras.Input((1,), dtype="int32")
    grain = keras.Input((None, None, 1))
    added = keras.layers.Rescaling(0.1)(grain) if noise else keras.layers.Rescaling(0.0)(image)
    inputs = [image, task, grain] if noise else [image, task]
    gate = keras.layers.Reshape((1, 1, 1))(keras.layers.Embedding(1, 1, embeddings_initializer="ones")(task))
    model = keras.Model(inputs, keras.layers.Add()([image, keras.layers.Multiply()([added, gate])]))
    scales = FixedNormalization({"A": ((0, 1000), (0, 1000))})
    details = Metadata("CIN-GAN", "tuned", ["A"], scales, (), 4, noise_channels=noise)
    save_generator(model, tmp_path / "cin.h5", details)
    return tmp_path / "cin.h5"


def write_run(run, tasks, iterations, gained=1, **arguments):
    """A generator that gives its input back, and a log: 0.5 s an iteration, `gained` dB in the last third."""
    run.mkdir(parents=True)
    same = FixedNormalization({task: (Scale(0, 1), Scale(0, 1)) for task in tasks})
    save_generator(identity_generator(), run / "generator.h5", Metadata("cGAN", "paper", tasks, same, [], 4))
    heads = ["iteration", "seconds", *(f"affine_psnr_{task}" for task in tasks)]
    rows = [(i, i / 2, *(21 - gained * (i < iterations) for _ in tasks)) for i in (2 * iterations // 3, iterations)]
    (run / "args.json").write_text(json.dumps({"arguments": arguments, "versions": {}, "not_default": []}))
    (run / "log.csv").write_text("\n".join(",".join(map(str, row)) for row in [heads, *rows]) + "\n")
