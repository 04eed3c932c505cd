"""PSNR against the number of training pairs, a panel per task, from the records of benchmarks/quality.py.

    python benchmarks/pairs_curve.py --dir=OUT --data_dir=REAL --output=pairs.png

--dir holds pairs.json and seeds.json, written by --part=pairs and --part=seeds. The dotted line is the restoration
without pairs, the gray one the input.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from common.errors import run_script
from common.metrics import affine_metric
from data_utils import Task, load_tasks

LINES = {"tuned": "o-", "tuned + CIN": "s--", "CARE": "^-", "tuned + CIN, pool": "d-."}
WITHOUT_PAIRS = "tuned, no pairs"


def points_of(cells: dict, task: Task) -> tuple[list[int], list[float]]:
    """Numbers of pairs of a task in ascending order, and its mean affine PSNR at each, from {"seed limit": scores}."""
    scores = {}
    for key, of_task in cells.items():
        limit = int(key.split()[1])
        pairs = len(task.train_x) if limit < 0 else min(limit, len(task.train_x))
        scores.setdefault(pairs, []).append(of_task[task.name][0])
    pairs = sorted(scores)
    return pairs, [float(np.mean(scores[count])) for count in pairs]


def draw_task(axes: Axes, task: Task, pairs: dict, seeds: dict) -> None:
    """Draw the lines of one task; `pairs` and `seeds` are {label: {"seed limit": {task: scores}}}."""
    for label, style in LINES.items():
        counts, psnr = points_of(pairs[label], task)
        axes.plot(counts, psnr, style, label=label, markersize=4)
    without = np.mean([scores[task.name][0] for scores in seeds[WITHOUT_PAIRS].values()])
    axes.axhline(without, color="tab:purple", linestyle=":", label="tuned, no pairs")
    inputs = [affine_metric(x, y)["psnr"] for x, y in zip(task.test_x, task.test_y, strict=True)]
    axes.axhline(np.mean(inputs), color="gray", linewidth=1, label="input")
    axes.set_xscale("log")
    counts, _ = points_of(pairs["tuned"], task)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(title=task.name, xlabel="training pairs of the task")
    axes.grid(alpha=0.3)


def main(args: argparse.Namespace) -> int:
    records = [json.loads((args.dir / f"{part}.json").read_text()) for part in ("pairs", "seeds")]
    tasks, _ = load_tasks(args.data_dir, None, -1, None, 0, 42)
    figure = Figure(figsize=(9, 3.1), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks)), tasks, strict=True):
        draw_task(axes, task, *records)
    figure.axes[0].set_ylabel("PSNR (affine), dB")
    figure.axes[-1].legend(fontsize=7, loc="lower right")
    FigureCanvasAgg(figure)
    figure.savefig(args.output, dpi=100)
    print(args.output)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True, help="folder of quality.py's records")
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help=".png to write")
    run_script(main, parser.parse_args())
