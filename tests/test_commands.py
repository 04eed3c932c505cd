"""Commands that other commands run: their output, their failure, and Ctrl-C, which lets them save."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.errors import InputError
from training import commands

ROOT = Path(__file__).resolve().parents[1]
SLOW_SCRIPT = """
import pathlib, signal, sys, time
def save(number, frame):
    signal.signal(number, signal.SIG_DFL)
    time.sleep(1)
    pathlib.Path("saved").touch()
    sys.exit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, save)
pathlib.Path("begun").touch()
while not pathlib.Path("end").exists():
    time.sleep(0.05)
"""


def start(folder, call, before=""):
    """A process that makes the call in a session of its own, as a terminal's foreground job is; runs slow.py."""
    (folder / "slow.py").write_text(SLOW_SCRIPT)
    code = f"""
import signal
from pathlib import Path
from training import commands
{before}
commands.SCRIPT_DIR = Path({str(folder)!r})
try:
    {call}
except KeyboardInterrupt:
    Path("interrupted").touch()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=environment, start_new_session=True)
    while not (folder / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
    return process


CALLS = ['commands.run_command("slow.py", [])', 'commands.run_logged(["slow.py"], Path("log.txt"))']


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_a_closed_terminal_let_the_training_save(number, call, tmp_path):
    """The terminal signals all of the foreground; saving takes a second, is waited for, and a second signal ends it."""
    process = start(tmp_path, call)
    os.killpg(process.pid, number)
    assert process.wait(10) == 0
    assert (tmp_path / "saved").exists() and (tmp_path / "interrupted").exists()


@pytest.mark.parametrize("call", CALLS)
def test_a_scheduler_that_ends_the_command_alone_lets_the_training_save(call, tmp_path):
    process = start(tmp_path, call)
    process.terminate()
    assert process.wait(10) == 0
    assert (tmp_path / "saved").exists() and (tmp_path / "interrupted").exists()


@pytest.mark.parametrize("call", CALLS)
def test_under_nohup_a_closed_terminal_stops_nothing(call, tmp_path):
    process = start(tmp_path, call, before="signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    os.killpg(process.pid, signal.SIGHUP)
    (tmp_path / "end").touch()
    assert process.wait(10) == 0
    assert not (tmp_path / "saved").exists() and not (tmp_path / "interrupted").exists()


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
