"""The recipes by name, found by their files: `paper.py` holds PAPER. Importing them never imports TensorFlow."""

from importlib import import_module
from pkgutil import iter_modules

from recipes.recipe import Recipe


def find_recipes() -> dict[str, Recipe]:
    """{name: recipe} of every file in this folder, sorted; NAME.py holds a `Recipe` called NAME in capitals."""
    names = sorted(module.name for module in iter_modules(__path__) if module.name != "recipe")
    return {name: getattr(import_module(f"recipes.{name}"), name.upper()) for name in names}


RECIPES = find_recipes()
