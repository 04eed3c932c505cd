"""How scripts end: the code of their own, or one line."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import InputError, run_script


@pytest.mark.parametrize(
    "failure, code, line",
    [
        (InputError("two\nlines"), 2, "error: two lines\n"),
        (MemoryError(), 2, "error: MemoryError\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (None, 7, ""),
    ],
)
def test_a_script_ends_in_one_line(failure, code, line, capsys):
    def main(args):
        if failure:
            raise failure
        return 7

    with pytest.raises(SystemExit) as end:
        run_script(main, argparse.Namespace())
    assert end.value.code == code and capsys.readouterr().err == line


def test_a_fault_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_script(lambda args: 1 // 0, argparse.Namespace())


@pytest.mark.parametrize("command", ["restore.py", "train_cGAN.py"])
def test_ctrl_c_while_libraries_are_imported_ends_in_one_line(command, tmp_path):
    """A NumPy that waits, and makes another error of the interruption, as the real one does."""
    (tmp_path / "numpy").mkdir()
    lines = "import time", "print('waits', flush=True)", "try:", "  time.sleep(60)", "except BaseException:", "  1 / 0"
    (tmp_path / "numpy/__init__.py").write_text("\n".join(lines))
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve().parents[1] / command)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout.readline() == "waits\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "error: interrupted\n")
