"""Making OME-Zarr volumes isotropic, larger than memory: slabs of XZ sections first, then slabs of YZ sections.

The first pass restores slabs of rows into a volume of its own in OUTPUT.partial. The second restores slabs of columns,
reads the first view of each and writes the mean of both, as in memory, to the result: what is read is never written, so
that a slab may be restored again. Slabs consist of whole chunks, so that no two workers write one.
"""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from common.errors import InputError
from common.files import write_text
from common.metrics import Moments
from common.progress import progress_bar
from restoring.apply import symmetries
from restoring.generator_file import SHIPPED, Metadata
from restoring.image_files import ImageFile, to_dtype
from restoring.isotropic import (
    note_long,
    restore_first_view,
    restore_second_view,
    restore_section,
    summary_sections,
)
from restoring.normalization import SAMPLED
from restoring.options import RestoreOptions
from restoring.outputs import beside
from restoring.reading import WHOLE, Part
from restoring.restore_files import print_scores, print_summary
from restoring.sampling import rows_at
from restoring.stacks import Voxels, find_voxels, note_far_planes, note_layers, plane_positions
from restoring.volumes import (
    VolumeJob,
    check_output,
    connect,
    describe,
    layout_of,
    make_job,
    note_clipped,
    open_truth,
    plane_scales,
    prepare,
    run_blocks,
    shared_by,
    worker_applier,
)
from restoring.zarr_files import Planes, Volume, find_volume, ome_metadata, open_volume, place, scales_of

if TYPE_CHECKING:
    import distributed
    import zarr

SLAB_BYTES = 2**27  # of a restored slab; sections of over 4 million pixels take more, because there are 8 at least
SECTIONS = (8, 64)  # in a slab: fewer make small chunks, more take longer until they are kept
DEPTH = 64  # voxels of a chunk along z and y


class Slab(NamedTuple):
    """Neighbouring sections of one stack: its index along all axes but Y and X, None for Z; `axis` numbers them.

    XZ sections have axis "Y", YZ sections "X".
    """

    stack: tuple
    axis: str
    start: int
    stop: int

    def name(self) -> str:
        """File name that marks it as finished."""
        return "_".join(map(str, (self.axis, stack_name(self.stack), self.start)))

    def index(self, axes: str) -> tuple[int | slice, ...]:
        """Its place in an array of any order of axes."""
        part, everything = slice(self.start, self.stop), slice(None)
        plane = tuple(everything if number is None else number for number in self.stack)
        return place(axes, plane, *((part, everything) if self.axis == "Y" else (everything, part)))


def stack_name(stack: tuple[int | None, ...]) -> str:
    """A stack's index as a part of file names."""
    return "_".join("z" if number is None else str(number) for number in stack)


def restore_isotropic_volume(
    source: Path,
    output: Path,
    options: RestoreOptions,
    metadata: Metadata,
    scheduler: str | None,
    axes: str | None = None,
    part: Part = WHOLE,
    truth: Path | None = None,
) -> None:
    """Make an OME-Zarr volume isotropic.

    Args:
        source, output: groups.
        options: how; with `disagreement` a volume of it is written, too.
        metadata, scheduler, axes, part: as for `volumes.restore_volume`.
        truth: group of the clean, isotropic image, for scores.

    Raises:
        InputError: it cannot be read, restored or written, or is no volume whose planes lie further apart than pixels.
    """
    check_output(output, metadata)
    source = find_volume(source, part)
    volume = open_volume(source, axes)
    array = volume.group[volume.dataset]
    image = ImageFile(source, array, array.shape, volume.axes, "", *ome_metadata(volume))
    voxels = find_voxels(image, options.spacing)
    size = dict(zip(volume.axes, array.shape, strict=True))
    size["Z"] = rows = len(plane_positions(size["Z"], voxels.stride))
    shape = tuple(size[axis] if axis == "Z" else n for axis, n in zip(volume.axes, array.shape, strict=True))
    truths = open_truth(truth, axes, volume, shape) if truth else None
    slabs = tuple(sections_at_once(rows * size[other], size[axis]) for axis, other in ("YX", "XY"))
    partial = output.with_name(f"{output.name}.partial")
    job = make_job(source, partial, volume, options)
    job = job._replace(stride=voxels.stride, slabs=slabs, disagreement=options.disagreement or None, stack=True)
    job = job._replace(spacing=options.spacing)
    chunks = {"Z": DEPTH, "Y": DEPTH, "X": slabs[1]}
    layout = layout_of(volume, shape, chunks, isotropic_attributes(volume, voxels))
    targets = [output, *(beside(output, kind) for kind in options.maps)]
    done = prepare(targets, partial, job, layout)
    print(f"{source}: {describe(volume, axes)}; {len(done)} slabs are done")
    print(f"{source}: {voxels.describe()}: {image.shape[volume.axes.index('Z')]} planes become {rows}")
    note_layers(image, middle_of(array, volume.axes), voxels.stride)
    if options.generator == SHIPPED:
        note_far_planes(image, voxels)
    restore_stacks(scheduler, job, shape, done)
    for target, name in zip(targets, ("volume", *options.maps), strict=True):
        os.replace(partial / f"{name}.zarr", target)
    keeps_units = metadata.normalization.kind != "fixed"
    print_summary(f"{source} -> {output}", output, moments_of(job.done), "sections", keeps_units, options.verbose)
    for target in targets[1:]:
        print(f"  {target}: deviation of both views, not calibrated")
    if truths:
        restored = open_volume(output, axes)
        seen = Interpolated(array, volume.axes, voxels.stride)
        print_scores(seen, Planes(restored.group[restored.dataset], volume.axes), truths)
    shutil.rmtree(partial)


def sections_at_once(pixels: int, count: int) -> int:
    """How many of `count` sections of so many pixels are a slab: a power of two that stays below SLAB_BYTES."""
    fewest, most = SECTIONS
    fitting = max(SLAB_BYTES // (4 * pixels), 1)
    return min(max(1 << (fitting.bit_length() - 1), fewest), most, count)


def isotropic_attributes(volume: Volume, voxels: Voxels) -> dict:
    """The OME attributes of a volume whose voxels are as far apart along z as along x.

    Args:
        voxels: sizes before; those that were given are written in micrometres.
    """
    volume = volume._replace(attributes=copy.deepcopy(volume.attributes))
    own, *others = scales_of(volume)  # the lists within the attributes
    axes = volume.attributes["multiscales"][0]["axes"]
    z, y, x = (volume.axes.index(axis) for axis in "ZYX")
    if voxels.origin == "as given":
        for axis, size in ((z, voxels.x), (y, voxels.y), (x, voxels.x)):
            own[axis] = size
            axes[axis]["unit"] = "micrometer"
            for other in others:
                other[axis] = 1.0
    elif axes[z].get("unit") == axes[x].get("unit"):
        own[z] = own[x] * math.prod(other[x] / other[z] for other in others)
    else:
        own[z] /= voxels.stride
    return volume.attributes


def middle_of(array: zarr.Array, axes: str) -> np.ndarray:
    """(Z, Y, X): the first stack, or its middle, (Z, side, side), where it has more than SAMPLED voxels."""
    size = dict(zip(axes, array.shape, strict=True))
    whole = size["Z"] * size["Y"] * size["X"] <= SAMPLED
    side = max(size.values()) if whole else max(math.isqrt(SAMPLED // size["Z"]), 1)
    starts = [max((size[axis] - side) // 2, 0) for axis in "YX"]
    plane = tuple(slice(None) if axis == "Z" else 0 for axis in axes if axis not in "YX")
    return as_stack(array[place(axes, plane, *(slice(start, start + side) for start in starts))], axes)


def as_stack(part: np.ndarray, axes: str) -> np.ndarray:
    """A part of an array, with its order of Z, Y and X, as (Z, Y, X)."""
    order = [axis for axis in axes if axis in "ZYX"]
    return part.transpose([order.index(axis) for axis in "ZYX"])


def as_stored(stack: np.ndarray, axes: str) -> np.ndarray:
    """A (Z, Y, X) stack in an array's order of these axes."""
    return stack.transpose(["ZYX".index(axis) for axis in axes if axis in "ZYX"])


def restore_stacks(scheduler: str | None, job: VolumeJob, shape: tuple[int, ...], done: set[str]) -> None:
    """Restore every stack of a volume: all slabs of XZ sections, then all of YZ sections.

    Args:
        shape: of the result.
        done: names of the slabs that are finished.
    """
    others = [[None] if axis == "Z" else range(n) for axis, n in zip(job.axes, shape, strict=True) if axis not in "YX"]
    passes = [[slabs_of(stack, axis, job, shape) for axis in "YX"] for stack in product(*others)]
    total = sum(slab.name() not in done for both in passes for slabs in both for slab in slabs)
    clipped = 0
    with connect(scheduler) as client, progress_bar(total=total, unit="slab") as bar:
        finished = counted(bar.update, total if scheduler is None else 0)
        for both in passes:
            clipped += restore_stack(client, job, shape, both, done, finished)
    note_clipped(clipped, job)


def slabs_of(stack: tuple[int | None, ...], axis: str, job: VolumeJob, shape: tuple[int, ...]) -> list[Slab]:
    """The slabs of one stack, of XZ sections (axis "Y") or of YZ sections ("X")."""
    thick, size = job.slabs["YX".index(axis)], shape[job.axes.index(axis)]
    return [Slab(stack, axis, start, min(start + thick, size)) for start in range(0, size, thick)]


def counted(finished: Callable[[], object], total: int) -> Callable[[], None]:
    """A function that calls `finished`, and says by the second of `total` slabs how long the others take."""
    times = []

    def count():
        finished()
        times.append(time.monotonic())
        if len(times) == 2:
            note_long((total - 2) * (times[1] - times[0]))

    return count


def restore_stack(
    client: distributed.Client,
    job: VolumeJob,
    shape: tuple[int, ...],
    passes: list[list[Slab]],
    done: set[str],
    finished: Callable[[], None],
) -> int:
    """Restore what is left of one stack, in two passes; gives the number of clipped pixels.

    Args:
        shape: of the result.
        passes: its slabs of XZ, and of YZ sections.
        done, finished: as for `restore_stacks`, and `volumes.run_blocks`.
    """
    import zarr

    clipped, path = 0, first_path(job, passes[0][0].stack)
    if not any(slab.name() in done for slabs in passes for slab in slabs):
        size = tuple(shape[job.axes.index(axis)] for axis in "ZYX")
        chunks = tuple(map(min, (DEPTH, *job.slabs), size))
        # Not compressed: float32 gains little by it.
        zarr.create_array(path, shape=size, chunks=chunks, dtype="float32", compressors=None, overwrite=True)
    for slabs in passes:
        left = [slab for slab in slabs if slab.name() not in done]
        clipped += run_blocks(client, restore_slab, job, left, finished)
    shutil.rmtree(path, ignore_errors=True)
    return clipped


def first_path(job: VolumeJob, stack: tuple[int | None, ...]) -> str:
    """Where the first view of a stack is kept until the second one is restored."""
    return str(Path(job.target).with_name(f"first_{stack_name(stack)}.zarr"))


def restore_slab(slab: Slab, job: VolumeJob) -> int:
    """Restore one slab and mark it as finished; runs on a worker.

    Returns:
        Number of pixels clipped to the output's dtype.

    Raises:
        InputError: what is read or what is restored is not finite.
    """
    import zarr

    apply, turns = worker_applier(job.generator, job.precision), symmetries(job.average, rotate=False)
    scales = plane_scales(job, shared_by(job, slab.stack))
    first = zarr.open_array(first_path(job, slab.stack), mode="r+")
    stack = as_stack(zarr.open_group(job.source, mode="r")[job.dataset][slab.index(job.axes)], job.axes)
    check_finite(stack, slab, f"{job.source}: holds NaN or infinite values", "repair it first")

    def restore(image):
        return restore_section(apply, image, scales, job, turns)

    if slab.axis == "Y":
        result, apart = np.empty((first.shape[0], *stack.shape[1:]), np.float32), None
        restore_first_view(stack, job.stride, restore, result)
    else:
        result = first[:, :, slab.start : slab.stop]
        apart = np.empty_like(result) if job.disagreement else None
        restore_second_view(stack, job.stride, restore, result, apart)
    check_finite(result, slab, f"{job.source}: the generator's output is not finite", f"is {job.generator} damaged?")
    if slab.axis == "Y":
        first[:, slab.start : slab.stop] = result
        write_text(Path(job.done, slab.name()), "")
        return 0
    values, clipped = to_dtype(result, job.dtype)
    for path, written in ((job.target, values), (Path(job.target).with_name("disagreement.zarr"), apart)):
        if written is not None:
            zarr.open_group(path, mode="r+")[job.dataset][slab.index(job.axes)] = as_stored(written, job.axes)
    write_text(Path(job.done, slab.name()), json.dumps(moments_in(slab, stack, result, job.stride, first.shape[2])))
    return clipped


def check_finite(values: np.ndarray, slab: Slab, wrong: str, advice: str) -> None:
    """Raise InputError that names the slab, where not all values are finite."""
    if not np.isfinite(values).all():
        kind = {"Y": "XZ", "X": "YZ"}[slab.axis]
        here = f"{kind} sections {slab.start} to {slab.stop - 1} of stack {stack_name(slab.stack)}"
        raise InputError(f"{wrong} ({here}); {advice}")


def moments_in(slab: Slab, stack: np.ndarray, result: np.ndarray, stride: float, columns: int) -> list[Moments]:
    """Moments of those of a slab's YZ sections that belong to the summary of its stack, which has so many columns."""
    chosen = [column - slab.start for column in summary_sections(columns) if slab.start <= column < slab.stop]
    positions = plane_positions(len(stack), stride)
    return [Moments.of(result[:, :, column], rows_at(stack[:, :, column], positions)) for column in chosen]


def moments_of(done: str) -> list[Moments]:
    """The moments that the slabs of a volume left with their marks."""
    marks = sorted(Path(done).glob("X_*"), key=lambda path: [int(n) for n in path.name.split("_") if n.isdigit()])
    return [Moments(*moments) for path in marks for moments in json.loads(path.read_text())]


class Interpolated(Planes):
    """The planes of an array's stacks, interpolated to rows a pixel apart, each (H, W) float32 when it is asked for.

    Args:
        array, axes: as for `Planes`, with a Z axis.
        stride: pixels that planes lie apart.
    """

    def __init__(self, array: zarr.Array, axes: str, stride: float):
        super().__init__(array, axes)
        self.z = [axis for axis in axes if axis not in "YX"].index("Z")
        sizes = [size for axis, size in zip(axes, array.shape, strict=True) if axis not in "YX"]
        self.last, self.positions = sizes[self.z] - 1, plane_positions(sizes[self.z], stride)
        sizes[self.z] = len(self.positions)
        self.indices = list(product(*map(range, sizes)))

    def __getitem__(self, number: int) -> np.ndarray:
        index = self.indices[number]
        position = self.positions[index[self.z]]
        below = min(int(position), self.last - 1)
        around = [self.read((*index[: self.z], plane, *index[self.z + 1 :])) for plane in (below, below + 1)]
        return rows_at(np.stack(around), np.array([position - below]))[0]
