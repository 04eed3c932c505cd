"""Scores and sharpness of generators on images that they were not trained on and that are no test images.

    python benchmarks/sharpness.py --data_dir=REAL --images_limit=10 RUN/generator.h5 OTHER_RUN/generator.h5

For each generator and task: affine PSNR and SSIM, and the power of the restored image over that of y in bands of
spatial frequency (cycles per pixel), geometric means over images: 1 is as sharp as y, less is smoother. Up to 40 rows
of each task's training file after the first `--images_limit`; the seed is that of the training. A term of the loss that
makes neither better has not earned its time.
"""

import argparse
from pathlib import Path

import numpy as np

from common.errors import InputError, run_script
from common.metrics import affine_metric, fit_affine
from data_utils import load_tasks

BANDS = ((0.02, 0.05), (0.05, 0.1), (0.1, 0.2), (0.2, 0.5))
MOST_ROWS = 40


def band_power(image):
    """(4,): power in each of BANDS of an (H, W) image, its mean taken away, under a Hann window."""
    window = np.outer(*(np.hanning(side) for side in image.shape))
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in image.shape), indexing="ij"))
    return np.array([power[(frequency >= low) & (frequency < high)].sum() for low, high in BANDS])


def compare(restored, y):
    """[affine PSNR in dB, SSIM, logarithm of the power ratio in each band] of two (H, W) images in raw units."""
    y = np.asarray(y, np.float64)
    fitted, scores = fit_affine(np.asarray(restored, np.float64), y), affine_metric(restored, y)
    return [scores["psnr"], scores["ssim"], *(np.log(band_power(fitted)) - np.log(band_power(y)))]


def measure(path, task, images_limit, average):
    """Means of `compare` over the rows of a task behind its pairs, the power ratios as such."""
    from restore import load_applier

    apply = load_applier(path)
    rows = range(images_limit, min(images_limit + MOST_ROWS, len(task.train_x)))
    if not rows:
        raise InputError(f"{task.name} has {len(task.train_x)} pairs, none behind --images_limit={images_limit}")
    means = np.mean(
        [compare(apply(task.train_x[row], task.name, average=average), task.train_y[row]) for row in rows], axis=0
    )
    return [*means[:2], *np.exp(means[2:])]


def main(args):
    tasks, _ = load_tasks(args.data_dir, None, -1, None, 0, args.seed)
    print("| | task | PSNR / SSIM | " + " | ".join(f"power at {low} to {high}" for low, high in BANDS) + " |")
    print("|---" * (3 + len(BANDS)) + "|")
    for path in args.generators:
        for task in tasks:
            psnr, ssim, *power = measure(path, task, args.images_limit, args.average)
            cells = [f"{psnr:.2f} / {ssim:.3f}", *(f"{ratio:.2f}" for ratio in power)]
            print(f"| {path.parent.parent.name} | {task.name} | " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generators", type=Path, nargs="+", help="generator.h5 of trainings")
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--images_limit", type=int, default=10, help="pairs that they were trained on")
    parser.add_argument("--average", type=int, default=8, help="as in restore.py")
    parser.add_argument("--seed", type=int, default=42)
    run_script(main, parser.parse_args())
