"""`python -m benchmarks ablation` removes what it says, and nothing else."""

from dataclasses import fields, replace

import keras
import pytest

from benchmarks import ablation
from common.errors import InputError
from methods import BASELINES
from recipes.paper import PAPER
from recipes.tuned import TUNED


def shape_of(generator):
    """(activations of the 3 x 3 convolutions, number of concatenations, filters of the first)."""
    filters = [layer for layer in generator.layers if isinstance(layer, keras.layers.Conv2D)][:-1]
    skips = sum(isinstance(layer, keras.layers.Concatenate) for layer in generator.layers)
    return {layer.activation.__name__ for layer in filters}, skips, filters[0].filters


def changes(recipe, original):
    """{field: value} of the cGAN's part, its augmentation and the weights of its terms, where they differ."""
    part, whole = recipe.cgan, original.cgan
    assert recipe.cin_gan is original.cin_gan and [term.name for term in part.terms] == [t.name for t in whole.terms]
    found = {term.name: term.weight for term, t in zip(part.terms, whole.terms, strict=True) if term != t}
    for now, before in ((part, whole), (part.augmentation, whole.augmentation)):
        names = [field.name for field in fields(now) if field.name not in ("terms", "augmentation")]
        found |= {name: getattr(now, name) for name in names if getattr(now, name) != getattr(before, name)}
    return found


NETWORKS = {"leaky": ({"relu"}, 2, 24), "width": ({"leaky_relu"}, 2, 16), "skips": ({"leaky_relu"}, 0, 24)}
VALUES = {
    "averaged weights": {"average_decay": None},
    "flips": {"mirror": False},
    "intensities": {"intensity": 0.0},
    "mixup": {"mixup_after": None},
    "ssim": {"ssim": 0.0},
    "psnr": {"psnr": 0.0},
}


@pytest.mark.parametrize("ingredient", [*ablation.RECIPE, *ablation.TERMS, *ablation.NETWORK])
def test_one_ingredient_is_removed_and_no_other(ingredient):
    changed = changes(ablation.tuned_without(ingredient), TUNED)
    generator = changed.pop("generator", TUNED.cgan.generator)
    assert changed == VALUES.get(ingredient, {})
    assert shape_of(generator()) == NETWORKS.get(ingredient, ({"leaky_relu"}, 2, 24))


def signature(network):
    return [(type(layer).__name__, getattr(layer, "filters", None)) for layer in network.layers]


def test_nothing_left_out_is_the_published_recipe():
    part = ablation.paper_with().cgan
    for made in ("generator", "discriminator"):
        assert signature(getattr(part, made)()) == signature(getattr(PAPER.cgan, made)())
    assert replace(part, generator=None, discriminator=None) == replace(PAPER.cgan, generator=None, discriminator=None)


@pytest.mark.parametrize("ingredient", ablation.PAPER_NETWORK)
def test_recipe_papers_generator_loses_one_ingredient(ingredient):
    layers = ablation.paper_with(ingredient, 16).cgan.generator().layers
    normalized = any(isinstance(layer, keras.layers.GroupNormalization) for layer in layers)
    dropped = any(layer.rate > 0 for layer in layers if isinstance(layer, keras.layers.Dropout))
    assert normalized == (ingredient != "instance normalization")
    assert dropped == (ingredient != "dropout")
    assert isinstance(layers[-1], keras.layers.Add) == (ingredient == "halved output")


@pytest.mark.parametrize("ingredient", ablation.PAPER_PART)
def test_recipe_papers_part_changes_in_one_field(ingredient):
    part, whole = ablation.paper_with(ingredient).cgan, ablation.paper_with().cgan
    changed = [field.name for field in fields(part) if getattr(part, field.name) != getattr(whole, field.name)]
    assert set(changed) - {"generator", "discriminator"} == set(ablation.PAPER_PART[ingredient])


def test_fewer_filters_are_fewer_everywhere():
    part = ablation.paper_with(filters=16).cgan
    whole = [w for made in ("generator", "discriminator") for w in signature(getattr(PAPER.cgan, made)())]
    small = [w for made in ("generator", "discriminator") for w in signature(getattr(part, made)())]
    # The last convolutions give one channel whatever the width.
    assert small == [(kind, n if n in (None, 1) else n // 4) for kind, n in whole] and part.patch == 64


@pytest.mark.parametrize("ingredient", ["", *ablation.PAPER_CIN])
def test_recipe_papers_cin_gan_changes_in_one_field(ingredient):
    part, whole = ablation.paper_cin_with(ingredient).cin_gan, PAPER.cin_gan
    for made in ("generator", "critic"):
        assert signature(getattr(part, made)(3)) == signature(getattr(whole, made)(3))
    changed = [field.name for field in fields(part) if getattr(part, field.name) != getattr(whole, field.name)]
    assert set(changed) - {"generator", "critic"} == set(ablation.PAPER_CIN.get(ingredient, {}))


def test_cin_gan_has_fewer_filters_everywhere_too():
    part = ablation.paper_cin_with(filters=16).cin_gan
    whole = [w for made in ("generator", "critic") for w in signature(getattr(PAPER.cin_gan, made)(3))]
    small = [w for made in ("generator", "critic") for w in signature(getattr(part, made)(3))]
    assert small == [(kind, n if n in (None, 1) else n // 4) for kind, n in whole] and part.patch == 64


@pytest.mark.parametrize("method", ["deblurgan", "cyclegan"])
def test_a_baseline_has_a_quarter_of_its_filters(method):
    whole, small = (replace(BASELINES[method], width=width).build((64, 64), 0, 1, False, 1, None) for width in (64, 16))
    for name, network in whole.networks.items():
        expected = [(kind, n if n in (None, 1) else n // 4) for kind, n in signature(network)]
        assert signature(small.networks[name]) == expected


def test_the_adversarial_term_comes_with_its_discriminator():
    part = ablation.tuned_with_adversarial(0.003).cgan
    assert part.terms[:-1] == TUNED.cgan.terms and part.terms[-1].weight == 0.003
    assert set(part.build(0, 1, None).networks) == {"generator", "discriminator"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"gan": "cin_gan", "adversarial": 0.1}, "--adversarial is for --gan=cgan"),
        ({"gan": "cin_gan", "without": "dropout"}, "or cin_gan with --without of content of y"),
        ({"without": "filters", "filters": 32}, "--filters=32 belongs to recipe paper"),
    ],
)
def test_changes_that_do_not_fit_each_other_are_errors(flags, message):
    with pytest.raises(InputError, match=message):
        ablation.main(**flags)
