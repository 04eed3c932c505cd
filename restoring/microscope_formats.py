"""Reading the files of Zeiss (CZI), Nikon (ND2), Leica (LIF) and Olympus (OIF, OIB); packages are optional.

Each reader takes (path, Part) and gives what is chosen, with voxel sizes and channel names for an OME-TIFF.
"""

from __future__ import annotations

import importlib
import math
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from common.errors import InputError
from restoring.reading import Part, Raw, kept_metadata, ome_details

ORIGIN = "from its metadata"


def read_microscope(path: Path, given: str | None, part: Part) -> Raw:
    """Read a file of one of READERS.

    Args:
        path: file.
        given: not heeded: these files name their axes.
        part: what is read.

    Raises:
        InputError: its package is missing; it cannot be read, has colours, or is too large.
    """
    package, read = READERS[path.suffix.lower()]
    try:
        library = importlib.import_module(package)
    except ImportError as failure:
        name = package.split(".")[0]
        raise InputError(
            f"{path}: reading {path.suffix} needs {name} ({failure}); pip install -r requirements/microscopes.txt, "
            "or convert the file to OME-TIFF with Fiji (Plugins > Bio-Formats)"
        ) from failure
    try:
        return read(library, path, part)
    except InputError:
        raise
    except Exception as failure:  # each package raises what a damaged file leads it into
        reason = str(failure) or type(failure).__name__
        raise InputError(f"{path}: cannot be read as {path.suffix[1:].upper()} ({reason})") from failure


def _gather(path, part, axes, sizes, plane_shape, dtype, details, channels, read_plane):
    """Read the chosen planes one by one.

    Args:
        axes, sizes: of all but rows and columns.
        details: of `ome_details`.
        read_plane: from {axis: index} to (H, W).
    """
    chosen = part.indices(path, axes, sizes, channels)
    ranges = [range(chosen[a], chosen[a] + 1) if a in chosen else range(n) for a, n in zip(axes, sizes, strict=True)]
    shape = [len(numbers) for numbers in ranges]
    part.check_size(path, math.prod([*shape, *plane_shape]) * np.dtype(dtype).itemsize)
    array = np.empty((math.prod(shape), *plane_shape), dtype)
    for row, index in enumerate(product(*ranges)):
        array[row] = read_plane(dict(zip(axes, index, strict=True)))
    kept = [(axis, size) for axis, size in zip(axes, shape, strict=True) if size > 1]
    letters = "".join(axis for axis, _ in kept) + "YX"
    # An axis of one plane is dropped, but its channel keeps its name.
    if "C" in chosen or "C" not in letters:
        channels = channels[chosen.get("C", 0) :][:1]
    metadata = kept_metadata(details, {"C": chosen["C"]} if "C" in chosen else {})
    return Raw(array.reshape([*(size for _, size in kept), *plane_shape]), letters, ORIGIN, metadata, channels)


def _read_czi(czi, path, part):
    with czi.open_czi(str(path)) as document:
        boxes, scenes = document.total_bounding_box, document.scenes_bounding_rectangle
        number = part.choose_scene(path, max(len(scenes), 1))
        scene = sorted(scenes)[number] if scenes else None
        area = scenes[scene] if scenes else document.total_bounding_rectangle
        odd = [axis for axis, (_, size) in boxes.items() if size > 1 and axis not in "TZCYXSM"]
        if odd:
            raise InputError(f"{path}: has axes that are not read ({', '.join(odd)}); convert it to OME-TIFF")
        axes = [axis for axis in "TZC" if axis in boxes]
        kinds = set(document.pixel_types.values())
        if any("Bgr" in kind for kind in kinds) or len(kinds) > 1:
            raise InputError(f"{path}: a colour image, or channels of several kinds ({', '.join(sorted(kinds))})")
        dtype = {"Gray8": np.uint8, "Gray16": np.uint16}.get(*kinds, np.float32)
        xml = ElementTree.fromstring(document.raw_metadata)
        sizes = {d.get("Id"): 1e6 * float(d.findtext("Value") or 0) for d in xml.iterfind(".//Scaling/Items/Distance")}
        names = [c.get("Name") or "" for c in xml.iterfind(".//Image/Dimensions/Channels/Channel")]
        if len(names) != boxes.get("C", (0, 1))[1]:
            names = []

        def read_plane(index):
            plane = {axis: boxes[axis][0] + number for axis, number in index.items()}
            return document.read(roi=area, plane=plane, scene=scene)[..., 0]

        counts, details = [boxes[axis][1] for axis in axes], ome_details(path.stem, sizes, names)
        return _gather(path, part, "".join(axes), counts, (area.h, area.w), dtype, details, names, read_plane)


def _read_nd2(nd2, path, part):
    with nd2.ND2File(path) as file:
        sizes = dict(file.sizes)
        if file.is_rgb:
            raise InputError(f"{path}: a colour image; save its channels as gray images")
        scene = part.choose_scene(path, sizes.get("P", 1), word="positions")
        axes = "".join(axis for axis in sizes if axis not in "PYX")
        frames = {
            tuple(index.get(axis, 0) for axis in axes if axis != "C"): number
            for number, index in enumerate(file.loop_indices)
            if index.get("P", 0) == scene
        }
        try:
            names = [channel.channel.name for channel in getattr(file.metadata, "channels", None) or []]
            voxel = dict(zip("XYZ", file.voxel_size(), strict=True))
        except Exception as failure:  # of what this package does not know; the pixels are read all the same
            print(f"note: {path}: pixel size and channel names cannot be read ({failure})")
            names, voxel = [], {}
        if "Z" not in axes:
            voxel.pop("Z", None)
        shape = (sizes["Y"], sizes["X"])

        def read_plane(index):
            frame = file.read_frame(frames[tuple(number for axis, number in index.items() if axis != "C")])
            return frame.reshape(-1, *shape)[index.get("C", 0)]

        counts, details = [sizes[axis] for axis in axes], ome_details(path.stem, voxel, names)
        return _gather(path, part, axes, counts, shape, file.dtype, details, names, read_plane)


def _read_lif(liffile, path, part):
    with liffile.LifFile(path) as file:
        if not len(file.images):
            raise InputError(f"{path}: holds no image")
        image = file.images[part.choose_scene(path, len(file.images))]
        axes = "".join(axis if axis.isascii() and len(axis) == 1 else "Q" for axis in image.dims)
        if "S" in axes:
            raise InputError(f"{path}: a colour image (axes {axes}); save its channels as gray images")
        part.check_size(path, image.nbytes)
        coords = image.coords
        voxel = {axis: 1e6 * abs(float(coords[axis][1] - coords[axis][0])) for axis in "XYZ" if axis in coords}
        names = [c.get("LUTName", "") for c in image.xml_element.iterfind(".//ImageDescription/Channels/*")]
        names = names if len(names) == dict(zip(axes, image.shape, strict=True)).get("C", 1) else []
        raw = Raw(image.asarray(), axes, ORIGIN, ome_details(image.name, voxel, names), names)
        return raw.take(path, part)


def _read_oif(oiffile, path, part):
    with oiffile.OifFile(path) as file:
        series = file.series[part.choose_scene(path, 1)]
        settings = file.mainfile
        first = file.asarray(series[0])
        part.check_size(path, first.nbytes * math.prod(series.shape))
        array, axes = series.asarray(), f"{series.axes}YX"
        kept = [number for number, size in enumerate(array.shape) if size > 1 or number >= array.ndim - 2]
        axes = "".join(axes[number] for number in kept)
        reference = settings.get("Reference Image Parameter", {})
        voxel = {a: reference.get(f"{word}ConvertValue") for a, word in (("X", "Width"), ("Y", "Height"))}
        depth = settings.get("Axis 3 Parameters Common", {})
        voxel["Z"] = abs(depth.get("Interval", 0)) / (1000 if depth.get("UnitName") == "nm" else 1)
        raw = Raw(array.reshape([array.shape[number] for number in kept]), axes, ORIGIN, ome_details(path.stem, voxel))
        return raw.take(path, part)


# {suffix: (package, reader)}
READERS = {
    ".czi": ("pylibCZIrw.czi", _read_czi),
    ".nd2": ("nd2", _read_nd2),
    ".lif": ("liffile", _read_lif),
    ".oif": ("oiffile", _read_oif),
    ".oib": ("oiffile", _read_oif),
}
