"""evaluate.py: every kept checkpoint is scored, the best one can be promoted, and nothing that it replaces is lost."""

import json
import shutil

import keras
import numpy as np
import pytest

import evaluate
from common.errors import InputError
from common.metrics import mean_scores
from restoring.apply import Applier
from restoring.generator_file import Metadata, load_generator, read_metadata, save_generator
from restoring.normalization import PercentileNormalization
from training import report as run_report
from training.run_folder import RunFolder

RNG = np.random.default_rng(0)
# The generator takes away so much of what it finds in its input: 0.5 is right, the last iteration's is not.
SHARES = {10: 0.9, 20: 0.5, 30: 0.2}


class Variable:
    """The part of a Keras variable that checkpoints use."""

    def __init__(self, value):
        self.value = value

    def __array__(self, dtype=None, copy=None):
        return self.value


def generator(share, filters=1):
    """y plus a checkerboard goes in; `share` of the checkerboard is taken away by a 3 x 3 average."""
    image = keras.Input((None, None, 1))
    hidden = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name="average")(image)
    model = keras.Model(image, keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones")(hidden))
    kernel = np.zeros((3, 3, 1, filters), np.float32)
    kernel[1, 1], kernel[1, [0, 2]] = 1 - share, share / 2
    model.get_layer("average").set_weights([kernel / filters])
    return model


def metadata(script="cGAN"):
    return Metadata(script, "tuned", ["A"], PercentileNormalization({"A": (1.0, 0.0)}), ("A",), 4)


@pytest.fixture
def run(tmp_path):
    """A run folder with three checkpoints, and x.npy and y.npy beside it; the best checkpoint is that of 20."""
    rows, columns = np.mgrid[:48, :48]
    y = np.stack([500 + 300 * np.sin(columns / 9 + phase) + 0 * rows for phase in (0, 1)])
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "x.npy", y + 200 * (-1.0) ** columns)
    run = RunFolder(tmp_path / "run", keep=-1)
    run.create(resume=False, overwrite=False)
    for iteration, share in SHARES.items():
        weights = [Variable(value) for value in generator(share).get_weights()]
        run.save_checkpoint(iteration, {"generator": [Variable(np.zeros(2))], "released": weights}, {})
    save_generator(generator(SHARES[30]), run / "generator.h5", metadata())
    arguments = {"recipe": "tuned", "num_iters": 30, "batch_size": 8, "seed": 1, "precision": "float32"}
    versions = {"tensorflow": "2", "keras": "3"}
    record = {"arguments": {**arguments, "data_dir": str(tmp_path / "pairs")}, "versions": versions, "not_default": []}
    (run / "args.json").write_text(json.dumps(record))
    return run


def call(run, *flags, x=None, y=None):
    folder = run.path.parent
    words = [str(run.path), f"--x={x or folder / 'x.npy'}", f"--y={y or folder / 'y.npy'}", *flags]
    return evaluate.main(evaluate.make_parser().parse_args(words))


def result(run):
    return json.loads((run / "evaluation.json").read_text())


def share_of(path):
    return float(load_generator(path)[0].get_layer("average").get_weights()[0][1, 0, 0, 0]) * 2


def test_every_checkpoint_is_scored_as_its_generator_restores(run, capsys):
    before = (run / "generator.h5").read_bytes()
    assert call(run) == 0
    record = result(run)
    x, y = (np.load(run.path.parent / name).astype(np.float32) for name in ("x.npy", "y.npy"))
    for row in record["iterations"]:
        predict = generator(SHARES[row["iteration"]]).predict_on_batch
        apply = Applier(lambda z, training, predict=predict: predict(z), metadata())
        expected = mean_scores([apply(image, None) for image in x], y)
        assert row["psnr"] == pytest.approx(expected["affine_psnr"], abs=1e-3)
        assert row["ssim"] == pytest.approx(expected["affine_ssim"], abs=1e-4)
    assert [row["iteration"] for row in record["iterations"]] == [10, 20, 30]
    assert record["best"] == 20 and record["generator"] == 30 and record["images"] == 2
    assert (run / "generator.h5").read_bytes() == before, "nothing is promoted unasked"
    assert (run / "evaluation.png").is_file() and "iteration 20" in capsys.readouterr().out
    page = (run / "report.html").read_text()
    assert "3 checkpoints by PSNR on 2 images" in page and str(run.path.parent / "x.npy") in page
    assert "generator.h5 is that of iteration 30 (--promote was not given)" in page


def test_the_best_one_is_promoted_with_its_metadata_and_the_earlier_one_kept(run):
    before = (run / "generator.h5").read_bytes()
    call(run, "--promote")
    promoted = load_generator(run / "generator.h5")[0].get_weights()
    released = run.load_released(run / "checkpoints/000020.npz")
    assert all(map(np.array_equal, promoted, released))
    assert read_metadata(run / "generator.h5").to_json() == metadata().to_json()
    assert (run / "generator_before.h5").read_bytes() == before
    assert result(run)["generator"] == 20 and "and it is generator.h5." in (run / "report.html").read_text()
    assert "an earlier evaluation" not in (run / "report.html").read_text()


def test_whatever_is_promoted_later_no_generator_is_lost(run, capsys):
    call(run, "--promote")
    before = (run / "generator.h5").read_bytes()
    call(run, "--promote")
    assert "is that of iteration 20 already" in capsys.readouterr().out
    assert (run / "generator.h5").read_bytes() == before and not (run / "generator_before_2.h5").exists()
    other = run.path.parent / "other.npy"  # images on which another checkpoint is best
    x, y = (np.load(run.path.parent / name) for name in ("x.npy", "y.npy"))
    np.save(other, y + 0.6 * (x - y))
    (run / "checkpoints/000020.npz").unlink()
    call(run, "--promote", x=other)
    kept = {path.name: share_of(path) for path in run.path.glob("generator*.h5")}
    assert kept.pop("generator.h5") == pytest.approx(SHARES[result(run)["best"]])
    assert kept == {"generator_before.h5": pytest.approx(0.2), "generator_before_2.h5": pytest.approx(0.5)}


def test_a_report_tells_when_training_has_replaced_what_was_chosen(run):
    call(run, "--promote")
    save_generator(generator(0.3), run / "generator.h5", metadata())
    assert "generator.h5 is none of them" in run_report.write_report(run.path).read_text()


def test_a_damaged_checkpoint_is_passed_over(run, capsys):
    path = run / "checkpoints/000020.npz"
    path.write_bytes(path.read_bytes()[:-60])
    call(run)
    assert [row["iteration"] for row in result(run)["iterations"]] == [10, 30]
    assert "000020.npz is damaged" in capsys.readouterr().out
    for path in run.checkpoints():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="every checkpoint is damaged"):
        call(run)


def test_folders_pair_by_name(run, tmp_path):
    for kind in "xy":
        (tmp_path / kind).mkdir()
        for index, image in enumerate(np.load(tmp_path / f"{kind}.npy")):
            np.save(tmp_path / kind / f"{index}.npy", image)
    call(run, x=tmp_path / "x", y=tmp_path / "y")
    assert result(run)["best"] == 20 and result(run)["images"] == 2
    (tmp_path / "y/1.npy").rename(tmp_path / "y/2.npy")
    with pytest.raises(InputError, match="1 has no partner"):
        call(run, x=tmp_path / "x", y=tmp_path / "y")


def test_images_that_the_run_knows_are_told(run, tmp_path, capsys):
    (tmp_path / "pairs").mkdir()
    shutil.copy(tmp_path / "x.npy", tmp_path / "pairs/A_X.npy")
    call(run, x=tmp_path / "pairs/A_X.npy")
    assert "lies in the run's --data_dir" in capsys.readouterr().out


def spoil(run, what):
    if what == "no folder":
        run.path.rename(run.path.with_name("elsewhere"))
    elif what in ("generator.h5", "args.json"):
        (run / what).unlink()
    elif what == "no checkpoint":
        shutil.rmtree(run / "checkpoints")
    elif what == "sizes":
        np.save(run.path.parent / "y.npy", np.ones((2, 40, 48)))
    elif what == "CIN-GAN":
        save_generator(generator(0.5), run / "generator.h5", metadata("CIN-GAN"))
    elif what == "network":
        save_generator(generator(0.5, filters=2), run / "generator.h5", metadata())
    elif what == "released":
        run.save_checkpoint(40, {"generator": [Variable(np.zeros(2))]}, {})


@pytest.mark.parametrize(
    "what, flags, message",
    [
        ("no folder", (), r"expected the results folder of a training .args.json is missing"),
        ("args.json", (), r"expected the results folder of a training .args.json is missing"),
        ("generator.h5", (), "no such generator file"),
        ("no checkpoint", (), "holds no checkpoint; train with --keep_checkpoints=-1"),
        ("sizes", (), "or their sizes differ"),
        ("CIN-GAN", (), "makes defects"),
        ("network", ("--promote",), "000010.npz is a checkpoint of another network"),
        ("released", ("--promote",), "000040.npz is a checkpoint of another network"),
        (None, ("--task=B",), "knows A"),
        (None, ("--x=missing.npy",), "no such file"),
    ],
)
def test_mistakes_are_told_and_change_nothing(run, what, flags, message):
    spoil(run, what)
    files = {path: path.read_bytes() for path in run.path.parent.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=message):
        call(run, *flags)
    found = {path: path.read_bytes() for path in run.path.parent.rglob("*") if path.is_file()}
    found = {path: content for path, content in found.items() if not path.name.endswith(".lock")}
    assert found == files


def test_a_run_that_is_training_is_left_alone(run):
    with run.locked(), pytest.raises(InputError, match="in use by another training"):
        call(run)
