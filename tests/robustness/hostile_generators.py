"""generator.h5 files that are damaged, of other kinds, too large, or hold code."""

import json
import os

import h5py
import numpy as np
from hostile_files import MARKER, Case, changed

from restoring.generator_file import ATTRIBUTE

OTHER_KINDS = ("lambda", "three channels", "fixed size", "flat")  # made by Keras in test_hostile_files.py


def generator_cases():
    good = changed("good.h5", lambda h5: h5)
    yield Case("generator good", "result", good, "generator.h5")
    for name, write in {**damaged(), **with_code(), **too_large(), **of_other_kinds(), **with_wrong_metadata()}.items():
        yield Case(f"generator {name}", "error", write, "generator.h5")


def damaged():
    """{name: writer} of files that are cut short, or no HDF5."""
    cuts = {f"cut to {cut}": changed("good.h5", lambda h5, cut=cut: h5[:cut]) for cut in (0, 8, 500, 2000, 5000, -1)}
    return {
        **cuts,
        "cut to a half": changed("good.h5", lambda h5: h5[: len(h5) // 2]),
        "text": lambda path, good: path.write_text("no model"),
        "empty HDF5": lambda path, good: h5py.File(path, "w").close(),
        "is a folder": lambda path, good: path.mkdir(),
    }


def with_code():
    """Layers that are code, or that would import or call some."""
    evil = {"module": "os", "class_name": "system", "config": {"command": f"touch {MARKER}"}}
    keys = ("kernel_initializer", "bias_initializer", "kernel_regularizer", "activation", "dtype")
    return {
        "Lambda": layer(class_name="Lambda"),
        "module of the system": layer(class_name="system", module="os"),
        "other module": layer(module="antigravity"),
        "registered class": edited(lambda config: config.update(registered_name="package>Evil")),
        **{f"code as {key}": layer(**{key: evil}) for key in keys},
        "activation of no name": layer(activation="os.system"),
    }


def too_large():
    """Layers, and numbers of them, that would fill the memory."""
    sizes = {"filters": 10**6, "kernel_size": [9999, 9999], "strides": [5000, 1]}
    return {
        **{f"{key} {value}": layer(**{key: value}) for key, value in sizes.items()},
        "other filters": layer(filters=5),
        "upsampling of 1000": layer("UpSampling2D", size=[1000, 1000]),
        "no layers": edited(lambda config: config["config"].update(layers=[])),
        "100,000 layers": edited(lambda config: config["config"].update(layers=config["config"]["layers"] * 5264)),
        "deep model": attribute("model_config", "[" * 5000 + "]" * 5000),
        # Sparse, because its content is never read.
        "attribute of 1 GB": in_good_file(lambda path: os.truncate(path, 10**9)),
    }


def of_other_kinds():
    """What Keras saved, but no generator."""
    return {
        "a list for a model": attribute("model_config", "[]"),
        **{f"made by Keras: {name}": changed(f"{name}.h5", lambda h5: h5) for name in OTHER_KINDS},
        "NaN weights": in_good_file(fill_with_nan),
    }


def with_wrong_metadata():
    """Fields of this project's own attribute that cannot be true."""
    fields = {"format_version": 99, "tasks": [], "size_multiple": 0, "margin": 10**9, "noise_channels": -1}
    fields |= {"normalization": {"kind": "percentile", "gains": {"A": [0, 0]}}, "no_rotate": 5, "script": None}
    cases = {f"field {key}": field(key, value) for key, value in {**fields, "unknown": 1}.items()}
    for gains in ({}, {"B": [1, 0]}, {"A": [1]}, {"A": ["x", "y"]}, {"A": [1, float("nan")]}, [1, 2]):
        cases[f"gains {gains}"] = field("normalization", {"kind": "percentile", "gains": gains})
    return cases


def in_good_file(change):
    """A writer: `change(path)` acts on a copy of the good file."""
    return lambda path, good: (path.write_bytes((good / "good.h5").read_bytes()), change(path))


def edited(change, name="model_config"):
    """A writer: `change(stored)` edits what a JSON attribute holds."""

    def act(path):
        with h5py.File(path, "r+") as file:
            stored = json.loads(file.attrs[name])
            change(stored)
            file.attrs[name] = json.dumps(stored)

    return in_good_file(act)


def layer(kind="Conv2D", **values):
    """A writer: the first layer of a class gets other values, of its own or of its configuration."""

    def change(config):
        found = next(item for item in config["config"]["layers"] if item["class_name"] == kind)
        (found if "class_name" in values or "module" in values else found["config"]).update(values)

    return edited(change)


def field(key, value):
    """A writer: one field of this project's attribute has another value."""
    return edited(lambda stored: stored.update({key: value}), ATTRIBUTE)


def attribute(name, text):
    def act(path):
        with h5py.File(path, "r+") as file:
            file.attrs[name] = text

    return in_good_file(act)


def fill_with_nan(path):
    with h5py.File(path, "r+") as file:
        kernels = []
        file.visititems(lambda _, item: kernels.append(item) if isinstance(item, h5py.Dataset) else None)
        kernels[0][...] = np.nan
