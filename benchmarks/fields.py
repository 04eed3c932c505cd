"""One picture of restored test fields of every task: input, CARE, ours, ground truth, one above the other.

    python benchmarks/fields.py --care=CARE_results --generator_path=Microscopy_cGAN_results/generator.h5 \
        --data_dir=REAL --output=fields.png

Eight fields a task, evenly spread over the test rows, each method as the tables score it: CARE in one pass, as its own
library predicts, ours as the mean over flips and turns. Gray, all four in the range of the ground truth's 0.5 to 99.5
percentiles, each restored image after the affine metric's straight line; the number is its affine PSNR in dB.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from common.errors import run_script
from common.metrics import affine_metric, fit_affine
from data_utils import load_tasks
from restore import load_applier

FIELDS, SIDE = 8, 1.04  # images a task, inches of each


def restore_fields(task, care, ours):
    """[(label, FIELDS images of (H, W) in raw units), ...] of one task; `care` and `ours` are `inference.Applier`s."""
    chosen = np.linspace(0, len(task.test_x) - 1, FIELDS).round().astype(int)
    x, y = ([images[i] for i in chosen] for images in (task.test_x, task.test_y))
    return [
        ("input", x),
        ("CARE", [care(image, task.name) for image in x]),
        ("ours", [ours(image, task.name, average=8) for image in x]),
        ("truth", y),
    ]


def draw_task(panels, rows, name):
    """Fill (methods, FIELDS) axes with the rows that `restore_fields` gives; the last of them is the ground truth."""
    truths = rows[-1][1]
    for line, (label, images) in zip(panels, rows, strict=True):
        for axes, image, y in zip(line, images, truths, strict=True):
            low, high = np.percentile(y, [0.5, 99.5])
            axes.imshow(fit_affine(image, y), cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            if image is not y:
                text = f"{affine_metric(image, y)['psnr']:.1f}"
                axes.text(0.04, 0.05, text, transform=axes.transAxes, fontsize=7, color="white").set_bbox(
                    {"facecolor": "black", "alpha": 0.6, "pad": 1, "linewidth": 0}
                )
        line[0].set_ylabel(label, fontsize=8)
    panels[0][0].set_title(name, fontsize=9, loc="left")


def main(args):
    tasks, _ = load_tasks(args.data_dir, None, 10, None, 0, 42)
    figure = Figure(figsize=(FIELDS * SIDE + 0.3, len(tasks) * (4 * SIDE + 0.25)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    grid = figure.subplots(4 * len(tasks), FIELDS)
    ours = load_applier(args.generator_path)
    for index, task in enumerate(tasks):
        care = load_applier(args.care / task.name / "generator.h5")
        draw_task(grid[4 * index : 4 * index + 4], restore_fields(task, care, ours), task.name)
    FigureCanvasAgg(figure)
    figure.savefig(args.output, dpi=100)
    with Image.open(args.output) as picture:  # a third of the size as gray values
        gray = picture.convert("L")
    gray.save(args.output, optimize=True)
    print(args.output)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--care", type=Path, required=True, help="results folder of train_baseline.py --method=care")
    parser.add_argument("--generator_path", type=Path, required=True, help="generator.h5 of train_cGAN.py")
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help=".png to write")
    run_script(main, parser.parse_args())
