"""Reading and writing the user's images: any number of planes, metadata kept. Writes .npy, TIFF and PNG."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

from common.errors import InputError
from common.files import written_whole
from common.memory import strips
from data_utils import enlarge, factor_between, open_npy
from restoring.microscope_formats import READERS, read_microscope
from restoring.reading import WHOLE, Part, Raw, is_volume
from restoring.tiff_files import PLAIN, TIFF_SUFFIXES, read_tiff, siblings
from restoring.zarr_files import read_volume

WRITTEN = (".npy", *PLAIN, ".png")
SUFFIXES = (".npy", ".png", *TIFF_SUFFIXES, *READERS)
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
        channels: names, as far as the file gives them.
    """

    path: Path
    planes: np.ndarray
    shape: tuple[int, ...]
    axes: str
    axes_from: str
    metadata: dict
    channels: Sequence[str] = ()

    def describe(self) -> str:
        """The file's axes and where they come from, shape and dtype, in words."""
        size = " x ".join(map(str, self.shape))
        return f"axes {self.axes} ({self.axes_from}), {size}, {self.planes.dtype}"


class WritingError(InputError):
    """An image cannot be written: the disk is full, or the folder is gone."""


def image_name(path: Path) -> str:
    """The name of an image without its suffixes: f0 for f0.tif, f0.ome.tif and f0.czi."""
    stem = path.name[: -len(path.suffix)] if path.suffix else path.name
    return stem[:-4] if stem.lower().endswith(".ome") else stem


def find_images(path: str | Path, recursive: bool = False, volumes: bool = False) -> list[Path]:
    """The image files of a folder, sorted, or the one file itself.

    Args:
        path: folder or file.
        recursive: whether the folders in a folder are searched too.
        volumes: whether OME-Zarr volumes are images too; those of a folder come first.

    Of files that hold one image together (multi-file OME-TIFF) the first alone is given: it is read with the others.

    Raises:
        InputError: there is none.
    """
    path = Path(path)
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(
                f"{path}: expected a file ending in {', '.join(SUFFIXES)}; "
                "Fiji (Plugins > Bio-Formats) converts other formats to OME-TIFF"
            )
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    if volumes and is_volume(path):
        return [path]
    found, parts = [entry for entry in sorted(path.iterdir()) if volumes and entry.is_dir() and is_volume(entry)], set()
    for file in _visible(path, recursive):
        if file.suffix.lower() not in SUFFIXES:
            continue
        if file not in parts:
            found.append(file)
            parts |= siblings(file) if file.suffix.lower() in TIFF_SUFFIXES else set()
    if not found:
        raise InputError(f"{path}: holds no image; expected files ending in {', '.join(SUFFIXES)}")
    return found


def note_skipped(path: Path, recursive: bool = False) -> None:
    """Print how many files of a folder are not images, and of which kinds."""
    others = (
        [file for file in _visible(path, recursive) if file.suffix.lower() not in SUFFIXES] if path.is_dir() else []
    )
    if others:
        kinds = ", ".join(sorted({file.suffix.lower() or "no suffix" for file in others}))
        print(f"note: {path}: skipped {len(others)} files that are not images ({kinds})")


def _visible(folder, recursive):
    """Files of a folder, sorted, but for hidden ones and, in search of more, hidden and Zarr folders."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    found = [entry for entry in entries if entry.is_file()]
    for entry in entries if recursive else ():
        # The folder of an .oif file holds its planes.
        if entry.is_dir() and not is_volume(entry) and entry.suffixes[-2:] != [".oif", ".files"]:
            found += _visible(entry, recursive)
    return found


def read_image(path: str | Path, axes: str | None = None, part: Part = WHOLE) -> ImageFile:
    """Read an image file of one of SUFFIXES, or an OME-Zarr volume that fits into memory.

    Args:
        path: file to read.
        axes: a letter per dimension, Y and X among them, in place of what the file says or its shape suggests.
        part: what of it is read.

    Returns:
        ImageFile.

    Raises:
        InputError: it cannot be read, has colours or other axes, or holds NaN, infinite or absurdly large values.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    volume, microscope = is_volume(path), suffix in READERS
    reader = {".npy": _read_npy, ".png": _read_png}.get(suffix, read_microscope if microscope else read_tiff)
    raw = (read_volume if volume else reader)(path, axes, part)
    array = raw.array
    if array.dtype.kind not in "uif":
        raise InputError(f"{path}: expected real numbers, received dtype {array.dtype}")
    if array.ndim < 2 or 0 in array.shape:
        raise InputError(f"{path}: expected an image or a stack of images, received shape {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{path}: holds NaN or infinite values; repair it first")
    if array.dtype.kind == "f" and max(abs(float(array.min())), abs(float(array.max()))) > LARGEST_VALUE:
        raise InputError(f"{path}: holds values beyond {LARGEST_VALUE:g}; rescale it first")
    if axes and not volume:
        if len(axes) != array.ndim:
            raise InputError(f"{path}: --axes={axes} names {len(axes)} dimensions, but its shape is {array.shape}")
        raw = raw._replace(axes=axes, origin="as given")
    array, axes, origin, metadata, channels = raw if microscope or volume else raw.take(path, part)
    planes = np.moveaxis(array, _rows_and_columns(axes), (-2, -1))
    return ImageFile(path, planes.reshape(-1, *planes.shape[-2:]), array.shape, axes, origin, metadata, channels)


def read_pairs(x_path: Path, y_path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """All planes of two files, or of two folders whose files pair by name; suffixes may differ.

    Returns:
        (x, y), lists of (H, W) float32; x of a coarser camera is enlarged to y's size.

    Raises:
        InputError: they are not pairs: other names, numbers or sizes; or they have several channels.
    """
    x_files, y_files = find_images(x_path), find_images(y_path)
    if x_path.is_dir() and y_path.is_dir():
        lonely = sorted({image_name(file) for file in x_files} ^ {image_name(file) for file in y_files})
        if lonely:
            raise InputError(
                f"{x_path}, {y_path}: {lonely[0]} has no partner ({len(lonely)} have none); files pair by name"
            )
    x, y = (
        [np.asarray(plane, np.float32) for file in files for plane in _one_channel(file).planes]
        for files in (x_files, y_files)
    )
    factors = [factor_between(*(image.shape for image in pair)) for pair in zip(x, y, strict=False)]
    if len(x) != len(y) or None in factors:
        raise InputError(f"{x_path} holds {len(x)} images and {y_path} {len(y)}, or their sizes differ")
    return [enlarge(image, factor) for image, factor in zip(x, factors, strict=True)], y


def _one_channel(path):
    """A file of pairs. Raises InputError where it has several channels, which are tasks of their own."""
    file = read_image(path)
    channels = dict(zip(file.axes, file.shape, strict=True)).get("C", 1)
    if channels > 1:
        raise InputError(f"{path}: {channels} channels; save the channel of the task as a file of its own, for x and y")
    return file


def enlarged(source: ImageFile, factor: int) -> ImageFile:
    """An image of a coarser camera with `factor` times as many pixels on both sides, and pixels as much smaller."""
    if factor == 1:
        return source
    planes = np.stack([enlarge(plane, factor) for plane in source.planes])
    shape = tuple(size * (factor if axis in "YX" else 1) for axis, size in zip(source.axes, source.shape, strict=True))
    metadata = dict(source.metadata)
    if metadata.get("resolution"):
        # Pixels a unit, as rationals (above, below) or numbers.
        metadata["resolution"] = tuple(
            (value[0] * factor, value[1]) if np.ndim(value) else value * factor for value in metadata["resolution"]
        )
    if isinstance(metadata.get("metadata"), dict):
        sizes = ("PhysicalSizeX", "PhysicalSizeY")
        metadata["metadata"] = {k: v / factor if k in sizes else v for k, v in metadata["metadata"].items()}
    return source._replace(planes=planes, shape=shape, metadata=metadata)


def _rows_and_columns(axes):
    return axes.index("Y"), axes.index("X")


def _read_npy(path, given, part):
    part.choose_scene(path, 1)
    mapped = open_npy(path)
    if not given and mapped.ndim > 2 and 2 <= mapped.shape[-1] <= 4 and min(mapped.shape[-3:-1]) > 4:
        advice = ("TZ"[-(mapped.ndim - 3) :] if mapped.ndim > 3 else "") + "YXC"
        raise InputError(
            f"{path}: shape {mapped.shape} ends in {mapped.shape[-1]} channels; name its axes, --axes={advice}"
        )
    part.check_size(path, mapped.nbytes)
    # Read, not mapped: a file that is cut short while it is mapped would kill the process.
    array = np.load(path, allow_pickle=False)
    # As in training, a last axis of 1 is the gray channel: (N, H, W, 1).
    last = "YXS" if array.ndim > 2 and array.shape[-1] == 1 else "YX"
    return Raw(array, "Q" * (array.ndim - len(last)) + last, "guessed from its shape", {})


def _read_png(path, given, part):
    from PIL import Image

    part.choose_scene(path, 1)
    Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit does not know the machine; check_size does.
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode not in ("1", "L", "I;16", "I"):
                raise InputError(f"{path}: a colour image (mode {image.mode}); save its channels as gray images")
            part.check_size(path, image.width * image.height * (4 if image.mode.startswith("I") else 1))
            array = np.asarray(image)
    except (OSError, ValueError, SyntaxError) as failure:
        if isinstance(failure, (InputError, FileNotFoundError, PermissionError)):
            raise
        raise InputError(f"{path}: cannot be read as PNG ({failure})") from failure
    # 16 bits come as 32, and one bit as bool.
    dtype = {"i": np.uint16, "b": np.uint8}.get(array.dtype.kind, array.dtype)
    return Raw(array.astype(dtype), "YX", "of any PNG", {})


def write_image(path: str | Path, source: ImageFile, planes: np.ndarray) -> None:
    """Write planes in the shape and with the metadata of the file they came from, whole or not at all.

    Args:
        path: .npy, TIFF or PNG (one image of 8 or 16 bits).
        source: ImageFile.
        planes: (N, H, W), of the dtype to write.

    Raises:
        WritingError: the system does not let it be written.
    """
    rows, columns = _rows_and_columns(source.axes)
    others = [size for axis, size in enumerate(source.shape) if axis not in (rows, columns)]
    array = np.moveaxis(planes.reshape(*others, *planes.shape[-2:]), (-2, -1), (rows, columns))
    try:
        with written_whole(path) as beside:
            _write(beside, source, array)
    except OSError as failure:  # NumPy's and tifffile's name neither the file nor, often, the reason
        reason = failure.strerror or f"{failure}; is the disk full?"
        raise WritingError(f"{path}: cannot be written ({reason})") from failure


def _write(path, source, array):
    if path.suffix.lower() == ".npy":
        np.save(path, array)
        return
    if path.suffix.lower() == ".png":
        _write_png(path, array)
        return
    if source.path.suffix.lower() in (".npy", ".png") and source.axes.endswith("YXS"):
        array = array[..., 0]
    options = _tiff_options(source, array.dtype)
    try:
        tifffile.imwrite(path, array, **{"photometric": "minisblack", **options})
    except (ValueError, TypeError, KeyError, ArithmeticError, struct.error) as failure:
        print(f"note: the metadata of {source.path} cannot be written ({failure})")
        tifffile.imwrite(path, array, photometric="minisblack")


def _tiff_options(source, dtype):
    """Keywords of tifffile.imwrite that keep a source's metadata."""
    options, axes = dict(source.metadata), source.axes
    if source.path.suffix.lower() in (".npy", ".png") and not source.metadata:
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
        return values.astype(np.float32, copy=False), 0
    limits, result, clipped = np.iinfo(dtype), np.empty(values.shape, dtype), 0
    image, target = (array.reshape(-1, array.shape[-1]) for array in (values, result))
    for rows in strips(image):
        rounded = np.round(image[rows])
        clipped += np.count_nonzero((rounded < limits.min) | (rounded > limits.max))
        target[rows] = np.clip(rounded, limits.min, limits.max)
    return result, clipped
