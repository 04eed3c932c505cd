"""The generators of hostile_input.py that are damaged, of other kinds, too large, or hold code."""

import json
import os

import h5py
import numpy as np
from hostile_cases import MARKER, Case, loading

from generator_files import ATTRIBUTE


def generator_cases(tools):
    """Generators that are damaged, of other kinds, too large, or hold code."""

    def case(name, damage, expected="error"):
        return Case(f"generator {name}", "generator", expected, loading(tools, damage))

    def edited(change, attribute="model_config"):
        def damage(path, good):
            path.write_bytes(good)
            with h5py.File(path, "r+") as file:
                stored = json.loads(file.attrs[attribute])
                change(stored)
                file.attrs[attribute] = json.dumps(stored)

        return damage

    def layer(name, **values):
        def change(config):
            found = next(item for item in config["config"]["layers"] if item["class_name"] == name)
            (found if "class_name" in values or "module" in values else found["config"]).update(values)

        return edited(change)

    yield case("good", lambda path, good: path.write_bytes(good), "result")
    for cut in (0, 8, 500, 2000, 5000, len(tools.h5) // 2, len(tools.h5) - 1):
        yield case(f"cut to {cut}", lambda path, good, cut=cut: path.write_bytes(good[:cut]))
    yield case("text", lambda path, good: path.write_text("no model"))
    yield case("empty HDF5", lambda path, good: h5py.File(path, "w").close())
    yield case("is a folder", lambda path, good: path.mkdir())
    yield case("Lambda", layer("Conv2D", class_name="Lambda"))
    yield case("module of the system", layer("Conv2D", class_name="system", module="os"))
    yield case("other module", layer("Conv2D", module="antigravity"))
    yield case("registered class", edited(lambda config: config.update(registered_name="package>Evil")))
    evil = {"module": "os", "class_name": "system", "config": {"command": f"touch {MARKER}"}}
    for key in ("kernel_initializer", "bias_initializer", "kernel_regularizer", "activation", "dtype"):
        yield case(f"code as {key}", layer("Conv2D", **{key: evil}))
    yield case("activation of no name", layer("Conv2D", activation="os.system"))
    for key, value in {"filters": 10**6, "kernel_size": [9999, 9999], "strides": [5000, 1]}.items():
        yield case(f"{key} {value}", layer("Conv2D", **{key: value}))
    yield case("other filters", layer("Conv2D", filters=5))
    yield case("upsampling of 1000", layer("UpSampling2D", size=[1000, 1000]))
    yield case("no layers", edited(lambda config: config["config"].update(layers=[])))
    yield case(
        "100,000 layers", edited(lambda config: config["config"].update(layers=config["config"]["layers"] * 9999))
    )
    yield case("a list for a model", _attribute("model_config", "[]"))
    yield case("deep model", _attribute("model_config", "[" * 5000 + "]" * 5000))
    for name in ("lambda", "three channels", "fixed size", "flat"):
        made = (tools.generator.parent / f"{name}.h5").read_bytes()
        yield case(f"made by Keras: {name}", lambda path, good, made=made: path.write_bytes(made))
    yield case("attribute of 1 GB", _large_attribute)
    yield case("NaN weights", _nan_weights)
    fields = {"format_version": 99, "tasks": [], "size_multiple": 0, "margin": 10**9, "noise_channels": -1}
    wrong = {"normalization": {"kind": "percentile", "gains": {"A": [0, 0]}}, "no_rotate": 5, "script": None}
    for key, value in {**fields, **wrong, "unknown": 1}.items():
        yield case(f"field {key}", edited(lambda stored, k=key, v=value: stored.update({k: v}), ATTRIBUTE))
    for gains in ({}, {"B": [1, 0]}, {"A": [1]}, {"A": ["x", "y"]}, {"A": [1, float("nan")]}, [1, 2]):
        change = {"normalization": {"kind": "percentile", "gains": gains}}
        yield case(f"gains {gains}", edited(lambda stored, c=change: stored.update(c), ATTRIBUTE))


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
