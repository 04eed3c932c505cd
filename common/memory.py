"""How much memory this machine has."""

from __future__ import annotations

import os
from pathlib import Path

ASSUMED = 16e9  # bytes, where the system does not say


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
