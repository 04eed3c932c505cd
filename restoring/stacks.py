"""Stacks as volumes: their voxel sizes, and their sections along z with rows as far apart as pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from common.errors import InputError
from restoring.image_files import ImageFile
from restoring.normalization import Scale, block_means, stack_scale
from restoring.reading import MICRONS, ome_details
from restoring.sampling import rows_at

UNITS = {**MICRONS, **dict.fromkeys(("um", "micron", "microns", "μm", "\\u00b5m"), 1.0)}
UNITS |= {"cm": 1e4, "meter": 1e6, "angstrom": 1e-4}
SQUARE = 0.01  # by which the sides of a pixel may differ
FARTHEST = 8  # pixels between the planes of recipe any_defect's simulated stacks (simulation/random_microscopes.py)
LAYERED = 4.0  # times that neighbouring blocks may differ more along one axis than along the other


class Voxels(NamedTuple):
    """Sizes of a voxel in micrometres, or in a unit that the file does not name; `origin` says whence, in words."""

    z: float
    y: float
    x: float
    origin: str
    unit: str = "micrometres"

    @property
    def stride(self) -> float:
        """How many pixels planes lie apart."""
        return self.z / self.x

    def describe(self) -> str:
        """Sizes, where they come from, and the stride f, in words."""
        return f"voxels {self.z:g} x {self.y:g} x {self.x:g} {self.unit} ({self.origin}), f = {self.stride:.4g}"


def find_voxels(image: ImageFile, given: tuple[float, float, float] | None = None) -> Voxels:
    """Voxel sizes of a stack that is to be made isotropic.

    Args:
        image: with a Z axis.
        given: micrometres along z, y and x, in place of the file's.

    Raises:
        InputError: they are missing, pixels are not square, planes lie no further apart than pixels, or z is no axis.
    """
    planes = dict(zip(image.axes, image.shape, strict=True)).get("Z")
    if planes is None:
        if len(image.shape) == 2:
            raise InputError(f"{image.path}: one image of {image.shape[0]} x {image.shape[1]} pixels; expected a stack")
        raise InputError(f"{image.path}: axes {image.axes} have no Z; name it, as in --axes=ZYX")
    if planes < 2:
        raise InputError(f"{image.path}: a stack of one plane; at least 2 are needed")
    voxels = Voxels(*given, "as given") if given else _stored_voxels(image)
    if abs(voxels.y / voxels.x - 1) > SQUARE:
        raise InputError(
            f"{image.path}: {voxels.describe()}; expected square pixels: rescale the planes first, or pass --spacing"
        )
    if voxels.stride <= 1 + SQUARE:
        raise InputError(
            f"{image.path}: {voxels.describe()}; planes lie no further apart than pixels, so nothing is missing "
            "along z: pass --spacing=Z,Y,X if this is wrong"
        )
    return voxels


def _stored_voxels(image):
    """Voxel sizes of OME's or ImageJ's metadata. Raises InputError where there are none."""
    options, details = image.metadata, image.metadata.get("metadata") or {}
    sizes, unit = {}, "micrometres"
    if options.get("ome"):
        for axis in "ZYX":
            name = str(details.get(f"PhysicalSize{axis}Unit", "µm")).lower()
            unit = unit if name else "units"  # as OME-Zarr may have them
            sizes[axis] = float(details.get(f"PhysicalSize{axis}", 0)) * (UNITS.get(name, 0) if name else 1)
    elif options.get("imagej") and options.get("resolution"):
        factor = UNITS.get(str(details.get("unit", "")).lower())
        unit = unit if factor else "units"
        for axis, (pixels, length) in zip("XY", options["resolution"], strict=True):
            sizes[axis] = length / pixels * (factor or 1)
        sizes["Z"] = abs(float(details.get("spacing", 0))) * (factor or 1)
    if not all(0 < sizes.get(axis, 0) < math.inf for axis in "ZYX"):
        raise InputError(f"{image.path}: its voxel sizes are not known; pass --spacing=Z,Y,X in micrometres")
    return Voxels(*(sizes[axis] for axis in "ZYX"), "from its metadata", unit)


def plane_positions(planes: int, stride: float) -> np.ndarray:
    """Where sections have rows, in planes: k / stride for k = 0 ... N - 1, N = floor((planes - 1) stride) + 1.

    Row k lies k pixels below the first plane, whatever the stride. Stretching from the first plane to the last instead,
    as scipy.ndimage.zoom does, makes 35 planes 2.6 % too long.
    """
    count = math.floor((planes - 1) * stride + 1e-6) + 1
    return np.minimum(np.arange(count) / stride, planes - 1)


def section(stack: np.ndarray, axis: int, index: int, stride: float) -> np.ndarray:
    """One section of a (Z, Y, X) stack along z, rows and columns a pixel apart: (N, X) float32, or (N, Y).

    Args:
        axis: 1 for the XZ section at y = `index`, 2 for the YZ section at x = `index`.
    """
    return rows_at(np.take(stack, index, axis), plane_positions(len(stack), stride))


def stacks_of(image: ImageFile) -> np.ndarray:
    """(M, Z, Y, X): the stacks of an image with a Z axis, one for each channel, time and the like."""
    planes = image.planes.reshape(*(size for _, size in _other_axes(image)), *image.planes.shape[-2:])
    turned = np.moveaxis(planes, [axis for axis, _ in _other_axes(image)].index("Z"), -3)
    return turned.reshape(-1, *turned.shape[-3:])


def with_stacks(image: ImageFile, stacks: np.ndarray, voxels: Voxels) -> ImageFile:
    """The image with isotropic stacks in place of its own.

    Args:
        stacks: (M, N, Y, X), in the order of `stacks_of`.
        voxels: of the image; its new z spacing is that of its pixels.
    """
    others = _other_axes(image)
    sizes = [size for axis, size in others if axis != "Z"]
    turned = stacks.reshape(*sizes, *stacks.shape[-3:])
    planes = np.moveaxis(turned, -3, [axis for axis, _ in others].index("Z"))
    shape = tuple(stacks.shape[1] if axis == "Z" else n for axis, n in zip(image.axes, image.shape, strict=True))
    planes = planes.reshape(-1, *planes.shape[-2:])
    return image._replace(planes=planes, shape=shape, metadata=_isotropic(image, voxels))


def normalized_as_stack(axes: str, normalize: str | None) -> bool:
    """Whether the planes of an image share their percentiles; `normalize`: "plane", "stack" or, by the axes, None."""
    return normalize == "stack" or (normalize is None and bool({"Z", "T"} & set(axes)))


def wholes_of(image: ImageFile, normalize: str | None) -> Sequence[np.ndarray | Scale]:
    """For each plane, what its scale is taken from: the plane, or where planes share one, the Scale of its channel."""
    if not normalized_as_stack(image.axes, normalize):
        return image.planes
    scales = channel_scales(image)
    return [scales[number] for number in channels_of(image)]


def channel_scales(image: ImageFile) -> list[Scale]:
    """The Scale of each channel, by the percentiles of all its planes."""
    channels = channels_of(image)
    return [stack_scale(image.planes, channels == number) for number in range(channels.max() + 1)]


def channels_of(image: ImageFile, but: str = "") -> np.ndarray:
    """The number of each plane's channel, (N,); of each stack's with but="Z"."""
    others = [(axis, size) for axis, size in _other_axes(image) if axis not in but]
    numbers = np.indices([size for _, size in others])
    axes = [axis for axis, _ in others]
    return numbers[axes.index("C")].ravel() if "C" in axes else np.zeros(numbers[0].size if axes else 1, int)


def _other_axes(image):
    """(letter, size) of all axes but rows and columns."""
    return [(axis, size) for axis, size in zip(image.axes, image.shape, strict=True) if axis not in "YX"]


def _isotropic(image, voxels):
    """The metadata for tifffile.imwrite with z spaced as x is; a format without voxel sizes gets OME's."""
    options, details = image.metadata, image.metadata.get("metadata") or {}
    if options.get("imagej"):
        kept = {name: value for name, value in details.items() if name != "Labels"}  # one for each plane of before
        if voxels.origin == "as given":
            sizes = {"spacing": voxels.x, "unit": "um"}
            return {**options, "resolution": (1 / voxels.x, 1 / voxels.y), "metadata": {**kept, **sizes}}
        pixels, length = options["resolution"][0]
        return {**options, "metadata": {**kept, "spacing": length / pixels}}
    ome = ome_details(image.path.stem, {"X": voxels.x, "Y": voxels.y, "Z": voxels.x}, image.channels)
    sizes = {name: value for name, value in ome["metadata"].items() if name.startswith("PhysicalSize")}
    return {**ome, "metadata": {**ome["metadata"], **(details if options.get("ome") else {}), **sizes}}


def anisotropy(stack: np.ndarray, stride: float) -> float:
    """How differently the content of a (Z, Y, X) stack varies along z and along x: 1 is alike, 3 three times as much.

    Means of blocks, twice as wide as planes lie apart, show neither noise nor the blur along z. Compared are the mean
    squares of the differences between neighbouring blocks. 1 where there are too few blocks.
    """
    side = math.ceil(2 * stride)
    ratios = []
    for axis in (1, 2):
        along, across = [], []
        for index in np.linspace(0, stack.shape[axis] - 1, min(stack.shape[axis], 16)).astype(int):
            image = section(stack, axis, index, stride)
            rows, columns = (size // side for size in image.shape)
            if min(rows, columns) < 3:
                return 1.0
            blocks = block_means(image, side, side).reshape(rows, columns)
            along.append(np.mean(np.diff(blocks, axis=0) ** 2))
            across.append(np.mean(np.diff(blocks, axis=1) ** 2))
        ratios.append(np.mean(along) / max(np.mean(across), 1e-12))
    return float(np.sqrt(np.prod(ratios)))


def note_far_planes(image: ImageFile, voxels: Voxels) -> None:
    """Print a note where planes lie further apart than those of the shipped generator's training."""
    if voxels.stride > FARTHEST:
        print(
            f"note: {image.path}: planes lie {voxels.stride:.3g} pixels apart, and the shipped generator was trained "
            f"with {FARTHEST} at most; train on this stack (data/prepare_stack.py)"
        )


def note_layers(image: ImageFile, stack: np.ndarray, stride: float) -> None:
    """Print a note where sections along z do not look like planes, so that planes cannot teach what is missing."""
    found = anisotropy(stack, stride)
    if not 1 / LAYERED <= found <= LAYERED:
        word = "more" if found > 1 else "less"
        print(
            f"note: {image.path}: its content varies {max(found, 1 / found):.1f} times {word} along z than along x "
            "(mean squares; layered tissue?); what planes show may not be what sections along z should show"
        )
