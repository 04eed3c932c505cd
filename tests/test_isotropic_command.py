"""isotropic.py: the commands it runs, what it keeps, and its page; trainings are stood in for."""

import subprocess

import numpy as np
import pytest
from small_generators import identity_generator, metadata
from small_stacks import blobs, blurred_stack, write_imagej

import isotropic
from common.errors import InputError
from restoring.generator_file import save_generator
from restoring.image_files import read_image


@pytest.fixture
def commands(monkeypatch):
    """Trainings are noted and leave a generator that gives its input back; other commands run."""
    ran, real = [], subprocess.run

    def run(command, check):
        ran.append(command)
        if "train_" not in command[1]:
            return real(command, check=check)
        flags = dict(flag.split("=", 1) for flag in command[2:] if "=" in flag)
        cin = "CIN_GAN" in command[1]
        name = "CIN-GAN_results" if cin else "Microscopy_cGAN_results" + "_CIN_augm" * ("--cin_augment" in flags)
        save_generator(identity_generator(), f"{flags['--dir']}/{name}/generator.h5", metadata())
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(isotropic.subprocess, "run", run)
    return ran


def run(folder, *flags):
    words = [f"--input={folder}/stack.tif", f"--output={folder}/out.tif", *flags]
    return isotropic.main(isotropic.make_parser().parse_args(words))


@pytest.fixture
def stack(tmp_path):
    write_imagej(tmp_path / "stack.tif", blurred_stack(blobs(37, 40)))
    return tmp_path


def test_it_prepares_trains_restores_and_shows(stack, commands):
    assert run(stack, "--minutes=10") == 0
    assert [command[1].rsplit("/", 1)[1] for command in commands] == [
        "prepare_stack.py",
        "train_CIN_GAN.py",
        "train_cGAN.py",
        "restore.py",
    ]
    assert "--patch=32" in commands[0] and "--max_seconds=180" in commands[1] and "--max_seconds=420" in commands[2]
    assert all("--no_rotate=Stack" in command for command in commands[1:3]) and "--alpha=1" in commands[2]
    assert read_image(stack / "out.tif").planes.shape == (37, 40, 40)
    page = (stack / "out.html").read_text()
    assert page.count("data:image/png") == 6 and "10 planes became 37" in page and "XZ, y = 20" in page


def test_a_stopped_run_goes_on_where_it_was(stack, commands, monkeypatch):
    finished = isotropic.write_page
    monkeypatch.setattr(isotropic, "write_page", lambda *received: (_ for _ in ()).throw(InputError("stopped")))
    with pytest.raises(InputError, match="stopped"):
        run(stack)
    (stack / "out.tif").unlink()
    (stack / "out_training/Microscopy_cGAN_results_CIN_augm/finished").unlink()
    (stack / "out_training/Microscopy_cGAN_results_CIN_augm/checkpoints").mkdir()
    (stack / "out_training/Microscopy_cGAN_results_CIN_augm/checkpoints/last").touch()
    commands.clear()
    monkeypatch.setattr(isotropic, "write_page", finished)
    assert run(stack) == 0
    assert [command[1].rsplit("/", 1)[1] for command in commands] == ["train_cGAN.py", "restore.py"]
    assert "--resume" in commands[0]


def test_without_minutes_the_shipped_generator_restores_and_with_a_psf_no_cin_gan_is_trained(stack, commands):
    assert run(stack, "--minutes=0") == 0
    assert len(commands) == 1 and not any("generator_path" in word for word in commands[0])
    for name in ("out.tif", "out.html"):
        (stack / name).unlink()
    commands.clear()
    assert run(stack, "--psf=0.4") == 0
    assert [command[1].rsplit("/", 1)[1] for command in commands] == ["prepare_stack.py", "train_cGAN.py", "restore.py"]


@pytest.mark.parametrize(
    ("planes", "flags", "message"),
    [
        (6, (), "sections of 21 rows and planes of 40 x 40 pixels are too small to train on, 32 are needed"),
        (10, ("--spacing=0.2,0.2,0.2",), "no further apart"),
        (10, ("--output=x.npy",), "expected a name in .tif"),
        (10, ("--psf=0.4", "--minutes=0"), "--psf is for training"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_written(planes, flags, message, tmp_path, commands):
    write_imagej(tmp_path / "stack.tif", np.repeat(blurred_stack(blobs(5, 40)), planes, axis=0)[:planes])
    with pytest.raises(InputError, match=message):
        run(tmp_path, *flags)
    assert not commands and [path.name for path in tmp_path.iterdir()] == ["stack.tif"]
