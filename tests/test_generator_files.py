"""generator.h5: metadata survives, foreign layers are refused before anything of the file runs."""

import json

import h5py
import keras
import numpy as np
import pytest

import models
from common.errors import InputError
from restoring.generator_file import Metadata, load_generator, read_metadata, save_generator, save_keras
from restoring.normalization import PercentileNormalization


@pytest.fixture
def metadata():
    return Metadata("cGAN", "tuned", ["B", "A"], PercentileNormalization({"A": (2, 1), "B": (1, 0)}), ["B"], 8)


def test_round_trip(tmp_path, metadata):
    model = models.tuned_generator((4, 4, 4))
    save_generator(model, tmp_path / "generator.h5", metadata)
    loaded, again = load_generator(tmp_path / "generator.h5")
    assert vars(again) | {"normalization": 0} == vars(metadata) | {"normalization": 0}
    assert again.normalization.gains == metadata.normalization.gains
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True))


def test_a_failed_save_keeps_the_old_file(tmp_path, metadata):
    path = tmp_path / "generator.h5"
    save_generator(models.tuned_generator((4, 4, 4)), path, metadata)
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        save_generator(models.tuned_generator((4, 4, 4)), path, "no metadata")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_lambda_layers_are_refused_unread(tmp_path, metadata):
    """The file's code would leave a mark; it never runs."""
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.Lambda(lambda x: x)(image))
    path = tmp_path / "generator.h5"
    save_generator(model, path, metadata)
    with pytest.raises(InputError, match="holds layers that no generator has \\(Lambda"):
        load_generator(path)


@pytest.mark.parametrize("damage", ["no attribute", "no json", "fields", "cut", "version"])
def test_damage_is_named(tmp_path, metadata, damage):
    path = tmp_path / "generator.h5"
    save_generator(models.tuned_generator((4, 4, 4)), path, metadata)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    else:
        stored = json.loads(metadata.to_json())
        with h5py.File(path, "r+") as file:
            if damage == "no attribute":
                del file.attrs["microscopygan"]
            elif damage == "no json":
                file.attrs["microscopygan"] = "{"
            elif damage == "fields":
                file.attrs["microscopygan"] = json.dumps({"format_version": 1})
            else:
                file.attrs["microscopygan"] = json.dumps({**stored, "format_version": 99})
    with pytest.raises(InputError, match=r"generator\.h5"):
        read_metadata(path)


def test_a_plain_keras_file_is_no_generator(tmp_path):
    save_keras(models.tuned_generator((4, 4, 4)), tmp_path / "model.h5")
    with pytest.raises(InputError, match="not a generator of MicroscopyGAN"):
        read_metadata(tmp_path / "model.h5")
