"""Scores of one row of a table on the test images of one task: a trained generator's, or a filter's."""

import numpy as np

import filters
from devices import start_tensorflow
from errors import InputError
from generator_files import load_generator
from metrics import affine_metric, paper_metric
from table_jobs import read_log, seconds_per_logged_iteration


def score_images(restored, task):
    """Both metrics of every test image.

    Raises:
        InputError: a restored image is not finite.
    """
    rows = []
    for image, y in zip(restored, task.test_y, strict=True):
        if not np.isfinite(image).all():
            raise InputError("restored images hold NaN or infinite values: the training diverged")
        scores = {"affine": affine_metric(image, y), "paper": paper_metric(image, y)}
        rows.append({f"{name}_{key}": value for name, values in scores.items() for key, value in values.items()})
    return rows


def score_filter(name, task):
    """Scores of the input itself, total variation or BM3D.

    Returns:
        (cell, the first restored image).
    """
    if name == "bm3d":
        restore = filters.bm3d
    elif name == "total_variation":
        weight = filters.fit_total_variation(task)
        restore = lambda image: filters.total_variation(image, weight)  # noqa: E731
    else:
        restore = np.asarray
    restored = [restore(image) for image in task.test_x]
    cell = {"images": score_images(restored, task)}
    return (cell | {"weight": weight} if name == "total_variation" else cell), restored[0]


def score_generator(row, task, run, cin_run):
    """Scores of a trained generator.

    Args:
        row: `table_rows.Row`.
        task: `data_utils.Task`.
        run: its run folder.
        cin_run: run folder of its CIN-GAN, or None.

    Returns:
        (cell, the first restored image).
    """
    start_tensorflow(0)
    from inference import Applier

    model, metadata = load_generator(run / "generator.h5")
    apply = Applier(lambda inputs, training: model.predict_on_batch(inputs), metadata)
    restored = [apply(image, task.name, average=row.average) for image in task.test_x]
    log = read_log(run)
    cell = {
        "images": score_images(restored, task),
        "run": run.name,
        "seconds": training_seconds(log),
        "iterations": log[-1]["iteration"],
        "parameters": model.count_params(),
        "last_third": last_third(log, task.name),
    }
    if cin_run:
        cell["cin_seconds"] = training_seconds(read_log(cin_run))
    return cell, restored[0]


def training_seconds(log):
    """Seconds of all training steps, compilation left out."""
    return seconds_per_logged_iteration(log) * log[-1]["iteration"]


def last_third(log, name):
    """Gain in affine PSNR, dB, over the last third of a training, from its log."""
    key, end = f"affine_psnr_{name}", log[-1]["iteration"]
    before = [row for row in log if row["iteration"] <= 0.7 * end and key in row]
    return log[-1][key] - before[-1][key] if before else 0.0
