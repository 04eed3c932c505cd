"""One style of progress bar: live on a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(**options: Any) -> tqdm:
    """A tqdm bar; where standard error is no terminal it is redrawn twice a minute only."""
    live = sys.stderr.isatty()
    return tqdm(**{"mininterval": 0.5 if live else 30, "dynamic_ncols": live, **options})
