"""One picture of restored test fields of every task: input, CARE, ours, ground truth, one above the other.

    python -m benchmarks fields --care=CARE_results --generator_path=Microscopy_cGAN_results/generator.h5 \
        --data_dir=REAL --output=fields.png

Eight fields a task, evenly spread over the test rows, each method as the tables score it: CARE in one pass, ours as the
mean over flips and turns. All in the range of the ground truth's 0.5 to 99.5 percentiles, after the affine metric's
straight line; the number is the affine PSNR in dB.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.measuring import read_tasks
from common.metrics import affine_metric, fit_affine
from restoring.apply import Applier

FIELDS, SIDE = 8, 1.04  # images a task, inches of each


def restore_fields(task, care, ours):
    """{label: FIELDS images of (H, W) in raw units} of one task; `care` and `ours` are `Applier`s."""
    chosen = np.linspace(0, len(task.test_x) - 1, FIELDS).round().astype(int)
    x, y = ([images[i] for i in chosen] for images in (task.test_x, task.test_y))
    restored = {"CARE": [care(i, task.name) for i in x], "ours": [ours(i, task.name, average=8) for i in x]}
    return {"input": x, **restored, "truth": y}


def draw_task(panels, rows, name):
    """Fill (methods, FIELDS) axes with the rows that `restore_fields` gives."""
    for line, (label, images) in zip(panels, rows.items(), strict=True):
        draw_fields(line, images, rows["truth"])
        line[0].set_ylabel(label, fontsize=8)
    panels[0][0].set_title(name, fontsize=9, loc="left")


def draw_fields(line, images, truths):
    """Show images, each in the range of its (H, W) truth after a straight line, with its affine PSNR."""
    box = {"facecolor": "black", "alpha": 0.6, "pad": 1, "linewidth": 0}
    for axes, image, y in zip(line, images, truths, strict=True):
        low, high = np.percentile(y, [0.5, 99.5])
        axes.imshow(fit_affine(image, y), cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        if image is not y:
            text = f"{affine_metric(image, y)['psnr']:.1f}"
            axes.text(0.04, 0.05, text, transform=axes.transAxes, fontsize=7, color="white", bbox=box)


def main(*, care: Path, generator_path: Path, data_dir: Path, output: Path):
    tasks = read_tasks(data_dir)
    figure = Figure(figsize=(FIELDS * SIDE + 0.3, len(tasks) * (4 * SIDE + 0.25)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    grid = figure.subplots(4 * len(tasks), FIELDS)
    ours = Applier.load(generator_path)
    for index, task in enumerate(tasks):
        rows = restore_fields(task, Applier.load(care / task.name / "generator.h5"), ours)
        draw_task(grid[4 * index : 4 * index + 4], rows, task.name)
    figure.savefig(output, dpi=100)
    Image.open(output).convert("L").save(output, optimize=True)  # a third of the size as gray values
