"""Restoring OME-Zarr volumes block by block: larger than memory, on local processes or a dask cluster.

Every plane (axes y and x) is restored by itself, as in `restore.py`: normalised with its stack, or as a whole, in
blocks that see their surroundings, so that blocks leave no seams. What is finished is kept in OUTPUT.partial; the same
command goes on where it was stopped. The volume gets its own name when it is whole.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from common.errors import InputError
from common.files import write_text
from data_utils import SCRIPT_DIR
from restoring.apply import Applier
from restoring.generator_file import Metadata
from restoring.image_files import SUFFIXES, to_dtype
from restoring.normalization import SAMPLED, Scale
from restoring.options import RestoreOptions
from restoring.reading import WHOLE, Part
from restoring.stacks import normalized_as_stack

if TYPE_CHECKING:
    import distributed
    import zarr

BLOCK = 1024  # pixels: side of what a worker restores at once
# Codecs that turn bytes into bytes or numbers. Others, pickle among them, could run code.
CODECS = frozenset(
    "bytes transpose blosc gzip zstd zlib lz4 bz2 lzma shuffle delta crc32c sharding_indexed bitround "
    "fixedscaleoffset packbits".split()
)


class VolumeJob(NamedTuple):
    """What every block of a volume has in common; small, because it travels to every worker."""

    generator: str
    source: str
    target: str
    done: str
    dataset: str
    axes: str
    task: str | None
    tile: int
    overlap: int
    average: int
    dtype: str
    precision: str
    stack: bool  # whether the planes of a channel share their percentiles


class Volume(NamedTuple):
    """An OME-Zarr image: its group, OME attributes of version 0.4 or 0.5, full-resolution array, a letter per axis."""

    group: zarr.Group
    attributes: dict
    dataset: str
    axes: str


class Block(NamedTuple):
    """A part of one plane: its index along all axes but y and x, and the first row and column."""

    plane: tuple
    top: int
    left: int

    def name(self) -> str:
        """File name that marks it as finished."""
        return "_".join(map(str, (*self.plane, self.top, self.left)))


def restore_volume(
    source: Path,
    output: Path,
    options: RestoreOptions,
    metadata: Metadata,
    scheduler: str | None,
    axes: str | None = None,
    part: Part = WHOLE,
) -> None:
    """Restore an OME-Zarr volume to another.

    Args:
        source, output: groups.
        options: without maps.
        metadata: of the generator.
        scheduler: address of a dask cluster, or None for one process on this machine.
        axes: a letter per dimension, in place of what the volume says.
        part: its scene is the image of a bioformats2raw layout.

    Raises:
        InputError: it cannot be read, restored or written.
    """
    _require()
    if metadata.makes_defects:
        raise InputError("--input=*.zarr is for generators that restore; make defects from .npy or TIFF files")
    if output.suffix.lower() in SUFFIXES:
        raise InputError(f"--output={output}: a volume is written as OME-Zarr; choose a name in .zarr")
    source = find_volume(source, part)
    volume = open_volume(source, axes)
    array = volume.group[volume.dataset]
    partial = output.with_name(f"{output.name}.partial")
    job = make_job(source, partial, volume, options)
    done = prepare(output, partial, job, array, volume.attributes)
    blocks = [block for block in blocks_of(array.shape, volume.axes) if block.name() not in done]
    origin = "as given" if axes else "from its metadata"
    print(f"{source}: axes {volume.axes} ({origin}), shape {array.shape}, {array.dtype}; {len(done)} blocks are done")
    run_blocks(scheduler, job, blocks)
    os.replace(partial / "volume.zarr", output)
    shutil.rmtree(partial)
    print(f"{source} -> {output}")


def _require():
    try:
        import distributed  # noqa: F401
        import zarr  # noqa: F401
    except ImportError as failure:
        raise InputError(f"volumes need {failure.name}; pip install -r requirements/large.txt") from failure


def find_volume(path: Path, part: Part) -> Path:
    """The group of one image: the path itself, or in a bioformats2raw layout that of the scene.

    Raises:
        InputError: a plate or a well, whose images it names; or no such scene.
    """
    attributes = _attributes(path)
    if "plate" in attributes:
        wells = [path / well["path"] for well in attributes["plate"]["wells"]]
        raise InputError(
            f"{path}: a plate of {len(wells)} wells; restore them image by image, as in --input={wells[0] / '0'}"
        )
    if "well" in attributes:
        images = [str(path / image["path"]) for image in attributes["well"]["images"]]
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
    named = [
        {"name": axis, **({"type": kinds[axis]} if axis in kinds else {})} for axis in names if isinstance(axis, str)
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


def make_job(source: Path, partial: Path, volume: Volume, options: RestoreOptions) -> VolumeJob:
    """The job of restoring a volume, by absolute paths: a worker may run in another folder."""
    places = (options.generator, source, partial / "volume.zarr", partial / "done")
    paths = [str(path.absolute()) for path in places]
    how = (options.task, options.tile, options.overlap, options.average, options.dtype, options.precision)
    stack = normalized_as_stack(volume.axes, options.normalize)
    return VolumeJob(*paths, volume.dataset, volume.axes, *how, stack)


def prepare(output: Path, partial: Path, job: VolumeJob, array: zarr.Array, attributes: dict) -> set[str]:
    """Make the partial output, or find it as it was left.

    Returns:
        Names of the blocks that are finished.

    Raises:
        InputError: --output exists, or was begun with other settings.
    """
    if output.exists():
        raise InputError(f"{output} exists; choose another --output, or remove it")
    settings = json.dumps({**job._asdict(), "shape": array.shape, "modified": os.path.getmtime(job.generator)})
    if partial.exists():
        begun = partial / "settings.json"
        if not begun.is_file() or begun.read_text() != settings:
            raise InputError(f"{partial} was begun with other settings; remove it, or choose another --output")
        return set(os.listdir(job.done))
    os.makedirs(job.done)
    create_volume(job, array, attributes)
    write_text(partial / "settings.json", settings)
    return set()


def create_volume(job: VolumeJob, array: zarr.Array, attributes: dict) -> None:
    """An empty volume of the same shape, axes, scale and zarr format; one resolution, chunks that blocks consist of."""
    import zarr

    version = array.metadata.zarr_format
    group = zarr.open_group(job.target, mode="w-", zarr_format=version)
    scales = attributes["multiscales"][0]
    kept = {**attributes, "multiscales": [{**scales, "datasets": scales["datasets"][:1]}]}
    group.attrs.update({"ome": kept} if version == 3 else kept)
    sizes = zip(job.axes, array.shape, strict=True)
    chunks = tuple(min(BLOCK // 2, size) if axis in "YX" else 1 for axis, size in sizes)
    names = [axis["name"] for axis in scales["axes"]] if version == 3 else None
    separator = {"name": "v2" if version == 2 else "default", "separator": "/"}
    group.create_array(
        job.dataset,
        shape=array.shape,
        dtype=job.dtype,
        chunks=chunks,
        dimension_names=names,
        chunk_key_encoding=separator,
    )


def blocks_of(shape: tuple[int, ...], axes: str) -> list[Block]:
    """The blocks of a volume, plane by plane."""
    height, width = plane_shape(shape, axes)
    planes = [size for axis, size in zip(axes, shape, strict=True) if axis not in "YX"]
    corners = list(product(range(0, height, BLOCK), range(0, width, BLOCK)))
    return [Block(plane, *corner) for plane in product(*map(range, planes)) for corner in corners]


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


def run_blocks(scheduler: str | None, job: VolumeJob, blocks: list[Block]) -> None:
    """Restore blocks on a dask cluster, or on one local process; a block whose worker dies is given to another."""
    from distributed import as_completed

    from common.progress import progress_bar

    clipped = 0
    with connect(scheduler) as client, progress_bar(total=len(blocks), unit="block") as bar:
        futures = client.map(restore_block, blocks, job=job, pure=False, retries=2, batch_size=100)
        for future in as_completed(futures):
            failure = future.exception()
            if failure:
                raise InputError(
                    f"a block failed ({failure}); finished blocks are kept: repeat the same command to continue"
                )
            clipped += future.result()
            future.release()
            bar.update()
    if clipped:
        print(f"note: {clipped} pixels clipped to the range of {job.dtype}")


@contextlib.contextmanager
def connect(scheduler: str | None) -> Iterator[distributed.Client]:
    """A dask client: of the cluster at an address, else of one process on this machine."""
    import dask
    import distributed

    if scheduler is None:
        options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
        # A folder of its own, removed at the end: dask leaves one in the system's temporary folder.
        with (
            tempfile.TemporaryDirectory() as folder,
            dask.config.set(temporary_directory=folder),
            distributed.LocalCluster(**options) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = distributed.Client(scheduler, timeout=20)
    except (OSError, ValueError, TimeoutError) as failure:
        raise InputError(f"--scheduler={scheduler}: cannot be reached ({failure})") from failure
    with client:
        # Workers import this module; theirs start in another folder. Restarts them where they have a nanny.
        client.register_plugin(distributed.diagnostics.plugin.Environ({"PYTHONPATH": str(SCRIPT_DIR)}))
        yield client


def restore_block(block: Block, job: VolumeJob) -> int:
    """Restore one block and mark it as finished; runs on a worker.

    Returns:
        Number of pixels clipped to the output's dtype.

    Raises:
        InputError: what is read or what is restored is not finite.
    """
    import zarr

    array, apply = zarr.open_group(job.source, mode="r")[job.dataset], worker_applier(job.generator, job.precision)
    halo = _aligned(job.overlap)
    rows, columns = (
        slice(max(start - halo, 0), min(start + BLOCK + halo, size))
        for start, size in zip((block.top, block.left), plane_shape(array.shape, job.axes), strict=True)
    )
    image = np.asarray(upright(array[place(job.axes, block.plane, rows, columns)], job.axes), np.float32)
    _check_finite(image, job, block.plane, (rows.start, columns.start))
    scales = plane_scales(job, shared_by(job, block.plane))
    restored = apply.with_scales(image, scales, job.task, 0, job.tile, job.overlap, job.average)
    inner = restored[block.top - rows.start :, block.left - columns.start :][:BLOCK, :BLOCK]
    if not np.isfinite(inner).all():
        here = f"{job.source}: plane {block.plane}, block at row {block.top}, column {block.left}"
        raise InputError(f"{here}: the generator's output is not finite; is {job.generator} damaged?")
    values, clipped = to_dtype(inner, job.dtype)
    here = place(job.axes, block.plane, slice(block.top, block.top + BLOCK), slice(block.left, block.left + BLOCK))
    zarr.open_group(job.target, mode="r+")[job.dataset][here] = upright(values, job.axes)
    Path(job.done, block.name()).touch()
    return clipped


def _check_finite(image, job, plane, corner=(0, 0), step=1):
    """Raise InputError that names the block of a pixel that is not finite, in a part of a plane from `corner` on."""
    bad = np.argwhere(~np.isfinite(image))
    if len(bad):
        top, left = (corner + bad[0] * step) // BLOCK * BLOCK
        here = f"{job.source}: plane {plane}, block at row {top}, column {left}"
        raise InputError(f"{here}: holds NaN or infinite values; repair it first")


def _aligned(pixels):
    """Up to a multiple of 16: blocks then meet the networks' strides where the whole image would."""
    return -(-pixels // 16) * 16


@lru_cache(maxsize=1)
def worker_applier(path: str, precision: str) -> Applier:
    """The generator, loaded once per worker process."""
    return Applier.load(path, precision=precision)


def shared_by(job: VolumeJob, plane: tuple[int, ...]) -> tuple[int | None, ...]:
    """The index of what a plane shares its scales with: itself, or with None for any number, its channel."""
    letters = [axis for axis in job.axes if axis not in "YX"]
    return tuple(n if axis == "C" or not job.stack else None for axis, n in zip(letters, plane, strict=True))


@lru_cache(maxsize=64)
def plane_scales(job: VolumeJob, shared: tuple[int | None, ...]) -> tuple[Scale, Scale]:
    """Scales of one whole plane or stack, from a regular grid of pixels where it is very large. Raises InputError."""
    import zarr

    array = zarr.open_group(job.source, mode="r")[job.dataset]
    sizes = [size for axis, size in zip(job.axes, array.shape, strict=True) if axis not in "YX"]
    planes = list(product(*(range(n) if i is None else [i] for i, n in zip(shared, sizes, strict=True))))
    step = math.ceil(math.sqrt(max(len(planes) * math.prod(plane_shape(array.shape, job.axes)) / SAMPLED, 1)))
    sampled, images = slice(None, None, step), []
    for plane in planes:
        image = np.asarray(upright(array[place(job.axes, plane, sampled, sampled)], job.axes), np.float32)
        _check_finite(image, job, plane, step=step)
        images.append(image)
    return worker_applier(job.generator, job.precision).scales(np.stack(images), job.task)
