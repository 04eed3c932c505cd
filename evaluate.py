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
import filecmp
import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibrate import read_pairs
from common.command_line import OneLineParser
from common.errors import InputError, run_script
from common.files import write_text, written_whole
from restoring.generator_file import Metadata, load_generator, read_metadata, save_generator
from restoring.image_files import find_images
from training.options import tell_idle
from training.run_folder import RunFolder, read_args

if TYPE_CHECKING:
    import keras


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
    from restore import check_task

    run, record = RunFolder(args.run_folder), read_args(args.run_folder)
    args.generator_path = run / "generator.h5"
    metadata = read_metadata(args.generator_path)
    if metadata.makes_defects:
        raise InputError(f"{args.generator_path} makes defects; expected a run that restores")
    task = check_task(args, metadata)
    tell_idle("evaluate", args, metadata)
    if not run.checkpoints():
        raise InputError(f"{args.run_folder} holds no checkpoint; train with --keep_checkpoints=-1")
    x, y = read_pairs(args.x, args.y)
    check_independent(args, record["arguments"].get("data_dir"))
    with run.locked():
        model, rows, standing = score_checkpoints(run, x, y, task)
        best = max(rows, key=lambda row: row[args.metric])["iteration"]
        if args.promote:
            standing = promote(run, model, best, standing, metadata)
        write_results(args, rows, best, standing, len(x))
    return 0


def check_independent(args: argparse.Namespace, data_dir: str | None) -> None:
    """Say where the images are among those that the run knows already."""
    files = {file.resolve() for path in (args.x, args.y) for file in find_images(path)}
    if data_dir and any(file.parent == Path(data_dir).resolve() for file in files):
        print(f"note: {args.x} lies in the run's --data_dir; choose on images that it neither trained nor reports on")


def score_checkpoints(
    run: RunFolder, x: list[np.ndarray], y: list[np.ndarray], task: str | None
) -> tuple[keras.Model, list[dict], int | None]:
    """Scores of the generator of each checkpoint on (x, y), two lists of raw images.

    Returns:
        (the model, [{"iteration", "psnr", "ssim"}, ...], iteration of the one that is generator.h5 or None).

    Raises:
        InputError: no checkpoint is whole, or one is of another network.
    """
    from common.devices import start_tensorflow

    start_tensorflow(None)
    from common.metrics import mean_scores
    from common.progress import progress_bar
    from restoring.apply import Applier

    model, metadata = load_generator(run / "generator.h5")
    now, rows, standing = model.get_weights(), [], None
    apply = Applier(lambda inputs, training: model.predict_on_batch(inputs), metadata)
    for path in progress_bar(iterable=run.checkpoints(), unit="checkpoint", delay=2):
        weights = run.load_released(path)
        if weights is None:
            continue
        check_network(path, weights, now)
        model.set_weights(weights)
        rows.append(_row(path, mean_scores([apply(image, task) for image in x], y)))
        if all(map(np.array_equal, weights, now)):
            standing = rows[-1]["iteration"]
    if not rows:
        raise InputError(f"{run.path}: every checkpoint is damaged")
    return model, rows, standing


def _row(path, scores):
    """A checkpoint's scores, printed."""
    row = {"iteration": int(path.stem), "psnr": scores["affine_psnr"], "ssim": scores["affine_ssim"]}
    print(f"iteration {row['iteration']:6d}: {row['psnr']:.2f} dB / {row['ssim']:.3f}")
    return row


def check_network(path: Path, weights: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Raise InputError where a checkpoint's generator is not the network of generator.h5."""
    if [weight.shape for weight in weights] != [weight.shape for weight in expected]:
        raise InputError(f"{path} is a checkpoint of another network than generator.h5 beside it")


def promote(run: RunFolder, model: keras.Model, best: int, standing: int | None, metadata: Metadata) -> int:
    """Make a checkpoint's generator generator.h5, the one before kept beside it; gives its iteration."""
    if best == standing:
        print(f"{run / 'generator.h5'} is that of iteration {best} already")
        return best
    model.set_weights(run.load_released(run / "checkpoints" / f"{best:06d}.npz"))
    kept = keep_generator(run)
    save_generator(model, run / "generator.h5", metadata)
    print(f"{run / 'generator.h5'} is now that of iteration {best}; the one before is kept as {kept.name}")
    return best


def keep_generator(run: RunFolder) -> Path:
    """Copy generator.h5 to the first free of generator_before.h5, generator_before_2.h5, ...; gives its path."""
    kept, number = run / "generator_before.h5", 1
    while kept.exists() and not filecmp.cmp(run / "generator.h5", kept, shallow=False):
        number += 1
        kept = run / f"generator_before_{number}.h5"
    if not kept.exists():
        with written_whole(kept) as beside:
            shutil.copyfile(run / "generator.h5", beside)
    return kept


def write_results(args: argparse.Namespace, rows: list[dict], best: int, standing: int | None, images: int) -> None:
    """Write evaluation.json, evaluation.png and report.html."""
    from training.plots import save_checkpoint_curve
    from training.report import write_report

    record = {
        "x": str(args.x),
        "y": str(args.y),
        "images": images,
        "metric": args.metric,
        "best": best,
        # Which of them generator.h5 is, and its digest, because a resumed training writes it anew.
        "generator": standing,
        "generator_sha256": hashlib.sha256(args.generator_path.read_bytes()).hexdigest(),
        "iterations": rows,
    }
    write_text(args.run_folder / "evaluation.json", json.dumps(record, indent=2) + "\n")
    save_checkpoint_curve(args.run_folder / "evaluation.png", rows, best)
    write_report(args.run_folder)
    print(f"best of {len(rows)} by {args.metric}, on {images} images of {args.x}: iteration {best}")


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
