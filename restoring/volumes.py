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
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from common.errors import InputError
from common.files import write_text
from common.metrics import Moments
from common.progress import progress_bar
from data_utils import SCRIPT_DIR
from restoring.apply import Applier
from restoring.generator_file import Metadata
from restoring.image_files import SUFFIXES, to_dtype
from restoring.normalization import SAMPLED, Scale
from restoring.options import RestoreOptions
from restoring.outputs import beside
from restoring.reading import WHOLE, Part, is_volume
from restoring.restore_files import print_scores, print_summary
from restoring.stacks import normalized_as_stack
from restoring.zarr_files import Planes, Volume, find_volume, open_volume, place, plane_shape, require, upright

if TYPE_CHECKING:
    import distributed
    import zarr

    from restoring.trust_maps import UncertaintyMap

BLOCK = 1024  # pixels: side of what a worker restores at once


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
    uncertainty: int | None = None
    calibration: str | None = None
    stride: float | None = None  # pixels between planes, where stacks are made isotropic
    slabs: tuple[int, int] | None = None  # XZ, and YZ sections that a worker then restores at once
    disagreement: bool | None = None
    spacing: tuple[float, ...] | None = None  # voxel sizes as given, which are written


class Layout(NamedTuple):
    """What the volumes that are written have in common: shape, chunks, zarr format and OME attributes."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    version: int
    attributes: dict


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
    truth: Path | None = None,
) -> None:
    """Restore an OME-Zarr volume to another.

    Args:
        source, output: groups.
        options: how; `uncertainty` and `check` make volumes of their own, the check of whole planes in this process.
        metadata: of the generator.
        scheduler: address of a dask cluster, or None for one process on this machine.
        axes: a letter per dimension, in place of what the volume says.
        part: its scene is the image of a bioformats2raw layout.
        truth: group of the clean image, for scores.

    Raises:
        InputError: it cannot be read, restored or written.
    """
    check_output(output, metadata)
    if options.calibration and metadata.normalization.kind == "fixed":
        raise InputError("--calibration: of volumes, only recipe tuned's uncertainty is calibrated; leave it out")
    source = find_volume(source, part)
    volume = open_volume(source, axes)
    array = volume.group[volume.dataset]
    truths = open_truth(truth, axes, volume, array.shape) if truth else None
    partial = output.with_name(f"{output.name}.partial")
    job = make_job(source, partial, volume, options)
    targets = [output, *(beside(output, kind) for kind in options.maps)]
    layout = layout_of(volume, array.shape, dict.fromkeys("YX", BLOCK // 2), volume.attributes)
    done = prepare(targets, partial, job, layout)
    blocks = [block for block in blocks_of(array.shape, volume.axes) if block.name() not in done]
    print(f"{source}: {describe(volume, axes)}; {len(done)} blocks are done")
    with connect(scheduler) as client, progress_bar(total=len(blocks), unit="block") as bar:
        note_clipped(run_blocks(client, restore_block, job, blocks, bar.update), job)
    x = Planes(array, volume.axes)
    if options.check:
        check_planes(job, options, metadata, array, layout)
    for target, name in zip(targets, ("volume", *options.maps), strict=True):
        os.replace(partial / f"{name}.zarr", target)
    moments = [Moments.merged(parts) for parts in moments_of(job.done) if parts]
    if len(moments) == len(x):
        keeps_units = metadata.normalization.kind != "fixed"
        print_summary(f"{source} -> {output}", output, moments, "planes", keeps_units, options.verbose)
    else:  # Blocks that an earlier version restored left none.
        print(f"{source} -> {output}")
    for target in targets[1:]:
        print(f"  {target} lies beside it")
    if truths:
        print_scores(x, Planes(open_volume(output, axes).group[volume.dataset], volume.axes), truths)
    shutil.rmtree(partial)


def check_output(output: Path, metadata: Metadata) -> None:
    """Raise InputError where volumes cannot be restored here, by this generator, or to this name."""
    require("distributed", "zarr")
    if metadata.makes_defects:
        raise InputError("--input=*.zarr is for generators that restore; make defects from .npy or TIFF files")
    if output.suffix.lower() in SUFFIXES:
        raise InputError(f"--output={output}: a volume is written as OME-Zarr; choose a name in .zarr")


def describe(volume: Volume, axes: str | None) -> str:
    """The axes of a volume and where they come from, shape and dtype, in words; `axes` as they are given or None."""
    array, origin = volume.group[volume.dataset], "as given" if axes else "from its metadata"
    return f"axes {volume.axes} ({origin}), shape {array.shape}, {array.dtype}"


def open_truth(path: Path, axes: str | None, volume: Volume, shape: tuple[int, ...]) -> Planes:
    """The planes of a volume's ground truth. Raises InputError where it is no volume of the restored one's shape."""
    if not is_volume(path):
        raise InputError(f"--ground_truth={path}: that of a volume is a volume, OME-Zarr")
    truth = open_volume(path, axes)
    array = truth.group[truth.dataset]
    if array.shape != shape or truth.axes != volume.axes:
        whose = "input" if shape == volume.group[volume.dataset].shape else "output"
        raise InputError(f"{path}: {truth.axes} {array.shape}, but the {whose} is {volume.axes} {shape}")
    return Planes(array, truth.axes)


def moments_of(done: str) -> list[list[Moments]]:
    """For each plane, the moments of its blocks, from the files that mark them as finished."""
    planes = {}
    for path in Path(done).iterdir():
        index = tuple(map(int, path.name.split("_")[:-2])) if path.name[0].isdigit() else None
        if index is not None and path.stat().st_size:
            planes.setdefault(index, []).append(Moments(*json.loads(path.read_text())))
    return [planes[index] for index in sorted(planes)]


def check_planes(
    job: VolumeJob, options: RestoreOptions, metadata: Metadata, array: zarr.Array, layout: Layout
) -> None:
    """Write the map of where the input contradicts the restored volume, plane by plane: CIN-GAN sees whole planes."""
    import zarr

    from restoring.trust_maps import CheckMap

    check = CheckMap(Applier.load(options.cin_generator), metadata.normalization, options.task)
    path = Path(job.target).with_name("check.zarr")
    shutil.rmtree(path, ignore_errors=True)
    create_volume(path, "float32", job, layout)
    target = zarr.open_group(path, mode="r+")[job.dataset]
    x, restored = Planes(array, job.axes), Planes(zarr.open_group(job.target, mode="r")[job.dataset], job.axes)
    for number, plane in enumerate(x.indices):
        whole, _ = plane_scales(job, shared_by(job, plane))
        found = check.of_plane(number, x[number], np.asarray(restored[number], np.float32), whole)
        target[place(job.axes, plane, slice(None), slice(None))] = upright(found, job.axes)


def make_job(source: Path, partial: Path, volume: Volume, options: RestoreOptions) -> VolumeJob:
    """The job of restoring a volume, by absolute paths: a worker may run in another folder."""
    places = (options.generator, source, partial / "volume.zarr", partial / "done")
    paths = [str(path.absolute()) for path in places]
    how = (options.task, options.tile, options.overlap, options.average, options.dtype, options.precision)
    stack = normalized_as_stack(volume.axes, options.normalize)
    calibration = str(options.calibration.absolute()) if options.calibration else None
    return VolumeJob(*paths, volume.dataset, volume.axes, *how, stack, options.uncertainty, calibration)


def prepare(outputs: list[Path], partial: Path, job: VolumeJob, layout: Layout) -> set[str]:
    """Make the partial output, or find it as it was left.

    Returns:
        Names of the blocks that are finished.

    Raises:
        InputError: --output exists, or was begun with other settings.
    """
    for output in outputs:
        if output.exists():
            raise InputError(f"{output} exists; choose another --output, or remove it")
    # What is not asked for is left out: earlier versions did not know it.
    how = {key: value for key, value in job._asdict().items() if value is not None or key == "task"}
    settings = json.dumps({**how, "shape": layout.shape, "modified": os.path.getmtime(job.generator)})
    if partial.exists():
        begun = partial / "settings.json"
        # Earlier versions called the stride factor.
        if not begun.is_file() or begun.read_text().replace('"factor":', '"stride":') != settings:
            raise InputError(f"{partial} was begun with other settings; remove it, or choose another --output")
        if not Path(job.target).exists():
            raise InputError(f"{partial} is left of a result that was finished; remove it to restore once more")
        return set(os.listdir(job.done))
    os.makedirs(job.done)
    create_volume(Path(job.target), job.dtype, job, layout)
    for kind in ("uncertainty", "disagreement"):
        if getattr(job, kind):
            create_volume(Path(job.target).with_name(f"{kind}.zarr"), "float32", job, layout)
    write_text(partial / "settings.json", settings)
    return set()


def layout_of(volume: Volume, shape: tuple[int, ...], chunks: dict[str, int], attributes: dict) -> Layout:
    """The layout of volumes like another one: its format, and chunks of so many pixels along the axes that are named.

    Args:
        attributes: of the volumes; of their resolutions the first is kept.
    """
    chunks = tuple(min(chunks.get(axis, 1), size) for axis, size in zip(volume.axes, shape, strict=True))
    scales = attributes["multiscales"][0]
    kept = {**attributes, "multiscales": [{**scales, "datasets": scales["datasets"][:1]}]}
    return Layout(shape, chunks, volume.group[volume.dataset].metadata.zarr_format, kept)


def create_volume(path: Path, dtype: str, job: VolumeJob, layout: Layout) -> None:
    """An empty volume of one resolution."""
    import zarr

    version, kept = layout.version, dict(layout.attributes)
    group = zarr.open_group(path, mode="w-", zarr_format=version)
    if str(path) != job.target:
        kept.pop("omero", None)  # The display range of an image would show a map black.
    group.attrs.update({"ome": kept} if version == 3 else kept)
    names = [axis["name"] for axis in kept["multiscales"][0]["axes"]] if version == 3 else None
    separator = {"name": "v2" if version == 2 else "default", "separator": "/"}
    group.create_array(
        job.dataset,
        shape=layout.shape,
        dtype=dtype,
        chunks=layout.chunks,
        dimension_names=names,
        chunk_key_encoding=separator,
    )


def blocks_of(shape: tuple[int, ...], axes: str) -> list[Block]:
    """The blocks of a volume, plane by plane."""
    height, width = plane_shape(shape, axes)
    planes = [size for axis, size in zip(axes, shape, strict=True) if axis not in "YX"]
    corners = list(product(range(0, height, BLOCK), range(0, width, BLOCK)))
    return [Block(plane, *corner) for plane in product(*map(range, planes)) for corner in corners]


def run_blocks(
    client: distributed.Client, function: Callable, job: VolumeJob, blocks: Sequence, finished: Callable[[], object]
) -> int:
    """Run function(block, job=job) for every block on the client's workers; a dead worker's block is given to another.

    Args:
        finished: is called after each block.

    Returns:
        Number of pixels clipped to the output's dtype.

    Raises:
        InputError: a block failed.
    """
    from distributed import as_completed

    clipped = 0
    futures = client.map(function, blocks, job=job, pure=False, retries=2, batch_size=100)
    for future in as_completed(futures):
        failure = future.exception()
        if failure:
            raise InputError(
                f"a block failed ({failure}); finished blocks are kept: repeat the same command to continue"
            )
        clipped += future.result()
        future.release()
        finished()
    return clipped


def note_clipped(clipped: int, job: VolumeJob) -> None:
    """Say how many pixels were clipped."""
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
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            dask.config.set(temporary_directory=folder),
        ):
            cluster = distributed.LocalCluster(**options)
            try:
                with distributed.Client(cluster) as client:
                    yield client
            finally:
                # On a busy machine a process may outlive its SIGKILL by more than the 5 s that dask waits for it.
                with contextlib.suppress(TimeoutError):
                    cluster.close()
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
    if job.uncertainty:
        uncertain = worker_uncertainty(job)
        found = uncertain.restore(image, scales), uncertain.maps.pop()
    else:
        found = (apply.with_scales(image, scales, job.task, 0, job.tile, job.overlap, job.average),)
    x, inner, *maps = (
        part[block.top - rows.start :, block.left - columns.start :][:BLOCK, :BLOCK] for part in (image, *found)
    )
    if not np.isfinite(inner).all():
        here = f"{job.source}: plane {block.plane}, block at row {block.top}, column {block.left}"
        raise InputError(f"{here}: the generator's output is not finite; is {job.generator} damaged?")
    values, clipped = to_dtype(inner, job.dtype)
    here = place(job.axes, block.plane, slice(block.top, block.top + BLOCK), slice(block.left, block.left + BLOCK))
    for path, part in zip((job.target, Path(job.target).with_name("uncertainty.zarr")), (values, *maps), strict=False):
        zarr.open_group(path, mode="r+")[job.dataset][here] = upright(part, job.axes)
    write_text(Path(job.done, block.name()), json.dumps(Moments.of(inner, x)))
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


@lru_cache(maxsize=1)
def worker_uncertainty(job: VolumeJob) -> UncertaintyMap:
    """What restores a block several times, once per worker process."""
    from restoring.trust_maps import UncertaintyMap

    calibration = Path(job.calibration) if job.calibration else None
    how = {"uncertainty": job.uncertainty, "calibration": calibration}
    options = RestoreOptions(Path(job.generator), job.task, job.tile, job.overlap, job.average, **how)
    return UncertaintyMap(worker_applier(job.generator, job.precision), options)


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
