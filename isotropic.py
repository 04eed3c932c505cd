"""From one stack to an isotropic volume: prepare, train on the stack itself, restore, and show it on a page.

    python isotropic.py --input=stack.tif --output=isotropic.tif                  ten minutes of training
    python isotropic.py --input=stack.tif --output=isotropic.tif --minutes=0      with the shipped generator alone
    python isotropic.py --input=stack.tif --output=isotropic.tif --psf=0.9        a known blur along z, in micrometres

Runs data/prepare_stack.py, train_CIN_GAN.py, train_cGAN.py and restore.py --isotropic, and prints each command. What
they make is kept in OUTPUT's folder, in NAME_training; the page is NAME.html. If it is stopped, the same command goes
on. With --psf, CIN-GAN is left out, and the pairs of prepare_stack.py are trained on. --minutes limits training alone.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from common.command_line import OneLineParser, not_negative
from common.errors import InputError, run_script
from data_utils import SCRIPT_DIR
from restoring.image_files import ImageFile, image_name, read_image
from restoring.options import add_part_flags, part_of, spacing
from restoring.stacks import find_voxels, plane_positions, section, stacks_of

PATCHES = (128, 96, 64, 32)
CIN_SHARE = 0.3  # of the minutes
TASK = "Stack"


def make_parser() -> argparse.ArgumentParser:
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--input", type=Path, required=True, help="a stack whose planes lie further apart than its pixels")
    add("--output", type=Path, required=True, help="file to write, .tif")
    add("--spacing", type=spacing, metavar="Z,Y,X", help="micrometres between planes and pixels (default: the file's)")
    add("--minutes", type=not_negative, default=10, help="of training (default: 10); 0: the shipped generator")
    add("--psf", metavar="FILE|SIGMA", help="point spread function along z, as for data/prepare_stack.py")
    add("--average", choices=["1", "8"], default="1", help="8: mean over flips; slower")
    add_part_flags(add)
    return parser


def main(args: argparse.Namespace) -> int:
    """Prepare, train, restore, show; returns the exit code."""
    if args.output.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"--output={args.output}: expected a name in .tif")
    if args.psf and not args.minutes:
        raise InputError("--psf is for training; leave it out, or pass --minutes")
    page = args.output.with_suffix(".html")
    for path in (args.output, page):
        if path.exists():
            raise InputError(f"{path} exists; choose another --output, or remove it")
    source = read_image(args.input, args.axes, part_of(args))
    voxels = find_voxels(source, args.spacing)
    stacks = stacks_of(source)
    if args.minutes and len(stacks) > 1:
        raise InputError(f"{args.input}: {len(stacks)} stacks (axes {source.axes}); choose one: --channel, --time")
    generator = train(args, stacks.shape[1:], voxels.factor) if args.minutes else None
    flags = [f"--generator_path={generator}"] if generator else []
    run("restore.py", [*reading(args), f"--output={args.output}", "--isotropic", f"--average={args.average}", *flags])
    write_page(page, stacks[0], voxels.factor, read_image(args.output))
    print(f"{page} shows sections before and after")
    return 0


def reading(args: argparse.Namespace) -> list[str]:
    """The flags that say what is read of the stack."""
    named = {name: getattr(args, name) for name in ("input", "axes", "scene", "channel", "time", "max_gb")}
    if args.spacing:
        named["spacing"] = ",".join(f"{size:g}" for size in args.spacing)
    return [f"--{name}={value}" for name, value in named.items() if value is not None]


def train(args: argparse.Namespace, shape: tuple[int, int, int], factor: float) -> Path:
    """Train on the stack itself; gives the generator.h5. What is finished already is not done again.

    Args:
        shape: planes, rows and columns of the stack.
        factor: pixels that planes lie apart.

    Raises:
        InputError: it is too small, or a command failed.
    """
    rows = len(plane_positions(shape[0], factor))
    patch = next((size for size in PATCHES if size <= min(rows, *shape[1:])), None)
    if patch is None:
        raise InputError(
            f"{args.input}: sections of {rows} rows and planes of {shape[1]} x {shape[2]} pixels are too small to "
            f"train on, {PATCHES[-1]} are needed; pass --minutes=0 to restore with the shipped generator"
        )
    folder = args.output.with_name(f"{image_name(args.output)}_training")
    data, seconds = folder / "set", 60 * args.minutes
    if not (data / f"{TASK}_Y.npy").is_file():
        psf = [f"--psf={args.psf}"] if args.psf else []
        run("data/prepare_stack.py", [*reading(args), f"--name={TASK}", f"--output={data}", f"--patch={patch}", *psf])
    shared = ["--recipe=tuned", f"--data_dir={data}", f"--dir={folder}", f"--no_rotate={TASK}", "--num_iters=100000"]
    if args.psf:
        run_training("train_cGAN.py", [*shared, f"--max_seconds={seconds:g}"], folder / "Microscopy_cGAN_results")
        return folder / "Microscopy_cGAN_results" / "generator.h5"
    cin, results = folder / "CIN-GAN_results", folder / "Microscopy_cGAN_results_CIN_augm"
    run_training("train_CIN_GAN.py", [*shared, f"--max_seconds={CIN_SHARE * seconds:g}"], cin)
    augmented = ["--cin_augment=True", "--alpha=1", f"--cin_generator_path={cin / 'generator.h5'}"]
    run_training("train_cGAN.py", [*shared, f"--max_seconds={(1 - CIN_SHARE) * seconds:g}", *augmented], results)
    return results / "generator.h5"


def run_training(script: str, flags: list[str], results: Path) -> None:
    """Run a training, unless it is finished; one that was stopped goes on."""
    finished = results / "finished"
    if finished.is_file():
        print(f"{results} is finished")
        return
    run(script, [*flags, *(["--resume"] if list(results.glob("checkpoints/*")) else [])])
    finished.touch()


def run(script: str, flags: list[str]) -> None:
    """Run a command as a user would."""
    print(f"\n$ python {script} {shlex.join(flags)}", flush=True)
    if subprocess.run([sys.executable, str(SCRIPT_DIR / script), *flags], check=False).returncode:
        raise InputError(f"{script} did not finish; its message stands above")


def write_page(path: Path, stack: np.ndarray, factor: float, restored: ImageFile) -> None:
    """A page of the middle XY plane and XZ and YZ sections, before and after.

    Args:
        path: to write.
        stack: (Z, Y, X), the first of its file.
        factor: pixels that its planes lie apart.
        restored: the file that was made of it.
    """
    from common.files import write_text
    from training.report import TEMPLATE, render, to_gray

    volume = stacks_of(restored)[0]
    plane, row, column = len(stack) // 2, stack.shape[1] // 2, stack.shape[2] // 2
    pairs = {
        f"XY, plane {plane}": (stack[plane], volume[min(round(plane * factor), len(volume) - 1)]),
        f"XZ, y = {row}": (section(stack, 1, row, factor), volume[:, row]),
        f"YZ, x = {column}": (section(stack, 2, column, factor), volume[:, :, column]),
    }
    limits = np.percentile(volume, [0.5, 99.8])
    views = [(name, to_gray(before, *limits), to_gray(after, *limits)) for name, (before, after) in pairs.items()]
    summary = f"{len(stack)} planes became {len(volume)}, as far apart as pixels."
    write_text(path, render(TEMPLATE.with_name("stack.html"), title=restored.path.name, summary=summary, views=views))


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
