"""Run a script of this repository as a user would, and wait for it: what is stopped saves first."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import InputError
from data_utils import SCRIPT_DIR


def run_command(script: str, flags: Sequence[str]) -> None:
    """Print a command and run it; its output is shown.

    Raises:
        KeyboardInterrupt, InputError: as `run_logged`.
    """
    print(f"\n$ python {script} {shlex.join(flags)}", flush=True)
    if _run([str(SCRIPT_DIR / script), *flags]):
        raise InputError(f"{script} did not finish; its message stands above")


def run_logged(arguments: Sequence[str], log: Path) -> None:
    """Run a command whose output goes to the end of `log`.

    Args:
        arguments: a script of the top level and its flags, or `-m`, a module and its flags.
        log: file.

    Raises:
        KeyboardInterrupt: a signal stopped it or this process; it has been waited for, so that it could save.
        InputError: it failed; the message is its own last line.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        start = file.tell()
        first = arguments[0] if arguments[0] == "-m" else str(SCRIPT_DIR / arguments[0])
        code = _run([first, *arguments[1:]], stdout=file, stderr=subprocess.STDOUT)
    if code:
        lines = [line for line in log.read_bytes()[start:].decode(errors="replace").splitlines() if line.strip()]
        reason = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise InputError(lines[-1].removeprefix("error: ") if lines and code > 0 else reason)


def _run(arguments, **streams):
    """The exit code of a command; signals are passed on to it. Raises KeyboardInterrupt where one stopped it."""
    stopped = []
    # In a session of its own a Ctrl-C reaches it once, passed on from here: a second one would stop its saving.
    process = subprocess.Popen([sys.executable, *arguments], start_new_session=True, **streams)

    def pass_on(number, frame):
        stopped.append(number)
        process.send_signal(number)

    previous = {n: signal.signal(n, pass_on) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        code = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if stopped or code in (130, 143, -signal.SIGINT, -signal.SIGTERM):
        raise KeyboardInterrupt
    return code
