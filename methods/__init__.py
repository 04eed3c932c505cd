"""The trained methods: the algorithm of each. Importing this never imports TensorFlow."""

from importlib import import_module
from pathlib import Path

from methods.baseline import Baseline


def find_baselines() -> dict[str, Baseline]:
    """{name: baseline} of every NAME.py in this folder that holds a `BASELINE`, sorted: the methods to compare with.

    They are known by their text, because the other files import TensorFlow.
    """
    files = sorted(path for folder in __path__ for path in Path(folder).glob("*.py"))
    names = [path.stem for path in files if "\nBASELINE = " in path.read_text(encoding="utf-8")]
    return {name: import_module(f"methods.{name}").BASELINE for name in names}


BASELINES = find_baselines()
