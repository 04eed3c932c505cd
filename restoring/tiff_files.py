"""Reading TIFF: plain, ImageJ, OME (of one file or many), LSM, STK, BTF, SVS. What looks like an image but is read
otherwise by other programs is said in one line.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile

from common.errors import InputError
from restoring.reading import MICRONS, Part, Raw, ome_details

TIFF_SUFFIXES = (".tif", ".tiff", ".lsm", ".stk", ".btf", ".svs")
PLAIN = (".tif", ".tiff")  # of those, the ones that are written too
CHANNEL_ATTRIBUTES = (
    "Name Color Fluor EmissionWavelength EmissionWavelengthUnit ExcitationWavelength ExcitationWavelengthUnit".split()
)
PHOTOMETRIC = tifffile.PHOTOMETRIC


def read_tiff(path: Path, given: str | None, part: Part) -> Raw:
    """Read one image of a TIFF file.

    Args:
        path: file.
        given: axes by which colours are no colours, or None.
        part: only its scene and size are heeded here.

    Raises:
        InputError: it cannot be read, has colours, or is too large.
    """
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # What is missing is said below, once.
    try:
        with tifffile.TiffFile(path) as file:
            # Of a set of several images over several files, every file begins with the description of all.
            files = _files_of_images(file)
            own = next((number for number, names in enumerate(files) if "" in names), 0)
            images = file.series if file.is_ome else _without_thumbnails(file.series)
            scene = part.choose_scene(path, len(images), own if own < len(images) else 0)
            series = images[scene]
            axes = _check_pages(path, series, given, file.is_imagej or file.is_ome)
            part.check_size(path, series.nbytes)
            array, others = series.asarray(), files[scene] - {""} if scene < len(files) else set()
            if others:
                array, axes = _present(path, series, array, axes, others)
            origin = "guessed from its pages" if series.kind in ("uniform", "generic") else "from its metadata"
            metadata = _metadata(file, scene)
            if series.keyframe.photometric == PHOTOMETRIC.MINISWHITE:
                metadata["photometric"] = "miniswhite"  # The values stay, and so does how they are shown.
            channels = (metadata.get("metadata") or {}).get("Channel", {}).get("Name", ())
            return Raw(array, axes, origin, metadata, channels)
    except InputError:
        raise
    except Exception as failure:  # tifffile raises whatever a damaged file leads it into
        reason = str(failure) or type(failure).__name__
        if "imagecodecs" in reason:
            reason += "; pip install -r requirements/microscopes.txt"
        raise InputError(f"{path}: cannot be read as TIFF ({reason})") from failure


def _without_thumbnails(images):
    """The series of a file but for previews: LSM's second one, and the thumbnail, label and macro of a slide."""
    previews = ("thumbnail", "label", "macro")
    return [s for s in images if not s.keyframe.is_reduced and s.name.lower() not in previews] or images


def _check_pages(path, series, given, microscope):
    """The axes, where pixels are intensities; notes on what is left out or read otherwise than it seems."""
    axes, page = series.axes, series.keyframe
    if "S" in axes and not given:
        planes = series.shape[axes.index("S")]
        if not (axes == "SYX" and page.is_shaped):
            advice = "".join("C" if axis == "S" else axis for axis in axes)
            raise InputError(
                f"{path}: a colour image (axes {axes}); save its channels as gray images, "
                f"or pass --axes={advice} if they are no colours"
            )
        # tifffile.imwrite marks any array of 3 or 4 planes as colours.
        print(f"note: {path}: its {planes} planes are marked as colours, and read as a stack")
        axes = "QYX"
    if not given and not {"Y", "X"} <= set(axes):
        raise InputError(f"{path}: expected axes with Y and X, received {axes}; name them with --axes")
    if page.photometric == PHOTOMETRIC.PALETTE:
        brightness = page.colormap.sum(axis=0, dtype=np.int64)
        rises = brightness[-1] > brightness[0] and (np.diff(brightness) >= 0).all()
        if not (microscope or rises):
            raise InputError(f"{path}: an image of palette colours; save it as a gray image")
        print(f"note: {path} has a colour table; the values before it are read as intensities")
    if len(series.levels) > 1:
        print(f"note: {path} holds {len(series.levels)} resolutions; the full one is read, and it alone is written")
    return axes


def _files_of_images(file):
    """For each OME image, the names of the files that hold its planes; "" is this file itself."""
    if not file.is_ome:
        return []
    root = ElementTree.fromstring(file.ome_metadata)
    found = []
    for image in root.iterfind("{*}Image"):
        names = set()
        for uuid in image.iterfind("{*}Pixels/{*}TiffData/{*}UUID"):
            name = uuid.get("FileName", "")
            names.add("" if uuid.text == root.get("UUID") or name == file.filename else name)
        found.append(names or {""})
    return found


def _present(path, series, array, axes, others):
    """(pixels, axes) of a set of files without the planes of those that are missing; notes say which they are."""
    missing = sorted(name for name in others if not (path.parent / name).is_file())
    there = [page is not None for page in series.pages]
    print(f"note: {path} is one of {len(others) + 1} files of one image; all of them are read")
    if all(there):
        return array, axes
    names = ", ".join(missing[:3]) + (" and others" if len(missing) > 3 else "")
    print(f"note: {path}: {there.count(False)} of {len(there)} planes are missing ({names}); the others are read")
    planes = array.reshape(-1, *array.shape[-2:])[there]
    return (planes[0], "YX") if len(planes) == 1 else (planes, "QYX")


def siblings(path: Path) -> set[Path]:
    """Other files that are there and hold planes of the same image (multi-file OME-TIFF); of any other file, none."""
    try:
        with tifffile.TiffFile(path) as file:
            files = _files_of_images(file)
    except Exception:  # whoever reads it says what is wrong
        return set()
    own = next((names for names in files if "" in names), set())
    return {path.parent / name for name in own - {""} if (path.parent / name).is_file()}


def _metadata(file, scene):
    """What tifffile.imwrite needs to keep pixel sizes and axes: ImageJ's, OME's or the plain resolution tags."""
    page = file.pages[0]
    if file.is_ome:
        return {"ome": True, "metadata": _ome_metadata(file, scene)}
    if file.is_lsm:
        voxel = {axis: 1e6 * file.lsm_metadata.get(f"VoxelSize{axis}", 0) for axis in "XYZ"}
        names = file.lsm_metadata.get("ChannelColors", {}).get("ColorNames", [])
        return ome_details(Path(file.filename).stem, voxel, names)
    if file.is_stk:
        stk = file.stk_metadata or {}
        unit = MICRONS.get(stk.get("CalibrationUnits", "").strip().lower().replace("um", "µm"))
        step = np.ravel(stk.get("ZDistance", 0))[:1]
        sizes = {"X": stk.get("XCalibration", 0), "Y": stk.get("YCalibration", 0), "Z": float(step.sum())}
        return ome_details(Path(file.filename).stem, {axis: size * (unit or 0) for axis, size in sizes.items()})
    if Path(file.filename).suffix.lower() not in PLAIN:
        return ome_details(Path(file.filename).stem, _microns(page))
    metadata = {"resolution": _resolution(page)}
    if file.is_imagej:
        kept = ("spacing", "unit", "finterval", "fps", "min", "max", "mode", "Info", "Labels", "Ranges", "LUTs", "loop")
        imagej = {key: value for key, value in file.imagej_metadata.items() if key in kept}
        return {**metadata, "imagej": True, "metadata": imagej}
    if "ResolutionUnit" in page.tags:
        metadata["resolutionunit"] = int(page.tags["ResolutionUnit"].value)
    return {**metadata, "metadata": None, "description": page.description.encode() or None}


def _resolution(page):
    tags = [page.tags.get(name) for name in ("XResolution", "YResolution")]
    values = tuple(tag.value for tag in tags if tag)
    # Two integers each; some programs write 0/0 for unknown.
    return values if len(values) == 2 and all(np.size(value) == 2 and all(value) for value in values) else None


def _microns(page):
    """{axis: micrometres a pixel} of a slide or a plain TIFF, as far as it says so."""
    found = re.search(r"\bMPP\s*=\s*([\d.]+)", page.description)
    if found:
        return dict.fromkeys("XY", float(found.group(1)))
    resolution = _resolution(page)
    unit = {2: 25400.0, 3: 10000.0}.get(int(page.tags["ResolutionUnit"].value) if "ResolutionUnit" in page.tags else 2)
    if not (resolution and unit):
        return {}
    return {axis: unit * below / above for axis, (above, below) in zip("XY", resolution, strict=True)}


def _ome_metadata(file, scene):
    """Name, pixel sizes, and names, colours and wavelengths of the channels, of one OME image."""
    image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    image = image[min(scene, len(image) - 1)] if isinstance(image, list) else image
    pixels, kept = image["Pixels"], {"Name": image["Name"]} if "Name" in image else {}
    keys = ("PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ", "TimeIncrement")
    kept |= {name: pixels[name] for key in keys for name in (key, f"{key}Unit") if name in pixels}
    channels = pixels.get("Channel", [])
    channels = channels if isinstance(channels, list) else [channels]
    # tifffile writes an attribute for all channels or for none.
    shared = {key: [channel.get(key) for channel in channels] for key in CHANNEL_ATTRIBUTES}
    shared = {key: values for key, values in shared.items() if values and None not in values}
    return {**kept, "Channel": shared} if shared else kept
