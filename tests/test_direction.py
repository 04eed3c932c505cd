"""Which defects have a direction: measured rightly from few images, paired or not, overruled by flags, stored."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import train_baseline
import train_cGAN
import train_CIN_GAN
from common.errors import InputError
from data_utils import SAMPLE_DIR, load_tasks
from methods import care
from restoring.generator_file import read_metadata
from training import direction
from training import run as launch
from training.direction import measure
from training.options import CGANOptions, DataOptions

ROOT = Path(__file__).resolve().parents[1]
COLLECTIONS = [ROOT.parent / "shared/data" / name for name in ("real", "second")]
WITH_DIRECTION = {"Layers", "Axial", "Axial2"}  # of the sample and both collections
ROWS = (3, 5, 10, 20, 30)


def read(name, folder=SAMPLE_DIR):
    """(x, y) of a task's training images, each (N, H, W) float64."""
    return [np.load(folder / f"{name}_{kind}.npy").astype(float) for kind in "XY"]


def present_tasks():
    """(folder, name) of every task of the sample and of the collections that are there."""
    for folder in (SAMPLE_DIR, *COLLECTIONS):
        names = sorted(path.stem.removesuffix("_X") for path in folder.glob("*_X.npy"))
        yield from ((folder, name) for name in names)
        if not names:
            skip = pytest.mark.skip(reason=f"{folder} is not here")
            yield pytest.param(folder, "none", marks=skip)


def auto_contrast(images, rng):
    """Each image with a gain and an offset of its own."""
    return images * rng.uniform(0.2, 5, (len(images), 1, 1)) + rng.uniform(-500, 500, (len(images), 1, 1))


@pytest.mark.parametrize(("folder", "name"), list(present_tasks()), ids=str)
def test_every_task_is_told_right_from_few_rows(folder, name):
    (x, y), rng, expected = read(name, folder), np.random.default_rng(0), name in WITH_DIRECTION
    for count in ROWS:
        rows, others = (rng.permutation(len(x))[:count] for _ in range(2))
        paired, unpaired = measure(x[rows], y[rows]), measure(x[rows], y[others])
        assert paired.found == unpaired.found == expected, (count, paired, unpaired)
        assert not expected or (paired.axis == unpaired.axis == 0 and min(paired.times, unpaired.times) > 3)
    rows = rows[:5]
    turned = measure(x[rows].swapaxes(1, 2), y[rows].swapaxes(1, 2))
    assert turned.found == expected and turned.axis == int(expected), turned
    assert measure(auto_contrast(x[rows], rng), auto_contrast(y[rows], rng)).found == expected
    assert measure(x[rows, :64, :64], y[rows, :64, :64]).found == expected
    large = [np.pad(images[:3], ((0, 0), (192, 192), (192, 192)), mode="symmetric") for images in (x, y)]
    assert measure(*large).found == expected, "512 x 512"


@pytest.mark.parametrize("folder", [SAMPLE_DIR, *COLLECTIONS], ids=str)
def test_what_is_found_is_what_was_named_before(folder, capsys):
    """The list that was kept for these names: their trainings do not change."""
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    data = DataOptions(data_dir=folder, images_limit=10)
    tasks = launch.load_tasks(data, seed=42)
    named = [task.name for task in tasks if task.name in WITH_DIRECTION]
    assert launch.find_no_rotate(data, tasks, False) == launch.find_no_rotate(data, tasks, True) == named


def with_noise(rng, images, amount=0.02):
    return images + rng.normal(0, amount, images.shape) * np.ptp(images)


def binned(images, size=4):
    cells = images.reshape(len(images), 128 // size, size, 128 // size, size).mean(axis=(2, 4))
    return ndimage.zoom(cells, (1, size, size), order=3, mode="grid-mirror", grid_mode=True)


ISOTROPIC = {
    "noise": lambda rng, y: with_noise(rng, y),
    "strong noise": lambda rng, y: with_noise(rng, y, 0.3),
    "blur": lambda rng, y: with_noise(rng, ndimage.gaussian_filter(y, (0, 2, 2))),
    "binning": lambda rng, y: with_noise(rng, binned(y), 0.005),
}


@pytest.mark.parametrize("defect", list(ISOTROPIC))
def test_content_with_a_direction_is_no_defect_with_one(defect):
    """Layers and fibres vary more across than along; x of a defect without a direction shows the same or less of it."""
    rng = np.random.default_rng(1)
    fibres = ndimage.gaussian_filter(rng.standard_normal((10, 128, 128)), (0, 1, 4), mode="wrap")
    for y in (read("Layers")[1][:10], fibres, fibres.swapaxes(1, 2)):
        measured = measure(ISOTROPIC[defect](rng, y), y)
        assert measured.found is False, measured


def planes(images, step):
    """Every step-th row, interpolated linearly along axis 1."""
    taken = np.arange(0, images.shape[1], step)
    one = [[np.interp(np.arange(images.shape[1]), taken, column[taken]) for column in image.T] for image in images]
    return np.array(one).swapaxes(1, 2)


def along_rows(rng, images):
    """Noise that is correlated along axis 2, as of a line-scanning microscope."""
    noise = ndimage.gaussian_filter1d(rng.standard_normal(images.shape), 1.0, axis=2)
    return images + 0.1 * np.ptp(images) * noise / noise.std()


# {defect: (function, the axis along which x varies less)}
DIRECTED = {
    "mild axial blur": (lambda rng, y: planes(with_noise(rng, ndimage.gaussian_filter1d(y, 1.5, axis=1)), 2), 0),
    "blur without missing planes": (lambda rng, y: with_noise(rng, ndimage.gaussian_filter1d(y, 2.0, axis=1)), 0),
    "motion": (lambda rng, y: with_noise(rng, ndimage.uniform_filter1d(y, 7, axis=2)), 1),
    "line-scan noise": (along_rows, 1),
}


@pytest.mark.parametrize("name", ["Nuclei", "Tubules"])
@pytest.mark.parametrize("defect", list(DIRECTED))
def test_other_defects_with_a_direction_are_found(defect, name):
    rng, y = np.random.default_rng(2), read(name)[1][:10]
    degrade, axis = DIRECTED[defect]
    measured = measure(degrade(rng, y), y)
    assert measured.found and measured.axis == axis and measured.times > 1.3, measured


def test_too_few_pixels_say_nothing():
    x, y = (images[:1, :48, :48] for images in read("Nuclei"))
    assert measure(x, y).found is None
    assert measure(x[:, :20, :20], y[:, :20, :20]).found is None
    assert "too few pixels" in str(measure(x, y))


def test_only_some_of_many_images_and_pixels_are_read(monkeypatch):
    monkeypatch.setattr(direction, "MOST_IMAGES", 4)
    monkeypatch.setattr(direction, "MOST_TILES", 3)
    seen = []

    class Counted(list):
        def __getitem__(self, row):
            seen.append(int(row))
            return super().__getitem__(row)

    x, y = read("Layers")
    assert measure(Counted(x), list(y)).found and set(seen) == {0, 13, 26, 39}


@pytest.fixture
def own_names(pair_folder):
    """The small pair folder, its tasks now `Deep`, a defect with a direction, and `Short`, one without."""
    for path in pair_folder.glob("*.npy"):
        path.unlink()
    for name, own in (("Layers", "Deep"), ("Nuclei", "Short")):
        for kind, images in zip("XY", read(name), strict=True):
            np.save(pair_folder / f"{own}_{kind}.npy", images[:10, :64, :64].astype(np.uint16))
    return pair_folder


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], ["Deep"]),
        (["--no_rotate=Short"], ["Deep", "Short"]),
        (["--rotate=Deep"], []),
        (["--rotate=Deep", "--no_rotate=Short"], ["Short"]),
    ],
)
def test_flags_overrule_what_was_measured(flags, expected, own_names, capsys):
    data = CGANOptions.read(train_cGAN.make_parser().parse_args([f"--data_dir={own_names}", *flags])).data
    assert launch.find_no_rotate(data, launch.load_tasks(data, seed=42), False) == expected
    deep, short = capsys.readouterr().out.splitlines()[-2:]
    assert deep.startswith("Deep: the defect has a direction (x varies ")
    assert " times less along axis 0 than along axis 1, relative to y): flips" in deep
    assert short.startswith("Short: no direction found in the defect: flips")
    for line, name in ((deep, "Deep"), (short, "Short")):
        assert ("flips, but no quarter turns" in line) == (name in expected)
        assert [flag for flag in ("--no_rotate", "--rotate") if line.endswith(f" ({flag})")] == [
            flag.split("=")[0] for flag in flags if name in flag
        ]


def test_a_task_in_both_flags_is_refused_and_an_unknown_one_is_said(own_names, capsys):
    for script, words in ((train_cGAN, []), (train_CIN_GAN, []), (train_baseline, ["--method=cyclegan"])):
        args = [*words, f"--data_dir={own_names}", "--no_rotate=Deep,Short", "--rotate=Deep"]
        with pytest.raises(InputError, match=r"^--no_rotate and --rotate both name Deep; leave it out of one$"):
            script.main(script.make_parser().parse_args(args))
    launch.load_tasks(DataOptions(data_dir=own_names, rotate=["Other"]), seed=42)
    assert "note: --rotate=Other names none of the tasks here" in capsys.readouterr().out


@pytest.mark.parametrize("script", [train_cGAN, pytest.param(train_CIN_GAN, marks=pytest.mark.slow)])
def test_what_was_found_is_stored(script, own_names, train):
    """In generator.h5 (averaging follows it), args.json and the checkpoint, which a resumed run must agree with."""
    run = train(script, "--recipe=tuned")
    assert read_metadata(run / "generator.h5").no_rotate == ["Deep"]
    record = json.loads((run / "args.json").read_text())
    assert record["arguments"]["no_rotate"] == ["Deep"] and "no_rotate" not in record["not_default"]
    with np.load(run / "checkpoints/000002.npz") as stored:
        assert json.loads(str(stored["state"]))["no_rotate"] == ["Deep"]
    if script is train_CIN_GAN:
        return  # it shares the rest
    train(script, "--recipe=tuned", "--resume")
    with pytest.raises(InputError, match="no_rotate was"):
        train(script, "--recipe=tuned", "--resume", "--rotate=Deep")


def test_recipe_paper_turns_as_published_and_says_what(own_names, capsys, monkeypatch):
    class StopError(Exception):
        pass

    def stop(batch_size, patch, seed, no_rotate, *rest):
        raise StopError(no_rotate)

    monkeypatch.setattr(launch, "start_devices", lambda *received: None)
    for script, never in ((train_cGAN, []), (train_CIN_GAN, ["Deep", "Short"])):
        monkeypatch.setattr(script, "Sampling", stop)
        with pytest.raises(StopError, match=rf"^{re.escape(str(never))}$"):
            script.main(script.make_parser().parse_args([f"--data_dir={own_names}", f"--dir={own_names / 'out'}"]))
        notes = [line for line in capsys.readouterr().out.splitlines() if "direction" in line]
        assert len(notes) == (script is train_cGAN)
        assert all(line.startswith("note: Deep: the defect has a direction (") for line in notes)
        assert all(line.endswith("this recipe turns it by 90 degrees all the same, as published") for line in notes)


@pytest.mark.parametrize(("method", "expected"), [("care", [["Deep"], []]), ("cyclegan", [["Deep"], ["Short"]])])
def test_a_baseline_keeps_its_own_task_alone(method, expected, own_names, tmp_path, monkeypatch):
    """CARE turns what has no direction; the others turn nothing, so that averaging must not either."""
    seen = []
    monkeypatch.setattr(care, "has_csbdeep", lambda: True)
    monkeypatch.setattr(launch, "start_devices", lambda *received, **named: None)
    monkeypatch.setattr(train_baseline, "Sampling", lambda *received, **named: seen.append(received[3]) or sys.exit(0))
    args = [f"--method={method}", f"--data_dir={own_names}", f"--dir={tmp_path / 'out'}"]
    for name in ("Deep", "Short"):
        with pytest.raises(SystemExit):
            train_baseline.main(train_baseline.make_parser().parse_args([*args, f"--tasks={name}"]))
    assert seen == expected


def test_unpaired_training_measures_its_own_images(own_names, capsys):
    """One pair and an unpaired pool: all of the pool is looked at where it is used."""
    (deep, _), _ = load_tasks(own_names, images_limit=1, unpaired_limit=-1)
    assert len(deep.unpaired_x) > 1
    with_pool = launch.find_no_rotate(DataOptions(), [deep], True), capsys.readouterr().out
    alone = launch.find_no_rotate(DataOptions(), [deep], False), capsys.readouterr().out
    assert with_pool[0] == alone[0] == ["Deep"] and with_pool[1] != alone[1]
