"""The commands of README.md, in its order: all are understood, and those of the daily work run, two iterations each."""

import importlib
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

ROOT = Path(__file__).resolve().parents[1]
# Recipe tuned's part of the way: training, restoring, what surrounds it. The others are run by their own tests.
PREPARE = "data/prepare_folders.py"
RUN = {"train_CIN_GAN.py", "train_cGAN.py", "restore.py", "calibrate.py", "evaluate.py", "export.py", PREPARE}
SMALL = "--num_iters=2 --batch_size=2 --num_gpu=0 --overwrite".split()
# Folders of a user's images, and which of them are clean.
FOLDERS = dict.fromkeys(("folder", "aside_bad", "short_exposure", "more_short"), "X")
FOLDERS |= dict.fromkeys(("aside_good", "long_exposure", "more_long"), "Y")


def read_commands(page):
    """Every `python SCRIPT ...` of the page's bash blocks, as lists of words without `python`."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    found = [w[w.index("python") + 1 :] for w in words if "python" in w]
    return [w for w in found if w[0].endswith(".py")]


def load_script(name):
    return importlib.import_module(name.removesuffix(".py").replace("/", "."))


COMMANDS = [words for page in ("README.md", "docs/results.md") for words in read_commands(page)]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_names_a_script_and_flags_that_exist(words):
    name, *flags = words
    source = (ROOT / name).read_text(encoding="utf-8")
    if "def make_parser" in source:
        load_script(name).make_parser().parse_args([flag for flag in flags if not flag.startswith("$")])
        return
    known = source + (ROOT / "training/options.py").read_text(encoding="utf-8")
    unknown = [flag for flag in flags if flag.startswith("--") and f'"{flag.split("=")[0]}"' not in known]
    assert not unknown, f"{name} has no {', '.join(unknown)}"


@pytest.fixture
def place(tmp_path, pair_folder, monkeypatch):
    """A folder with what the README's commands find in a user's: pair sets, folders of images, an image."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pair_folder, tmp_path / "my_data")
    x, y = (np.load(pair_folder / f"Speckle_{kind}.npy") for kind in "XY")
    for folder, kind in FOLDERS.items():
        (tmp_path / folder).mkdir()
        for number, image in enumerate((x if kind == "X" else y)[:5]):
            tifffile.imwrite(tmp_path / folder / f"{number}.tif", image)
    for name in ("image.tif", "IMAGE.tif"):
        tifffile.imwrite(tmp_path / name, np.tile(x[0], (3, 3)))  # the model zoo wants 96 pixels
    return tmp_path


def test_the_daily_commands_run_in_their_order(place):
    """From an own pair set to restored images, with what the README says about trust, checkpoints and other tools."""
    ran = []
    for name, *flags in read_commands("README.md"):
        training = name.startswith("train_")
        if name not in RUN or (training and "--recipe=tuned" not in flags) or any(".zarr" in flag for flag in flags):
            continue
        if not training and not (place / "generator.h5").exists():
            shutil.copy(place / "Microscopy_cGAN_results/generator.h5", place / "generator.h5")
        script = load_script(name)
        args = script.make_parser().parse_args([*flags, *(SMALL if training else ["--patch=32"] * (name == PREPARE))])
        assert script.main(args) == 0, [name, *flags]
        ran.append(name)
    assert set(ran) == RUN, f"not run: {RUN - set(ran)}"
    assert np.isfinite(tifffile.imread(place / "restored.tif")).all()
