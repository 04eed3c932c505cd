"""Whether restoring keeps intensities: flux of the restored test images over that of the ground truth.

    python benchmarks/flux.py --generator_path=Microscopy_cGAN_results/generator.h5 --data_dir=REAL

Flux is the sum over the background, the ground truth's 2 percentile. Only tasks whose x and y are on one scale have a
right answer, 1: both are recorded in the same units, and nothing else should change the sum (`Noise`).
"""

import argparse
from pathlib import Path

import numpy as np

from common.errors import run_script
from data_utils import load_tasks
from restore import load_applier


def flux(image, y):
    """Sum of an (H, W) image over the 2 percentile of y, in y's units."""
    return float(np.sum(np.asarray(image, np.float64) - np.percentile(y, 2)))


def main(args):
    tasks, _ = load_tasks(args.data_dir, None, 10, None, 0, 42)
    apply = load_applier(args.generator_path)
    print("| restored flux / true flux | mean | lowest | highest | input: mean |\n|---|---|---|---|---|")
    for task in tasks:
        ratios, inputs = [], []
        for x, y in zip(task.test_x, task.test_y, strict=True):
            ratios.append(flux(apply(x, task.name, average=8), y) / flux(y, y))
            inputs.append(flux(x, y) / flux(y, y))
        numbers = (np.mean(ratios), np.min(ratios), np.max(ratios), np.mean(inputs))
        print(f"| {task.name} | " + " | ".join(f"{number:.3f}" for number in numbers) + " |", flush=True)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator_path", type=Path, required=True)
    parser.add_argument("--data_dir", type=Path, required=True)
    run_script(main, parser.parse_args())
