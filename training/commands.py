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

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Exit codes of a command that one of them stopped: after it saved, or at once.
STOPPED = {code for number in SIGNALS for code in (128 + number, -number)}


def run_command(script: str, flags: Sequence[str]) -> None:
    """Print a command and run it in the foreground: its output is shown, and it gets the terminal's keys itself.

    Raises:
        KeyboardInterrupt, InputError: as `run_logged`.
    """
    print(f"\n$ python {script} {shlex.join(flags)}", flush=True)
    if _run([str(SCRIPT_DIR / script), *flags], passed_on=(signal.SIGTERM,)):
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
        # In a session of its own Ctrl-C reaches it once, passed on from here: a second one would stop its saving.
        streams = {"stdout": file, "stderr": subprocess.STDOUT, "start_new_session": True}
        code = _run([first, *arguments[1:]], SIGNALS, **streams)
    if code:
        lines = [line for line in log.read_bytes()[start:].decode(errors="replace").splitlines() if line.strip()]
        reason = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise InputError(lines[-1].removeprefix("error: ") if lines and code > 0 else reason)


def _run(arguments, passed_on, **options):
    """The exit code of a command, which is waited for whatever signal comes; those of `passed_on` are sent to it.

    Raises KeyboardInterrupt where a signal stopped it or this process.
    """
    stopped, process = [], None

    def note(number, frame):
        stopped.append(number)
        if process and number in passed_on:
            process.send_signal(number)

    handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    previous = {number: signal.signal(number, note) for number in handled}
    try:
        process = subprocess.Popen([sys.executable, *arguments], **options)
        for number in stopped:  # while it started
            process.send_signal(number)
        code = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if stopped or code in STOPPED:
        raise KeyboardInterrupt
    return code
