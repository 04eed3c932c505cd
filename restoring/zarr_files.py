"""Reading OME-Zarr: where the image of a group lies, its axes and its planes; nothing in it is run."""

from __future__ import annotations

import importlib.util
import math
import shlex
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from common.errors import InputError
from restoring.reading import Part, Raw

if TYPE_CHECKING:
    import zarr

# Codecs that turn bytes into bytes or numbers. Others, pickle among them, could run code.
CODECS = frozenset(
    "bytes transpose blosc gzip zstd zlib lz4 bz2 lzma shuffle delta crc32c sharding_indexed bitround "
    "fixedscaleoffset packbits".split()
)


def require(*modules: str) -> None:
    """Raise InputError where a module that volumes need is not installed."""
    for name in modules:
        if importlib.util.find_spec(name) is None:
            if sys.version_info < (3, 11):
                raise InputError("OME-Zarr volumes need Python 3.11 or later")
            raise InputError(f"volumes need {name}; pip install -r requirements/large.txt")


class Volume(NamedTuple):
    """An OME-Zarr image: its group, OME attributes of version 0.4 or 0.5, full-resolution array, a letter per axis."""

    group: zarr.Group
    attributes: dict
    dataset: str
    axes: str


def find_volume(path: Path, part: Part) -> Path:
    """The group of one image: the path itself, or in a bioformats2raw layout that of the scene.

    Raises:
        InputError: a plate or a well, whose images it names; or no such scene.
    """
    attributes = _attributes(path)
    if "plate" in attributes:
        wells = attributes["plate"]["wells"]
        image = shlex.quote(str(path / wells[0]["path"] / "0"))
        raise InputError(f"{path}: a plate of {len(wells)} wells; restore them image by image, as in --input={image}")
    if "well" in attributes:
        images = [shlex.quote(str(path / image["path"])) for image in attributes["well"]["images"]]
        raise InputError(f"{path}: a well; choose one of its {len(images)} images: --input={', '.join(images)}")
    if "bioformats2raw.layout" not in attributes:
        part.choose_scene(path, 1)
        return path
    series = _attributes(path / "OME").get("series") if (path / "OME").is_dir() else None
    series = series or sorted((p.name for p in path.iterdir() if p.name.isdigit()), key=int)
    return path / series[part.choose_scene(path, len(series), word="images")]


def _attributes(path):
    import zarr

    try:
        attributes = dict(zarr.open_group(path, mode="r").attrs)
    except Exception as failure:  # zarr raises whatever damaged metadata leads it into
        raise InputError(f"{path}: no OME-Zarr image ({type(failure).__name__}: {failure})") from failure
    return attributes.get("ome", attributes)


def open_volume(path: Path, axes: str | None = None) -> Volume:
    """The full-resolution image of an OME-Zarr group, whatever its version.

    Args:
        path: group.
        axes: a letter per dimension, in place of what the attributes say.

    Raises:
        InputError: no OME-Zarr image, no axes y and x, no real numbers, or codecs that could run code.
    """
    import zarr

    attributes = _attributes(path)
    try:
        group, scales = zarr.open_group(path, mode="r"), attributes["multiscales"][0]
        dataset = scales["datasets"][0]["path"]
        array = group[dataset]
        unknown = _codecs(array) - CODECS
        if unknown:
            raise InputError(f"{path}: stored with codecs that are not read ({', '.join(sorted(unknown))})")
        if axes and len(axes) != array.ndim:
            raise InputError(f"{path}: --axes={axes} names {len(axes)} dimensions, but its shape is {array.shape}")
        scales = _as_of_today(scales, array.ndim, axes)
        names = [axis["name"] for axis in scales["axes"]]
    except InputError:
        raise
    except Exception as failure:  # zarr raises whatever damaged metadata leads it into
        raise InputError(f"{path}: no OME-Zarr image ({type(failure).__name__}: {failure})") from failure
    if not {"y", "x"} <= set(names) or len(names) != array.ndim:
        raise InputError(
            f"{path}: expected axes with y and x, received {', '.join(names)} for {array.shape}; pass --axes"
        )
    if array.dtype.kind not in "uif" or 0 in array.shape:
        raise InputError(f"{path}: expected real numbers, received {array.dtype} of shape {array.shape}")
    letters = "".join(name.upper() if len(name) == 1 else "Q" for name in names)
    return Volume(group, {**attributes, "multiscales": [scales]}, dataset, letters)


def _as_of_today(scales, ndim, given):
    """Multiscales of versions 0.1 to 0.3 as 0.4 has them: axes are named, every resolution has a scale."""
    names = list(given.lower()) if given else scales.get("axes") or list("tczyx"[-ndim:])
    kinds = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
    # Axes that are given replace names, not units.
    units = [axis.get("unit") if isinstance(axis, dict) else None for axis in scales.get("axes") or ()] or [None] * ndim
    named = [
        {"name": axis, **({"type": kinds[axis]} if axis in kinds else {}), **({"unit": unit} if unit else {})}
        for axis, unit in zip(names, units, strict=False)
        if isinstance(axis, str)
    ]
    one = [{"type": "scale", "scale": [1.0] * ndim}]
    datasets = [{"coordinateTransformations": one, **dataset} for dataset in scales["datasets"]]
    old = {"version": "0.4"} if str(scales.get("version")) in ("0.1", "0.2", "0.3") else {}
    return {**scales, **old, "axes": named or names, "datasets": datasets}


def _codecs(array):
    """Names of all codecs of an array, nested ones too."""
    found, waiting = set(), [array.metadata.to_dict()]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            found |= {part[key].removeprefix("numcodecs.") for key in ("id",) if isinstance(part.get(key), str)}
            found |= {codec["name"].removeprefix("numcodecs.") for codec in part.get("codecs") or () if "name" in codec}
            waiting += part.values()
        elif isinstance(part, (list, tuple)):
            waiting += part
    return found


def scales_of(volume: Volume) -> list[list[float]]:
    """The sizes along every axis that multiply to those of a voxel: the full resolution's own first, then all others.

    Raises:
        InputError: it has none of its own, or they are no numbers.
    """
    scales = volume.attributes["multiscales"][0]
    try:
        own, common = scales["datasets"][0]["coordinateTransformations"], scales.get("coordinateTransformations") or ()
        found = [[part["scale"] for part in parts if part["type"] == "scale"] for parts in (own, common)]
        if not found[0]:
            raise ValueError("its full resolution has none")
        for scale in (*found[0], *found[1]):
            if np.asarray(scale, float).shape != (len(volume.axes),):
                raise ValueError(f"expected {len(volume.axes)} numbers, received {scale}")
    except (TypeError, KeyError, ValueError) as failure:
        raise InputError(f"{volume.group.store_path}: its scale cannot be read ({failure})") from failure
    return [*found[0], *found[1]]


def ome_metadata(volume: Volume) -> tuple[dict, list[str]]:
    """Voxel sizes and names of a volume as `reading.ome_details` has them, each in its own unit; names of channels.

    Without units sizes are numbers of the unit "", and not given where they are 1, which is what writers put there who
    do not know them.
    """
    scales, found = volume.attributes["multiscales"][0], {}
    spatial = [
        (letter, size, str(axis.get("unit") or ""))
        for letter, size, axis in zip(volume.axes, np.prod(scales_of(volume), axis=0), scales["axes"], strict=True)
        if letter in "ZYX"
    ]
    units = [unit for _, _, unit in spatial]
    if all(units) or (not any(units) and any(size != 1 for _, size, _ in spatial)):
        for letter, size, unit in spatial:
            found |= {f"PhysicalSize{letter}": float(size), f"PhysicalSize{letter}Unit": unit}
    omero = volume.attributes.get("omero") or {}
    channels = [str(channel.get("label") or number) for number, channel in enumerate(omero.get("channels") or ())]
    return {"ome": True, "metadata": {"Name": str(scales.get("name") or ""), **found}}, channels


def read_volume(path: Path, axes: str | None, part: Part) -> Raw:
    """What is chosen of a volume, read into memory. Raises InputError: it cannot be read, or it is too large."""
    require("zarr")
    volume = open_volume(find_volume(path, part), axes)
    array, (metadata, channels) = volume.group[volume.dataset], ome_metadata(volume)
    chosen = part.indices(path, volume.axes, array.shape, channels)
    part.check_size(path, array.nbytes / math.prod(array.shape[volume.axes.index(axis)] for axis in chosen))
    raw = Raw(array, volume.axes, "as given" if axes else "from its metadata", metadata, channels)
    raw = raw.take(path, part)
    return raw._replace(array=np.asarray(raw.array))


def plane_shape(shape: tuple[int, ...], axes: str) -> tuple[int, int]:
    """Rows and columns of a volume."""
    return shape[axes.index("Y")], shape[axes.index("X")]


def place(axes: str, plane: tuple[int, ...], rows: slice, columns: slice) -> tuple[int | slice, ...]:
    """The index of a part of one plane in an array of any order of axes."""
    others = iter(plane)
    return tuple(rows if axis == "Y" else columns if axis == "X" else next(others) for axis in axes)


def upright(part: np.ndarray, axes: str) -> np.ndarray:
    """A part of a plane with rows first, from an array where columns may be; the way back is the same."""
    return part if axes.index("Y") < axes.index("X") else part.T


class Planes(Sequence):
    """The planes of an array, each read as (H, W) when it is asked for: the whole may be larger than memory.

    Args:
        array: of any shape.
        axes: a letter per dimension.
    """

    def __init__(self, array: zarr.Array, axes: str):
        self.array, self.axes = array, axes
        sizes = [size for axis, size in zip(axes, array.shape, strict=True) if axis not in "YX"]
        self.indices = list(product(*map(range, sizes)))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> np.ndarray:
        return self.read(self.indices[number])

    def read(self, index: tuple[int, ...]) -> np.ndarray:
        """The (H, W) plane at an index along all axes but y and x."""
        everything = slice(None)
        return upright(self.array[place(self.axes, index, everything, everything)], self.axes)
