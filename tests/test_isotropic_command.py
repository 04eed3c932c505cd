"""isotropic.py: the commands it runs, what it keeps, and its page; trainings are stood in for."""

import json
import re
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from small_generators import identity_generator, metadata
from small_stacks import blobs, blurred_stack, write_imagej, write_zarr
from test_readme import load_script
from test_run_report import Page, is_self_contained, narrow

import isotropic
from common.errors import InputError
from restoring.generator_file import save_generator
from restoring.image_files import read_image


@pytest.fixture
def commands(monkeypatch):
    """Trainings are noted and leave a generator that gives its input back; other commands run, in this process."""
    ran = []

    def run_command(script, words):
        print(f"$ python {script}")
        ran.append([script, *words])
        if not script.startswith("train_"):
            module = load_script(script)
            assert module.main(module.make_parser().parse_args(words)) == 0
            return
        flags = dict(flag.split("=", 1) for flag in words if "=" in flag)
        cin = "CIN_GAN" in script
        name = "CIN-GAN_results" if cin else "Microscopy_cGAN_results" + "_CIN_augm" * ("--cin_augment" in flags)
        save_generator(identity_generator(), f"{flags['--dir']}/{name}/generator.h5", metadata())

    monkeypatch.setattr(isotropic, "run_command", run_command)
    monkeypatch.setattr(isotropic, "estimate", fixed_estimate)
    return ran


def fixed_estimate(*received):
    return "3 minutes"


def run(folder, *flags):
    words = [f"--input={folder}/stack.tif", f"--output={folder}/out.tif", *flags]
    return isotropic.main(isotropic.make_parser().parse_args(words))


@pytest.fixture
def stack(tmp_path):
    write_imagej(tmp_path / "stack.tif", blurred_stack(blobs(37, 40)))
    return tmp_path


def test_a_result_too_large_to_show_is_refused_before_training(stack, commands, monkeypatch):
    monkeypatch.setattr(isotropic, "machine_bytes", lambda: 1e5)
    with pytest.raises(InputError, match=r"the result would take 0.0 GB, more than half of this machine's memory"):
        run(stack)
    assert not commands


def test_it_prepares_trains_restores_and_shows(stack, commands):
    assert run(stack, "--minutes=10") == 0
    assert [Path(script).name for script, *_ in commands] == [
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


def test_depth_ranges_become_tasks_of_both_trainings(stack, commands):
    write_imagej(stack / "stack.tif", blurred_stack(blobs(97, 64)))
    run(stack, "--depth_ranges=2")
    assert "--patch=64" in commands[0] and "--depth_ranges=2" in commands[0]
    assert all("--no_rotate=Stack_1,Stack_2" in command for command in commands[1:3])


def test_a_run_of_before_depth_ranges_goes_on(stack, commands):
    run(stack)
    record = stack / "out_training/arguments.json"
    record.write_text(json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k != "depth_ranges"}))
    assert isotropic.is_begun(
        record.parent, isotropic.make_parser().parse_args([f"--input={stack}/stack.tif", "--output=o"])
    )


def test_of_a_volume_one_channel_is_trained_on_and_all_are_restored(tmp_path, commands):
    pytest.importorskip("zarr", reason="requirements/large.txt is not installed")
    stack = blurred_stack(blobs(37, 40))
    write_zarr(tmp_path / "x.zarr", np.stack([stack, 2 * stack]), "CZYX", labels=["DNA", "actin"])
    words = [f"--input={tmp_path}/x.zarr", "--channel=actin", f"--output={tmp_path}/out"]
    with pytest.raises(InputError, match=r"out\.tif: expected a name in \.zarr"):
        isotropic.main(isotropic.make_parser().parse_args([*words[:2], f"{words[2]}.tif"]))
    assert isotropic.main(isotropic.make_parser().parse_args([*words[:2], f"{words[2]}.zarr"])) == 0
    assert "--channel=actin" in commands[0] and "--channel=actin" not in commands[-1]
    assert read_image(tmp_path / "out.zarr").shape == (2, 37, 40, 40)
    assert (tmp_path / "out.html").read_text().count("data:image/png") == 6


STAGES = ("prepare_stack.py", "train_CIN_GAN.py", "train_cGAN.py", "restore.py")


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_in_any_stage_goes_on_with_it(stage, stack, commands, monkeypatch, capsys):
    """The killed command leaves half of what it makes: x without y, a results folder without a checkpoint."""
    finished = isotropic.run_command

    def killed(script, flags):
        if not script.endswith(stage):
            return finished(script, flags)
        for name in ("set/Stack_X.npy", "CIN-GAN_results/log.csv", "Microscopy_cGAN_results_CIN_augm/log.csv"):
            path = stack / "out_training" / name
            if not path.parent.exists() and ("set" in name) == ("prepare" in stage):
                path.parent.mkdir(parents=True)
                path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(isotropic, "run_command", killed)
    assert run(stack) == 130 and "stopped; the same command goes on" in capsys.readouterr().err
    assert not (stack / "out.html").exists()
    commands.clear()
    monkeypatch.setattr(isotropic, "run_command", finished)
    assert run(stack) == 0
    assert [Path(script).name for script, *_ in commands] == list(STAGES[STAGES.index(stage) :])
    if stage.startswith("train_"):
        assert "--overwrite" in commands[0]
    assert read_image(stack / "out.tif").planes.shape == (37, 40, 40)


def test_a_training_with_a_checkpoint_is_resumed_for_the_seconds_that_are_left(stack, commands):
    assert run(stack) == 0
    for path in ("out.tif", "out.html", "out_training/Microscopy_cGAN_results_CIN_augm/finished"):
        (stack / path).unlink()
    checkpoints = stack / "out_training/Microscopy_cGAN_results_CIN_augm/checkpoints"
    checkpoints.mkdir()
    np.savez(checkpoints / "000050.npz", seconds=100.0)
    commands.clear()
    assert run(stack) == 0
    assert [Path(script).name for script, *_ in commands] == ["train_cGAN.py", "restore.py"]
    assert "--resume" in commands[0] and "--max_seconds=320" in commands[0]


def test_a_page_that_is_missing_is_written_without_restoring_again(stack, commands):
    assert run(stack) == 0
    (stack / "out.html").unlink()
    commands.clear()
    assert run(stack) == 0
    assert not commands and (stack / "out.html").is_file()
    with pytest.raises(InputError, match=r"out\.tif exists"):
        run(stack)


def test_other_arguments_do_not_go_on_with_an_earlier_training(stack, commands):
    assert run(stack) == 0
    for name in ("out.tif", "out.html"):
        (stack / name).unlink()
    with pytest.raises(InputError, match=r"--psf was None, is now 0\.4"):
        run(stack, "--psf=0.4")


@pytest.mark.parametrize(("made", "noted"), [(3, True), (49, True), (50, False), (700, False)])
def test_too_few_iterations_of_cin_gan_are_noted(made, noted, stack, commands, capsys):
    checkpoints = stack / "out_training/CIN-GAN_results/checkpoints"
    checkpoints.mkdir(parents=True)
    np.savez(checkpoints / f"{made:06}.npz", seconds=1.0)
    assert run(stack) == 0
    said = capsys.readouterr().out
    assert (f"note: only {made} iterations of CIN-GAN fitted into its 3 minutes" in said) == noted
    assert ("note: only" in said) == noted


def test_the_time_of_restoring_is_printed_before_the_training(stack, commands, capsys):
    assert run(stack) == 0
    said = capsys.readouterr().out
    assert "training takes 10 minutes, then restoring about 3 minutes" in said
    assert said.index("then restoring") < said.index("$ python train_CIN_GAN.py")


def test_restoring_takes_as_long_as_all_sections_of_both_views(monkeypatch):
    monkeypatch.setattr(isotropic, "ProcessPoolExecutor", lambda *received: nullcontext(SamePlace()))
    monkeypatch.setattr(isotropic, "seconds_of", lambda rows, columns: rows * columns / 1000)
    assert isotropic.estimate(50, 20, 40, "1") == "80 seconds"  # 20 XZ sections of 2 s, 40 YZ sections of 1 s
    assert isotropic.estimate(50, 20, 40, "8") == "5.3 minutes"  # four flips


class SamePlace:
    """A pool that computes at once."""

    def submit(self, function, *received):
        future = Future()
        future.set_result(function(*received))
        return future


def test_without_minutes_the_shipped_generator_restores_and_with_a_psf_no_cin_gan_is_trained(stack, commands):
    assert run(stack, "--minutes=0") == 0
    assert len(commands) == 1 and not any("generator_path" in word for word in commands[0])
    for name in ("out.tif", "out.html"):
        (stack / name).unlink()
    commands.clear()
    assert run(stack, "--psf=0.4") == 0
    assert [Path(script).name for script, *_ in commands] == [
        "prepare_stack.py",
        "train_cGAN.py",
        "restore.py",
    ]


@pytest.mark.parametrize(
    ("planes", "flags", "message"),
    [
        (6, (), "sections of 21 rows and planes of 40 x 40 pixels are too small to train on, 32 are needed"),
        (10, ("--spacing=0.2,0.2,0.2",), "no further apart"),
        (10, ("--output=x.npy",), "expected a name in .tif"),
        (10, ("--psf=0.4", "--minutes=0"), "--psf is for training"),
        (10, ("--input={folder}",), "a folder; name one stack"),
        (10, ("--input={folder}/none.tif",), "no such file or folder"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_written(planes, flags, message, tmp_path, commands):
    write_imagej(tmp_path / "stack.tif", np.repeat(blurred_stack(blobs(5, 40)), planes, axis=0)[:planes])
    with pytest.raises(InputError, match=message):
        run(tmp_path, *(flag.format(folder=tmp_path) for flag in flags))
    assert not commands and [path.name for path in tmp_path.iterdir()] == ["stack.tif"]


def test_the_page_shows_before_and_after_under_a_slider(browser, stack, commands):
    assert run(stack, "--minutes=0") == 0
    page = Page(stack / "out.html")
    assert is_self_contained(page) and "10 planes became 37" in page.text
    narrow(browser)
    browser.get((stack / "out.html").as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 420
    before, slider = (browser.find_element("css selector", f".pair {name}") for name in (".before", "input"))
    for share in (50, 20):
        browser.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))", slider, share
        )
        hidden = browser.execute_script("return getComputedStyle(arguments[0]).clipPath", before)
        assert re.search(rf"\b{100 - share}%|100% - {share}%", hidden)
