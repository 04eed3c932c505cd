"""Reading and writing the user's images: .npy, TIFF and PNG, any number of planes, metadata kept."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

from common.errors import InputError
from common.files import written_whole
from data_utils import open_npy

SUFFIXES = (".npy", ".tif", ".tiff", ".png")
# A file that unpacks to more than this, and to a hundred times its own size, is no micrograph but a trap.
BOMB_BYTES, BOMB_RATIO = 256e6, 100
CHANNEL_ATTRIBUTES = (
    "Name Color Fluor EmissionWavelength EmissionWavelengthUnit ExcitationWavelength ExcitationWavelengthUnit".split()
)
LARGEST_VALUE = 1e18  # its square still fits into float32


class ImageFile(NamedTuple):
    """An image file as read.

    Args:
        path: where it came from.
        planes: (N, H, W), every 2-D image of the file.
        shape: the array's own shape, restored on writing.
        axes: a letter per dimension of `shape`, as tifffile names them (Q: unknown, S: samples of a pixel).
        axes_from: where the letters come from, in words.
        metadata: for tifffile.imwrite.
    """

    path: Path
    planes: np.ndarray
    shape: tuple[int, ...]
    axes: str
    axes_from: str
    metadata: dict

    def describe(self) -> str:
        """The file's axes and where they come from, shape and dtype, in words."""
        size = " x ".join(map(str, self.shape))
        return f"axes {self.axes} ({self.axes_from}), {size}, {self.planes.dtype}"


def find_images(path: str | Path) -> list[Path]:
    """The image files of a folder, sorted, or the one file itself. Raises InputError where there is none."""
    path = Path(path)
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(f"{path}: expected a file ending in {', '.join(SUFFIXES)}")
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    files = (file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    found = sorted(file for file in files if file.is_file())
    if not found:
        raise InputError(f"{path}: holds no image; expected files ending in {', '.join(SUFFIXES)}")
    return found


def read_image(path: str | Path, axes: str | None = None) -> ImageFile:
    """Read a .npy, TIFF or PNG file.

    Args:
        path: file to read.
        axes: a letter per dimension, Y and X among them, in place of what the file says or its shape suggests.

    Returns:
        ImageFile.

    Raises:
        InputError: it cannot be read, has colours or other axes, or holds NaN, infinite or absurdly large values.
    """
    path, given = Path(path), axes
    reader = {".npy": _read_npy, ".png": _read_png}.get(path.suffix.lower(), _read_tiff)
    array, axes, origin, metadata = reader(path, given)
    if array.dtype.kind not in "uif":
        raise InputError(f"{path}: expected real numbers, received dtype {array.dtype}")
    if array.ndim < 2 or 0 in array.shape:
        raise InputError(f"{path}: expected an image or a stack of images, received shape {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{path}: holds NaN or infinite values; repair it first")
    if array.dtype.kind == "f" and max(abs(float(array.min())), abs(float(array.max()))) > LARGEST_VALUE:
        raise InputError(f"{path}: holds values beyond {LARGEST_VALUE:g}; rescale it first")
    if given:
        if len(given) != array.ndim:
            raise InputError(f"{path}: --axes={given} names {len(given)} dimensions, but its shape is {array.shape}")
        axes, origin = given, "as given"
    planes = np.moveaxis(array, _rows_and_columns(axes), (-2, -1))
    return ImageFile(path, planes.reshape(-1, *planes.shape[-2:]), array.shape, axes, origin, metadata)


def read_pairs(x_path: Path, y_path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """All planes of two files, or of two folders whose files pair by name.

    Returns:
        (x, y), lists of (H, W) float32.

    Raises:
        InputError: they are not pairs: other names, numbers or sizes.
    """
    x_files, y_files = find_images(x_path), find_images(y_path)
    if x_path.is_dir() and y_path.is_dir():
        lonely = sorted({file.stem for file in x_files} ^ {file.stem for file in y_files})
        if lonely:
            raise InputError(
                f"{x_path}, {y_path}: {lonely[0]} has no partner ({len(lonely)} have none); files pair by name"
            )
    x, y = (
        [np.asarray(plane, np.float32) for file in files for plane in read_image(file).planes]
        for files in (x_files, y_files)
    )
    if [image.shape for image in x] != [image.shape for image in y]:
        raise InputError(f"{x_path} holds {len(x)} images and {y_path} {len(y)}, or their sizes differ")
    return x, y


def _rows_and_columns(axes):
    return axes.index("Y"), axes.index("X")


def _read_npy(path, given):
    mapped = open_npy(path)
    if not given and mapped.ndim > 2 and 2 <= mapped.shape[-1] <= 4 and min(mapped.shape[-3:-1]) > 4:
        channels = mapped.shape[-1]
        raise InputError(f"{path}: shape {mapped.shape} ends in {channels} channels; name its axes, --axes=ZYXC")
    # Read, not mapped: a file that is cut short while it is mapped would kill the process.
    array = np.load(path, allow_pickle=False)
    # As in training, a last axis of 1 is the gray channel: (N, H, W, 1).
    last = "YXS" if array.ndim > 2 and array.shape[-1] == 1 else "YX"
    return array, "Q" * (array.ndim - len(last)) + last, "guessed from its shape", {}


def _read_png(path, given):
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode not in ("1", "L", "I;16", "I"):
                raise InputError(f"{path}: a colour image (mode {image.mode}); save its channels as gray images")
            array = np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as failure:
        if isinstance(failure, (InputError, FileNotFoundError, PermissionError)):
            raise
        raise InputError(f"{path}: cannot be read as PNG ({failure})") from failure
    # 16 bits come as 32, and one bit as bool.
    dtype = {"i": np.uint16, "b": np.uint8}.get(array.dtype.kind, array.dtype)
    return array.astype(dtype), "YX", "of any PNG", {}


def _read_tiff(path, given):
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            if "S" in series.axes:
                raise InputError(f"{path}: a colour image (axes {series.axes}); save its channels as gray images")
            if not given and not {"Y", "X"} <= set(series.axes):
                raise InputError(f"{path}: expected axes with Y and X, received {series.axes}; name them with --axes")
            if series.keyframe.photometric == tifffile.PHOTOMETRIC.PALETTE:
                raise InputError(f"{path}: an image of palette colours; save it as a gray image")
            if series.nbytes > max(BOMB_BYTES, BOMB_RATIO * path.stat().st_size):
                raise InputError(f"{path}: {path.stat().st_size} bytes claim to unpack to {series.nbytes / 1e9:.1f} GB")
            if len(file.series) > 1:
                print(f"note: {path} holds {len(file.series)} series of images; the first is used")
            origin = "guessed from its pages" if series.kind in ("uniform", "generic") else "from its metadata"
            return series.asarray(), series.axes, origin, _tiff_metadata(file)
    except InputError:
        raise
    except Exception as failure:  # tifffile raises whatever a damaged file leads it into
        raise InputError(f"{path}: cannot be read as TIFF ({str(failure) or type(failure).__name__})") from failure


def _tiff_metadata(file):
    """What tifffile.imwrite needs to keep pixel sizes and axes: ImageJ's, OME's or the plain resolution tags."""
    if file.is_ome:
        return {"ome": True, "metadata": _ome_metadata(file)}
    metadata = {"resolution": _resolution(file.pages[0])}
    if file.is_imagej:
        kept = ("spacing", "unit", "finterval", "fps", "min", "max", "mode", "Info", "Labels", "Ranges", "LUTs", "loop")
        imagej = {key: value for key, value in file.imagej_metadata.items() if key in kept}
        return {**metadata, "imagej": True, "metadata": imagej}
    page = file.pages[0]
    if "ResolutionUnit" in page.tags:
        metadata["resolutionunit"] = int(page.tags["ResolutionUnit"].value)
    return {**metadata, "metadata": None, "description": page.description.encode() or None}


def _resolution(page):
    tags = [page.tags.get(name) for name in ("XResolution", "YResolution")]
    values = tuple(tag.value for tag in tags if tag)
    # Two integers each; some programs write 0/0 for unknown.
    return values if len(values) == 2 and all(np.size(value) == 2 and all(value) for value in values) else None


def _ome_metadata(file):
    """Name, pixel sizes, and names, colours and wavelengths of the channels, of the first OME image."""
    image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    image = image[0] if isinstance(image, list) else image
    pixels, kept = image["Pixels"], {"Name": image["Name"]} if "Name" in image else {}
    keys = ("PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ", "TimeIncrement")
    kept |= {name: pixels[name] for key in keys for name in (key, f"{key}Unit") if name in pixels}
    channels = pixels.get("Channel", [])
    channels = channels if isinstance(channels, list) else [channels]
    # tifffile writes an attribute for all channels or for none.
    shared = {key: [channel.get(key) for channel in channels] for key in CHANNEL_ATTRIBUTES}
    shared = {key: values for key, values in shared.items() if values and None not in values}
    return {**kept, "Channel": shared} if shared else kept


def write_image(path: str | Path, source: ImageFile, planes: np.ndarray) -> None:
    """Write planes in the shape and with the metadata of the file they came from, whole or not at all.

    Args:
        path: .npy, TIFF or PNG (one image of 8 or 16 bits).
        source: ImageFile.
        planes: (N, H, W), of the dtype to write.
    """
    rows, columns = _rows_and_columns(source.axes)
    others = [size for axis, size in enumerate(source.shape) if axis not in (rows, columns)]
    array = np.moveaxis(planes.reshape(*others, *planes.shape[-2:]), (-2, -1), (rows, columns))
    with written_whole(path) as beside:
        if Path(path).suffix.lower() == ".npy":
            np.save(beside, array)
            return
        if Path(path).suffix.lower() == ".png":
            _write_png(beside, array)
            return
        if source.path.suffix.lower() in (".npy", ".png") and source.axes.endswith("YXS"):
            array = array[..., 0]
        options = _tiff_options(source, array.dtype)
        try:
            tifffile.imwrite(beside, array, photometric="minisblack", **options)
        except (ValueError, TypeError, KeyError, ArithmeticError, struct.error) as failure:
            print(f"note: {path}: written without the metadata of {source.path}, which cannot be ({failure})")
            tifffile.imwrite(beside, array, photometric="minisblack")


def _tiff_options(source, dtype):
    """Keywords of tifffile.imwrite that keep a source's metadata."""
    options, axes = dict(source.metadata), source.axes
    if source.path.suffix.lower() in (".npy", ".png"):
        # Axes that were guessed are not written down as if they were known.
        options = {"metadata": {"axes": axes} if source.axes_from == "as given" else None}
    elif options.get("metadata") is not None:
        options["metadata"] = {**options["metadata"], "axes": axes}
    # ImageJ knows 8- and 16-bit integers and float32 only.
    if options.get("imagej") and dtype not in (np.uint8, np.uint16, np.float32):
        options = {"metadata": {"axes": axes}, "resolution": options.get("resolution")}
    return options


def _write_png(path, array):
    from PIL import Image

    if array.dtype not in (np.uint8, np.uint16) or array.ndim != 2:
        raise InputError(f"PNG holds one image of uint8 or uint16, not {array.dtype} of shape {array.shape}; use TIFF")
    Image.fromarray(array).save(path)


def to_dtype(values: np.ndarray, dtype: str) -> tuple[np.ndarray, int]:
    """(values in a dtype, number of them that had to be clipped to its range)."""
    if dtype == "float32":
        return values.astype(np.float32), 0
    limits, rounded = np.iinfo(dtype), np.round(values)
    clipped = np.count_nonzero((rounded < limits.min) | (rounded > limits.max))
    return np.clip(rounded, limits.min, limits.max).astype(dtype), int(clipped)
