"""Commands that other commands run: their output, their failure, and Ctrl-C, which lets them save."""

import os
import signal
import threading
import time

import pytest

from common.errors import InputError
from training import commands

SLOW_SCRIPT = """
import pathlib, signal, sys, time
def save(*_):
    time.sleep(1)
    pathlib.Path("saved").touch()
    sys.exit(130)
signal.signal(signal.SIGINT, save)
pathlib.Path("begun").touch()
time.sleep(60)
"""


def run_command(script, log):
    commands.run_command(script, [])


def run_logged(script, log):
    commands.run_logged([script], log)


@pytest.mark.parametrize("runs", [run_command, run_logged])
def test_ctrl_c_lets_the_training_save(runs, tmp_path, monkeypatch):
    """It needs a second for it, and is waited for."""
    (tmp_path / "slow.py").write_text(SLOW_SCRIPT)
    monkeypatch.setattr(commands, "SCRIPT_DIR", tmp_path)
    monkeypatch.chdir(tmp_path)

    def press():
        while not (tmp_path / "begun").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt):
        runs("slow.py", tmp_path / "log.txt")
    assert (tmp_path / "saved").exists()


def test_a_killed_training_is_named(tmp_path, monkeypatch):
    (tmp_path / "killed.py").write_text("import os, signal\nprint(' 50%|###')\nos.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setattr(commands, "SCRIPT_DIR", tmp_path)
    with pytest.raises(InputError, match="ended by SIGKILL"):
        commands.run_logged(["killed.py"], tmp_path / "log.txt")


def test_a_script_that_fails_says_its_last_line(tmp_path):
    with pytest.raises(InputError, match=r"^--data_dir=nowhere: no such folder"):
        commands.run_logged(["train_cGAN.py", "--data_dir=nowhere", f"--dir={tmp_path}"], tmp_path / "log.txt")


def test_a_shown_command_is_printed_and_its_failure_named(capfd):
    with pytest.raises(InputError, match=r"^restore\.py did not finish; its message stands above"):
        commands.run_command("restore.py", ["--input=no where.tif", "--output=r.tif"])
    said = capfd.readouterr()
    assert "$ python restore.py '--input=no where.tif' --output=r.tif" in said.out
    assert said.err.startswith("error: no where.tif")
