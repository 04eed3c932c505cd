"""Both training scripts end to end on small images, and every mistake in one line."""

import csv
import json
import os
import resource
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import models
import train_cGAN
import train_CIN_GAN
from common.errors import InputError
from data_utils import Images, load_tasks
from recipes import RECIPES
from recipes.recipe import Augmentation
from restoring.generator_file import read_metadata
from training import run as launch
from training.evaluation import Evaluator
from training.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
FILES = "args.json log.csv losses.png report.html generator.h5 samples/000002.png checkpoints/000002.npz".split()
SCRIPTS = {"train_CIN_GAN": train_CIN_GAN, "train_cGAN": train_cGAN}
# Recipe tuned's cGAN has no discriminator.
JUDGES = {
    "train_CIN_GAN paper": "critic.h5",
    "train_CIN_GAN tuned": "critic.h5",
    "train_cGAN paper": "discriminator.h5",
}


@pytest.mark.parametrize("recipe", [pytest.param("paper", marks=pytest.mark.slow), "tuned"])
@pytest.mark.parametrize("name", list(SCRIPTS))
def test_two_iterations_leave_a_whole_run_folder(name, recipe, train, capsys):
    run = train(SCRIPTS[name], f"--recipe={recipe}", "--n_critic=1" if name == "train_CIN_GAN" else "--alpha=0.3")
    assert run.name == {"train_CIN_GAN": "CIN-GAN_results", "train_cGAN": "Microscopy_cGAN_results"}[name]
    assert all((run / file).is_file() for file in FILES) and list((run / "events").iterdir())
    judge = JUDGES.get(f"{name} {recipe}")
    assert {path.name for path in run.glob("*.h5")} == {"generator.h5", *[judge] * bool(judge)}
    assert not list(run.rglob(".*")), "a temporary file is left"
    ready, command = capsys.readouterr().out.split("how it went: ")[1].split("iterations; ")
    next_script = {"train_CIN_GAN": f"train_cGAN.py --recipe={recipe} --dir=", "train_cGAN": "restore.py"}[name]
    assert str(run / "generator.h5") in ready and f"python {next_script}" in command and str(run) in command
    with open(run / "log.csv") as file:
        (row,) = csv.DictReader(file)
    numbers = {key: float(value) for key, value in row.items()}
    assert numbers["iteration"] == 2 and np.isfinite(list(numbers.values())).all()
    expected = {"affine_psnr_Layers", "paper_ssim_Speckle", "affine_nrmse_Layers"}
    assert expected <= numbers.keys() and all(v > 0 for k, v in numbers.items() if k.startswith("gradient_"))
    record = json.loads((run / "args.json").read_text())
    assert "num_iters" in record["not_default"] and "seed" not in record["not_default"]
    metadata = read_metadata(run / "generator.h5")
    assert metadata.tasks == ["Layers", "Speckle"] and metadata.recipe == recipe


@pytest.fixture
def one_block(monkeypatch):
    """One residual block in the paper's generators for nine or twelve, where what is tested does not depend on it."""
    body = models.resnet
    monkeypatch.setattr(
        models, "resnet", lambda image, norm, blocks, *rest, **more: body(image, norm, 1, *rest, **more)
    )


@pytest.mark.slow
def test_cin_gan_of_recipe_paper_never_turns_an_image(train, one_block, monkeypatch):
    """As released; every image of a batch is one of the training images as it lies in its file."""
    kept, start = [], launch.Training.run

    def keep(self, batches):
        kept.append(batches)
        return start(self, batches)

    monkeypatch.setattr(launch.Training, "run", keep)
    run = train(train_CIN_GAN, "--recipe=paper", "--n_critic=1")
    assert read_metadata(run / "generator.h5").no_rotate == ["Layers", "Speckle"]
    (batches,) = kept
    for kind, scale in (("x", batches.normalization.x_scale), ("y", batches.normalization.y_scale)):
        known = {
            scale(task.name, image).normalize(image).tobytes()
            for task in batches.tasks
            for image in (task.unpaired_x if kind == "x" else task.unpaired_y)
        }
        drawn = [image for i in range(8) for image in batches(i)[kind].reshape(-1, 32, 32)]
        assert {image.tobytes() for image in drawn} <= known


@pytest.mark.slow
def test_a_cin_gan_of_recipe_paper_that_turned_its_images_resumes_like_that(train, one_block, monkeypatch, capsys):
    """A checkpoint of the code before ends with the same weights, to the bit, as that code's uninterrupted run."""
    flags = ["--recipe=paper", "--n_critic=1", "--num_iters=4", "--save_every=2"]
    with monkeypatch.context() as before:
        part = replace(RECIPES["paper"].cin_gan, augmentation=Augmentation(turns="all"))
        before.setitem(RECIPES, "paper", replace(RECIPES["paper"], cin_gan=part))
        whole = train(train_CIN_GAN, *flags, folder="whole")
        parts = train(train_CIN_GAN, *flags, "--max_seconds=0.001", folder="parts")
    assert RunFolder(parts).read_state()["no_rotate"] == []
    capsys.readouterr()
    train(train_CIN_GAN, *flags, "--resume", folder="parts")
    assert "note: an earlier version started this run and turned its images" in capsys.readouterr().out
    assert all(np.array_equal(a, b) for a, b in zip(weights(whole), weights(parts), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("cin_recipe", "alpha"), [("paper", 0.5), ("tuned", 1.0)])
def test_cgan_trains_with_pairs_of_cin_gan(cin_recipe, alpha, train, one_block):
    """Models of different recipes exchange images in raw units."""
    cin = train(train_CIN_GAN, f"--recipe={cin_recipe}", "--n_critic=1")
    flags = ["--cin_augment=True", f"--alpha={alpha}", f"--cin_generator_path={cin / 'generator.h5'}"]
    run = train(train_cGAN, "--recipe=tuned", *flags, folder="augmented")
    assert run.name == "Microscopy_cGAN_results_CIN_augm" and (run / "generator.h5").is_file()


def weights(run):
    return keras.models.load_model(run / "generator.h5", compile=False).get_weights()


@pytest.mark.parametrize("recipe", [pytest.param("paper", marks=pytest.mark.slow), "tuned"])
def test_resume_equals_the_uninterrupted_run(recipe, train, one_block):
    """Stopped after 2 of 4 iterations and resumed: the same generator, to the bit."""
    flags = [f"--recipe={recipe}", "--num_iters=4", "--save_every=2"]
    whole = train(train_cGAN, *flags, folder="whole")
    parts = train(train_cGAN, *flags, "--max_seconds=0.001", folder="parts")
    assert read_iterations(parts) == [1]
    train(train_cGAN, *flags, "--resume", folder="parts")
    assert read_iterations(parts) == [1, 4]
    assert all(np.array_equal(a, b) for a, b in zip(weights(whole), weights(parts), strict=True))


@pytest.mark.slow
def test_float16_trains_and_resumes_exactly(train):
    """The loss scale is part of the checkpoint; weights are kept in float32."""
    flags = ("--recipe=tuned", "--precision=float16", "--save_every=1")
    whole = weights(train(train_cGAN, *flags))
    train(train_cGAN, *flags, "--max_seconds=0.001", folder="parts")
    parts = weights(train(train_cGAN, *flags, "--resume", folder="parts"))
    assert all(np.isfinite(a).all() and a.dtype == np.float32 for a in whole)
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))


@pytest.mark.slow
def test_cin_gan_trains_in_bfloat16(train):
    assert all(np.isfinite(a).all() for a in weights(train(train_CIN_GAN, "--recipe=tuned", "--precision=bfloat16")))


def read_iterations(run):
    with open(run / "log.csv") as file:
        return [int(row["iteration"]) for row in csv.DictReader(file)]


def test_resume_refuses_other_settings(train):
    train(train_cGAN, "--recipe=tuned")
    with pytest.raises(InputError, match="seed was 42, is now 43"):
        train(train_cGAN, "--recipe=tuned", "--seed=43", "--resume")


def test_flags_in_vain_are_not_compared_on_resume(train):
    """Recipe tuned has no content loss, and alpha acts with --cin_augment=True alone."""
    train(train_cGAN, "--recipe=tuned")
    train(train_cGAN, "--recipe=tuned", "--resume", "--vgg_weights=imagenet", "--alpha=0.9")


def test_resume_refuses_other_data(train, pair_folder):
    """One pixel of a clean image that is not the first of the training."""
    train(train_cGAN, "--recipe=tuned")
    change_pixel(pair_folder / "Layers_Y.npy", load_layers(pair_folder).train_y.rows[3])
    with pytest.raises(InputError, match="data was"):
        train(train_cGAN, "--recipe=tuned", "--resume")


@pytest.mark.parametrize("row", [0, 3, -1])
@pytest.mark.parametrize("kind", ["X", "Y"])
def test_data_are_known_by_every_image_that_a_training_may_see(kind, row, pair_folder):
    """Rows 0 and 3 are of pairs; the last one is of the unpaired pool, whose odd rows give x, and even ones y."""
    layers = load_layers(pair_folder, images_limit=4, unpaired_limit=-1)
    change_pixel(
        pair_folder / f"Layers_{kind}.npy", (layers.unpaired_x if kind == "X" else layers.unpaired_y).rows[row]
    )
    changed = load_layers(pair_folder, images_limit=4, unpaired_limit=-1)
    assert launch.fingerprint([layers]) != launch.fingerprint([changed])


def load_layers(folder, **limits):
    return load_tasks(folder, ["Layers"], **limits)[0][0]


def change_pixel(path, row):
    images = np.load(path)
    images[row, 5, 5] += 1
    np.save(path, images)


@pytest.mark.slow
def test_cin_gans_generator_is_known_by_its_content_and_in_an_earlier_version_by_its_path(train, tmp_path, capsys):
    cin = train(train_CIN_GAN, "--recipe=tuned", "--n_critic=1") / "generator.h5"
    moved = tmp_path / "moved.h5"
    moved.write_bytes(cin.read_bytes())

    def augment(path, *flags):
        named = f"--cin_generator_path={path}"
        return train(
            train_cGAN, "--recipe=tuned", "--init_from=none", "--cin_augment=True", named, *flags, folder="augmented"
        )

    checkpoint = augment(cin) / "checkpoints/000002.npz"
    augment(moved, "--resume")
    with h5py.File(moved, "r+") as file:
        file.attrs["another"] = 1
    with pytest.raises(InputError, match="cin_generator_sha256 was"):
        augment(moved, "--resume")
    assert "earlier version" not in capsys.readouterr().out
    with np.load(checkpoint) as stored:
        arrays = dict(stored)
    state = json.loads(str(arrays["state"]))
    del state["version"], state["cin_generator_sha256"]
    tasks, _ = load_tasks(tmp_path / "pairs")
    state["data"] = {task.name: [len(task.train_x), 32, 32, zlib.crc32(task.train_x[0])] for task in tasks}
    np.savez(checkpoint, **{**arrays, "state": json.dumps({**state, "cin_generator_path": str(moved)})})
    augment(moved, "--resume")
    assert "was begun by an earlier version" in capsys.readouterr().out
    with pytest.raises(InputError, match="cin_generator_path was"):
        augment(cin, "--resume")


@pytest.mark.parametrize("recipe", [pytest.param("--recipe=paper", marks=pytest.mark.slow), "--recipe=tuned"])
def test_resuming_a_finished_run_changes_nothing_and_it_can_grow(recipe, train, one_block):
    """The losses of its last row stay; a constant learning rate may go on to more iterations."""
    run = train(train_cGAN, recipe)
    log, generator = (run / "log.csv").read_text(), weights(run)
    train(train_cGAN, recipe, "--resume")
    assert (run / "log.csv").read_text() == log
    assert all(np.array_equal(a, b) for a, b in zip(generator, weights(run), strict=True))
    train(train_cGAN, recipe, "--resume", "--num_iters=3")
    assert read_iterations(run) == [2, 3]


@pytest.mark.slow
def test_a_cin_gan_whose_rate_anneals_cannot_grow(train):
    train(train_CIN_GAN, "--recipe=tuned", "--n_critic=1")
    with pytest.raises(InputError, match="num_iters was 2"):
        train(train_CIN_GAN, "--recipe=tuned", "--n_critic=1", "--resume", "--num_iters=3")


@pytest.mark.parametrize(("recipe", "variety"), [("paper", (False, 0.0, None)), ("tuned", (True, 0.3, 600))])
def test_the_recipe_decides_how_pairs_are_varied(recipe, variety, train, one_block, monkeypatch):
    seen, make = [], train_cGAN.make_batches
    monkeypatch.setattr(train_cGAN, "make_batches", lambda *args: seen.append(make(*args)) or seen[0])
    train(train_cGAN, f"--recipe={recipe}")
    assert [(batches.mirror, batches.intensity, batches.mixup_after) for batches in seen] == [variety]


def test_what_stands_in_the_log_is_saved(train, monkeypatch):
    """An evaluation that fails at the last iteration leaves a generator and a checkpoint, and no row."""

    def fail(self, applier):
        raise OSError("no space left")

    monkeypatch.setattr(Evaluator, "score", fail)
    with pytest.raises(OSError):
        train(train_cGAN, "--recipe=tuned", "--eval_every=2", folder="full")
    monkeypatch.undo()
    run = train(train_cGAN, "--recipe=tuned", "--eval_every=2", "--resume", folder="full")
    assert (run / "checkpoints/000002.npz").is_file() and read_iterations(run) == [2]


def test_args_json_marks_what_was_given(train):
    run = train(train_cGAN, "--recipe=tuned", "--seed=7")
    given = json.loads((run / "args.json").read_text())["not_default"]
    assert given == "batch_size data_dir dir eval_every num_gpu num_iters recipe seed vgg_weights".split()


def test_data_cut_short_while_it_trains_is_one_line(train, pair_folder, monkeypatch):
    read = Images.__getitem__

    def cut(self, index):
        if threading.current_thread() is not threading.main_thread():
            raise InputError("Speckle_X.npy: image 3 is cut short; was the file changed?")
        return read(self, index)

    monkeypatch.setattr(Images, "__getitem__", cut)
    with pytest.raises(InputError, match=r"^Speckle_X.npy: image 3 is cut short; was the file changed\?$"):
        train(train_cGAN, "--recipe=tuned")


def test_an_earlier_run_is_never_lost(train):
    run = train(train_cGAN, "--recipe=tuned")
    before = (run / "generator.h5").read_bytes()
    with pytest.raises(InputError, match="holds an earlier run"):
        train(train_cGAN, "--recipe=tuned")
    assert (run / "generator.h5").read_bytes() == before
    train(train_cGAN, "--recipe=tuned", "--overwrite", "--seed=1")
    (kept,) = run.parent.glob(f"{run.name}.*")
    assert (kept / "generator.h5").read_bytes() == before


def test_images_of_any_size_are_cropped_and_padded(train, pair_folder, capsys):
    for path in pair_folder.glob("*.npy"):
        np.save(path, np.load(path)[:, :30, :27])
    run = train(train_cGAN, "--recipe=tuned")
    assert "patches of 28 x 24" in capsys.readouterr().out and (run / "generator.h5").is_file()


def test_cin_gan_refuses_images_without_an_inside(train, pair_folder):
    for path in pair_folder.glob("*.npy"):
        np.save(path, np.load(path)[:, :30, :27])
    with pytest.raises(InputError, match=r"28 x 24 pixels are too small .* at least 32 x 32"):
        train(train_CIN_GAN, "--recipe=tuned")


def call(*words, folder):
    """Run a script as a user does; returns (exit code, standard error, seconds of a core, whatever else runs)."""
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, str(ROOT / words[0]), *words[1:]], cwd=folder, capture_output=True, text=True, timeout=120
    )
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.returncode, done.stderr, ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime


MISTAKES = {
    "alpha": ("train_cGAN.py --alpha=1.5", "expected a share from 0 to 1, received '1.5'"),
    "boolean": ("train_cGAN.py --cin_augment=maybe", "expected True or False, received 'maybe'"),
    "iterations": ("train_cGAN.py --num_iters=0", "at least 1, received '0'"),
    "no folder": ("train_cGAN.py --data_dir=nowhere", "--data_dir=nowhere: no such folder"),
    "no pairs": ("train_CIN_GAN.py --data_dir=empty", "empty holds no pair set"),
    "no task": ("train_CIN_GAN.py --data_dir=pairs --tasks=Other", "Other_X.npy: no such file"),
    "no generator": ("train_cGAN.py --data_dir=pairs --cin_augment=True", "needs --cin_generator_path"),
    "no such generator": (
        "train_cGAN.py --data_dir=pairs --cin_augment=True --cin_generator_path=g.h5",
        "g.h5: no such generator file",
    ),
    "no h5": (
        "train_cGAN.py --data_dir=pairs --cin_augment=True --cin_generator_path=text.h5",
        "text.h5: not an HDF5 file",
    ),
    "other h5": (
        "restore.py --generator_path=other.h5 --input=a.npy --output=b.npy",
        "not a generator of MicroscopyGAN",
    ),
    "twice": ("train_cGAN.py --data_dir=pairs --tasks=Layers,Layers", "expected different names"),
    "path": ("train_cGAN.py --data_dir=. --tasks=pairs/Layers", "expected different names"),
    "seed": ("train_cGAN.py --data_dir=pairs --seed=5000000000", "at most 4294967295, received '5000000000'"),
    "nothing to resume": ("train_cGAN.py --data_dir=pairs --resume", "holds no checkpoint"),
}


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_mistake_is_one_line_at_once_and_writes_nothing(mistake, pair_folder):
    folder = pair_folder.parent
    (folder / "empty").mkdir()
    (folder / "text.h5").write_text("no HDF5")
    with h5py.File(folder / "other.h5", "w") as file:
        file["data"] = 1
    before = sorted(folder.rglob("*"))
    command, message = MISTAKES[mistake]
    code, error, seconds = call(*command.split(), folder=folder)
    assert code == 2 and message in error
    assert error.startswith("error: ") and error.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
    assert seconds < 2, "TensorFlow must not be imported to tell this"


# Each takes a tenth of a second or more to import; without them every command answers in less than 0.4 s.
SLOW_TO_IMPORT = ("tensorflow", "keras", "scipy.stats", "scipy.ndimage", "skimage", "matplotlib")
COMMANDS = [
    str(path.relative_to(ROOT))
    for folder in (".", "data", "animations")
    for path in sorted((ROOT / folder).glob("*.py"))
    if "make_parser().parse_args()" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize(("flag", "code"), [("--help", 0), ("--no_such_flag", 2)])
@pytest.mark.parametrize("script", COMMANDS)
def test_help_and_mistakes_are_answered_before_anything_slow_is_imported(script, flag, code, tmp_path):
    program = (
        "import runpy, sys\n"
        "sys.argv, slow = sys.argv[1:3], sys.argv[3:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        f"except SystemExit as end: assert end.code == {code}\n"
        "assert not [name for name in slow if name in sys.modules], sorted(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", program, str(ROOT / script), flag, *SLOW_TO_IMPORT]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (f"python {script}" in done.stdout) == (flag == "--help")


@pytest.mark.slow
def test_the_published_commands_run_on_a_machine_without_a_gpu(tmp_path):
    """The original README's three, in its order, on the shipped sample; shortened, and with the generator's path."""
    commands = [
        "train_CIN_GAN.py --batch_size=100 --num_iters=3000 --num_gpu=2",
        "train_cGAN.py --batch_size=100 --num_iters=3000 --num_gpu=2 --images_limit=50",
        "train_cGAN.py --cin_augment=True --alpha=0.3 --cin_generator_path=CIN-GAN_results/generator.h5 "
        "--batch_size=100 --num_iters=3000 --num_gpu=2 --images_limit=50",
    ]
    results = ["CIN-GAN_results", "Microscopy_cGAN_results", "Microscopy_cGAN_results_CIN_augm"]
    for command, folder in zip(commands, results, strict=True):
        name, *flags = command.split()
        words = [sys.executable, ROOT / name, *flags, "--num_iters=2", "--batch_size=4", "--vgg_weights=random"]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("note: --num_gpu=2, but 0 are visible; using the CPU\n") == 1
        assert read_iterations(tmp_path / folder) == [2] and (tmp_path / folder / "generator.h5").is_file()


def test_generator_of_other_tasks_is_refused(train, pair_folder):
    cin = train(train_CIN_GAN, "--recipe=tuned", "--n_critic=1", "--tasks=Layers")
    with pytest.raises(InputError, match="knows the tasks Layers, but not Speckle"):
        train(train_cGAN, "--cin_augment=True", f"--cin_generator_path={cin / 'generator.h5'}", folder="augmented")


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(pair_folder):
    """SIGINT during training: exit code 130, a whole checkpoint, and a resumable run."""
    folder = pair_folder.parent
    words = ["train_cGAN.py", "--data_dir=pairs", "--recipe=tuned", "--num_gpu=0", "--batch_size=2"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / words[0]), *words[1:], "--num_iters=100000", "--save_every=5"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    run = folder / "Microscopy_cGAN_results"
    deadline = time.monotonic() + 100
    while not list(run.glob("checkpoints/[0-9]*.npz")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(2)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume" in output
    assert read_metadata(run / "generator.h5").script == "cGAN"
