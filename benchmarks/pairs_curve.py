"""PSNR against the number of training pairs, a panel per task, from the records of `quality`.

    python -m benchmarks pairs_curve --dir=OUT --data_dir=REAL --output=pairs.png

--dir holds pairs.json and seeds.json, written by --part=pairs and --part=seeds. The dotted line is the restoration
without pairs, the gray one the input.
"""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.measuring import read_tasks
from common.metrics import affine_metric

LINES = {"tuned": "o-", "tuned + CIN": "s--", "CARE": "^-", "tuned + CIN, pool": "d-."}
WITHOUT_PAIRS = "tuned, no pairs"


def points_of(cells, task):
    """Numbers of pairs of a task in ascending order, and its mean affine PSNR at each, from {"seed limit": scores}."""
    scores = {}
    for key, of_task in cells.items():
        limit = int(key.split()[1])
        pairs = len(task.train_x) if limit < 0 else min(limit, len(task.train_x))
        scores.setdefault(pairs, []).append(of_task[task.name][0])
    return sorted(scores), [float(np.mean(scores[count])) for count in sorted(scores)]


def draw_task(axes, task, pairs, seeds):
    """Draw the lines of one task; `pairs` and `seeds` are {label: {"seed limit": {task: scores}}}."""
    for label, style in LINES.items():
        counts, psnr = points_of(pairs[label], task)
        axes.plot(counts, psnr, style, label=label, markersize=4)
    without = np.mean([scores[task.name][0] for scores in seeds[WITHOUT_PAIRS].values()])
    axes.axhline(without, color="tab:purple", linestyle=":", label=WITHOUT_PAIRS)
    inputs = [affine_metric(x, y)["psnr"] for x, y in zip(task.test_x, task.test_y, strict=True)]
    axes.axhline(np.mean(inputs), color="gray", linewidth=1, label="input")
    axes.set_xscale("log")
    counts, _ = points_of(pairs["tuned"], task)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(title=task.name, xlabel="training pairs of the task")
    axes.grid(alpha=0.3)


def main(*, dir: Path, data_dir: Path, output: Path):
    records = [json.loads((dir / f"{part}.json").read_text()) for part in ("pairs", "seeds")]
    tasks = read_tasks(data_dir, -1)
    figure = Figure(figsize=(9, 3.1), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks)), tasks, strict=True):
        draw_task(axes, task, *records)
    figure.axes[0].set_ylabel("PSNR (affine), dB")
    figure.axes[-1].legend(fontsize=7, loc="lower right")
    figure.savefig(output, dpi=100)
