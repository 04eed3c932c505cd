"""Simulate pair sets of three microscope defects, deterministic by seed.

    python data/simulate.py --output=DIR                      the shipped sample: 40 + 10 pairs a task
    python data/simulate.py --output=DIR --n=2000 --size=256  a larger set
    python data/simulate.py --output=DIR --kind=any --n=1000  any scene through any microscope

Nuclei   denoising           tissue of textured nuclei; x is a short exposure (a few photons a pixel)
Layers   axial inpainting    layered tissue cut along the optical axis (axis 0); x is blurred along it, every k-th
                             plane is taken, the planes between are interpolated
Tubules  super-resolution    a network of filaments; x is a wide-field image on a camera of coarse pixels

Lengths are in pixels of 0.1 micrometres unless stated. y is the sharp, noise-free image; x is what the camera read.
Both are uint16 camera counts, each on a scale of its own: offsets and gains are in simulation/pairs.py.

--kind writes pairs of the family that docs/simulation.md describes, as Any_X.npy, Any_Y.npy, ...: random scenes, and
the defect noise, axial, coarse (super-resolution), blur, mild (hardly any), or any of them. x and y are float32 on one
scale: 1 at bright structures, 0 without light. Axis 0 is the optical axis.
"""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from common.command_line import OneLineParser, integer
from common.errors import InputError, run_script
from common.files import check_folder, written_whole
from common.progress import progress_bar
from simulation.any_defect import simulate_any
from simulation.pairs import TASKS, simulate_pair
from simulation.random_microscopes import KINDS


def write_task(folder, task, args, bar):
    """Write the four .npy files of a task; test images are simulated after the training images."""
    dtype = np.float32 if args.kind else np.uint16
    with ExitStack() as stack:
        arrays = {}
        for suffix, count in (("", args.n), ("_test", args.n_test)):
            for kind in "XY":
                beside = stack.enter_context(written_whole(folder / f"{task}_{kind}{suffix}.npy"))
                shape = (count, args.size, args.size)
                arrays[kind, suffix] = np.lib.format.open_memmap(beside, mode="w+", dtype=dtype, shape=shape)
        for index in range(args.n + args.n_test):
            suffix, row = ("", index) if index < args.n else ("_test", index - args.n)
            if args.kind:
                kind = None if args.kind == "any" else args.kind
                x, y, _ = simulate_any(args.seed, index, args.size, kind, args.photons)
            else:
                x, y = simulate_pair(task, args.seed, index, args.size, args.photons)
            arrays["X", suffix][row], arrays["Y", suffix][row] = x, y
            bar.update()
        for array in arrays.values():
            array.flush()


def make_parser():
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder to write to; must not hold pair sets yet")
    parser.add_argument("--kind", choices=["any", *KINDS], help="of any scene's defect (default: the sample's tasks)")
    parser.add_argument("--n", type=integer(1), default=40, help="training pairs per task (default: 40)")
    parser.add_argument("--n_test", type=integer(1), default=10, help="test pairs per task (default: 10)")
    parser.add_argument("--size", type=integer(32), default=128, help="height and width in pixels (default: 128)")
    parser.add_argument(
        "--photons", type=float, help="photons at bright structures of x (default: one per task; with --kind, drawn)"
    )
    parser.add_argument("--seed", type=integer(0), default=0, help="(default: 0)")
    return parser


def main(args):
    """Write all tasks; returns the exit code."""
    check_folder(args.output)
    existing = sorted(args.output.glob("*_[XY]*.npy")) if args.output.is_dir() else []
    if existing:
        raise InputError(f"{existing[0]} exists; choose another --output")
    if args.photons is not None and not 0 < args.photons < 1e6:
        raise InputError(f"--photons={args.photons}: expected a positive number below a million")
    tasks = [args.kind.capitalize()] if args.kind else TASKS
    with progress_bar(total=len(tasks) * (args.n + args.n_test), desc="simulating", unit="pair") as bar:
        for task in tasks:
            write_task(args.output, task, args, bar)
    return 0


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
