"""Train recipe `tuned` or `paper` with one of its ingredients removed, or `tuned` with an adversarial term.

    python benchmarks/ablation.py --without=ssim --recipe=tuned --images_limit=10 --num_iters=2100
    python benchmarks/ablation.py --adversarial=0.003 --recipe=tuned --images_limit=10 --num_iters=1541
    python benchmarks/ablation.py --without=dropout --recipe=paper --images_limit=10 --num_iters=100 --batch_size=4

All other arguments are those of train_cGAN.py. Recipe tuned's are run and scored by benchmarks/quality.py
--part=ablation (mixup, which begins later, by --part=length), recipe paper's by benchmarks/paper_recipe.py.
"""

import argparse
import sys
from functools import partial

import recipes
import train_cGAN
from common.errors import InputError, run_script

# What replaces a field of the recipe; terms of the objective are removed by their own names.
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


def remove(ingredient):
    """Change the recipe in this process."""
    import models
    from methods import gans

    if ingredient in RECIPE:
        recipes.RECIPES["tuned"] = recipes.RECIPES["tuned"]._replace(**RECIPE[ingredient])
    elif ingredient in TERMS:
        gans.CGAN_WEIGHTS["tuned"] = {**gans.CGAN_WEIGHTS["tuned"], ingredient: 0.0}
    elif ingredient in PAPER:
        models.paper_generator = paper_without(ingredient)
    elif ingredient == "width":
        build = models.tuned_generator
        models.tuned_generator = lambda: build((16, 32, 64))
    elif ingredient == "leaky":
        models._convolve = partial(models._convolve, activation="relu")
    else:
        models._unet = without_skips(models._convolve)


def add_adversarial(weight):
    """Give recipe `tuned` a discriminator and its term."""
    from methods import gans

    gans.CGAN_WEIGHTS["tuned"] = {**gans.CGAN_WEIGHTS["tuned"], "adversarial": weight}


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


def main(argv):
    parser = argparse.ArgumentParser(add_help=False)
    change = parser.add_mutually_exclusive_group(required=True)
    change.add_argument("--without", choices=[*RECIPE, *TERMS, *NETWORK, *PAPER])
    change.add_argument("--adversarial", type=float, help="weight of the term; a discriminator is trained too")
    chosen, rest = parser.parse_known_args(argv)
    args = train_cGAN.make_parser().parse_args(rest)
    recipe = "paper" if chosen.without in PAPER else "tuned"
    if args.recipe != recipe:
        raise InputError(f"this change belongs to --recipe={recipe}, received --recipe={args.recipe}")
    if chosen.without:
        remove(chosen.without)
    else:
        add_adversarial(chosen.adversarial)
    return train_cGAN.main(args)


if __name__ == "__main__":
    run_script(main, sys.argv[1:])
