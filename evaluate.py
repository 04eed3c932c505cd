"""Score every kept checkpoint of a run on images that were set aside for it, and make the best one generator.h5.

    python train_cGAN.py --recipe=tuned --data_dir=my_data --keep_checkpoints=-1
    python evaluate.py Microscopy_cGAN_results --x=ASIDE_X.npy --y=ASIDE_Y.npy
    python evaluate.py Microscopy_cGAN_results --x=aside_bad --y=aside_good --promote

The images must be neither those of the training nor those that a result is reported on: what is chosen on images looks
better on them than it is. Writes evaluation.json and evaluation.png into the run folder and report.html anew. With
--promote the generator that stood there before is kept as generator_before.h5.
"""

import argparse
import json
import shutil
from pathlib import Path

from arguments import OneLineParser
from calibrate import read_images
from errors import InputError, run_script
from generator_files import load_generator, read_metadata, save_generator
from image_files import find_images
from run_folder import RunFolder, write_text, written_whole


def make_parser():
    """The script's arguments."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run_folder", type=Path, help="results folder of train_cGAN.py or train_baseline.py")
    add("--x", type=Path, required=True, help="defective images that were set aside: file or folder")
    add("--y", type=Path, required=True, help="their clean partners")
    add("--task", help="the defect type; needed by recipe paper")
    add("--metric", choices=["psnr", "ssim"], default="psnr", help="which of the affine metric decides (psnr)")
    add("--promote", action="store_true", help="make the best checkpoint's generator generator.h5")
    return parser


def main(args):
    """Score with parsed arguments; returns the exit code."""
    from restore import check_task

    run, generator_path = RunFolder(args.run_folder), args.run_folder / "generator.h5"
    metadata = read_metadata(generator_path)
    if metadata.script == "CIN-GAN":
        raise InputError(f"{generator_path} makes defects; expected a run that restores")
    args.generator_path = generator_path
    task = check_task(args, metadata)
    checkpoints = run.checkpoints()
    if not checkpoints:
        raise InputError(f"{args.run_folder} holds no checkpoint; train with --keep_checkpoints=-1")
    check_independent(args)
    x, y = read_images(args.x), read_images(args.y)
    if [image.shape for image in x] != [image.shape for image in y]:
        raise InputError(f"--y: {len(y)} images, but --x has {len(x)}, or their sizes differ")
    with run.locked():
        rows, model = score_checkpoints(run, checkpoints, generator_path, x, y, task)
        best = max(rows, key=lambda row: row[args.metric])
        if args.promote:
            promote(run, model, best, metadata)
        write_results(args, rows, best, len(x))
    return 0


def check_independent(args):
    """Say where the images are among those that the run knows already."""
    given = json.loads((args.run_folder / "args.json").read_text(encoding="utf-8"))["arguments"].get("data_dir")
    files = {file.resolve() for path in (args.x, args.y) for file in find_images(path)}
    if given and any(file.parent == Path(given).resolve() for file in files):
        print(f"note: {args.x} lies in the run's --data_dir; what is chosen on images that it trained on means nothing")


def score_checkpoints(run, checkpoints, generator_path, x, y, task):
    """Scores of the generator of each checkpoint on (x, y), two lists of raw images.

    Returns:
        ([{"iteration", "psnr", "ssim"}, ...], the model, with the last one's weights).

    Raises:
        InputError: no checkpoint is whole.
    """
    from devices import start_tensorflow

    start_tensorflow(None)
    from inference import Applier
    from metrics import mean_scores
    from progress import progress_bar

    model, metadata = load_generator(generator_path)
    apply = Applier(lambda inputs, training: model.predict_on_batch(inputs), metadata)
    rows = []
    for path in progress_bar(iterable=checkpoints, unit="checkpoint", delay=2):
        weights = run.load_released(path)
        if weights is None:
            continue
        model.set_weights(weights)
        scores = mean_scores([apply(image, task, tile=512) for image in x], y)
        rows.append({"iteration": int(path.stem), "psnr": scores["affine_psnr"], "ssim": scores["affine_ssim"]})
        print(f"iteration {rows[-1]['iteration']:6d}: {rows[-1]['psnr']:.2f} dB / {rows[-1]['ssim']:.3f}")
    if not rows:
        raise InputError(f"{run.path}: every checkpoint is damaged")
    return rows, model


def promote(run, model, best, metadata):
    """Make a checkpoint's generator generator.h5; the one before is kept beside it."""
    model.set_weights(run.load_released(run / "checkpoints" / f"{best['iteration']:06d}.npz"))
    with written_whole(run / "generator_before.h5") as beside:
        shutil.copyfile(run / "generator.h5", beside)
    save_generator(model, run / "generator.h5", metadata)
    print(f"{run / 'generator.h5'} is now that of iteration {best['iteration']}; the one before: generator_before.h5")


def write_results(args, rows, best, images):
    """Write evaluation.json, evaluation.png and report.html."""
    from plots import save_checkpoint_curve
    from run_report import write_report

    record = {
        "x": str(args.x),
        "y": str(args.y),
        "images": images,
        "metric": args.metric,
        "best": best["iteration"],
        "promoted": args.promote,
        "iterations": rows,
    }
    write_text(args.run_folder / "evaluation.json", json.dumps(record, indent=2) + "\n")
    save_checkpoint_curve(args.run_folder / "evaluation.png", rows, best["iteration"])
    write_report(args.run_folder)
    print(f"best of {len(rows)} by {args.metric}, on {images} images of {args.x}: iteration {best['iteration']}")


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
