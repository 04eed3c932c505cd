"""Train recipe `tuned` with one of its ingredients removed.

    python benchmarks/ablation.py --without=adversarial --recipe=tuned --images_limit=10 --num_iters=1541

All other arguments are those of train_cGAN.py. benchmarks/quality.py --part=ablation runs and scores them all.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import recipes
import train_cGAN
from errors import run_script

# What replaces a field of the recipe; terms of the objective are removed by their own names.
RECIPE = {
    "averaged weights": {"average_decay": None},
    "cosine schedule": {"cosine": False},
    "flips": {"mirror": False},
}
TERMS = ("adversarial", "ssim", "psnr")
NETWORK = ("width", "skips")


def remove(ingredient):
    """Change the recipe in this process."""
    import gans
    import models

    if ingredient in RECIPE:
        recipes.RECIPES["tuned"] = recipes.RECIPES["tuned"]._replace(**RECIPE[ingredient])
    elif ingredient in TERMS:
        weights = gans.CGAN_WEIGHTS["tuned"]
        # The discriminator goes on learning; that term alone makes it act on the generator.
        gans.CGAN_WEIGHTS["tuned"] = {**weights, ingredient: 0.0}
    elif ingredient == "width":
        build = models.tuned_generator
        models.tuned_generator = lambda: build((16, 32, 64))
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


def main(argv):
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--without", choices=[*RECIPE, *TERMS, *NETWORK], required=True)
    chosen, rest = parser.parse_known_args(argv)
    remove(chosen.without)
    return train_cGAN.main(train_cGAN.make_parser().parse_args(rest))


if __name__ == "__main__":
    run_script(main, sys.argv[1:])
