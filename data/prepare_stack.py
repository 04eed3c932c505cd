"""Make a training set of stacks whose planes lie further apart than their pixels: NAME_X.npy and NAME_Y.npy.

    python data/prepare_stack.py --input=stack.tif --name=Tissue --output=my_stack
    python data/prepare_stack.py --input=FOLDER --spacing=1.0,0.2,0.2 --channel=GFP --name=Tissue --output=my_stack
    python data/prepare_stack.py --input=volume.zarr --channel=GFP --time=0 --name=Tissue --output=my_stack
    python data/prepare_stack.py --input=stack.tif --psf=0.9 --name=Tissue --output=pairs
    python data/prepare_stack.py --input=stack.tif --depth_ranges=3 --name=Tissue --output=my_stack

y are crops of the planes, every other one turned by 90 degrees. x are crops of the XZ and YZ sections, axis 0 along z,
interpolated linearly to rows a pixel apart: sections show what is blurred and missing along z, planes what it should
look like. x and y are unpaired, and each stack is normalised as a whole (its 2 percentile to 0, its 99.8 percentile to
1). Crops of background are left out. NAME_stack.json holds how many pixels the planes lie apart, which CIN-GAN goes by.

Where the blur grows with depth, --depth_ranges=3 makes three tasks, NAME_1 (the first planes) to NAME_3: x of each come
from a third of the rows, or from --patch rows if that is more, y of each from all planes.

With --psf, x are the planes themselves, blurred along axis 0, taken at every f-th row and interpolated: pairs (the way
of csbdeep's IsotropicCARE), for those who know how their microscope blurs. --psf=SIGMA is a Gaussian of that deviation
along z in micrometres; --psf=FILE is a TIFF or .npy of the point spread function, in pixels of the planes' size: along
z (Z,), or (Z, X), or (Z, Y, X), which is summed along Y. Noise like that of the planes is added.
"""

import json
from pathlib import Path

import numpy as np
import scipy  # its parts are loaded where they are used: --help is to answer at once

from common.command_line import OneLineParser, integer
from common.errors import InputError, run_script
from common.files import check_folder, write_text, written_whole
from data.patches import cut, depth_windows, most_depth_ranges, not_empty
from data_utils import FARTHEST_PLANES, open_npy, stride_path
from restoring.image_files import find_images, note_skipped, read_image
from restoring.normalization import stack_scale, white_noise
from restoring.options import add_part_flags, part_of, spacing
from restoring.sampling import rows_at
from restoring.stacks import find_voxels, note_layers, plane_positions, section, stacks_of

ALIKE = 0.05  # by which the distances of planes may differ between stacks
# Of the range: between stacks that gained from training (at most 0.04) and one that did not (0.08; docs/isotropic.md).
NOISY = 0.06
EVERY = 8  # pixels between the sections that are cut: neighbouring ones show nearly the same


def make_parser():
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--input", type=Path, required=True, help="a stack (a file or OME-Zarr), or a folder of stacks of a kind")
    add("--spacing", type=spacing, metavar="Z,Y,X", help="micrometres between planes and pixels (default: the file's)")
    add("--psf", metavar="FILE|SIGMA", help="point spread function along z: makes pairs")
    add("--name", required=True, help="name of the task: letters, digits and underscores")
    add("--output", type=Path, required=True, help="folder to write to")
    add(
        "--depth_ranges",
        type=integer(1, maximum=100),
        default=1,
        help="tasks, each of its own range of depths (default: 1)",
    )
    add("--patch", type=integer(32), default=128, help="height and width of the crops in pixels (default: 128)")
    add("--seed", type=integer(0), default=0, help="of the first row taken and the noise, with --psf (default: 0)")
    add_part_flags(add, planes=False)
    return parser


def read_stack(path, args):
    """((Z, Y, X) normalised float32, Voxels) of a file. Raises InputError where it is no stack to make isotropic."""
    image = read_image(path, args.axes, part_of(args))
    voxels = find_voxels(image, args.spacing)
    stacks = stacks_of(image)
    print(f"{path}: {image.describe()}; {voxels.describe()}")
    if len(stacks) > 1:
        raise InputError(f"{path}: {len(stacks)} stacks (axes {image.axes}); choose one with --channel and --time")
    if min(stacks.shape[-2:]) < args.patch:
        height, width = stacks.shape[-2:]
        raise InputError(f"{path}: planes of {height} x {width} pixels are less than --patch={args.patch}")
    if voxels.stride > FARTHEST_PLANES:
        raise InputError(f"{path}: {voxels.describe()}; planes more than {FARTHEST_PLANES} pixels apart teach nothing")
    note_layers(image, stacks[0], voxels.stride)
    stack = stack_scale(stacks[0]).normalize(stacks[0])
    noise = white_noise(stack)
    if noise > NOISY:
        share = f"the planes' own noise is {100 * noise:.0f} % of their range"
        print(f"note: {path}: {share}; what is trained takes them for clean, and keeps some of it")
    return stack, voxels


def cut_unpaired(stack, stride, args, path):
    """[(x, y)] of each depth range: crops of sections and of planes, without background.

    Raises InputError: too few planes.
    """
    rows = len(plane_positions(len(stack), stride))
    if rows < args.patch:
        most = f"--patch={rows // 32 * 32}" if rows >= 32 else "more planes"
        raise InputError(
            f"{path}: {len(stack)} planes are {rows} rows of a section, less than --patch={args.patch}; use {most}"
        )
    most = most_depth_ranges(rows, args.patch)
    if args.depth_ranges > most:
        smaller = "a smaller --patch, or " if args.patch > 32 else ""
        raise InputError(
            f"{path}: {rows} rows of a section are too few for {args.depth_ranges} depth ranges of {args.patch} "
            f"rows; use "
            f"{smaller}--depth_ranges={most}"
        )
    sections = [section(stack, axis, i, stride) for axis in (1, 2) for i in range(0, stack.shape[axis], EVERY)]
    # What is sharp may be turned before it is blurred; sections may not.
    planes = [plane.T if number % 2 else plane for number, plane in enumerate(stack)]
    y = np.concatenate([cut(plane, args.patch) for plane in planes])
    y, sides = y[not_empty(y, (0, 1))], []
    for seen in depth_windows(rows, args.depth_ranges, args.patch):
        x = np.concatenate([cut(image[seen], args.patch) for image in sections])
        sides.append((x[not_empty(x, (0, 1))], y))
    return sides


def cut_pairs(stack, stride, args, kernel):
    """(x, y): crops of the planes as the microscope shows sections, and the same crops sharp; both orientations."""
    rng = np.random.default_rng(args.seed)
    deviation = white_noise(stack)
    x, y = [], []
    for plane in (image for one in stack for image in (one, one.T)):
        x.append(cut(as_section(rng, plane, kernel, stride, deviation), args.patch))
        y.append(cut(plane, args.patch))
    x, y = np.concatenate(x), np.concatenate(y)
    kept = not_empty(y, (0, 1))
    return x[kept], y[kept]


def as_section(rng, plane, kernel, stride, deviation):
    """An (H, W) plane as a section along z would show it: blurred along axis 0, noisy, every stride-th row taken.

    Args:
        kernel: a function that blurs an (H, W) image.
        deviation: of the noise of the rows taken.
    """
    step, height = int(np.ceil(stride)), len(plane)
    beyond = kernel(np.pad(plane, [(2 * step, 2 * step), (0, 0)], mode="reflect"))
    first = rng.uniform(0, stride)
    taken = np.arange(first, len(beyond) - 1, stride)
    rows = rows_at(beyond, taken)
    rows += rng.normal(0, deviation, rows.shape)
    return rows_at(rows, (np.arange(height) + 2 * step - first) / stride)


def read_kernel(text, pixel):
    """The blur of --psf, a function of (H, W) images; `pixel` in micrometres. Raises InputError."""
    try:
        sigma = float(text)
    except ValueError:
        sigma = None
    if sigma is not None:
        if not 0 < sigma < 1000:
            raise InputError(f"--psf={text}: expected a positive number of micrometres")
        return lambda image: scipy.ndimage.gaussian_filter1d(image, sigma / pixel, axis=0, mode="nearest")
    path = find_images(text)[0]
    psf = open_npy(path) if path.suffix.lower() == ".npy" else np.squeeze(read_image(path).planes)
    psf = psf.sum(axis=1, dtype=np.float64) if psf.ndim == 3 else np.asarray(psf, np.float64)
    psf = psf[:, None] if psf.ndim == 1 else psf
    if psf.ndim != 2 or not np.isfinite(psf).all() or psf.sum() <= 0:
        raise InputError(f"{path}: expected a point spread function, (Z,), (Z, X) or (Z, Y, X), with a positive sum")
    return lambda image: scipy.ndimage.convolve(image, (psf / psf.sum()).astype(np.float32), mode="nearest")


def make_sets(args):
    """([(x, y)] of each task, pixels between planes of each file). Raises InputError: nothing but background."""
    tasks, strides = [[] for _ in range(args.depth_ranges)], []
    for path in find_images(args.input, volumes=True):
        stack, voxels = read_stack(path, args)
        if args.psf:
            sides = [cut_pairs(stack, voxels.stride, args, read_kernel(args.psf, voxels.x))]
        else:
            sides = cut_unpaired(stack, voxels.stride, args, path)
        for task, side in zip(tasks, sides, strict=True):
            task.append(side)
        strides.append(voxels.stride)
    return [
        as_many(args, i + 1, *map(np.concatenate, zip(*task, strict=True))) for i, task in enumerate(tasks)
    ], strides


def as_many(args, number, x, y):
    """As many x as y of a depth range, spread over all of them. Raises InputError: there are none of either."""
    count = min(len(x), len(y))
    if not count:
        where = f" in depth range {number}" if args.depth_ranges > 1 else ""
        fewer = "fewer --depth_ranges" if args.depth_ranges > 1 else "a smaller --patch"
        raise InputError(f"{args.input}: every crop of {args.patch} pixels{where} is background; choose {fewer}")
    return [side[np.linspace(0, len(side) - 1, count).astype(int)] for side in (x, y)]


def main(args):
    """Write the training set; returns the exit code."""
    if not args.name.replace("_", "").isalnum():
        raise InputError(f"--name={args.name}: expected letters, digits and underscores")
    if args.psf and args.depth_ranges > 1:
        raise InputError(
            f"--depth_ranges={args.depth_ranges} is for unpaired images, without --psf; leave out one of them"
        )
    check_folder(args.output)
    names = [f"{args.name}_{i + 1}" for i in range(args.depth_ranges)] if args.depth_ranges > 1 else [args.name]
    for path in (args.output / f"{name}_{kind}.npy" for name in names for kind in "XY"):
        if path.exists():
            raise InputError(f"{path} exists; choose another --output or --name")
    note_skipped(args.input)
    sets, strides = make_sets(args)
    stride = float(np.median(strides))
    if max(strides) - min(strides) > ALIKE * stride:
        print(f"note: planes lie {min(strides):.3g} to {max(strides):.3g} pixels apart; CIN-GAN goes by {stride:.3g}")
    kinds = "pairs" if args.psf else "images of each kind, unpaired,"
    for name, sides in zip(names, sets, strict=True):
        write_text(stride_path(args.output, name), json.dumps({"stride": stride}) + "\n")
        for kind, side in zip("XY", sides, strict=True):
            with written_whole(args.output / f"{name}_{kind}.npy") as beside:
                np.save(beside, side)
        print(f"{args.output / f'{name}_X.npy'}, {name}_Y.npy: {len(sides[0])} {kinds} from {len(strides)} stacks")
    print(f"sections have a direction: train with --no_rotate={','.join(names)}")
    return 0


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
