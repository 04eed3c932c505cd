"""Apply a saved generator to your own images: restore them, or make defective ones with CIN-GAN's generator.

    python restore.py --input=IMAGE.tif --output=RESTORED.tif                          with the shipped generator
    python restore.py --generator_path=Microscopy_cGAN_results/generator.h5 --input=IMAGE.tif --output=RESTORED.tif
    python restore.py --generator_path=... --input=FOLDER --output=FOLDER2 --average=8
    python restore.py --input=STACK.tif --output=ISOTROPIC.tif --isotropic             planes as far apart as pixels
    python restore.py --generator_path=... --input=X.npy --output=R.npy --ground_truth=Y.npy
    python restore.py --generator_path=... --input=VOLUME.zarr --output=RESTORED.zarr [--scheduler=tcp://HOST:8786]
    python restore.py --input=VOLUME.zarr --output=ISOTROPIC.zarr --isotropic [--scheduler=tcp://HOST:8786]
    python restore.py --generator_path=CIN-GAN_results/generator.h5 --task=Nuclei --input=CLEAN.npy --output=X.npy

.npy, TIFF, PNG and the files of microscopes (docs/restoring.md) of any size, single images or stacks (plane by plane,
normalised as a whole); shape, axes, channels and pixel size are kept. Axes come from the file's metadata or its shape
and are printed; --axes=ZYX corrects them. OME-Zarr volumes are restored block by block, whatever their size.
The result is float32 in the units of the input (recipe paper: of the task's y; CIN-GAN: of its x).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common.command_line import OneLineParser, integer
from common.errors import InputError, run_script
from data_utils import SCRIPT_DIR
from restoring.generator_file import SHIPPED, Metadata, read_metadata
from restoring.image_files import note_skipped
from restoring.isotropic import IsotropicRestorer
from restoring.options import RestoreOptions, add_part_flags, part_of, spacing
from restoring.outputs import check_outputs, not_yet_restored, plan_jobs
from restoring.reading import is_volume
from restoring.restore_files import Restorer, check_maps, restore_all
from training.options import tell_idle

FOR_FILES = "overwrite channel time z max_gb skip_existing recursive view"
DTYPES = ("float32", "uint8", "uint16")


def make_parser() -> OneLineParser:
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--generator_path", type=Path, help="generator.h5 of a training (default: the shipped one, of any defect)")
    add("--input", type=Path, required=True, help="an image file, or a folder of them; or OME-Zarr")
    add("--output", type=Path, required=True, help="file to write, or folder where --input is one")
    add_part_flags(add)
    add("--task", help="the defect type; needed by recipe paper and by CIN-GAN's generators")
    add("--ground_truth", type=Path, help="file or folder of the clean images: prints PSNR and SSIM")
    add("--tile", type=integer(64), default=512, help="larger images are restored in tiles of this side (512)")
    add("--overlap", type=integer(0), help="pixels that tiles share, blended (default: 64, half a tile at most)")
    help_text = "what shares its percentiles (default: a stack where there is a Z or T axis, else each plane by itself)"
    add("--normalize", choices=["plane", "stack"], help=help_text)
    add("--isotropic", action="store_true", help="restore stacks along z, to planes as far apart as pixels")
    add("--spacing", type=spacing, metavar="Z,Y,X", help="micrometres between planes and pixels (default: the file's)")
    add("--average", type=int, choices=[1, 8], default=1, help="8: mean over flips and turns; slower, often better")
    add("--dtype", choices=DTYPES, default="float32", help="of the result; clipped pixels are counted and printed")
    add("--uncertainty", type=integer(2), metavar="N", help="also write OUTPUT_uncertainty: how far pixels may be off")
    add("--calibration", type=Path, help="calibrate.py's file: the uncertainty is then the error's deviation")
    add("--check", action="store_true", help="also write OUTPUT_check: where the input contradicts what was restored")
    add("--cin_generator_path", type=Path, help="generator.h5 of train_CIN_GAN.py, for --check; needs --task")
    choices = ["float32", "bfloat16", "float16"]
    add("--precision", choices=choices, default="float32", help="of the network: faster where the hardware has it")
    add("--seed", type=integer(0), default=0, help="of the noise of CIN-GAN's generators (default: 0)")
    add("--scheduler", metavar="ADDRESS", help="dask cluster for OME-Zarr volumes (default: a process of this machine)")
    add("--overwrite", action="store_true", help="replace output files that exist")
    add("--skip_existing", action="store_true", help="leave out files whose restored image is there already")
    add("--recursive", action="store_true", help="restore the images in the folders of --input too")
    add("--view", action="store_true", help="also write OUTPUT_view.html: before and after to look at in a browser")
    add("--verbose", action="store_true", help="print the intensities of every plane of a stack")
    return parser


def main(args: argparse.Namespace) -> int:
    """Restore with parsed arguments; returns the exit code."""
    if args.generator_path is None:
        args.generator_path = SHIPPED
        print(f"restoring with the shipped generator, {SHIPPED.relative_to(SCRIPT_DIR)}: trained on simulations alone")
    metadata = read_metadata(args.generator_path)
    options = make_options(args, metadata)
    check_flags(args, options, metadata)
    tell_idle("restore", args, metadata)
    check_maps(options, metadata)
    if is_volume(args.input):
        from restoring.isotropic_volumes import restore_isotropic_volume
        from restoring.volumes import restore_volume

        how = (args.scheduler, args.axes, part_of(args), args.ground_truth)
        restore = restore_isotropic_volume if args.isotropic else restore_volume
        restore(args.input, args.output, options, metadata, *how)
        return 0
    jobs = plan_jobs(args.input, args.output, args.ground_truth, options, args.recursive)
    if args.skip_existing:
        jobs = not_yet_restored(jobs, options)
    check_outputs(options, args.output, jobs, args.ground_truth, args.overwrite)
    note_skipped(args.input, args.recursive)
    return restore_all(IsotropicRestorer if args.isotropic else Restorer, options, jobs, args.axes, part_of(args))


def make_options(args: argparse.Namespace, metadata: Metadata) -> RestoreOptions:
    """How every image is restored. Raises InputError where the task does not fit the generator."""
    return RestoreOptions(
        generator=args.generator_path,
        # The shipped generator knows no task by name: --check alone goes by it.
        task=args.task if args.generator_path == SHIPPED else metadata.check_task(args.task, args.generator_path),
        tile=args.tile,
        overlap=min(64, args.tile // 2) if args.overlap is None else args.overlap,
        average=args.average,
        dtype=args.dtype,
        precision=args.precision,
        seed=args.seed,
        verbose=args.verbose,
        normalize=args.normalize,
        view=args.view,
        uncertainty=None if args.isotropic else args.uncertainty,
        calibration=args.calibration,
        check=args.check,
        cin_generator=args.cin_generator_path,
        isotropic=args.isotropic,
        spacing=args.spacing,
        disagreement=bool(args.isotropic and args.uncertainty),
    )


def check_flags(args: argparse.Namespace, options: RestoreOptions, metadata: Metadata) -> None:
    """Raise InputError where flags do not fit each other, the generator or the kind of the input."""
    if options.average == 8 and metadata.makes_defects:
        raise InputError("--average=8 is for generators that restore: the mean of defects has less noise than one")
    if options.overlap > options.tile // 2:
        raise InputError(f"--overlap={options.overlap}: expected at most half of --tile={options.tile}")
    if is_volume(args.input) and metadata.factor(options.task) > 1:
        raise InputError(f"--input={args.input}: this generator enlarges its images, which volumes are not; pass TIFFs")
    if args.isotropic:
        check_isotropic(args, metadata)
    for flag in FOR_FILES.split():
        if is_volume(args.input) and getattr(args, flag) not in (None, False):
            raise InputError(f"--{flag} is for image files, not for volumes; leave it out")


def check_isotropic(args: argparse.Namespace, metadata: Metadata) -> None:
    """Raise InputError where flags or the generator do not fit --isotropic."""
    if metadata.makes_defects:
        raise InputError("--isotropic is for generators that restore")
    if args.uncertainty not in (None, 2):
        raise InputError(
            f"--uncertainty={args.uncertainty}: --isotropic has two views of a stack; pass --uncertainty=2"
        )
    for flag in ("check", "calibration", "z", "view"):
        if getattr(args, flag) not in (None, False):
            raise InputError(f"--{flag} cannot be combined with --isotropic; leave it out")
    if args.input.suffix.lower() == ".png" or args.output.suffix.lower() == ".png":
        raise InputError("--isotropic makes stacks, which PNG cannot hold; choose a name in .tif")


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
