"""Whether restoring keeps intensities: flux of the restored test images over that of the ground truth.

    python -m benchmarks flux --generator_path=Microscopy_cGAN_results/generator.h5 --data_dir=REAL

Flux is the sum over the background, the ground truth's 2 percentile. Only tasks whose x and y are on one scale have a
right answer, 1: both are recorded in the same units, and nothing else should change the sum (`Noise`).
"""

from pathlib import Path

import numpy as np

from benchmarks.measuring import print_table, read_tasks
from restoring.apply import Applier


def flux(image, y):
    """Sum of an (H, W) image over the 2 percentile of y, in y's units."""
    return float(np.sum(np.asarray(image, np.float64) - np.percentile(y, 2)))


def row(task, apply):
    """A task's name, and its ratios as text."""
    pairs = list(zip(task.test_x, task.test_y, strict=True))
    ratios = [flux(apply(x, task.name, average=8), y) / flux(y, y) for x, y in pairs]
    inputs = [flux(x, y) / flux(y, y) for x, y in pairs]
    return [task.name, *(f"{n:.3f}" for n in (np.mean(ratios), np.min(ratios), np.max(ratios), np.mean(inputs)))]


def main(*, generator_path: Path, data_dir: Path):
    apply = Applier.load(generator_path)
    rows = (row(task, apply) for task in read_tasks(data_dir))
    print_table(["restored flux / true flux", "mean", "lowest", "highest", "input: mean"], rows)
