"""The run folder: files whole or not at all, logs that can be cut back, checkpoints that are checked."""

import csv
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from common.errors import InputError
from common.files import write_text, written_whole
from training import run_folder
from training.plots import save_loss_curves
from training.run_folder import KEEP_CHECKPOINTS, RunFolder


class Variable:
    """The part of a Keras variable that checkpoints use."""

    def __init__(self, value):
        self.value = np.asarray(value, np.float32)

    def __array__(self, dtype=None, copy=None):
        return self.value

    def assign(self, value):
        self.value = value


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), written_whole(path) as beside:
        beside.write_text("ne")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_log_rows_after_a_resumed_iteration_are_replaced(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create(resume=False, overwrite=False)
    for iteration in (10, 20, 30):
        run.log({"iteration": iteration, "loss": iteration / 10})
    again = RunFolder(tmp_path / "run")
    again.create(resume=True, overwrite=False)
    again.log({"iteration": 20, "loss": 7})
    with open(tmp_path / "run" / "log.csv") as file:
        assert [(row["iteration"], row["loss"]) for row in csv.DictReader(file)] == [("10", "1.0"), ("20", "7")]


def test_checkpoints_restore_every_variable_and_old_ones_go(tmp_path):
    run = RunFolder(tmp_path)
    run.create(resume=False, overwrite=False)
    for iteration in (1, 2, 3):
        run.save_checkpoint(iteration, {"a": [Variable([iteration, 5])], "b": [Variable(iteration)]}, {"seed": 1}, 7.5)
    assert len(run.checkpoints()) == KEEP_CHECKPOINTS
    a, b = Variable([0, 0]), Variable(0)
    assert run.load_checkpoint({"a": [a], "b": [b]}, {"seed": 1}) == (3, 7.5, 0)
    assert a.value.tolist() == [3, 5] and b.value == 3


def test_a_checkpoint_of_other_settings_is_refused_before_anything_changes(tmp_path):
    run = RunFolder(tmp_path)
    run.create(resume=False, overwrite=False)
    run.save_checkpoint(1, {"a": [Variable(1)]}, {"seed": 1, "tasks": ["A"]})
    a = Variable(0)
    with pytest.raises(InputError, match="tasks was \\['A'\\], is now \\['B'\\]"):
        run.load_checkpoint({"a": [a]}, {"seed": 1, "tasks": ["B"]})
    assert a.value == 0


def test_resume_and_overwrite_exclude_each_other(tmp_path):
    with pytest.raises(InputError, match="exclude each other"):
        RunFolder(tmp_path).check(resume=True, overwrite=True)


def test_a_damaged_checkpoint_is_passed_over(tmp_path, capsys):
    run = RunFolder(tmp_path)
    run.create(resume=False, overwrite=False)
    for iteration in (1, 2):
        run.save_checkpoint(iteration, {"a": [Variable(iteration)]}, {})
    newest = run.checkpoints()[-1]
    newest.write_bytes(newest.read_bytes()[:-40])
    a = Variable(0)
    assert run.load_checkpoint({"a": [a]}, {})[0] == 1 and a.value == 1
    assert "000002.npz is damaged" in capsys.readouterr().out
    run.checkpoints()[0].write_bytes(b"")
    with pytest.raises(InputError, match="every checkpoint"):
        run.load_checkpoint({"a": [a]}, {})


def test_one_training_per_folder(tmp_path):
    run, other = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    with run.locked():
        for refused in (other.locked().__enter__, lambda: other.check(resume=False, overwrite=True)):
            with pytest.raises(InputError, match=f"in use by another training .process {os.getpid()}"):
                refused()
    with other.locked():
        pass


def test_the_lock_of_a_killed_training_is_free(tmp_path):
    code = "import sys, time; from training.run_folder import RunFolder\n"
    code += "with RunFolder(sys.argv[1]).locked(): print('locked', flush=True); time.sleep(60)"
    words = [sys.executable, "-c", code, str(tmp_path / "run")]
    root = Path(__file__).parents[1]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(InputError, match=f"process {process.pid}"), RunFolder(tmp_path / "run").locked():
            pass
        process.kill()
    with RunFolder(tmp_path / "run").locked():
        pass


def test_a_row_without_losses_keeps_those_of_the_others(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create(resume=False, overwrite=False)
    run.log({"iteration": 10, "loss": 1.5, "affine_psnr_A": 20})
    run.log({"iteration": 20, "affine_psnr_A": 21})
    with open(tmp_path / "run" / "log.csv") as file:
        assert [row["loss"] for row in csv.DictReader(file)] == ["1.5", ""]
    assert run.evaluated() == 20
    save_loss_curves(tmp_path / "losses.png", run.rows)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create(resume=False, overwrite=False)
    run.save_checkpoint(1, {"a": [Variable([1, 2])]}, {})
    for others in ([Variable([1, 2]), Variable([3])], [Variable([1, 2, 3])]):
        with pytest.raises(InputError, match="of another network"):
            run.load_checkpoint({"a": others}, {})


def test_versions_are_known_without_a_distribution_named_tensorflow(tmp_path, monkeypatch):
    def version(name):
        if name == "tensorflow":  # as where tensorflow-cpu is installed
            raise importlib.metadata.PackageNotFoundError(name)
        return importlib.metadata.version(name)

    monkeypatch.setattr(run_folder, "version", version)
    RunFolder(tmp_path).write_args({"seed": 1}, [], "cGAN")
    assert json.loads((tmp_path / "args.json").read_text())["versions"]["tensorflow"] == tf.__version__
