"""`generator.h5`: a Keras model of built-in layers with what its use needs stored in an HDF5 attribute.

`keras.models.load_model("generator.h5")` loads it anywhere, on any Keras backend, without this project.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from common.errors import InputError
from common.files import written_whole
from data_utils import FACTORS, FARTHEST_PLANES, SCRIPT_DIR
from restoring import normalization
from restoring.normalization import Normalization

if TYPE_CHECKING:
    import keras

# What restores where no other file is named, and what recipe `tuned` starts from; generators/README.md is its card.
SHIPPED = SCRIPT_DIR / "generators" / "any_defect.h5"
ATTRIBUTE = "microscopygan"
FORMAT_VERSION = 1
# What models.py, the methods and csbdeep use. Anything else in a file (a Lambda, say, which can hold code, or a class
# of another module, which Keras would import) is refused unread.
BUILT_IN_LAYERS = frozenset(
    "Functional InputLayer Conv2D Conv2DTranspose ReLU LeakyReLU Activation Dropout Add Subtract Average Multiply "
    "Concatenate Rescaling Reshape Embedding GroupNormalization UpSampling2D MaxPooling2D AveragePooling2D "
    "GlobalAveragePooling2D".split()
)
BUILT_IN = BUILT_IN_LAYERS | {"DTypePolicy", "GlorotUniform", "Zeros", "Ones", "Constant", "__keras_tensor__"}
MODULES = frozenset([None, "keras", "keras.layers", "keras.initializers", "keras.src.models.functional"])
# What says how large a layer is, in Keras' configurations.
SIZES = "filters kernel_size strides size pool_size input_dim output_dim target_shape".split()
# Far beyond any generator of this project: a file must not be able to fill the memory.
LARGEST_FILE, LARGEST_NUMBER, LARGEST_KERNEL, MOST_LAYERS = 500e6, 1024, 100_000, 1000


@dataclass
class Metadata:
    """What a generator needs in order to be used on new images.

    Args:
        script: "cGAN" or "CIN-GAN", or the name of a baseline.
        recipe: "paper" or "tuned", or the method of a baseline.
        tasks: names, in the order of the task index.
        normalization: from `normalization.py`.
        no_rotate: names of tasks whose defect has a direction.
        size_multiple: heights and widths are padded to multiples of this.
        noise_channels: channels of the noise input, 0 where there is none.
        margin: pixels by which images are reflected at their borders before use.
        factors: {task: how many times x is enlarged before use}, of those tasks whose x is of a coarser camera.
        strides: {task: rows between planes}, of those tasks for which CIN-GAN's x is sampled as a stack is.
    """

    script: str
    recipe: str
    tasks: list[str]
    normalization: Normalization
    no_rotate: list[str]
    size_multiple: int
    noise_channels: int = 0
    margin: int = 0
    factors: dict[str, int] = field(default_factory=dict)
    strides: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        self.tasks, self.no_rotate = list(self.tasks), list(self.no_rotate)

    @property
    def makes_defects(self) -> bool:
        """Whether it is CIN-GAN's, which makes x from y; others restore."""
        return self.script == "CIN-GAN"

    @property
    def needs_task(self) -> bool:
        """Whether one must say which task an image is of: scale or size depend on it, or it is to get that defect."""
        several = (self.normalization.kind == "fixed" and len(self.tasks) > 1) or len(self._all_factors()) > 1
        return self.makes_defects or several

    def _all_factors(self):
        return {self.factors.get(name, 1) for name in self.tasks}

    def factor(self, task: str | None) -> int:
        """How many times an image of the task is enlarged before use; without a task, all of them agree."""
        return self.factors.get(task, 1) if task else min(self._all_factors())

    def check_task(self, task: str | None, path: Path) -> str | None:
        """The task to use, or None where the generator, which lies at `path`, needs none.

        Raises:
            InputError: the generator does not know the task, or needs one.
        """
        known = ", ".join(self.tasks)
        if task is not None and task not in self.tasks:
            raise InputError(f"--task={task}: {path} knows {known}")
        if task is None and self.makes_defects:
            raise InputError(
                f"{path} is a CIN-GAN's: it makes clean images defective and cannot restore; restore with a cGAN's "
                f"generator.h5, or name the defect to make with --task, one of {known}"
            )
        if task is None and self.needs_task:
            raise InputError(f"{path} needs --task, one of {known}")
        return self.tasks[0] if task is None and self.normalization.kind == "fixed" else task

    def check(self) -> None:
        """Raise InputError where a field cannot be true."""
        names = (*self.tasks, *self.no_rotate, self.script, self.recipe)
        numbers = (self.size_multiple, self.noise_channels, self.margin)
        if not all(isinstance(name, str) for name in names) or not self.tasks:
            raise InputError("damaged generator file (names that are not text)")
        if not all(type(number) is int and 0 <= number <= 128 for number in numbers) or not self.size_multiple:
            raise InputError(f"damaged generator file (size_multiple, noise_channels, margin {numbers})")
        if not set(self.factors) <= set(self.tasks) or not set(self.factors.values()) <= set(FACTORS):
            raise InputError(f"damaged generator file (factors {self.factors})")
        if not set(self.strides) <= set(self.tasks) or not all(1 < n <= FARTHEST_PLANES for n in self.strides.values()):
            raise InputError(f"damaged generator file (strides {self.strides})")
        if not set(self.tasks) <= set(self.normalization.tasks()):
            raise InputError("damaged generator file (tasks without a normalisation)")

    def to_json(self) -> str:
        """Text for the HDF5 attribute."""
        late = "factors", "strides"  # left out where they are empty: earlier versions read such files
        fields = {key: value for key, value in vars(self).items() if key not in late or value}
        return json.dumps({"format_version": FORMAT_VERSION, **fields, "normalization": self.normalization.to_json()})


def save_generator(model: keras.Model, path: Path, metadata: Metadata) -> None:
    """Save a generator with its metadata as one HDF5 file, whole or not at all."""
    with written_whole(path) as beside:
        save_keras(model, beside)
        with h5py.File(beside, "r+") as file:
            file.attrs[ATTRIBUTE] = metadata.to_json()


def save_keras(model: keras.Model, path: Path) -> None:
    """Save a Keras model as HDF5, without Keras' advice to use its newer format: labs exchange .h5."""
    from absl import logging

    _reserve(path, _size_at_most(model))
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        model.save(str(path), include_optimizer=False)
    finally:
        logging.set_verbosity(verbosity)


def _size_at_most(model):
    """Bytes that a model's HDF5 file will not exceed: its weights, its configuration, and a page for each of both."""
    weights = sum(int(np.prod(weight.shape)) * 4 for weight in model.weights)
    return weights + 2 * len(model.to_json()) + 4096 * (len(model.weights) + len(model.layers) + 16)


def _reserve(path, size):
    """Raise OSError where `size` bytes do not fit, before h5py finds out: on a full disk it crashes the process."""
    with open(path, "wb") as file:
        file.write(bytes(size))
        file.flush()
        os.fsync(file.fileno())


def read_metadata(path: str | Path) -> Metadata:
    """Read the metadata of a generator without TensorFlow, and check that the file holds only known layers.

    Returns:
        Metadata.

    Raises:
        InputError: no such file, no HDF5, no generator of this project, or layers that could run code.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: a folder; name the generator.h5 in it")
    if not path.is_file():
        raise InputError(f"{path}: no such generator file")
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"{path}: {path.stat().st_size / 1e6:.0f} MB; no generator has over {LARGEST_FILE / 1e6:.0f}")
    stored, config = _read_attributes(path)
    if not isinstance(stored, str) or not isinstance(config, str):
        raise InputError(f"{path}: not a generator of MicroscopyGAN; expected the generator.h5 of a training")
    try:
        _check_layers(json.loads(config))
        return _parse(json.loads(stored))
    except InputError as failure:
        raise InputError(f"{path}: {failure}") from failure
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as failure:
        raise InputError(f"{path}: damaged generator file ({failure})") from failure


def _check_layers(config):
    """Raise InputError where a model's configuration holds what no generator has."""
    unknown = _foreign_parts(config)
    if unknown:
        raise InputError(f"holds layers that no generator has ({', '.join(sorted(map(str, unknown)))}); not loaded")
    check_sizes(config["config"]["layers"])


def _parse(fields):
    """The metadata that `Metadata.to_json` described. Raises InputError."""
    if fields.pop("format_version") != FORMAT_VERSION:
        raise InputError("it was written by another version of this project")
    metadata = Metadata(**{**fields, "normalization": normalization.from_json(fields["normalization"])})
    metadata.check()
    return metadata


def _read_attributes(path):
    """The texts of this project's and of Keras' attribute; None where one is missing."""
    try:
        with h5py.File(path, "r") as file:
            return file.attrs.get(ATTRIBUTE), file.attrs.get("model_config")
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as failure:  # h5py's, of damaged files
        raise InputError(f"{path}: not an HDF5 file, or cut short ({failure})") from failure


def _foreign_parts(config):
    """Class names, modules and registered names anywhere in a model's configuration that are not Keras' own."""
    if isinstance(config, list):
        return set().union(*map(_foreign_parts, config))
    if not isinstance(config, dict):
        return set()
    name, module, registered = (config.get(key) for key in ("class_name", "module", "registered_name"))
    foreign = {name} - BUILT_IN if "class_name" in config else set()
    foreign |= {module} - MODULES | {registered} - {None, name}
    return foreign.union(*map(_foreign_parts, config.values()))


def check_sizes(layers: list[dict]) -> None:
    """Raise InputError where a model's layers are larger than any generator's.

    Args:
        layers: their configurations, list of dicts.
    """
    if len(layers) > MOST_LAYERS:
        raise InputError(f"{len(layers)} layers; no generator has over {MOST_LAYERS}")
    for layer in layers:
        config = layer["config"]
        for key in SIZES:
            numbers = np.atleast_1d(config.get(key, 1))
            if numbers.max() > LARGEST_NUMBER:
                raise InputError(f"a layer with {key} {config[key]}; no generator has over {LARGEST_NUMBER}")
        kernel = config.get("filters", 1) * np.prod(config.get("kernel_size", 1))
        if kernel > LARGEST_KERNEL or np.prod(config.get("size", 1)) > 16:
            raise InputError(f"layer {config.get('name')} is larger than any generator's")


def load_generator(path: str | Path) -> tuple[keras.Model, Metadata]:
    """Load model and metadata.

    Returns:
        (keras.Model, Metadata).

    Raises:
        InputError: as `read_metadata`; or Keras cannot build the model.
    """
    metadata = read_metadata(path)
    import keras

    try:
        model = keras.models.load_model(str(path), compile=False, safe_mode=True)
    except Exception as failure:  # Keras and h5py raise whatever a damaged file leads them into
        reason = (str(failure) or type(failure).__name__).splitlines()[0]
        raise InputError(f"{path}: Keras cannot load it ({reason})") from failure
    _check_model(path, model, metadata)
    return model, metadata


def _check_model(path, model, metadata):
    """Raise InputError unless the model maps images to images of one channel, and its weights are numbers."""
    expected = [1]
    if metadata.makes_defects:
        expected = [1, "task", *[metadata.noise_channels] * bool(metadata.noise_channels)]
    received = [t.shape[-1] if len(t.shape) == 4 else "task" if len(t.shape) == 2 else t.shape for t in model.inputs]
    outputs = [tuple(tensor.shape) for tensor in model.outputs]
    if received != expected or outputs != [(None, None, None, 1)]:
        raise InputError(f"{path}: a model with inputs {received} and outputs {outputs}, not a generator of images")
    if not all(np.isfinite(weight).all() for weight in model.get_weights()):
        raise InputError(f"{path}: damaged generator file (weights that are not finite)")
