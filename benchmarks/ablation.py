"""Train a method with one of its ingredients removed, or recipe `tuned` with an adversarial term.

    python -m benchmarks ablation --without=ssim --recipe=tuned --images_limit=10 --num_iters=2100
    python -m benchmarks ablation --adversarial=0.003 --recipe=tuned --images_limit=10 --num_iters=1541
    python -m benchmarks ablation --without=dropout --recipe=paper --images_limit=10 --num_iters=100 --batch_size=4
    python -m benchmarks ablation --without=filters --method=cyclegan --images_limit=10 --num_iters=3000

All other flags are those of train_cGAN.py, or of train_baseline.py for a CycleGAN with a quarter of its filters, which
a CPU can take to its end. `quality` and `paper_recipe` run and score them. No other benchmark changes modules.
"""

from functools import partial

import recipes
import train_baseline
import train_cGAN
from common.errors import InputError

# What replaces a field of recipe `tuned`; terms of its objective are removed by their own names.
RECIPE = {
    "averaged weights": {"average_decay": None},
    "flips": {"mirror": False},
    "intensities": {"intensity": 0.0},
    "mixup": {"mixup_after": None},
}
TERMS = ("ssim", "psnr")
NETWORK = ("leaky", "width", "skips")
# Recipe paper: the output (input + tanh) / 2, the normalisation of the generator's features, its dropout.
PAPER = ("halved output", "instance normalization", "dropout")
CYCLEGAN = ("filters",)
INGREDIENTS = (*RECIPE, *TERMS, *NETWORK, *PAPER, *CYCLEGAN)


def change(ingredient, adversarial=0.0):
    """Change the method in this process: remove an ingredient, or add the adversarial term and its discriminator."""
    import models
    from methods import baselines, gans

    if ingredient in RECIPE:
        recipes.RECIPES["tuned"] = recipes.RECIPES["tuned"]._replace(**RECIPE[ingredient])
    elif ingredient in TERMS or adversarial:
        term = {"adversarial": adversarial} if adversarial else {ingredient: 0.0}
        gans.CGAN_WEIGHTS["tuned"] = {**gans.CGAN_WEIGHTS["tuned"], **term}
    elif ingredient in PAPER:
        models.paper_generator = paper_without(ingredient)
    elif ingredient in CYCLEGAN:
        baselines.cycle_generator = partial(baselines.cycle_generator, 16)
        models.patch_discriminator = partial(models.patch_discriminator, (16, 32, 64, 128))
    elif ingredient == "width":
        build = models.tuned_generator
        models.tuned_generator = lambda: build((16, 32, 64))
    elif ingredient == "leaky":
        models._convolve = partial(models._convolve, activation="relu")
    else:
        models._unet = without_skips(models._convolve)


def without_skips(convolve):
    """The U-Net's arithmetic without the connections between its two halves."""
    from keras import layers

    def autoencoder(x, filters):
        for count in filters[:-1]:
            x = layers.MaxPooling2D()(convolve(convolve(x, count), count))
        x = convolve(convolve(x, filters[-1]), filters[-1])
        for count in filters[-2::-1]:
            x = convolve(convolve(layers.UpSampling2D()(x), count), count)
        return x

    return autoencoder


def paper_without(ingredient):
    """The function that builds the paper's generator, one ingredient left out."""
    import keras

    import models

    def build():
        image = keras.Input((None, None, 1), name="image")
        normalized, halved = ingredient != "instance normalization", ingredient != "halved output"
        normalize = models.instance_normalization if normalized else lambda z: z
        dropout = 0.0 if ingredient == "dropout" else 0.5
        correction = models.resnet(image, normalize, 9, dropout, normalize_upsampling=normalized)
        join = keras.layers.Average if halved else keras.layers.Add
        return keras.Model(image, join(dtype="float32")([image, correction]), name="paper_generator")

    return build


def main(*flags, without: str = "", adversarial: float = 0.0):
    if bool(without) == bool(adversarial) or without not in ("", *INGREDIENTS):
        raise InputError(f"expected --adversarial=WEIGHT or one --without of {', '.join(INGREDIENTS)}")
    script, flag, value = train_cGAN, "recipe", "paper" if without in PAPER else "tuned"
    if without in CYCLEGAN:
        script, flag, value = train_baseline, "method", "cyclegan"
    args = script.make_parser().parse_args(flags)
    if getattr(args, flag) != value:
        raise InputError(f"this change belongs to --{flag}={value}, received --{flag}={getattr(args, flag)}")
    change(without, adversarial)
    return script.main(args)
