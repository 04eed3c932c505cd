"""The bare network in the formats of other programs: ONNX and TensorFlow's SavedModel, (batch, height, width, 1)."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.devices import start_tensorflow
from common.errors import InputError
from common.files import written_whole
from restoring.generator_file import Metadata, load_generator

if TYPE_CHECKING:
    import keras


def require(package: str) -> None:
    """Raise InputError where a package of requirements/export.txt is missing."""
    import importlib.util

    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        found = None
    if not found:
        raise InputError(f"this format needs {package}; pip install -r requirements/export.txt")


def quietly(function: Callable[[], Any]) -> Any:
    """Call without what Keras and tf2onnx print on the way."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return function()


def load_on_cpu(path: Path) -> tuple[keras.Model, Metadata]:
    """A generator that runs on the CPU. Raises InputError."""
    start_tensorflow(0)
    return load_generator(path)


def of_any_size(model: keras.Model, metadata: Metadata) -> keras.Model:
    """A network that reflects images at their bottom and right edges up to the sides it can take, and cuts its output.

    For export alone: its Lambda layers would not be loaded from a generator.h5.
    """
    import keras
    from keras import ops

    def reflected(x):
        for axis in (1, 2):
            size, multiple = ops.shape(x)[axis], metadata.size_multiple
            # Rounded up so, because the remainder of a negative number is another one in ONNX.
            places = ops.arange((size + multiple - 1) // multiple * multiple)
            x = ops.take(x, ops.where(places < size, places, ops.maximum(2 * size - 1 - places, 0)), axis=axis)
        return x

    def cut(both):
        # Not a slice: every fourth run of tf2onnx then gave the output a fifth axis.
        output, image = both
        for axis in (1, 2):
            output = ops.take(output, ops.arange(ops.shape(image)[axis]), axis=axis)
        return output

    image, shape = keras.Input((None, None, 1)), (None, None, 1)
    output = model(keras.layers.Lambda(reflected, output_shape=shape)(image))
    return keras.Model(image, keras.layers.Lambda(cut, shape)([output, image]))


def export_saved_model(generator: Path, folder: Path) -> None:
    """Write a TensorFlow SavedModel; renamed into place when it is whole."""
    model = of_any_size(*load_on_cpu(generator))
    model(np.zeros((1, 64, 64, 1), np.float32))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
        quietly(lambda: model.export(f"{beside}/model", verbose=False))
        Path(beside, "model").rename(folder)


def export_onnx(generator: Path, path: Path) -> None:
    """Write ONNX, whole or not at all. Raises InputError where tf2onnx is missing."""
    model = of_any_size(*load_on_cpu(generator))
    with written_whole(path) as beside:
        write_onnx(model, beside)


def write_onnx(model: keras.Model, path: Path) -> int:
    """Write ONNX; its version of operators is returned. Raises InputError where tf2onnx is missing."""
    require("tf2onnx")
    import onnx

    # A model that was never called has no signature to export.
    model(np.zeros((1, 64, 64, 1), np.float32))
    quietly(lambda: model.export(str(path), format="onnx", verbose=False))
    return next(opset.version for opset in onnx.load(path).opset_import if not opset.domain)
