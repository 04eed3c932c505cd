"""The trained methods: the algorithm of each."""

from importlib import import_module

from methods.baseline import Baseline

# The methods to compare with: NAME.py holds each whole, as its BASELINE. Importing them does not import TensorFlow.
BASELINES: dict[str, Baseline] = {
    name: import_module(f"methods.{name}").BASELINE for name in ("care", "deblurgan", "cyclegan")
}
