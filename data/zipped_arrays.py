"""NumPy arrays inside zip files (an .npz is one), streamed: found, checked, and copied a few samples at once."""

import math
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import InputError
from common.progress import progress_bar

SAMPLES = 64  # in memory at once
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)  # what reading a damaged zip file raises


class Member(NamedTuple):
    """An array in an open zip file: its name there; the file's path."""

    archive: zipfile.ZipFile
    name: str
    path: Path


def open_zip(path):
    """A zip file (an .npz is one), open. Raises InputError."""
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as failure:
        raise InputError(f"{path}: damaged, or no zip file ({failure})") from failure


def only_array(archive, path):
    """Name of the one .npy in a zip file. Nothing is unpacked under the names in it."""
    # A Mac adds a hidden __MACOSX/._NAME.npy, which is no array.
    found = [name for name in archive.namelist() if name.endswith(".npy") and not name.startswith("__MACOSX/")]
    if len(found) != 1:
        raise InputError(f"{path} holds {len(found)} .npy files; expected one array")
    if Path(found[0]).is_absolute() or ".." in Path(found[0]).parts:
        raise InputError(f"{path} holds {found[0]!r}, which leads out of its folder; expected a plain file name")
    return found[0]


def open_member(member):
    """Open an array in a zip file for streaming.

    Returns:
        (file at the first value, shape SCYX, dtype). Arrays (N, H, W) and (N, H, W, 1) have one channel.
    """
    path, key = member.path, member.name.removesuffix(".npy")
    try:
        file = member.archive.open(member.name)
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = read_header[version](file)
    except (KeyError, ValueError, RuntimeError, *DAMAGE) as failure:
        raise InputError(
            f"{path}: no readable array {key!r} ({failure}); expected CARE's keys X and Y, or one array"
        ) from failure
    if len(shape) == 3 or shape[3:] == (1,):
        shape = (shape[0], 1, *shape[1:3])
    if fortran or dtype.kind not in "uif" or len(shape) != 4 or min(shape) < 1:
        raise InputError(f"{path}: {key} is {dtype} {shape}; expected real numbers, SCYX, (N, H, W) or (N, H, W, 1)")
    size, stored = math.prod(shape) * dtype.itemsize, member.archive.getinfo(member.name).file_size
    if stored < size:
        raise InputError(f"{path}: {key} is cut short, {stored} of {size} bytes; download it again")
    return file, shape, dtype


def copy_samples(member, start, stop, array, description):
    """Copy samples start to stop - 1 of an array in a zip file to `array`, one image per channel."""
    file, shape, dtype = open_member(member)
    sample_bytes = math.prod(shape[1:]) * dtype.itemsize
    with file, progress_bar(total=stop - start, desc=description, unit="sample") as bar:
        try:
            file.seek(start * sample_bytes, 1)
            for first in range(start, stop, SAMPLES):
                count = min(SAMPLES, stop - first)
                images = np.frombuffer(file.read(count * sample_bytes), dtype).reshape(count * shape[1], *shape[2:])
                row = (first - start) * shape[1]
                array[row : row + len(images)] = images[: len(array) - row]
                bar.update(count)
        except (ValueError, *DAMAGE) as failure:
            raise InputError(f"{member.path}: {member.name} is damaged ({failure}); download it again") from failure
