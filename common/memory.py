"""How much memory this machine has, and work on large images without copies of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ASSUMED = 16e9  # bytes, where the system does not say
STRIP = 2**18  # pixels


def machine_bytes() -> float:
    """Bytes of memory: the machine's, or what its container may use where that is less."""
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):
        return ASSUMED
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found.append(int(Path(limit).read_text()))
        except (OSError, ValueError):  # none, or "max"
            continue
    return float(min(found))


def strips(image: np.ndarray) -> Iterator[slice]:
    """The rows of an (H, W) image, some at a time: what is computed from them is small beside the image."""
    rows = max(STRIP // max(image.shape[1], 1), 1)
    for start in range(0, len(image), rows):
        yield slice(start, start + rows)


def by_strips(function: Callable[[np.ndarray], np.ndarray], image: np.ndarray, out: np.ndarray) -> np.ndarray:
    """`function`, which looks at single pixels, of an (H, W) image; written into `out`, which may be the image."""
    for rows in strips(image):
        out[rows] = function(image[rows])
    return out
