"""A table's page: Markdown with the published numbers below ours, and a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.metrics import affine_metric
from data_utils import Task
from tables.rows import JOBS, ROWS
from tables.statistics import done, seed_means, significance
from training.plots import save_before_after

STILL_IMPROVING = 0.2  # dB of affine PSNR in the last third of a training


def cell_text(cells: dict[str, dict], task: str, metric: str) -> str:
    """`PSNR / SSIM` of a cell, with deviations over seeds where there are several; the reason where it failed.

    Args:
        cells: {seed: {task: cell}} of the row.
        task: name.
        metric: "affine" or "paper".
    """
    reasons = {cell[task]["failed"] for cell in cells.values() if "failed" in cell.get(task, {})}
    means = [list(seed_means(cells, task, f"{metric}_{key}").values()) for key in ("psnr", "ssim")]
    if not means[0]:
        return f"failed: {'; '.join(sorted(reasons)).replace('|', '/')}" if reasons else "not run"
    texts = [f"{np.mean(values):.{digits}f}" for values, digits in zip(means, (2, 3), strict=True)]
    if len(means[0]) > 1:
        spreads = [f"{np.std(values, ddof=1):.{digits}f}" for values, digits in zip(means, (2, 3), strict=True)]
        texts = [f"{text} ± {spread}" for text, spread in zip(texts, spreads, strict=True)]
    gains = [cell[task].get("last_third", 0) for cell in cells.values() if done(cell, task)]
    improving = any(gain is None or gain > STILL_IMPROVING for gain in gains)
    failed = sum("failed" in cell.get(task, {}) for cell in cells.values())
    notes = (" †" if improving else "") + (f" ({failed} of {len(cells)} seeds failed)" if failed else "")
    return " / ".join(texts) + notes


def table_text(setting: str, names: list[str], record: dict) -> str:
    """Both metrics' tables and the published numbers as Markdown.

    Args:
        setting: "A" or "B".
        names: of the tasks.
        record: what reproduce_tables.py saves as JSON.
    """
    wanted = [str(seed) for seed in record["seeds"]]
    cells = {job: {s: own[s] for s in wanted if s in own} for job, own in record["cells"].items()}
    seeds = [seed for seed in wanted if any(seed in own for own in cells.values())]
    lines = [f"# Table {setting}: {TITLES[setting]}", ""]
    runs = record["settings"].get("runs")
    trained = f"Finished runs in `{runs}`" if runs else record["machine"]
    lines += [f"`{record['command']}`", "", f"{trained}; seeds {', '.join(seeds)}. {record['data']}.", ""]
    lines += [
        f"PSNR dB / SSIM, mean over the test images{', ± deviation over seeds' if len(seeds) > 1 else ''}. "
        "† still improving: more than 0.2 dB in about the last third of its training. Seconds are those of the "
        "training steps of one seed as they were measured, compilation and evaluation left out, over all tasks' "
        "networks: other work on the machine lengthens them, and changes no result. Iterations are those of each "
        "network, times its batch. " + (RUNS_NOTE if runs else NOTES[setting]),
    ]
    lines += ["", *_metric_table(setting, names, cells, "affine")]
    lines += ["", *_metric_table(setting, names, cells, "paper")]
    lines += ["", "| published, CARE's data, paper metric | denoising | axial inpainting | super-resolution |"]
    lines += ["|---" * 4 + "|"]
    published = [row for row in ROWS[setting] if row.published]
    lines += [f"| {PAPERS_LABEL if row.ours else row.label} | {row.published} |" for row in published]
    return "\n".join(lines) + "\n"


TITLES = {"A": "few real pairs", "B": "no real pairs"}
NOTES = {
    "A": "CIN-GAN's training comes on top of the budget. CARE, augmented: with our crops, flips, turns, averaged "
    "weights and eight-fold averaging.",
    "B": "CIN-GAN's training is half of its row's budget.",
}
RUNS_NOTE = "The rows were trained for different lengths; CIN-GAN's training is stated beside that of its row."
PAPERS_LABEL = "the paper's cGAN"


def _metric_table(setting, names, cells, metric):
    affine = metric == "affine"
    heads = [f"{metric} metric", *names]
    heads += ["against the best other row", "seconds", "iterations", "precision", "parameters"] if affine else []
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in ROWS[setting]:
        own = cells.get(row.job, {})
        if not own:
            continue
        values = [row.label, *(cell_text(own, name, metric) for name in names)]
        if affine:
            compared = [significance(setting, cells, name, row.job) for name in names] if row.ours else ["-"]
            values += ["; ".join(compared), *_costs(row.job, own)]
        lines.append(f"| {' | '.join(values)} |")
    return lines


def _costs(job, cells):
    """Seconds, iterations, precision and parameters of a row, as text, from the first seed that all tasks finished."""
    whole = [list(c.values()) for c in cells.values() if all("seconds" in cell for cell in c.values())]
    if not whole:
        return ["-"] * 4
    runs = list({cell["run"]: cell for cell in whole[0]}.values())
    seconds = f"{sum(cell['seconds'] for cell in runs):.0f}"
    if "cin_seconds" in runs[0]:
        seconds += f" + {runs[0]['cin_seconds']:.0f} CIN-GAN"
    elif JOBS[job].cin:
        seconds += " + CIN-GAN (unknown)"
    iterations = " / ".join(f"{cell['iterations']:.0f} x {cell['batch_size']}" for cell in runs)
    # Records of before hold float32 alone, and do not say so.
    precision = " / ".join(dict.fromkeys(cell.get("precision", "float32") for cell in runs))
    return [seconds, iterations, precision, f"{sum(cell['parameters'] for cell in runs) / 1e6:.2f} M"]


def save_picture(path: Path, setting: str, tasks: list[Task], pictures: dict[tuple[str, str], np.ndarray]) -> None:
    """One strip per task: the first test image as every row restores it, with its PSNR, beside the ground truth.

    Args:
        path: .png to write.
        setting: "A" or "B".
        pictures: {(row label, task name): (H, W) restored}.
    """
    strips = []
    for task in tasks:
        y = task.test_y[0]
        shown = [row for row in ROWS[setting] if (row.label, task.name) in pictures]
        images = [(row.label, pictures[row.label, task.name]) for row in shown]
        strip = [(_picture_title(label, image, y), image) for label, image in images]
        strips.append((task.name, strip, y))
    save_before_after(path, strips)


def _picture_title(label, image, y):
    return f"{label.replace('`', '')}\n{affine_metric(image, y)['psnr']:.1f} dB"
