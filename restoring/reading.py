"""What of an image file is read, and how much at most: shared by the readers of all formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import InputError
from common.memory import machine_bytes

SHARE = 1 / 8  # of the machine's memory that an image may fill: its restoration takes several times as much
MICRONS = {"m": 1e6, "mm": 1e3, "millimeter": 1e3, "nm": 1e-3, "nanometer": 1e-3, "µm": 1.0, "micrometer": 1.0}


class Part(NamedTuple):
    """The part of a file that is read; numbers count from 0, None is all.

    Args:
        scene: one of several images of a file; the first where there are more (a file of a multi-file set: its own).
        channel: number or name.
        time, z: numbers.
        max_gb: an image that unpacks to more is refused; None: an eighth of the machine's memory.
    """

    scene: int | None = None
    channel: str | None = None
    time: int | None = None
    z: int | None = None
    max_gb: float | None = None

    def indices(self, path: Path, axes: str, shape: Sequence[int], channels: Sequence[str]) -> dict[str, int]:
        """{axis: index} of what is chosen.

        Args:
            path: named in errors.
            axes, shape: of the whole image.
            channels: names, as far as the file gives them.

        Raises:
            InputError: the image has no such axis, or it ends before.
        """
        found = {}
        for axis, flag, value in (("C", "channel", self.channel), ("T", "time", self.time), ("Z", "z", self.z)):
            if value is None:
                continue
            size = dict(zip(axes, shape, strict=True)).get(axis, 1)
            names = list(channels) if axis == "C" else []
            number = names.index(value) if value in names else int(value) if str(value).isdigit() else size
            if number >= size:
                known = f" ({', '.join(names)})" if names else ""
                raise InputError(f"{path}: --{flag}={value}, but there are {size}{known}, counted from 0")
            found[axis] = number
        return {axis: number for axis, number in found.items() if axis in axes}

    def choose_scene(self, path: Path, count: int, default: int = 0, word: str = "scenes") -> int:
        """The scene's number; a note where there are several and none is named. Raises InputError beyond the last."""
        if self.scene is not None and self.scene >= count:
            raise InputError(f"{path}: --scene={self.scene}, but there are {count} {word}, counted from 0")
        if self.scene is None and count > 1:
            print(f"note: {path} holds {count} {word}; number {default} is read (--scene=N: another)")
        return default if self.scene is None else self.scene

    def check_size(self, path: Path, size: float) -> None:
        """Raise InputError where an image of `size` bytes is larger than what may be read."""
        limit = machine_bytes() * SHARE if self.max_gb is None else self.max_gb * 1e9
        if size > limit:
            otherwise = "choose a part with --channel and --time" if is_volume(path) else "convert it to OME-Zarr"
            raise InputError(
                f"{path}: claims to unpack to {size / 1e9:.1f} GB, more than "
                f"{'an eighth of the memory of this machine' if self.max_gb is None else f'--max_gb={self.max_gb:g}'}; "
                f"pass --max_gb={np.ceil(size / 1e8) / 10:g} to read it all the same, or {otherwise}"
            )


WHOLE = Part()


def is_volume(path: Path) -> bool:
    """Whether a path is an OME-Zarr image, plate or well, by what the folder holds or by its name."""
    markers = (".zgroup", ".zattrs", ".zarray", "zarr.json")
    return path.suffix == ".zarr" or any((path / name).is_file() for name in markers)


class Raw(NamedTuple):
    """What a reader gives.

    Args:
        array: the pixels.
        axes: a letter per dimension.
        origin: where the letters come from, in words.
        metadata: for tifffile.imwrite.
        channels: names, or none.
    """

    array: np.ndarray
    axes: str
    origin: str
    metadata: dict
    channels: Sequence[str] = ()

    def take(self, path: Path, part: Part) -> Raw:
        """What `part` chooses of a whole image; axes that are chosen from are dropped. Raises InputError."""
        chosen = part.indices(path, self.axes, self.array.shape, self.channels)
        if not chosen:
            return self
        array = self.array[tuple(chosen.get(axis, slice(None)) for axis in self.axes)]
        axes = "".join(axis for axis in self.axes if axis not in chosen)
        channels = () if "C" in chosen else self.channels
        return Raw(array, axes, self.origin, kept_metadata(self.metadata, chosen), channels)


def ome_details(name: str, sizes: dict[str, float | None], channels: Sequence[str] = ()) -> dict:
    """Keywords of tifffile.imwrite for an OME-TIFF.

    Args:
        name: of the image.
        sizes: {axis: micrometres a voxel, or None or 0 where unknown}.
        channels: names.
    """
    known = {axis: size for axis, size in sizes.items() if size}
    details = {f"PhysicalSize{axis}": float(size) for axis, size in known.items()}
    details |= {f"PhysicalSize{axis}Unit": "µm" for axis in known}
    if channels:
        details["Channel"] = {"Name": list(channels)}
    return {"ome": True, "metadata": {"Name": name, **details}}


def kept_metadata(metadata: dict, chosen: dict[str, int]) -> dict:
    """Metadata for tifffile.imwrite of the part of an image that is chosen, {axis: index}."""
    details = metadata.get("metadata")
    if not isinstance(details, dict):
        return metadata
    # ImageJ's lists have an entry per channel or plane.
    details = {key: value for key, value in details.items() if key not in ("Labels", "Ranges", "LUTs")}
    if "C" in chosen and "Channel" in details:
        details["Channel"] = {key: [values[chosen["C"]]] for key, values in details["Channel"].items()}
    return {**metadata, "metadata": details}
