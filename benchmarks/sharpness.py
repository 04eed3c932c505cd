"""Scores and sharpness of generators on images that they were not trained on and that are no test images.

    python -m benchmarks sharpness --data_dir=REAL --images_limit=10 RUN/generator.h5 OTHER_RUN/generator.h5

For each generator and task: affine PSNR and SSIM, and the power of the restored image over that of y in bands of
spatial frequency (cycles per pixel), geometric means over images: 1 is as sharp as y, less is smoother. Up to 40 rows
of each task's training file after the first `--images_limit`; the seed is that of the training.
"""

from pathlib import Path

import numpy as np

from benchmarks.measuring import print_table, read_tasks
from common.errors import InputError
from common.metrics import affine_metric, fit_affine
from restoring.apply import Applier

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


def row(path, task, images_limit, average):
    """Run, task, and the means of `compare` over the task's rows behind its pairs, power ratios as such, as text."""
    apply = Applier.load(path)
    rows = range(images_limit, min(images_limit + MOST_ROWS, len(task.train_x)))
    if not rows:
        raise InputError(f"{task.name} has {len(task.train_x)} pairs, none behind --images_limit={images_limit}")
    restored = {k: apply(task.train_x[k], task.name, average=average) for k in rows}
    psnr, ssim, *power = np.mean([compare(restored[k], task.train_y[k]) for k in rows], axis=0)
    return [path.parent.parent.name, task.name, f"{psnr:.2f} / {ssim:.3f}", *(f"{p:.2f}" for p in np.exp(power))]


def main(*generators, data_dir: Path, images_limit: int = 10, average: int = 8, seed: int = 42):
    tasks = read_tasks(data_dir, -1, seed)
    head = ["", "task", "PSNR / SSIM", *(f"power at {low} to {high}" for low, high in BANDS)]
    print_table(head, (row(Path(path), task, images_limit, average) for path in generators for task in tasks))
