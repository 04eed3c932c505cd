"""`generator.h5`: a Keras model of built-in layers with what its use needs stored in an HDF5 attribute.

`keras.models.load_model("generator.h5")` loads it anywhere, on any Keras backend, without this project.
"""

import json
from pathlib import Path

import h5py

import normalization
from errors import InputError
from run_folder import written_whole

ATTRIBUTE = "microscopygan"
FORMAT_VERSION = 1
# The layers that models.py uses. Anything else in a file (a Lambda, say, which can hold code) is refused unread.
BUILT_IN_LAYERS = frozenset(
    "Functional InputLayer Conv2D Conv2DTranspose ReLU LeakyReLU Activation Dropout Add Subtract Average Multiply "
    "Concatenate Rescaling Reshape Embedding GroupNormalization UpSampling2D MaxPooling2D AveragePooling2D "
    "GlobalAveragePooling2D".split()
)


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
    """

    def __init__(self, script, recipe, tasks, normalization, no_rotate, size_multiple, noise_channels=0, margin=0):
        self.script, self.recipe, self.tasks, self.normalization = script, recipe, list(tasks), normalization
        self.no_rotate, self.size_multiple = list(no_rotate), size_multiple
        self.noise_channels, self.margin = noise_channels, margin

    def to_json(self):
        """Text for the HDF5 attribute."""
        return json.dumps(
            {"format_version": FORMAT_VERSION, **vars(self), "normalization": self.normalization.to_json()}
        )


def save_generator(model, path, metadata):
    """Save a generator with its metadata as one HDF5 file, whole or not at all."""
    with written_whole(path) as beside:
        save_keras(model, beside)
        with h5py.File(beside, "r+") as file:
            file.attrs[ATTRIBUTE] = metadata.to_json()


def save_keras(model, path):
    """Save a Keras model as HDF5, without Keras' advice to use its newer format: labs exchange .h5."""
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        model.save(str(path), include_optimizer=False)
    finally:
        logging.set_verbosity(verbosity)


def read_metadata(path):
    """Read the metadata of a generator without TensorFlow, and check that the file holds only known layers.

    Returns:
        Metadata.

    Raises:
        InputError: no such file, no HDF5, no generator of this project, or layers that could run code.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such generator file")
    try:
        with h5py.File(path, "r") as file:
            stored, config = file.attrs.get(ATTRIBUTE), file.attrs.get("model_config")
    except OSError as failure:
        raise InputError(f"{path}: not an HDF5 file, or cut short ({failure})") from failure
    if stored is None or config is None:
        raise InputError(f"{path}: no generator of MicroscopyGAN; expected a generator.h5 that its training wrote")
    try:
        fields = json.loads(stored)
        unknown = _layer_names(json.loads(config)) - BUILT_IN_LAYERS
        if fields.pop("format_version") != FORMAT_VERSION:
            raise InputError("it was written by another version of this project")
        fields["normalization"] = normalization.from_json(fields["normalization"])
        metadata = Metadata(**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as failure:
        raise InputError(f"{path}: damaged generator file ({failure})") from failure
    if unknown:
        raise InputError(f"{path}: holds layers that no generator has ({', '.join(sorted(unknown))}); not loaded")
    return metadata


def _layer_names(config):
    """All Keras class names in a model's configuration that name layers."""
    layers = config["config"]["layers"]
    return {config["class_name"]} | {layer["class_name"] for layer in layers}


def load_generator(path):
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
    except (ValueError, TypeError, KeyError, OSError) as failure:
        raise InputError(f"{path}: Keras cannot load it ({str(failure).splitlines()[0]})") from failure
    return model, metadata
