"""`python -m benchmarks ablation` removes what it says, and nothing else."""

import keras
import pytest

import models
import recipes
from benchmarks import ablation
from methods import gans


@pytest.fixture
def removed(monkeypatch):
    """Remove an ingredient until the test ends; gives what is left: (recipe, weights, generator)."""
    monkeypatch.setattr(recipes, "RECIPES", dict(recipes.RECIPES))
    monkeypatch.setattr(gans, "CGAN_WEIGHTS", dict(gans.CGAN_WEIGHTS))
    for name in ("tuned_generator", "_convolve", "_unet"):
        monkeypatch.setattr(models, name, getattr(models, name))

    def remove(ingredient):
        if ingredient:
            ablation.change(ingredient)
        return recipes.RECIPES["tuned"], gans.CGAN_WEIGHTS["tuned"], models.tuned_generator()

    return remove


def shape_of(generator):
    """(activations of the 3 x 3 convolutions, number of concatenations, filters of the first)."""
    filters = [layer for layer in generator.layers if isinstance(layer, keras.layers.Conv2D)][:-1]
    skips = sum(isinstance(layer, keras.layers.Concatenate) for layer in generator.layers)
    return {layer.activation.__name__ for layer in filters}, skips, filters[0].filters


WHOLE = ({"leaky_relu"}, 2, 24)
NETWORKS = {"leaky": ({"relu"}, 2, 24), "width": ({"leaky_relu"}, 2, 16), "skips": ({"leaky_relu"}, 0, 24)}
FIELDS = {
    "averaged weights": {"average_decay": None},
    "flips": {"mirror": False},
    "intensities": {"intensity": 0.0},
    "mixup": {"mixup_after": None},
}


@pytest.mark.parametrize("ingredient", [None, *ablation.RECIPE, *ablation.TERMS, *ablation.NETWORK])
def test_one_ingredient_is_removed_and_no_other(ingredient, removed):
    recipe, weights = recipes.RECIPES["tuned"], gans.CGAN_WEIGHTS["tuned"]
    left, left_weights, generator = removed(ingredient)
    assert left == recipe._replace(**FIELDS.get(ingredient, {}))
    assert left_weights == {name: 0.0 if name == ingredient else weight for name, weight in weights.items()}
    assert shape_of(generator) == NETWORKS.get(ingredient, WHOLE)
