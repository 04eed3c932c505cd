"""The tables as text and picture: means and deviations over seeds, significance, the published numbers beside ours."""

import numpy as np
from scipy.stats import wilcoxon

from metrics import affine_metric
from plots import save_before_after
from table_rows import PUBLISHED, ROWS

STILL_IMPROVING = 0.2  # dB of affine PSNR in the last third of a training


def scores(cells, task, metric):
    """(images, seeds) array of one metric of one row; None where no seed has finished.

    Args:
        cells: {seed: {task: cell}} of the row, a cell holding "images" (a list of dicts of scores) or "failed".
        task: name.
        metric: "affine_psnr", for example.
    """
    found = [cell[task]["images"] for cell in cells.values() if "images" in cell.get(task, {})]
    return np.array([[image[metric] for image in images] for images in found]).T if found else None


def cell_text(cells, task, metric):
    """`PSNR / SSIM` of a cell, with deviations over seeds where there are several; the reason where it failed."""
    psnr, ssim = (scores(cells, task, f"{metric}_{key}") for key in ("psnr", "ssim"))
    if psnr is None:
        reasons = {cell[task]["failed"] for cell in cells.values() if "failed" in cell.get(task, {})}
        return f"failed: {'; '.join(sorted(reasons))}" if reasons else "not run"
    means = psnr.mean(axis=0), ssim.mean(axis=0)
    spread = psnr.shape[1] > 1
    texts = [f"{values.mean():.{digits}f}" for values, digits in zip(means, (2, 3), strict=True)]
    if spread:
        texts = [
            f"{text} ± {values.std(ddof=1):.{digits}f}"
            for text, values, digits in zip(texts, means, (2, 3), strict=True)
        ]
    improving = any(cell[task].get("last_third", 0) > STILL_IMPROVING for cell in cells.values() if task in cell)
    failed = sum("failed" in cell.get(task, {}) for cell in cells.values())
    return (
        " / ".join(texts)
        + (" †" if improving else "")
        + (f" ({failed} of {len(cells)} seeds failed)" if failed else "")
    )


def significance(setting, cells, task, ours):
    """How a row of ours differs from the best of the others: `+0.41 dB, p 2e-05` (Wilcoxon, paired by test image).

    Args:
        setting: "A" or "B".
        cells: {row label: {seed: {task: cell}}}.
        task: name.
        ours: label of the row.
    """
    others = [scores(cells.get(row.label, {}), task, "affine_psnr") for row in ROWS[setting] if not row.ours]
    others = [other.mean(axis=1) for other in others if other is not None]
    mine = scores(cells.get(ours, {}), task, "affine_psnr")
    if mine is None or not others:
        return "-"
    best = max(others, key=np.mean)
    difference = mine.mean(axis=1) - best
    # A test of so few pairs, or of equal ones, says nothing.
    p_value = f"p {wilcoxon(difference).pvalue:.1g}" if len(difference) > 5 and difference.any() else "p -"
    return f"{difference.mean():+.2f} dB, {p_value}"


def table_text(setting, names, record):
    """Both metrics' tables and the published numbers as Markdown.

    Args:
        setting: "A" or "B".
        names: of the tasks.
        record: what reproduce_tables.py saves as JSON.
    """
    cells = record["cells"]
    lines = [f"# Table {setting}: {TITLES[setting]}", ""]
    seeds = ", ".join(map(str, record["seeds"]))
    lines += [f"`{record['command']}`", "", f"{record['machine']}; seeds {seeds}. {record['data']}.", ""]
    lines += [
        f"PSNR dB / SSIM, mean over the test images{', ± deviation over seeds' if len(record['seeds']) > 1 else ''}. "
        "† still improving: more than 0.2 dB in the last third of its training. Seconds are those of the training "
        "steps of one seed, compilation and evaluation left out, over all tasks' networks. " + NOTES[setting],
    ]
    lines += ["", *_metric_table(setting, names, cells, "affine")]
    lines += ["", *_metric_table(setting, names, cells, "paper")]
    lines += ["", "| published, CARE's data, paper metric | denoising | axial inpainting | super-resolution |"]
    lines += ["|---" * 4 + "|"]
    lines += [f"| {' | '.join(row)} |" for row in PUBLISHED[setting]]
    return "\n".join(lines) + "\n"


TITLES = {"A": "few real pairs", "B": "no real pairs"}
NOTES = {
    "A": "CIN-GAN's training comes on top of the budget. CARE, augmented: with our crops, flips, turns, averaged weights "
    "and eight-fold averaging.",
    "B": "CIN-GAN's training is half of its row's budget.",
}


def _metric_table(setting, names, cells, metric):
    affine = metric == "affine"
    heads = [f"{metric} metric", *names]
    heads += ["against the best other row", "seconds", "iterations", "parameters"] if affine else []
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in ROWS[setting]:
        own = cells.get(row.label, {})
        if not own:
            continue
        values = [row.label, *(cell_text(own, name, metric) for name in names)]
        if affine:
            compared = [significance(setting, cells, name, row.label) for name in names] if row.ours else ["-"]
            values += ["; ".join(compared), *_costs(own)]
        lines.append(f"| {' | '.join(values)} |")
    return lines


def _costs(cells):
    """Seconds, iterations and parameters of a row, as text."""
    found = [cell for by_task in cells.values() for cell in by_task.values() if "seconds" in cell]
    if not found:
        return ["-"] * 3
    first = next(iter(cells.values()))
    runs = {cell["run"]: cell for cell in first.values() if "run" in cell}
    seconds = f"{sum(cell['seconds'] for cell in runs.values()):.0f}"
    cin = next((cell["cin_seconds"] for cell in runs.values() if cell.get("cin_seconds")), None)
    if cin:
        seconds += f" + {cin:.0f} CIN-GAN"
    parameters = sum(cell["parameters"] for cell in runs.values())
    iterations = " / ".join(f"{cell['iterations']:.0f}" for cell in runs.values())
    return [seconds, iterations, f"{parameters / 1e6:.2f} M"]


def save_picture(path, setting, tasks, pictures):
    """One strip per task: the first test image as every row restores it, with its PSNR, beside the ground truth.

    Args:
        path: .png to write.
        setting: "A" or "B".
        tasks: list of `data_utils.Task`.
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
