"""How a training went: PSNR and SSIM of each task in both metrics, losses and gradient norms, from its log.csv.

    python -m benchmarks training_curve --log=RUN/log.csv --data_dir=REAL --output=curve.png

Gray lines are the input: solid in the affine metric, dashed in the paper's.
"""

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.measuring import read_tasks
from common.metrics import both_metrics

STYLES = {"affine": "-", "paper": "--"}


def read_evaluations(path, task):
    """Rows of a log.csv, {column: number}, of those iterations at which the task was evaluated."""
    with Path(path).open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    return [row for row in rows if f"affine_psnr_{task.name}" in row]


def inputs_of(task):
    """{column without the task's name: mean over the test images} of the input."""
    rows = [both_metrics(x, y) for x, y in zip(task.test_x, task.test_y, strict=True)]
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def draw_scores(axes, log, task, score, inputs):
    """One task's `score`, "psnr" or "ssim", against the iterations."""
    iterations = [row["iteration"] for row in log]
    for metric, style in STYLES.items():
        key = f"{metric}_{score}"
        axes.plot(iterations, [row[f"{key}_{task.name}"] for row in log], style, color="tab:blue", label=metric)
        axes.axhline(inputs[key], linestyle=style, color="gray", linewidth=1)
    axes.set_title(task.name)


def draw_columns(axes, log, names, title):
    """Columns of the log against the iterations, on a logarithmic axis."""
    for name in names:
        axes.semilogy([row["iteration"] for row in log], [row[name] for row in log], label=name)
    axes.set_title(title)


def main(*, log: Path, data_dir: Path, output: Path):
    tasks = read_tasks(data_dir)
    rows = read_evaluations(log, tasks[0])
    norms = [name for name in rows[0] if name.startswith("gradient_")]
    terms = [name.removeprefix("gradient_") for name in norms]
    others = [name for name in rows[0] if name not in terms and name in ("discriminator", "critic")]
    figure = Figure(figsize=(9, 8), layout="constrained")
    grid = figure.subplots(3, max(3, len(tasks)), sharex=True)
    for column, task in enumerate(tasks):
        inputs = inputs_of(task)
        draw_scores(grid[0, column], rows, task, "psnr", inputs)
        draw_scores(grid[1, column], rows, task, "ssim", inputs)
    draw_columns(grid[2, 0], rows, terms, "losses of the generator")
    draw_columns(grid[2, 1], rows, norms, "norms of their gradients")
    draw_columns(grid[2, 2], rows, others, "loss of the discriminator")
    for axes in grid.flat:
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7)
    grid[0, 0].set_ylabel("PSNR, dB")
    grid[1, 0].set_ylabel("SSIM")
    for axes in grid[2]:
        axes.set_xlabel("iterations")
    figure.savefig(output, dpi=100)
