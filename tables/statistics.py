"""What a table says of its cells: means over images and seeds, and significance.

A cell is what `scores` gives, {"images": [{"row": 3, "affine_psnr": 21.2, ...}], ...}, or {"failed": reason}; a row's
cells are {seed: {task: cell}}.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.stats import wilcoxon

from tables.rows import ROWS


def seed_means(cells: dict[str, dict], task: str, metric: str) -> dict[str, float]:
    """{seed: mean over the test images} of one metric of one row, for the seeds that finished.

    Args:
        cells: of the row.
        task: name.
        metric: "affine_psnr", for example.
    """
    return {seed: np.mean([i[metric] for i in c[task]["images"]]) for seed, c in cells.items() if done(c, task)}


def image_means(cells: dict[str, dict], task: str, metric: str, seeds: Iterable[str]) -> dict[int, float]:
    """{image: mean over seeds} of one metric of one row; images that seeds split off differently stand alone."""
    found = {}
    for seed in seeds:
        for image in cells[seed][task]["images"]:
            found.setdefault(image["row"], []).append(image[metric])
    return {image: np.mean(values) for image, values in found.items()}


def done(cell_of: dict[str, dict], task: str) -> bool:
    """Whether a task has scores among the {task: cell} of one seed."""
    return "images" in cell_of.get(task, {})


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
    seeds = [seed for seed in mine if done(cells[best.job].get(seed, {}), task)]
    pair = [image_means(cells[job], task, "affine_psnr", seeds) for job in (ours, best.job)]
    difference = np.array([pair[0][image] - pair[1][image] for image in pair[0]])
    # A test of so few pairs, or of equal ones, says nothing.
    p_value = f"p {wilcoxon(difference).pvalue:.1g}" if len(difference) > 5 and difference.any() else "p -"
    return f"{difference.mean():+.2f} dB to {best.label}, {p_value}" if seeds else "-"
