"""Uncertainty that is calibrated, and a check that finds what the input does not support."""

import json

import keras
import numpy as np
import pytest
from small_generators import cin_generator
from small_generators import uneven_generator as generator

import calibrate
import restore
from common.errors import InputError
from common.metrics import intensities
from data_utils import load_tasks
from methods import BASELINES
from restoring import apply as inference
from restoring import trust, trust_maps
from restoring.apply import Applier
from restoring.generator_file import Metadata, load_generator, read_metadata, save_generator
from restoring.normalization import PercentileNormalization

RNG = np.random.default_rng(0)


def run(*words):
    return restore.main(restore.make_parser().parse_args([str(word) for word in words]))


def test_a_calibration_finds_the_numbers_that_errors_were_drawn_with():
    deviations = RNG.gamma(2, 0.02, (20, 64, 64))
    errors = RNG.normal(0, np.sqrt(0.03**2 + (1.7 * deviations) ** 2))
    calibration = trust.fit_calibration(deviations, errors)
    assert calibration == pytest.approx((0.03, 1.7), rel=0.03)
    for level, share in trust.coverage(calibration, deviations, errors).items():
        assert share == pytest.approx(level, abs=0.5)


def test_passes_are_flips_and_turns_or_dropout(tmp_path):
    image = RNG.gamma(2, 100, (32, 32)).astype(np.float32)
    apply = Applier.load(generator(tmp_path))
    assert apply.with_dropout() is None and trust.passes(apply, None, image, "A", 8, None, 0).std(axis=0).any()
    with pytest.raises(InputError, match="there are 8 passes"):
        trust.passes(apply, None, image, "A", 9, None, 0)
    apply = Applier.load(generator(tmp_path, no_rotate=["A"]))
    with pytest.raises(InputError, match="there are 4 passes"):
        trust.passes(apply, None, image, "A", 5, None, 0)
    apply = Applier.load(generator(tmp_path, dropout=0.5))
    assert trust.passes(apply, apply.with_dropout(), image, "A", 20, None, 0).std(axis=0).any()


def test_calibration_takes_the_passes_that_a_task_allows(tmp_path):
    """By default 8, or the four flips of a task with a direction."""
    for kind in "xy":
        np.save(tmp_path / f"{kind}.npy", RNG.gamma(2, 100, (2, 32, 32)).astype(np.float32))
    path = generator(tmp_path, no_rotate=["A"])
    flags = [f"--generator_path={path}", f"--input={tmp_path}/x.npy", f"--ground_truth={tmp_path}/y.npy"]
    output = tmp_path / "calibration.json"
    assert calibrate.main(calibrate.make_parser().parse_args([*flags, f"--output={output}"])) == 0
    assert trust.read_calibration(output).floor > 0


def test_calibration_refuses_a_generator_that_makes_defects(tmp_path):
    words = [f"--generator_path={cin_generator(tmp_path)}", "--input=x.npy", "--ground_truth=y.npy", "--output=c.json"]
    with pytest.raises(InputError, match="for generators that restore"):
        calibrate.main(calibrate.make_parser().parse_args([*words, "--task=A"]))


def test_made_again_is_the_mean_and_deviation_of_the_draws(tmp_path):
    model, metadata = load_generator(cin_generator(tmp_path))
    apply = Applier(model, metadata)
    y = RNG.uniform(0, 1000, (24, 32))
    draws = np.stack([apply(y, "A", draw=draw) for draw in range(trust.DRAWS)])
    mean, deviation = trust.made_again(apply, y, "A")
    assert np.allclose(mean, draws.mean(axis=0), rtol=1e-5) and np.allclose(
        deviation, draws.std(axis=0, ddof=1), rtol=1e-4
    )


def test_noise_contradicts_nothing_and_a_planted_spot_is_contradicted():
    mean = 100 + RNG.random((96, 96)) * 50
    deviation = np.sqrt(mean)
    x = mean + 7 + RNG.normal(0, deviation)
    found = trust.contradiction(x, mean, deviation)
    assert np.mean(np.abs(found) > trust.CONTRADICTED) < 2e-3
    planted = mean.copy()
    planted[40:46, 50:56] += 30
    found = trust.contradiction(x, planted, np.sqrt(planted))
    assert np.unravel_index(np.abs(found).argmax(), found.shape) == pytest.approx((43, 53), abs=4)
    assert np.abs(found).max() > 2 * trust.CONTRADICTED


def test_intensities_are_gain_offset_and_flux():
    x = RNG.random((16, 16))
    assert intensities(2 * x + 3, x) == pytest.approx((2, 3, (2 * x.mean() + 3) / x.mean()))


def test_restore_writes_maps_beside_the_image_and_says_what_they_mean(tmp_path, capsys):
    x = np.clip(RNG.normal(500, 150, (2, 48, 48)), 0, 1000).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", 500 + 0.9 * (x - 500))
    path, cin = generator(tmp_path), cin_generator(tmp_path)
    words = [f"--generator_path={path}", f"--input={tmp_path}/x.npy", f"--output={tmp_path}/r.npy", "--task=A"]
    command = [f"--generator_path={path}", f"--input={tmp_path}/x.npy", f"--ground_truth={tmp_path}/y.npy"]
    calibrated = tmp_path / "calibration.json"
    assert calibrate.main(calibrate.make_parser().parse_args([*command, f"--output={calibrated}"])) == 0
    flags = ("--uncertainty=8", f"--calibration={calibrated}", "--check", f"--cin_generator_path={cin}")
    assert run(*words, *flags) == 0
    said = capsys.readouterr().out
    assert "flux" in said and "deviation of the error" in said and "% contradicted by the input" in said
    for kind in ("uncertainty", "check"):
        found = np.load(tmp_path / f"r_{kind}.npy")
        assert found.shape == x.shape and found.dtype == np.float32 and np.isfinite(found).all()
    with pytest.raises(InputError, match="exists"):
        (tmp_path / "r.npy").unlink()
        run(*words, *flags)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_averaging_and_uncertainty_share_one_network_and_its_passes(tmp_path, monkeypatch, dropout):
    """Eight calls for both; equal to what each flag gives alone. Dropout's passes are others, and called directly."""
    np.save(tmp_path / "x.npy", RNG.gamma(2, 100, (40, 48)).astype(np.float32))
    path, cin = generator(tmp_path, dropout), cin_generator(tmp_path)
    words = [f"--generator_path={path}", f"--input={tmp_path}/x.npy", "--task=A"]
    run(*words, f"--output={tmp_path}/mean.npy", "--average=8")
    run(*words, f"--output={tmp_path}/passes.npy", "--uncertainty=8")
    loaded, called, predict = [], [], keras.Model.predict_on_batch

    def load(path):
        loaded.append(path)
        return load_generator(path)

    def count(model, inputs):
        called.append(len(model.inputs))
        return predict(model, inputs)

    monkeypatch.setattr(inference, "load_generator", load)
    monkeypatch.setattr(keras.Model, "predict_on_batch", count)
    flags = ["--average=8", "--uncertainty=8", "--check", f"--cin_generator_path={cin}"]
    assert run(*words, f"--output={tmp_path}/both.npy", *flags) == 0
    assert loaded == [path, cin] and called.count(1) == 8
    found = [np.load(tmp_path / f"{name}.npy") for name in ("mean", "passes", "both", "passes_uncertainty")]
    assert np.array_equal(found[2], found[0]) and not np.array_equal(found[2], found[1])
    assert dropout or np.array_equal(np.load(tmp_path / "both_uncertainty.npy"), found[3])


def test_calibration_files_that_are_none_are_told(tmp_path):
    for text in ("{", json.dumps({"floor": 1}), json.dumps({"floor": -1, "slope": 1}), "[]"):
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(InputError, match="calibration"):
            trust.read_calibration(tmp_path / "c.json")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--check"], "needs --cin_generator_path"),
        (["--uncertainty=9"], "there are 8 passes, flips and turns; pass --uncertainty=8"),
        (["--check", "--task=A", "--cin_generator_path={restores}"], "expected a CIN-GAN"),
        (["--check", "--task=A", "--cin_generator_path={silent}"], "makes no noise"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_is_written(tmp_path, flags, message):
    np.save(tmp_path / "x.npy", RNG.random((48, 48), np.float32))
    path, silent = generator(tmp_path), cin_generator(tmp_path, noise=0)
    flags = [flag.format(restores=path, silent=silent) for flag in flags]
    with pytest.raises(InputError, match=message):
        run(f"--generator_path={path}", f"--input={tmp_path}/x.npy", f"--output={tmp_path}/r.npy", *flags)
    assert not list(tmp_path.glob("r*"))


def save_care(path, normalization):
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.Rescaling(1.0)(image))
    save_generator(model, path, Metadata("CARE", "care", normalization.tasks(), normalization, [], 4))


def test_the_check_of_cares_images_speaks_in_units_of_y(tmp_path, pair_folder):
    """CARE's perfect image has y's percentiles where x's were; x of Layers is five times dimmer than y."""
    task = load_tasks(pair_folder, ["Layers"])[0][0]
    save_care(tmp_path / "care.h5", BASELINES["care"].fit_normalization(task))
    normalization = read_metadata(tmp_path / "care.h5").normalization
    check = trust_maps.CheckMap(None, normalization, "Layers")
    for x, y in zip(task.test_x, task.test_y, strict=True):
        x_scale, y_scale = (normalization.x_scale("Layers", image) for image in (x, y))
        found = check.in_units_of_y(x_scale.undo(y_scale.normalize(y)), x)
        assert np.polyfit(y.ravel(), found.ravel(), 1)[0] == pytest.approx(1, rel=0.1)


def test_an_older_care_file_restores_but_its_check_is_refused(tmp_path):
    """Such files hold gain 1 and offset 0, which nobody measured."""
    save_care(tmp_path / "care.h5", PercentileNormalization({"A": (1.0, 0.0)}))
    np.save(tmp_path / "x.npy", RNG.gamma(2, 100, (48, 48)))
    words = [f"--generator_path={tmp_path}/care.h5", f"--input={tmp_path}/x.npy", "--task=A"]
    assert run(*words, f"--output={tmp_path}/r.npy") == 0
    cin = cin_generator(tmp_path)
    with pytest.raises(InputError, match="does not hold how the intensities"):
        run(*words, f"--output={tmp_path}/s.npy", "--check", f"--cin_generator_path={cin}")
    assert not list(tmp_path.glob("s*"))


def test_the_check_speaks_in_units_of_y():
    """gain * y + offset is on x's scale, so y is what is restored, less the offset, over the gain."""
    x = RNG.gamma(2, 100, (32, 32))
    check = trust_maps.CheckMap(None, PercentileNormalization({"A": (0.5, 20.0)}), "A")
    assert check.in_units_of_y(x, x) == pytest.approx((x - 20) / 0.5, rel=1e-3, abs=1)
