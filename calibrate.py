"""Fit how large a restored image's error is where its passes disagree, on pairs that were set aside for this.

    python calibrate.py --generator_path=generator.h5 --input=X.npy --ground_truth=Y.npy --output=calibration.json
    python restore.py --generator_path=generator.h5 --input=IMAGE.tif --output=R.tif --uncertainty=8 \\
        --calibration=calibration.json

The pairs must be neither those of the training nor those that a result is reported on. Twenty images are plenty.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from common.command_line import OneLineParser, integer
from common.errors import InputError, run_script
from common.files import write_text
from restoring.generator_file import read_metadata
from restoring.image_files import read_pairs
from training.options import tell_idle


def make_parser() -> argparse.ArgumentParser:
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--generator_path", type=Path, required=True, help="generator.h5 of a training")
    add("--input", type=Path, required=True, help="defective images that were set aside: file or folder")
    add("--ground_truth", type=Path, required=True, help="their clean partners")
    add("--output", type=Path, required=True, help="JSON file to write")
    add("--task", help="the defect type; needed by recipe paper")
    add(
        "--uncertainty",
        type=integer(2),
        help="passes, as in restore.py (default: 8, or the 4 flips that a task allows)",
    )
    add("--limit", type=integer(1), default=50, help="images to use (default: 50)")
    return parser


def main(args: argparse.Namespace) -> int:
    """Fit with parsed arguments; returns the exit code."""
    metadata = read_metadata(args.generator_path)
    if metadata.makes_defects:
        raise InputError(f"{args.generator_path} makes defects; calibration is for generators that restore")
    task = metadata.check_task(args.task, args.generator_path)
    tell_idle("calibrate", args, metadata)
    x, y = (images[: args.limit] for images in read_pairs(args.input, args.ground_truth))
    if args.output.exists():
        raise InputError(f"{args.output} exists; choose another --output")
    from restoring import trust
    from restoring.apply import Applier

    apply = Applier.load(args.generator_path)
    dropout = apply.with_dropout()
    most = trust.most_passes(apply, dropout, task)
    deviations, errors = trust.measure(apply, dropout, x, y, task, args.uncertainty or min(8, most))
    calibration = trust.fit_calibration(deviations, errors)
    covered = trust.coverage(calibration, deviations, errors)
    write_text(args.output, json.dumps({**calibration._asdict(), "images": len(x), "covered": covered}) + "\n")
    print(f"{args.output}: floor {calibration.floor:.4f}, slope {calibration.slope:.2f}, from {len(x)} images")
    shares = ", ".join(f"{share:.0f} % in the {level} % interval" for level, share in covered.items())
    print(f"errors of these images: {shares}")
    return 0


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
