"""The commands of README.md and docs/: all are understood, and those of the daily work run, two iterations each."""

import importlib
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

ROOT = Path(__file__).resolve().parents[1]
# Recipe tuned's part of the way, page by page: training, restoring, what surrounds it. The others are run by their own
# tests.
DAILY = ("README.md", "docs/training.md", "docs/restoring.md", "docs/trust.md")
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


OTHERS = {"from_your_microscope.md"}  # runs whole in test_docs.py
PAGES = (
    "README.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")) if path.name not in OTHERS),
)
COMMANDS = [words for page in PAGES for words in read_commands(page)]
# arazd/MicroscopyGAN's README, the third with its path replaced.
PUBLISHED = [
    "python train_CIN_GAN.py --batch_size=100 --num_iters=3000 --num_gpu=2",
    "python train_cGAN.py --batch_size=100 --num_iters=3000 --num_gpu=2 --images_limit=50",
    "python train_cGAN.py --cin_augment=True --alpha=0.3 --cin_generator_path=CIN-GAN_results/generator.h5 "
    "--batch_size=100 --num_iters=3000 --num_gpu=2 --images_limit=50",
]


def test_the_published_commands_stand_in_the_readme_as_published():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 200 and [line for line in lines if line in PUBLISHED] == PUBLISHED


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_names_a_script_and_flags_that_exist(words):
    name, *flags = words
    load_script(name).make_parser().parse_args([flag for flag in flags if not flag.startswith("$")])


@pytest.fixture
def place(tmp_path, pair_folder, monkeypatch):
    """A folder with what the pages' commands find in a user's: pair sets, folders of images, an image."""
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


@pytest.mark.slow
def test_the_daily_commands_run_in_their_order(place):
    """From an own pair set to restored images, with what the pages say about checkpoints, other tools and trust."""
    ran = []
    for name, *flags in (words for page in DAILY for words in read_commands(page)):
        training = name.startswith("train_")
        if name not in RUN or (training and "--recipe=tuned" not in flags) or any(".zarr" in flag for flag in flags):
            continue
        script = load_script(name)
        args = script.make_parser().parse_args([*flags, *(SMALL if training else ["--patch=32"] * (name == PREPARE))])
        assert script.main(args) == 0, [name, *flags]
        ran.append(name)
    assert set(ran) == RUN, f"not run: {RUN - set(ran)}"
    assert np.isfinite(tifffile.imread(place / "restored.tif")).all()
