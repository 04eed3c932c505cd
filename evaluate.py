"""Score every kept checkpoint of a run on images that were set aside for it, and make the best one generator.h5.

    python train_cGAN.py --recipe=tuned --data_dir=my_data --keep_checkpoints=-1
    python evaluate.py Microscopy_cGAN_results --x=ASIDE_X.npy --y=ASIDE_Y.npy
    python evaluate.py Microscopy_cGAN_results --x=aside_bad --y=aside_good --promote

The images must be neither those of the training nor those that a result is reported on: what is chosen on images looks
better on them than it is. Writes evaluation.json and evaluation.png into the run folder and report.html anew. With
--promote the generator that stood there before is kept: as generator_before.h5, or generator_before_2.h5 and so on
where that name is taken.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common.command_line import OneLineParser
from common.errors import InputError, run_script
from restoring.generator_file import read_metadata
from restoring.image_files import read_pairs
from training.checkpoints import check_independent, promote, score_checkpoints, write_results
from training.options import tell_idle
from training.run_folder import RunFolder, read_args


def make_parser() -> OneLineParser:
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("run_folder", type=Path, help="results folder of train_cGAN.py, or of a task of train_baseline.py")
    add("--x", type=Path, required=True, help="defective images that were set aside: file or folder")
    add("--y", type=Path, required=True, help="their clean partners")
    add("--task", help="the defect type; needed by recipe paper")
    add("--metric", choices=["psnr", "ssim"], default="psnr", help="which of the affine metric decides (psnr)")
    add("--promote", action="store_true", help="make the best checkpoint's generator generator.h5")
    return parser


def main(args: argparse.Namespace) -> int:
    """Score with parsed arguments; returns the exit code."""
    run, record = RunFolder(args.run_folder), read_args(args.run_folder)
    generator = run / "generator.h5"
    metadata = read_metadata(generator)
    if metadata.makes_defects:
        raise InputError(f"{generator} makes defects; expected a run that restores")
    task = metadata.check_task(args.task, generator)
    tell_idle("evaluate", args, metadata)
    if not run.checkpoints():
        raise InputError(f"{args.run_folder} holds no checkpoint; train with --keep_checkpoints=-1")
    x, y = read_pairs(args.x, args.y)
    check_independent(args.x, args.y, record["arguments"].get("data_dir"))
    with run.locked():
        network, rows, standing = score_checkpoints(run, x, y, task)
        best = max(rows, key=lambda row: row[args.metric])["iteration"]
        if args.promote:
            standing = promote(run, network, best, standing, metadata)
        choice = {"x": str(args.x), "y": str(args.y), "images": len(x), "metric": args.metric, "best": best}
        write_results(run, choice, rows, standing)
    return 0


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
