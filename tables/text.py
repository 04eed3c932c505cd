"""The tables as text and picture: means and deviations over seeds, significance, the published numbers beside ours."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

from common.metrics import affine_metric
from data_utils import Task
from tables.rows import PUBLISHED, ROWS
from training.plots import save_before_after

STILL_IMPROVING = 0.2  # dB of affine PSNR in the last third of a training


def seed_means(cells: dict[str, dict], task: str, metric: str) -> dict[str, float]:
    """{seed: mean over the test images} of one metric of one row, for the seeds that finished.

    Args:
        cells: {seed: {task: cell}} of the row, a cell holding "images" (a list of dicts of scores) or "failed".
        task: name.
        metric: "affine_psnr", for example.
    """
    return {seed: np.mean([i[metric] for i in c[task]["images"]]) for seed, c in cells.items() if _done(c, task)}


def image_means(cells: dict[str, dict], task: str, metric: str, seeds: Iterable[str]) -> dict[int, float]:
    """{image: mean over seeds} of one metric of one row; images that seeds split off differently stand alone."""
    found = {}
    for seed in seeds:
        for image in cells[seed][task]["images"]:
            found.setdefault(image["row"], []).append(image[metric])
    return {image: np.mean(values) for image, values in found.items()}


def _done(cell_of, task):
    return "images" in cell_of.get(task, {})


def cell_text(cells: dict[str, dict], task: str, metric: str) -> str:
    """`PSNR / SSIM` of a cell, with deviations over seeds where there are several; the reason where it failed."""
    reasons = {cell[task]["failed"] for cell in cells.values() if "failed" in cell.get(task, {})}
    means = [list(seed_means(cells, task, f"{metric}_{key}").values()) for key in ("psnr", "ssim")]
    if not means[0]:
        return f"failed: {'; '.join(sorted(reasons)).replace('|', '/')}" if reasons else "not run"
    texts = [f"{np.mean(values):.{digits}f}" for values, digits in zip(means, (2, 3), strict=True)]
    if len(means[0]) > 1:
        spreads = [f"{np.std(values, ddof=1):.{digits}f}" for values, digits in zip(means, (2, 3), strict=True)]
        texts = [f"{text} ± {spread}" for text, spread in zip(texts, spreads, strict=True)]
    gains = [cell[task].get("last_third", 0) for cell in cells.values() if _done(cell, task)]
    improving = any(gain is None or gain > STILL_IMPROVING for gain in gains)
    failed = sum("failed" in cell.get(task, {}) for cell in cells.values())
    notes = (" †" if improving else "") + (f" ({failed} of {len(cells)} seeds failed)" if failed else "")
    return " / ".join(texts) + notes


def significance(setting: str, cells: dict[str, dict], task: str, ours: str) -> str:
    """How a row of ours differs from the best of the others: `+0.41 dB to CARE, p 2e-05` (Wilcoxon, by test image).

    Args:
        setting: "A" or "B".
        cells: {job: {seed: {task: cell}}}.
        task: name.
        ours: job of the row.
    """
    means = {row: seed_means(cells.get(row.job, {}), task, "affine_psnr") for row in ROWS[setting] if not row.ours}
    means = {row: list(values.values()) for row, values in means.items() if values}
    mine = seed_means(cells.get(ours, {}), task, "affine_psnr")
    if not mine or not means:
        return "-"
    best = max(means, key=lambda row: np.mean(means[row]))
    seeds = [seed for seed in mine if _done(cells[best.job].get(seed, {}), task)]
    pair = [image_means(cells[job], task, "affine_psnr", seeds) for job in (ours, best.job)]
    difference = np.array([pair[0][image] - pair[1][image] for image in pair[0]])
    # A test of so few pairs, or of equal ones, says nothing.
    p_value = f"p {wilcoxon(difference).pvalue:.1g}" if len(difference) > 5 and difference.any() else "p -"
    return f"{difference.mean():+.2f} dB to {best.label}, {p_value}" if seeds else "-"


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
    lines += [f"`{record['command']}`", "", f"{record['machine']}; seeds {', '.join(seeds)}. {record['data']}.", ""]
    lines += [
        f"PSNR dB / SSIM, mean over the test images{', ± deviation over seeds' if len(seeds) > 1 else ''}. "
        "† still improving: more than 0.2 dB in about the last third of its training. Seconds are those of the "
        "training steps of one seed as they were measured, compilation and evaluation left out, over all tasks' "
        "networks: other work on the machine lengthens them, and changes no result. Iterations are those of each "
        "network, times its batch. " + NOTES[setting],
    ]
    lines += ["", *_metric_table(setting, names, cells, "affine")]
    lines += ["", *_metric_table(setting, names, cells, "paper")]
    lines += ["", "| published, CARE's data, paper metric | denoising | axial inpainting | super-resolution |"]
    lines += ["|---" * 4 + "|"]
    lines += [f"| {' | '.join(row)} |" for row in PUBLISHED[setting]]
    return "\n".join(lines) + "\n"


TITLES = {"A": "few real pairs", "B": "no real pairs"}
NOTES = {
    "A": "CIN-GAN's training comes on top of the budget. CARE, augmented: with our crops, flips, turns, averaged "
    "weights and eight-fold averaging.",
    "B": "CIN-GAN's training is half of its row's budget.",
}


def _metric_table(setting, names, cells, metric):
    affine = metric == "affine"
    heads = [f"{metric} metric", *names]
    heads += ["against the best other row", "seconds", "iterations", "parameters"] if affine else []
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in ROWS[setting]:
        own = cells.get(row.job, {})
        if not own:
            continue
        values = [row.label, *(cell_text(own, name, metric) for name in names)]
        if affine:
            compared = [significance(setting, cells, name, row.job) for name in names] if row.ours else ["-"]
            values += ["; ".join(compared), *_costs(own)]
        lines.append(f"| {' | '.join(values)} |")
    return lines


def _costs(cells):
    """Seconds, iterations and parameters of a row, as text, from the first seed that all tasks finished."""
    whole = [list(c.values()) for c in cells.values() if all("seconds" in cell for cell in c.values())]
    if not whole:
        return ["-"] * 3
    runs = list({cell["run"]: cell for cell in whole[0]}.values())
    seconds = f"{sum(cell['seconds'] for cell in runs):.0f}"
    if "cin_seconds" in runs[0]:
        seconds += f" + {runs[0]['cin_seconds']:.0f} CIN-GAN"
    iterations = " / ".join(f"{cell['iterations']:.0f} x {cell['batch_size']}" for cell in runs)
    return [seconds, iterations, f"{sum(cell['parameters'] for cell in runs) / 1e6:.2f} M"]


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
