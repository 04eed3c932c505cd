"""The generators of hostile_input.py that are damaged, of other kinds, too large, or hold code."""

import json
import os

import h5py
import numpy as np
from hostile_cases import MARKER, Case, loading

from restoring.generator_file import ATTRIBUTE


def generator_cases(tools):
    """Generators that are damaged, of other kinds, too large, or hold code."""
    cases = {**_damaged(tools), **_with_code(), **_too_large(), **_of_other_kinds(tools), **_with_wrong_metadata()}
    for name, damage in cases.items():
        expected = "result" if name == "good" else "error"
        yield Case(f"generator {name}", "generator", expected, loading(tools, damage))


def _damaged(tools):
    """{name: damage(path, good bytes)} of files that are cut short, or no HDF5."""
    lengths = (0, 8, 500, 2000, 5000, len(tools.h5) // 2, len(tools.h5) - 1)
    return {
        "good": lambda path, good: path.write_bytes(good),
        **{f"cut to {cut}": lambda path, good, cut=cut: path.write_bytes(good[:cut]) for cut in lengths},
        "text": lambda path, good: path.write_text("no model"),
        "empty HDF5": lambda path, good: h5py.File(path, "w").close(),
        "is a folder": lambda path, good: path.mkdir(),
    }


def _with_code():
    """Layers that are code, or that would import or call some."""
    evil = {"module": "os", "class_name": "system", "config": {"command": f"touch {MARKER}"}}
    keys = ("kernel_initializer", "bias_initializer", "kernel_regularizer", "activation", "dtype")
    return {
        "Lambda": _layer("Conv2D", class_name="Lambda"),
        "module of the system": _layer("Conv2D", class_name="system", module="os"),
        "other module": _layer("Conv2D", module="antigravity"),
        "registered class": _edited(lambda config: config.update(registered_name="package>Evil")),
        **{f"code as {key}": _layer("Conv2D", **{key: evil}) for key in keys},
        "activation of no name": _layer("Conv2D", activation="os.system"),
    }


def _too_large():
    """Layers, and numbers of them, that would fill the memory."""
    sizes = {"filters": 10**6, "kernel_size": [9999, 9999], "strides": [5000, 1]}
    return {
        **{f"{key} {value}": _layer("Conv2D", **{key: value}) for key, value in sizes.items()},
        "other filters": _layer("Conv2D", filters=5),
        "upsampling of 1000": _layer("UpSampling2D", size=[1000, 1000]),
        "no layers": _edited(lambda config: config["config"].update(layers=[])),
        "100,000 layers": _edited(lambda config: config["config"].update(layers=config["config"]["layers"] * 9999)),
        "deep model": _attribute("model_config", "[" * 5000 + "]" * 5000),
        "attribute of 1 GB": _large_attribute,
    }


def _of_other_kinds(tools):
    """What Keras saved, but no generator."""
    names = ("lambda", "three channels", "fixed size", "flat")
    made = {name: (tools.generator.parent / f"{name}.h5").read_bytes() for name in names}
    return {
        "a list for a model": _attribute("model_config", "[]"),
        **{f"made by Keras: {name}": lambda path, good, h5=h5: path.write_bytes(h5) for name, h5 in made.items()},
        "NaN weights": _nan_weights,
    }


def _with_wrong_metadata():
    """Fields of this project's own attribute that cannot be true."""
    fields = {"format_version": 99, "tasks": [], "size_multiple": 0, "margin": 10**9, "noise_channels": -1}
    fields |= {"normalization": {"kind": "percentile", "gains": {"A": [0, 0]}}, "no_rotate": 5, "script": None}
    cases = {f"field {key}": _field(key, value) for key, value in {**fields, "unknown": 1}.items()}
    for gains in ({}, {"B": [1, 0]}, {"A": [1]}, {"A": ["x", "y"]}, {"A": [1, float("nan")]}, [1, 2]):
        cases[f"gains {gains}"] = _field("normalization", {"kind": "percentile", "gains": gains})
    return cases


def _edited(change, attribute="model_config"):
    """Damage: `change(stored)` edits what a JSON attribute holds."""

    def damage(path, good):
        path.write_bytes(good)
        with h5py.File(path, "r+") as file:
            stored = json.loads(file.attrs[attribute])
            change(stored)
            file.attrs[attribute] = json.dumps(stored)

    return damage


def _layer(kind, **values):
    """Damage: the first layer of a class gets other values, of its own or of its configuration."""

    def change(config):
        found = next(item for item in config["config"]["layers"] if item["class_name"] == kind)
        (found if "class_name" in values or "module" in values else found["config"]).update(values)

    return _edited(change)


def _field(key, value):
    """Damage: one field of this project's attribute has another value."""
    return _edited(lambda stored: stored.update({key: value}), ATTRIBUTE)


def _attribute(name, text):
    def damage(path, good):
        path.write_bytes(good)
        with h5py.File(path, "r+") as file:
            file.attrs[name] = text

    return damage


def _large_attribute(path, good):
    """A file as large as one with such an attribute; sparse, because its content is never read."""
    path.write_bytes(good)
    os.truncate(path, 10**9)


def _nan_weights(path, good):
    path.write_bytes(good)
    with h5py.File(path, "r+") as file:
        kernels = []
        file.visititems(lambda _, item: kernels.append(item) if isinstance(item, h5py.Dataset) else None)
        kernels[0][...] = np.nan
