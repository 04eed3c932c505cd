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
from typing import TYPE_CHECKING

import numpy as np

from common.command_line import OneLineParser, integer
from common.errors import InputError, run_script
from common.files import write_text
from restoring.generator_file import read_metadata
from restoring.image_files import find_images, read_image
from training.options import tell_idle

if TYPE_CHECKING:
    from restoring.apply import Applier
    from restoring.trust import Calibration

LEVELS = {50: 0.674, 80: 1.282, 95: 1.960}  # half-widths of normal intervals, in deviations


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
    from restore import check_task, load_uncertain

    metadata = read_metadata(args.generator_path)
    if metadata.makes_defects:
        raise InputError(f"{args.generator_path} makes defects; calibration is for generators that restore")
    task = check_task(args, metadata)
    tell_idle("calibrate", args, metadata)
    x, y = (images[: args.limit] for images in read_pairs(args.input, args.ground_truth))
    if args.output.exists():
        raise InputError(f"{args.output} exists; choose another --output")
    apply, dropout = load_uncertain(args.generator_path)
    from restoring import trust

    most = trust.most_passes(apply, dropout, task)
    deviations, errors = measure(apply, dropout, x, y, task, args.uncertainty or min(8, most))
    calibration = trust.fit_calibration(deviations, errors)
    covered = coverage(calibration, deviations, errors)
    write_text(args.output, json.dumps({**calibration._asdict(), "images": len(x), "covered": covered}) + "\n")
    print(f"{args.output}: floor {calibration.floor:.4f}, slope {calibration.slope:.2f}, from {len(x)} images")
    print("of its own images, " + ", ".join(f"{share:.0f} % lie in {level} %" for level, share in covered.items()))
    return 0


def read_pairs(x_path: Path, y_path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """All planes of two files, or of two folders whose files pair by name.

    Returns:
        (x, y), lists of (H, W) float32.

    Raises:
        InputError: they are not pairs: other names, numbers or sizes.
    """
    x_files, y_files = find_images(x_path), find_images(y_path)
    if x_path.is_dir() and y_path.is_dir():
        lonely = sorted({file.stem for file in x_files} ^ {file.stem for file in y_files})
        if lonely:
            raise InputError(
                f"{x_path}, {y_path}: {lonely[0]} has no partner ({len(lonely)} have none); files pair by name"
            )
    x, y = (
        [np.asarray(plane, np.float32) for file in files for plane in read_image(file).planes]
        for files in (x_files, y_files)
    )
    if [image.shape for image in x] != [image.shape for image in y]:
        raise InputError(f"{x_path} holds {len(x)} images and {y_path} {len(y)}, or their sizes differ")
    return x, y


def measure(
    apply: Applier, dropout: Applier | None, x: list[np.ndarray], y: list[np.ndarray], task: str | None, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The passes' deviations and the errors of their means, two flat arrays, in units of each image's span.

    y is put on x's scale by a straight line first, as the affine metric does: what is left was restored wrongly.
    """
    from restoring import trust
    from restoring.apply import OVERLAP, TILE

    deviations, errors = [], []
    for image, truth in zip(x, y, strict=True):
        span = trust.image_span(image)
        outputs = trust.passes(apply, dropout, image, task, count, TILE, OVERLAP)
        mean = outputs.mean(axis=0)
        gain, offset = np.polyfit(truth.ravel(), mean.ravel(), 1)
        deviations.append((trust.disagreement(outputs) / span).ravel())
        errors.append(((mean - gain * truth - offset) / span).ravel())
    return np.concatenate(deviations), np.concatenate(errors)


def coverage(calibration: Calibration, deviations: np.ndarray, errors: np.ndarray) -> dict[int, float]:
    """{level: percent of the errors inside the interval of that level}."""
    error = calibration.error(deviations)
    return {level: float(100 * np.mean(np.abs(errors) <= width * error)) for level, width in LEVELS.items()}


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
