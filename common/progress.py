"""One style of progress bar: live on a terminal, whole lines now and then in a log file."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


class Lines:
    """A bar's file where standard error is no terminal: each state is a line, and shares none with a result."""

    def write(self, text: str) -> None:
        """Print one state; what only clears the last one is left out."""
        text = text.strip("\r\n ")
        if text:
            print(text, file=sys.stderr)

    def flush(self) -> None:
        """As standard error's."""
        sys.stderr.flush()


def progress_bar(**options: Any) -> tqdm:
    """A tqdm bar; where standard error is no terminal it prints a line twice a minute."""
    if sys.stderr.isatty():
        return tqdm(**{"mininterval": 0.5, "dynamic_ncols": True, **options})
    return tqdm(**{"mininterval": 30, "file": Lines(), **options})
