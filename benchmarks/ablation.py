"""Train a method with one of its ingredients removed, or recipe `tuned` with an adversarial term.

    python -m benchmarks ablation --without=ssim --recipe=tuned --images_limit=10 --num_iters=2100
    python -m benchmarks ablation --adversarial=0.003 --recipe=tuned --images_limit=10 --num_iters=1541
    python -m benchmarks ablation --without=dropout --recipe=paper --images_limit=10 --num_iters=100 --batch_size=4
    python -m benchmarks ablation --without=filters --method=cyclegan --images_limit=10 --num_iters=3000

All other flags are those of train_cGAN.py, or of train_baseline.py for a CycleGAN with a quarter of its filters, which
a CPU can take to its end. `quality` and `paper_recipe` run and score them.
"""

from dataclasses import replace
from functools import partial

import train_baseline
import train_cGAN
from common.errors import InputError
from methods import BASELINES
from recipes.paper import PAPER as AS_PUBLISHED
from recipes.recipe import Term
from recipes.tuned import TUNED

# What replaces a field of recipe `tuned`, of its augmentation, or its generator's arguments; terms of its objective are
# removed by their own names.
AUGMENTATION = {"flips": {"mirror": False}, "intensities": {"intensity": 0.0}, "mixup": {"mixup_after": None}}
RECIPE = ("averaged weights", *AUGMENTATION)
TERMS = ("ssim", "psnr")
NETWORK = {"leaky": {"activation": "relu"}, "width": {"filters": (16, 32, 64)}, "skips": {"skips": False}}
# Recipe paper: the output (input + tanh) / 2, the normalisation of the generator's features, its dropout.
PAPER = ("halved output", "instance normalization", "dropout")
CYCLEGAN = ("filters",)
INGREDIENTS = (*RECIPE, *TERMS, *NETWORK, *PAPER, *CYCLEGAN)


def tuned_without(ingredient):
    """Recipe `tuned` with one ingredient removed."""
    part = TUNED.cgan
    if ingredient in AUGMENTATION:
        changed = {"augmentation": replace(part.augmentation, **AUGMENTATION[ingredient])}
    elif ingredient in TERMS:
        changed = {"terms": part.with_weights(**{ingredient: 0.0})}
    elif ingredient in NETWORK:
        changed = {"generator": partial(part.generator, **NETWORK[ingredient])}
    else:
        changed = {"average_decay": None}
    return replace(TUNED, cgan=replace(part, **changed))


def tuned_with_adversarial(weight):
    """Recipe `tuned` with a discriminator half as wide and deep as the paper's, and its term."""

    def discriminator():
        import models

        return models.patch_discriminator((32, 64, 128), normalize=False)

    terms = (*TUNED.cgan.terms, Term("adversarial", weight, "adversarial_loss", sees="judgement", against=None))
    return replace(TUNED, cgan=replace(TUNED.cgan, method="cgan", discriminator=discriminator, terms=terms))


def paper_without(ingredient):
    """Recipe `paper` with one ingredient of its generator left out."""

    def build():
        import keras

        import models

        image = keras.Input((None, None, 1), name="image")
        normalized, halved = ingredient != "instance normalization", ingredient != "halved output"
        normalize = models.instance_normalization if normalized else lambda z: z
        dropout = 0.0 if ingredient == "dropout" else 0.5
        correction = models.resnet(image, normalize, 9, dropout, normalize_upsampling=normalized)
        join = keras.layers.Average if halved else keras.layers.Add
        return keras.Model(image, join(dtype="float32")([image, correction]), name="paper_generator")

    return replace(AS_PUBLISHED, cgan=replace(AS_PUBLISHED.cgan, generator=build))


def main(*flags, without: str = "", adversarial: float = 0.0):
    if bool(without) == bool(adversarial) or without not in ("", *INGREDIENTS):
        raise InputError(f"expected --adversarial=WEIGHT or one --without of {', '.join(INGREDIENTS)}")
    script, flag, value = train_cGAN, "recipe", "paper" if without in PAPER else "tuned"
    if without in CYCLEGAN:
        script, flag, value = train_baseline, "method", "cyclegan"
        changed = replace(BASELINES["cyclegan"], width=16)
    elif adversarial:
        changed = tuned_with_adversarial(adversarial)
    else:
        changed = (paper_without if without in PAPER else tuned_without)(without)
    args = script.make_parser().parse_args(flags)
    if getattr(args, flag) != value:
        raise InputError(f"this change belongs to --{flag}={value}, received --{flag}={getattr(args, flag)}")
    return script.main(args, changed)
