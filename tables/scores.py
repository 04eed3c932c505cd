"""Scores of one row of a table on the test images of one task: a trained generator's, or a filter's."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from common.devices import start_tensorflow
from common.errors import InputError
from common.metrics import both_metrics
from data_utils import Task
from methods import filters
from restoring.apply import Applier
from tables.trainings import read_log, seconds_per_logged_iteration
from training.run_folder import read_args


def score_images(restored: Iterable[np.ndarray], task: Task) -> list[dict]:
    """Both metrics of every test image.

    Raises:
        InputError: a restored image is not finite.
    """
    rows = []
    for image, y, row in zip(restored, task.test_y, task.test_y.rows, strict=True):
        if not np.isfinite(image).all():
            raise InputError("restored images hold NaN or infinite values: the training diverged")
        rows.append({"row": int(row), **both_metrics(image, y)})
    return rows


def score_filter(name: str, task: Task) -> tuple[dict, np.ndarray]:
    """Scores of the input itself, total variation or BM3D, its strength fitted on the training pairs.

    Returns:
        (cell, the first restored image).
    """
    if name == "input":
        restored, found = list(task.test_x), {}
    else:
        function, strengths = filters.FILTERS[name]
        strength = filters.fit(function, strengths, task)
        restored, found = [function(image, strength) for image in task.test_x], {"strength": strength}
    return {"images": score_images(restored, task), **found}, restored[0]


def score_generator(run: Path, task: Task, average: int = 1, cin_run: Path | None = None) -> tuple[dict, np.ndarray]:
    """Scores of a trained generator.

    Args:
        run: its run folder.
        task: whose test images it restores.
        average: images of which each restored one is the mean: 8 for flips and turns.
        cin_run: run folder of its CIN-GAN, which may be missing, or None.

    Returns:
        (cell, the first restored image).

    Raises:
        InputError: it was not trained on the task, or the training diverged.
    """
    start_tensorflow(0)
    apply = Applier.load(run / "generator.h5")
    if task.name not in apply.metadata.tasks:
        raise InputError(f"not trained on {task.name}")
    restored = [apply(image, task.name, average=average) for image in task.test_x]
    log, arguments = read_log(run), read_args(run)["arguments"]
    cell = {
        "images": score_images(restored, task),
        "run": run.name,
        "seconds": training_seconds(log),
        "iterations": log[-1]["iteration"],
        "batch_size": arguments["batch_size"],
        "precision": arguments.get("precision", "float32"),
        "parameters": apply.network.count_params(),
        "last_third": last_third(log, task.name),
    }
    if cin_run and cin_run.exists():
        cell["cin_seconds"] = training_seconds(read_log(cin_run))
    return cell, restored[0]


def training_seconds(log: list[dict[str, float]]) -> float:
    """Seconds of all training steps, compilation left out."""
    return seconds_per_logged_iteration(log) * log[-1]["iteration"]


def last_third(log: list[dict[str, float]], name: str) -> float | None:
    """Gain in affine PSNR, dB, over about the last third of a training, from its log; None where it cannot be told."""
    key, end = f"affine_psnr_{name}", log[-1]["iteration"]
    earlier = [row for row in log[:-1] if key in row]
    if not earlier:
        return None
    return log[-1][key] - min(earlier, key=lambda row: abs(row["iteration"] - 2 / 3 * end))[key]
