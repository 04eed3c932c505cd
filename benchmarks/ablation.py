"""Train a method with one of its ingredients removed or exchanged, or recipe `tuned` with an adversarial term.

    python -m benchmarks ablation --without=ssim --recipe=tuned --images_limit=10 --num_iters=2100
    python -m benchmarks ablation --adversarial=0.003 --recipe=tuned --images_limit=10 --num_iters=1541
    python -m benchmarks ablation --without=dropout --filters=16 --recipe=paper --images_limit=10 --num_iters=1500
    python -m benchmarks ablation --without=filters --method=cyclegan --images_limit=10 --num_iters=3000

All other flags are those of train_cGAN.py, or of train_baseline.py for a CycleGAN with a quarter of its filters, which
a CPU can take to its end. --filters: of recipe `paper`'s generator at full resolution, 64 as published; with fewer, its
discriminator has as many fewer, and it trains on crops of 64. `quality` and `paper_recipe` run and score them.
"""

from dataclasses import replace
from functools import partial

import train_baseline
import train_cGAN
from common.errors import InputError
from methods import BASELINES
from recipes.paper import PAPER as AS_PUBLISHED
from recipes.recipe import Adam, Augmentation, Normalizing, Term
from recipes.tuned import TUNED
from restoring.normalization import fit_gains

# What replaces a field of recipe `tuned`, of its augmentation, or its generator's arguments; terms of its objective are
# removed by their own names.
AUGMENTATION = {"flips": {"mirror": False}, "intensities": {"intensity": 0.0}, "mixup": {"mixup_after": None}}
RECIPE = ("averaged weights", *AUGMENTATION)
TERMS = ("ssim", "psnr")
NETWORK = {"leaky": {"activation": "relu"}, "width": {"filters": (16, 32, 64)}, "skips": {"skips": False}}
# Recipe paper: arguments of `paper_generator`; and fields of its part, with what stands in their place.
PAPER_NETWORK = {
    "halved output": {"halved": False},
    "instance normalization": {"normalized": False},
    "dropout": {"dropout": 0.0},
}
PAPER_PART = {
    "adversarial term": {"terms": AS_PUBLISHED.cgan.with_weights(adversarial=0.0)},
    "weak adversarial term": {"terms": AS_PUBLISHED.cgan.with_weights(adversarial=1.0)},
    # As the released code computes it (docs/differences.md).
    "squared distances": {
        "terms": (
            replace(AS_PUBLISHED.cgan.terms[0], loss="absolute_content_loss"),
            *AS_PUBLISHED.cgan.terms[1:],
        )
    },
    # In its place the percentiles of every image, as in recipe `tuned`.
    "minimum and maximum": {"normalizing": Normalizing(fit_gains, "percentile")},
    "turns of directed tasks": {"augmentation": Augmentation(turns="undirected")},
    "low rate": {"adam": Adam(1e-3)},
}
PAPER = (*PAPER_NETWORK, *PAPER_PART)
PUBLISHED_FILTERS = 64
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


def paper_generator(filters, halved=True, normalized=True, dropout=0.5):
    """Recipe `paper`'s generator; as published with 64 filters and nothing else given."""
    import keras

    import models

    image = keras.Input((None, None, 1), name="image")
    normalize = models.instance_normalization if normalized else lambda z: z
    correction = models.resnet(image, normalize, 9, dropout, normalize_upsampling=normalized, width=filters)
    join = keras.layers.Average if halved else keras.layers.Add
    return keras.Model(image, join(dtype="float32")([image, correction]), name="paper_generator")


def paper_discriminator(filters):
    """Recipe `paper`'s discriminator; as published with 64 filters."""
    import models

    return models.patch_discriminator(tuple(filters * 2**depth for depth in range(4)))


def paper_with(ingredient="", filters=PUBLISHED_FILTERS):
    """Recipe `paper` without one ingredient, or with fewer filters and, for their sake, on crops of 64."""
    part = replace(
        AS_PUBLISHED.cgan,
        generator=partial(paper_generator, filters, **PAPER_NETWORK.get(ingredient, {})),
        discriminator=partial(paper_discriminator, filters),
        patch=AS_PUBLISHED.cgan.patch if filters == PUBLISHED_FILTERS else 64,
        gflop=AS_PUBLISHED.cgan.gflop * (filters / PUBLISHED_FILTERS) ** 2,
        **PAPER_PART.get(ingredient, {}),
    )
    return replace(AS_PUBLISHED, cgan=part)


def main(*flags, without: str = "", adversarial: float = 0.0, filters: int = PUBLISHED_FILTERS):
    if bool(without) + bool(adversarial) > 1 or without not in ("", *INGREDIENTS):
        raise InputError(f"expected --adversarial=WEIGHT or one --without of {', '.join(INGREDIENTS)}")
    if not (without or adversarial or filters != PUBLISHED_FILTERS):
        raise InputError("nothing is changed; give --without, --adversarial or --filters")
    script, flag, value = train_cGAN, "recipe", "tuned"
    if without in CYCLEGAN:
        script, flag, value = train_baseline, "method", "cyclegan"
        changed = replace(BASELINES["cyclegan"], width=16)
    elif adversarial:
        changed = tuned_with_adversarial(adversarial)
    elif without in PAPER or not without:
        value, changed = "paper", paper_with(without, filters)
    else:
        changed = tuned_without(without)
    if filters != PUBLISHED_FILTERS and value != "paper":
        raise InputError(f"--filters={filters} belongs to recipe paper; leave it out")
    args = script.make_parser().parse_args(flags)
    if getattr(args, flag) != value:
        raise InputError(f"this change belongs to --{flag}={value}, received --{flag}={getattr(args, flag)}")
    return script.main(args, changed)
