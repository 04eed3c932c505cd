"""Errors that a user can correct, each in one line."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

import common


class InputError(ValueError):
    """Something the user gave is wrong; the message says what was received and what to do."""


def run_script(main: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> NoReturn:
    """Run a script's main(args) and exit: its own code, or 2 and one line `error: ...` for what a user can correct.

    Ctrl-C where nothing else handles it ends with one line too, and 130.
    """
    try:
        if signal.getsignal(signal.SIGINT) is common._end:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = main(args)
    except (InputError, OSError, MemoryError) as failure:
        message = " ".join((str(failure) or type(failure).__name__).split())
        print(f"error: {message}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)
