"""export.py: other tools compute what this project computes."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import export
import models
from common.errors import InputError
from restoring.apply import Applier
from restoring.generator_file import Metadata, save_generator
from restoring.normalization import FixedNormalization, PercentileNormalization

RNG = np.random.default_rng(0)
NORMALIZATIONS = {
    "tuned": PercentileNormalization({"A": (1.0, 0.0)}),
    "paper": FixedNormalization({"A": ((100, 50), (1000, 400))}),
}


def image(height, width):
    return RNG.gamma(2, 100, (height, width)).astype(np.float32)


@pytest.fixture
def make_generator(tmp_path):
    """Save a generator with a skip, as a rule with instance normalisation; gives (model, path)."""

    def make(recipe="tuned", script="cGAN", normalize=True):
        keras.utils.set_random_seed(3)
        x = keras.Input((None, None, 1))
        z = keras.layers.Conv2D(4, 3, padding="same")(x)
        z = models.instance_normalization(z) if normalize else z
        z = keras.layers.UpSampling2D()(keras.layers.MaxPooling2D()(keras.layers.ReLU()(z)))
        model = keras.Model(x, keras.layers.Add()([x, keras.layers.Conv2D(1, 3, padding="same")(z)]))
        save_generator(model, tmp_path / "generator.h5", Metadata(script, recipe, ["A"], NORMALIZATIONS[recipe], (), 8))
        return model, tmp_path / "generator.h5"

    return make


def run(generator, kind, output, *flags):
    words = [f"--generator_path={generator}", f"--format={kind}", f"--output={output}", *map(str, flags)]
    return export.main(export.make_parser().parse_args(words))


def test_onnx_equals_keras_at_any_size(tmp_path, make_generator):
    pytest.importorskip("tf2onnx", reason="requirements/export.txt is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="requirements/export.txt is not installed")
    model, path = make_generator()
    assert run(path, "onnx", tmp_path / "g.onnx") == 0
    session = runtime.InferenceSession(str(tmp_path / "g.onnx"))
    for shape in ((2, 96, 64, 1), (1, 32, 128, 1), (1, 50, 33, 1), (1, 5, 101, 1)):
        batch = RNG.standard_normal(shape).astype(np.float32)
        found = session.run(None, {session.get_inputs()[0].name: batch})[0]
        np.testing.assert_allclose(found, padded(model, batch), atol=1e-4)


def padded(model, batch):
    """What the model makes of images that are reflected up to multiples of 8, cut to their size."""
    pads = [(0, 0), *((0, -side % 8) for side in batch.shape[1:3]), (0, 0)]
    return model(np.pad(batch, pads, mode="symmetric"), training=False)[:, : batch.shape[1], : batch.shape[2]]


def test_onnx_of_a_tuned_generator_treats_outliers_as_keras_does(tmp_path):
    pytest.importorskip("tf2onnx", reason="requirements/export.txt is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="requirements/export.txt is not installed")
    model = models.tuned_generator((4, 4, 4))
    metadata = Metadata("cGAN", "tuned", ["A"], NORMALIZATIONS["tuned"], (), 4)
    save_generator(model, tmp_path / "generator.h5", metadata)
    assert run(tmp_path / "generator.h5", "onnx", tmp_path / "g.onnx") == 0
    session = runtime.InferenceSession(str(tmp_path / "g.onnx"))
    batch = RNG.random((1, 64, 96, 1)).astype(np.float32)
    batch[0, 20:29, 30:33], batch[0, 0, 0] = 50, 3
    found = session.run(None, {session.get_inputs()[0].name: batch})[0]
    np.testing.assert_allclose(found, model(batch, training=False), atol=1e-4)


def test_saved_model_equals_keras(tmp_path, make_generator):
    import tensorflow as tf

    model, path = make_generator()
    run(path, "saved_model", tmp_path / "folder/saved")
    loaded = tf.saved_model.load(str(tmp_path / "folder/saved"))
    for shape in ((1, 64, 96, 1), (1, 50, 33, 1)):
        batch = RNG.standard_normal(shape).astype(np.float32)
        np.testing.assert_allclose(loaded.serve(batch), padded(model, batch), atol=1e-5)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["saved"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", list(NORMALIZATIONS))
def test_the_zoo_accepts_a_package_and_predicts_at_another_size(tmp_path, make_generator, recipe):
    """Their own command line, unchanged, tests both weight formats; their Python API restores another image."""
    core = pytest.importorskip("bioimageio.core", reason="requirements/export.txt is not installed")
    model, path = make_generator(recipe, normalize=False)
    np.save(tmp_path / "sample.npy", image(130, 200))
    run(path, "bioimageio", tmp_path / "package.zip", f"--sample={tmp_path / 'sample.npy'}", "--name=A test")
    command = [str(Path(sys.executable).with_name("bioimageio")), "test", "package.zip"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "keras_hdf5" in done.stdout and "onnx" in done.stdout
    other = image(104, 160)
    metadata = Metadata("cGAN", recipe, ["A"], NORMALIZATIONS[recipe], (), 8)
    expected = Applier(model, metadata)(other, "A")
    if recipe == "tuned":
        expected = metadata.normalization.x_scale("A", other).normalize(expected)
    sample = core.predict(model=tmp_path / "package.zip", inputs={"x": other[None, ..., None]})
    found = np.asarray(sample.members["restored"].data)[0, ..., 0]
    # It reflects the image at its borders, where Keras' layers see zeros, and before it takes percentiles.
    tolerance = {"paper": 1e-3, "tuned": 2e-2}[recipe] * np.ptp(expected)
    np.testing.assert_allclose(found[8:-8, 8:-8], expected[8:-8, 8:-8], atol=tolerance)


@pytest.mark.parametrize(
    "kind, output, flags, message",
    [
        ("onnx", "g.zip", (), "expected .onnx"),
        ("saved_model", "there", (), "exists"),
        ("bioimageio", "p.zip", (), "needs --sample"),
        ("bioimageio", "p.zip", ("--sample=small.npy",), "96 x 96 at least"),
        ("bioimageio", "p.zip", ("--sample=missing.npy",), "no such file"),
        ("bioimageio", "p.zip", ("--sample=small.npy", "--task=B"), "knows A"),
    ],
)
def test_mistakes_are_told_and_write_nothing(tmp_path, make_generator, monkeypatch, kind, output, flags, message):
    monkeypatch.chdir(tmp_path)
    if kind == "bioimageio":
        pytest.importorskip("bioimageio.core", reason="requirements/export.txt is not installed")
    _, path = make_generator()
    np.save("small.npy", image(64, 64))
    Path("there").mkdir()
    before = sorted(Path().iterdir())
    with pytest.raises(InputError, match=message):
        run(path, kind, output, *flags)
    assert sorted(Path().iterdir()) == before


def test_what_makes_defects_is_not_exported(tmp_path, make_generator):
    _, path = make_generator(script="CIN-GAN")
    with pytest.raises(InputError, match="generators that restore"):
        run(path, "onnx", tmp_path / "g.onnx")
