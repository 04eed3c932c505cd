"""From one stack to an isotropic volume: prepare, train on the stack itself, restore, and show it on a page.

    python isotropic.py --input=stack.tif --output=isotropic.tif                  ten minutes of training
    python isotropic.py --input=stack.tif --output=isotropic.tif --minutes=0      with the shipped generator alone
    python isotropic.py --input=stack.tif --output=isotropic.tif --psf=0.9        a known blur along z, in micrometres
    python isotropic.py --input=volume.zarr --channel=DNA --output=isotropic.zarr OME-Zarr: all channels are restored

Runs data/prepare_stack.py, train_CIN_GAN.py, train_cGAN.py and restore.py --isotropic, and prints each command. What
they make is kept in OUTPUT's folder, in NAME_training; the page is NAME.html. If it is stopped, the same command goes
on. With --psf, CIN-GAN is left out, and the pairs of prepare_stack.py are trained on. --minutes limits training alone;
how long restoring takes is printed before.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from common.command_line import OneLineParser, integer, not_negative
from common.errors import InputError, run_script
from common.files import json_values, write_text
from common.memory import machine_bytes
from common.pages import render, to_gray
from data.patches import most_depth_ranges
from data_utils import SCRIPT_DIR
from restoring.image_files import ImageFile, find_images, image_name, read_image
from restoring.options import add_part_flags, part_of, spacing
from restoring.reading import WHOLE, is_volume
from restoring.stacks import find_voxels, plane_positions, section, stacks_of
from training.commands import run_command
from training.run_folder import RunFolder

PATCHES = (128, 96, 64, 32)
CIN_SHARE, CIN_ITERATIONS = 0.3, 1000  # of the minutes; at most, because its learning rate falls to 0 over them
FEW_CIN_ITERATIONS = 50  # A gain was measured after 132 (docs/isotropic.md); fewer were not tried.
TASK = "Stack"
TEMPLATE = SCRIPT_DIR / "training" / "stack.html"


def make_parser() -> argparse.ArgumentParser:
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--input", type=Path, required=True, help="a stack whose planes lie further apart than its pixels")
    add("--output", type=Path, required=True, help="file to write, .tif; of OME-Zarr, .zarr")
    add("--spacing", type=spacing, metavar="Z,Y,X", help="micrometres between planes and pixels (default: the file's)")
    add("--minutes", type=not_negative, default=10, help="of training (default: 10); 0: the shipped generator")
    add("--psf", metavar="FILE|SIGMA", help="point spread function along z, as for data/prepare_stack.py")
    add("--depth_ranges", type=integer(1, maximum=100), default=1, help="for blur that grows with depth (default: 1)")
    add("--average", choices=["1", "8"], default="1", help="8: mean over flips; slower")
    add_part_flags(add, planes=False)
    return parser


def main(args: argparse.Namespace) -> int:
    """Make one stack isotropic; returns the exit code."""
    try:
        make_isotropic(args)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


def make_isotropic(args: argparse.Namespace) -> None:
    """Prepare, train, restore, show. Raises InputError where arguments, stack or a command fail."""
    suffixes = (".zarr",) if is_volume(args.input) else (".tif", ".tiff")
    if args.output.suffix.lower() not in suffixes:
        raise InputError(f"--output={args.output}: expected a name in {suffixes[0]}")
    if args.psf and args.depth_ranges > 1:
        raise InputError(f"--depth_ranges={args.depth_ranges} is for training without --psf; leave out one of them")
    for flag, given in (("--psf", args.psf), ("--depth_ranges", args.depth_ranges > 1)):
        if given and not args.minutes:
            raise InputError(f"{flag} is for training; leave it out, or pass --minutes")
    if not is_volume(args.input):
        if args.input.is_dir():
            raise InputError(f"{args.input}: a folder; name one stack (data/prepare_stack.py takes folders of stacks)")
        find_images(args.input)
    page, folder = args.output.with_suffix(".html"), args.output.with_name(f"{image_name(args.output)}_training")
    restored = is_begun(folder, args) and args.output.exists() and not page.exists()
    for path in (args.output, page):
        if path.exists() and not restored:
            raise InputError(f"{path} exists; choose another --output, or remove it")
    source = read_image(args.input, args.axes, part_of(args))
    voxels = find_voxels(source, args.spacing)
    stacks = stacks_of(source)
    check_size(stacks[0], voxels.stride)
    if not restored:
        generator = train(args, folder, stacks, voxels.stride) if args.minutes else None
        flags = [f"--average={args.average}", *([f"--generator_path={generator}"] if generator else [])]
        # A volume is restored as a whole, by blocks, with what was trained on a part of it.
        whole = () if is_volume(args.input) else ("channel", "time", "max_gb")
        run_command("restore.py", [*reading(args, whole), f"--output={args.output}", "--isotropic", *flags])
    shown = part_of(args) if is_volume(args.input) else WHOLE
    # However large: that it fits was checked before.
    shown = shown._replace(scene=None, max_gb=math.inf)
    write_page(page, stacks[0], voxels.stride, read_image(args.output, part=shown))
    print(f"{page} shows sections before and after")


def check_size(stack: np.ndarray, stride: float) -> None:
    """Raise InputError where the result of a (Z, Y, X) stack is too large to be shown: more than half of the memory."""
    size = 4 * len(plane_positions(len(stack), stride)) * stack[0].size  # bytes, float32
    if size > machine_bytes() / 2:
        raise InputError(
            f"the result would take {size / 1e9:.1f} GB, more than half of this machine's memory; train with "
            "data/prepare_stack.py and restore with restore.py --isotropic (docs/isotropic.md)"
        )


def reading(args: argparse.Namespace, part: Sequence[str] = ("channel", "time", "max_gb")) -> list[str]:
    """The flags that say what is read of the stack; `part` names those that choose or limit a part of it."""
    named = {name: getattr(args, name) for name in ("input", "axes", "scene", *part)}
    if args.spacing:
        named["spacing"] = ",".join(f"{size:g}" for size in args.spacing)
    return [f"--{name}={value}" for name, value in named.items() if value is not None]


def is_begun(folder: Path, args: argparse.Namespace) -> bool:
    """Whether an earlier run with these arguments made its training set in a folder. Raises InputError: with others."""
    record = folder / "arguments.json"
    if not record.is_file():
        return False
    # Runs of before knew no depth ranges.
    earlier, now = {"depth_ranges": 1, **json.loads(record.read_text(encoding="utf-8"))}, arguments_of(args)
    changed = [f"--{name} was {earlier.get(name)}, is now {now[name]}" for name in now if earlier[name] != now[name]]
    if changed:
        raise InputError(f"{folder} was made with other arguments ({'; '.join(changed)}); choose another --output")
    return True


def arguments_of(args: argparse.Namespace) -> dict:
    """What a training depends on, as JSON holds it."""
    given = {name: value for name, value in vars(args).items() if name not in ("output", "average", "max_gb")}
    return json.loads(json.dumps(json_values(given), default=list))


def train(args: argparse.Namespace, folder: Path, stacks: np.ndarray, stride: float) -> Path:
    """Train on the stack itself; gives the generator.h5. What is finished already is not done again.

    Args:
        folder: for all that training makes.
        stacks: (1, Z, Y, X).
        stride: pixels that planes lie apart.

    Raises:
        InputError: it is too small, is not one stack, or a command failed.
    """
    if len(stacks) > 1:
        raise InputError(f"{args.input}: {len(stacks)} stacks; choose one to train on with --channel and --time")
    planes, height, width = stacks.shape[1:]
    rows = len(plane_positions(planes, stride))
    fitting = (size for size in PATCHES if size <= min(rows, height, width))
    patch = next((size for size in fitting if most_depth_ranges(rows, size) >= args.depth_ranges), None)
    if patch is None:
        size, smallest = f"sections of {rows} rows and planes of {height} x {width} pixels", PATCHES[-1]
        if min(rows, height, width) >= smallest:
            most = most_depth_ranges(rows, smallest)
            raise InputError(
                f"{args.input}: {rows} rows of a section are too few for {args.depth_ranges} depth ranges; use "
                f"--depth_ranges={most}"
            )
        raise InputError(
            f"{args.input}: {size} are too small to train on, {smallest} are needed; pass --minutes=0 to restore with "
            "the shipped generator"
        )
    data, seconds = folder / "set", 60 * args.minutes
    if not is_begun(folder, args):
        for path in data.glob(f"{TASK}*"):  # of a run that was stopped while it wrote them
            path.unlink()
        how = [f"--psf={args.psf}"] if args.psf else []
        how += [f"--depth_ranges={args.depth_ranges}"] if args.depth_ranges > 1 else []
        run_command(
            "data/prepare_stack.py", [*reading(args), f"--name={TASK}", f"--output={data}", f"--patch={patch}", *how]
        )
        write_text(folder / "arguments.json", json.dumps(arguments_of(args), indent=2) + "\n")
    restoring = estimate(rows, height, width, args.average)
    each = " for each channel and time" if is_volume(args.input) else ""
    print(f"\ntraining takes {args.minutes:g} minutes, then restoring about {restoring}{each}")
    tasks = ",".join(sorted(path.name.removesuffix("_X.npy") for path in data.glob("*_X.npy")))
    shared = ["--recipe=tuned", f"--data_dir={data}", f"--dir={folder}", f"--no_rotate={tasks}", "--save_every=50"]
    shared.append("--eval_every=500")  # The minutes are for the training.
    long = [*shared, "--num_iters=100000"]
    if args.psf:
        return run_training("train_cGAN.py", long, folder / "Microscopy_cGAN_results", seconds)
    short = [*shared, f"--num_iters={CIN_ITERATIONS}"]
    cin = run_training("train_CIN_GAN.py", short, folder / "CIN-GAN_results", CIN_SHARE * seconds)
    made = RunFolder(cin.parent).iterations_done()
    if made < FEW_CIN_ITERATIONS:
        print(
            f"\nnote: only {made} iterations of CIN-GAN fitted into its {CIN_SHARE * args.minutes:.2g} minutes, "
            "too few to learn this stack's blur; compare with --minutes=0, or give more --minutes and another --output"
        )
    long += ["--cin_augment=True", "--alpha=1", f"--cin_generator_path={cin}"]
    results = folder / "Microscopy_cGAN_results_CIN_augm"
    return run_training("train_cGAN.py", long, results, (1 - CIN_SHARE) * seconds)


def estimate(rows: int, height: int, width: int, average: str) -> str:
    """How long restoring takes, in words, by two sections that a process of its own restores."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:  # TensorFlow's memory is given back.
        seconds = pool.submit(seconds_of, rows, width).result()
    total = 2 * seconds * height * (4 if average == "8" else 1)
    return f"{total / 60:.1f} minutes" if total > 90 else f"{total:.0f} seconds"


def seconds_of(rows: int, columns: int) -> float:
    """Seconds in which the shipped generator, which is as large as the trained one, restores one section."""
    from restoring.apply import Applier
    from restoring.generator_file import SHIPPED

    apply = Applier.load(SHIPPED)
    image = np.random.default_rng(0).random((rows, columns), np.float32)
    apply(image, None)  # compiles
    began = time.monotonic()
    for _ in range(2):
        apply(image, None)
    return (time.monotonic() - began) / 2


def run_training(script: str, flags: list[str], results: Path, seconds: float) -> Path:
    """Run a training of so many seconds, unless it is finished; a stopped one goes on. Gives its generator.h5."""
    finished, checkpoints = results / "finished", RunFolder(results).checkpoints()
    if finished.is_file():
        print(f"{results} is finished")
        return results / "generator.h5"
    begun = ["--overwrite"] if results.exists() else []
    if checkpoints:
        begun = ["--resume"]
        with np.load(checkpoints[-1]) as stored:
            seconds = max(seconds - float(stored["seconds"]), 1)
    run_command(script, [*flags, f"--max_seconds={seconds:g}", *begun])
    finished.touch()
    return results / "generator.h5"


def write_page(path: Path, stack: np.ndarray, stride: float, restored: ImageFile) -> None:
    """A page of the middle XY plane and XZ and YZ sections, before and after.

    Args:
        path: to write.
        stack: (Z, Y, X), the first of its file.
        stride: pixels that its planes lie apart.
        restored: the file that was made of it.
    """
    volume = stacks_of(restored)[0]
    plane, row, column = len(stack) // 2, stack.shape[1] // 2, stack.shape[2] // 2
    pairs = {
        f"XY, plane {plane}": (stack[plane], volume[min(round(plane * stride), len(volume) - 1)]),
        f"XZ, y = {row}": (section(stack, 1, row, stride), volume[:, row]),
        f"YZ, x = {column}": (section(stack, 2, column, stride), volume[:, :, column]),
    }
    limits = np.percentile(volume, [0.5, 99.8])
    views = [(name, to_gray(before, *limits), to_gray(after, *limits)) for name, (before, after) in pairs.items()]
    summary = f"{len(stack)} planes became {len(volume)}, as far apart as pixels."
    write_text(path, render(TEMPLATE, title=restored.path.name, summary=summary, views=views))


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
