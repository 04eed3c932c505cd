"""Recipes are values: found by their files, whole in themselves, and nothing else knows their names."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import pytest

import losses
import recipes
import train_cGAN
import train_CIN_GAN
from data_utils import load_tasks
from recipes import RECIPES
from restoring.generator_file import read_metadata

ROOT = Path(__file__).resolve().parents[1]
TOY = '''
"""A layer and the mean absolute difference."""

from dataclasses import replace

from recipes.recipe import Adam, Augmentation, CganPart, Recipe, Term
from recipes.tuned import TUNED


def generator():
    import keras

    image = keras.Input((None, None, 1))
    return keras.Model(image, keras.layers.Conv2D(1, 3, padding="same", name="toy")(image))


TOY = Recipe(
    summary="a toy",
    batch_size=2,
    size_multiple=1,
    cgan=CganPart(
        method="restorer",
        generator=generator,
        terms=(Term("pixel", 1.0, "pixel_loss"),),
        adam=Adam(1e-3, cosine=True),
        average_decay=None,
        normalizing=TUNED.cgan.normalizing,
        augmentation=Augmentation(turns="all"),
        patch=16,
        gflop=0.1,
    ),
    cin_gan=replace(TUNED.cin_gan, terms=TUNED.cin_gan.terms[:1], n_critic=1),
)
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A recipe that is one new file in a folder of recipes, found like the others."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more/toy.py").write_text(TOY)
    with monkeypatch.context() as found:
        found.setattr(recipes, "__path__", [*recipes.__path__, str(tmp_path / "more")])
        names = recipes.find_recipes()
    monkeypatch.delitem(sys.modules, "recipes.toy")
    assert list(names) == sorted([*RECIPES, "toy"]) and {"paper", "tuned"} <= RECIPES.keys()
    monkeypatch.setitem(RECIPES, "toy", names["toy"])


def test_a_recipe_is_one_file(toy, train, capsys):
    """Both scripts train it, and its generator.h5 says all that its use needs."""
    run = train(train_cGAN, "--recipe=toy", "--vgg_weights=random", "--no_rotate=Layers")
    output = capsys.readouterr().out
    assert "note: --vgg_weights has no effect: recipe toy has no content loss" in output
    assert "note: --no_rotate has no effect: recipe toy turns the images of all tasks alike" in output
    metadata = read_metadata(run / "generator.h5")
    assert (metadata.recipe, metadata.size_multiple, metadata.no_rotate) == ("toy", 1, [])
    assert keras.models.load_model(run / "generator.h5", compile=False).layers[-1].name == "toy"
    assert (run / "log.csv").read_text().split(",")[2:4] == ["pixel", "gradient_pixel"]
    run = train(train_CIN_GAN, "--recipe=toy", folder="cin")
    columns = (run / "log.csv").read_text().splitlines()[0].split(",")
    assert columns[2:6] == ["wasserstein", "gradient_wasserstein", "critic", "penalty"]


def test_recipes_are_read_before_tensorflow():
    code = "import sys, recipes, methods; print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_recipe_says_what_it_fits_and_which_losses_there_are(name, pair_folder):
    recipe, (tasks, _) = RECIPES[name], load_tasks(pair_folder, images_limit=4)
    for part in (recipe.cgan, recipe.cin_gan):
        assert part.normalizing.fit(tasks).kind == part.normalizing.kind
        assert all(callable(getattr(losses, term.loss)) for term in part.terms)
        assert len({term.name for term in part.terms}) == len(part.terms)


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.parametrize("cosine", [False, True])
def test_rates_are_constant_or_reach_zero_after_the_planned_updates(name, cosine):
    """5 of the generator, n_critic times as many of the critic."""
    recipe = RECIPES[name]
    cgan, cin_gan = (replace(part, adam=replace(part.adam, cosine=cosine)) for part in (recipe.cgan, recipe.cin_gan))
    cgan, cin_gan = cgan.build(0, 5, None), cin_gan.build(0, 5, 3, 2, None)
    for optimizer, updates in (
        (cgan.optimizers["generator"], 5),
        (cin_gan.optimizers["generator"], 5),
        (cin_gan.optimizers["critic"], 15),
    ):
        rates = []
        for update in (0, updates - 1, updates):
            optimizer.iterations.assign(update)
            rates.append(float(optimizer.learning_rate))
        assert rates[0] > 0 and ((rates[1] > 0 and rates[2] == 0) if cosine else rates[0] == rates[1] == rates[2])


def test_cin_gan_of_recipe_tuned_and_the_training_on_simulated_pairs_anneal():
    parts = {(name, part) for name in ("any_defect", "paper", "tuned") for part in ("cgan", "cin_gan")}
    annealed = {(name, part) for name, part in parts if getattr(RECIPES[name], part).adam.cosine}
    assert annealed == {("tuned", "cin_gan"), ("any_defect", "cin_gan"), ("any_defect", "cgan")}


def test_no_recipe_is_compared_by_name():
    pattern = re.compile(r"""(==|!=)\s*["'](paper|tuned)["']|["'](paper|tuned)["']\s*(==|!=|:)""")
    files = [path for room in (".", "methods", "training", "restoring") for path in (ROOT / room).glob("*.py")]
    assert not [(path.name, line) for path in files for line in path.read_text().splitlines() if pattern.search(line)]
