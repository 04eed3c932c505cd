"""Train a method with one of its ingredients removed or exchanged, or recipe `tuned` with an adversarial term.

    python -m benchmarks ablation --without=ssim --recipe=tuned --images_limit=10 --num_iters=2100
    python -m benchmarks ablation --adversarial=0.003 --recipe=tuned --images_limit=10 --num_iters=1541
    python -m benchmarks ablation --without=dropout --filters=16 --recipe=paper --images_limit=10 --num_iters=1500
    python -m benchmarks ablation --gan=cin_gan --without="content of y" --filters=16 --recipe=paper --num_iters=3000
    python -m benchmarks ablation --without=filters --method=cyclegan --images_limit=10 --num_iters=3000

All other flags are those of train_cGAN.py, with --gan=cin_gan those of train_CIN_GAN.py, or those of train_baseline.py
for a CycleGAN or DeblurGAN with a quarter of its filters, which a CPU can take to its end. --filters: of recipe
`paper`'s generator at full resolution, 64 as published; with fewer, its discriminator or critic has as many fewer, and
it trains on crops of 64. `quality`, `paper_recipe` and `paper_pairs` run and score them.
"""

from dataclasses import replace
from functools import partial

import train_baseline
import train_cGAN
import train_CIN_GAN
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
    # In their place mean absolute differences of pixels, with about the same gradient on the image.
    "VGG16 features": {"terms": (Term("content", 400.0, "pixel_loss"), *AS_PUBLISHED.cgan.terms[1:])},
    # In its place the percentiles of every image, as in recipe `tuned`.
    "minimum and maximum": {"normalizing": Normalizing(fit_gains, "percentile")},
    "turns of directed tasks": {"augmentation": Augmentation(turns="undirected")},
    "low rate": {"adam": Adam(1e-3)},
}
PAPER = (*PAPER_NETWORK, *PAPER_PART)
# The same of recipe paper's CIN-GAN: as the released code has it, or another rate.
WASSERSTEIN, CONTENT, STYLE = AS_PUBLISHED.cin_gan.terms
PAPER_CIN = {
    "content of y": {"terms": (WASSERSTEIN, replace(CONTENT, against="x"), STYLE)},
    "squared content": {"terms": (WASSERSTEIN, replace(CONTENT, loss="absolute_content_loss"), STYLE)},
    "rate of 1e-5": {"adam": replace(AS_PUBLISHED.cin_gan.adam, rate=1e-4)},
}
PUBLISHED_FILTERS = 64
BASELINE = ("filters",)
INGREDIENTS = (*RECIPE, *TERMS, *NETWORK, *PAPER, *PAPER_CIN, *BASELINE)


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


def paper_cin_generator(filters, num_tasks):
    """Recipe `paper`'s CIN-GAN generator; as published with 64 filters."""
    import keras

    import models

    image = keras.Input((None, None, 1), name="image")
    task = keras.Input((1,), dtype="int32", name="task")
    normalize = partial(models.conditional_instance_normalization, task=task, num_tasks=num_tasks)
    correction = models.resnet(image, normalize, 12, 0.5, normalize_upsampling=False, width=filters)
    return keras.Model(
        [image, task], keras.layers.Average(dtype="float32")([image, correction]), name="paper_cin_generator"
    )


def paper_critic(filters, num_tasks):
    """Recipe `paper`'s critic; as published with 64 filters."""
    import models

    return models.patch_critic(num_tasks, tuple(filters * 2**depth for depth in range(4)))


def paper_cin_with(ingredient="", filters=PUBLISHED_FILTERS):
    """Recipe `paper`, its CIN-GAN without one ingredient, or with fewer filters and, for their sake, on crops of 64."""
    part = replace(
        AS_PUBLISHED.cin_gan,
        generator=partial(paper_cin_generator, filters),
        critic=partial(paper_critic, filters),
        patch=AS_PUBLISHED.cin_gan.patch if filters == PUBLISHED_FILTERS else 64,
        gflop=AS_PUBLISHED.cin_gan.gflop * (filters / PUBLISHED_FILTERS) ** 2,
        **PAPER_CIN.get(ingredient, {}),
    )
    return replace(AS_PUBLISHED, cin_gan=part)


def changed_training(without, adversarial, filters, gan):
    """(script, name of the recipe that is changed, the changed recipe)."""
    if gan == "cin_gan":
        return train_CIN_GAN, "paper", paper_cin_with(without, filters)
    if adversarial:
        return train_cGAN, "tuned", tuned_with_adversarial(adversarial)
    if without in PAPER or not without:
        return train_cGAN, "paper", paper_with(without, filters)
    return train_cGAN, "tuned", tuned_without(without)


def main(*flags, without: str = "", adversarial: float = 0.0, filters: int = PUBLISHED_FILTERS, gan: str = "cgan"):
    if bool(without) + bool(adversarial) > 1 or without not in ("", *INGREDIENTS):
        raise InputError(f"expected --adversarial=WEIGHT or one --without of {', '.join(INGREDIENTS)}")
    if not (without or adversarial or filters != PUBLISHED_FILTERS):
        raise InputError("nothing is changed; give --without, --adversarial or --filters")
    if adversarial and gan == "cin_gan":
        raise InputError("--adversarial is for --gan=cgan; leave one of them out")
    if gan not in ("cgan", "cin_gan") or (without and (gan == "cin_gan") != (without in PAPER_CIN)):
        raise InputError(f"--gan={gan}: expected cgan, or cin_gan with --without of {', '.join(PAPER_CIN)}")
    if without in BASELINE:
        if filters != PUBLISHED_FILTERS:
            raise InputError(f"--filters={filters} belongs to recipe paper; leave it out")
        args = train_baseline.make_parser().parse_args(flags)
        if args.method not in ("cyclegan", "deblurgan"):
            raise InputError(f"--method={args.method}: --without=filters is for cyclegan and deblurgan")
        return train_baseline.main(args, replace(BASELINES[args.method], width=PUBLISHED_FILTERS // 4))
    script, recipe, changed = changed_training(without, adversarial, filters, gan)
    if filters != PUBLISHED_FILTERS and recipe != "paper":
        raise InputError(f"--filters={filters} belongs to recipe paper; leave it out")
    args = script.make_parser().parse_args(flags)
    if args.recipe != recipe:
        raise InputError(f"this change belongs to --recipe={recipe}, received --recipe={args.recipe}")
    return script.main(args, changed)
