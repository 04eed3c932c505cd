"""Files written beside their place and renamed into it: a reader meets the old one or the new one, never half."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from common.errors import InputError


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary path of the same suffix; when the block ends well it is flushed and renamed to `path`.

    A reader meets the old file or the new one, never half of one; after a failure the old one is still there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield beside
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole."""
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def check_folder(path: Path) -> None:
    """Raise InputError where a file stands at the place of the folder --output, before anything is read or made."""
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise InputError(f"--output={path}: {place} is a file; name a folder to write to")


def json_values(values: Mapping) -> dict:
    """The same values as JSON holds them: paths become text."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}
