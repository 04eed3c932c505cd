"""Sample grids, loss curves and before/after strips; gray images with their own range stated."""

from __future__ import annotations

import io
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from common.files import written_whole
from common.metrics import fit_affine


def show_image(axes: Axes, image: np.ndarray, title: str) -> None:
    """Draw an (H, W) image in gray between its 0.5 and 99.5 percentiles, and say so below the title."""
    low, high = np.percentile(image, [0.5, 99.5])
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    axes.set_title(f"{title}\n{low:.4g} to {high:.4g}", fontsize=8)
    axes.set_axis_off()


def save_sample_grid(path: Path, rows: list, heading: str) -> np.ndarray:
    """Save a grid of images, one row per task.

    Args:
        path: .png to write.
        rows: [(task, [(title, (H, W) image), ...]), ...], all of one length.
        heading: text above.

    Returns:
        The picture, (height, width, 3) uint8.
    """
    columns = max(len(row) for _, row in rows)
    figure = Figure(figsize=(2.2 * columns, 2.5 * len(rows) + 0.4), layout="constrained")
    figure.suptitle(heading, fontsize=9)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for (task, row), line in zip(rows, grid, strict=True):
        for (title, image), axes in zip(row, line, strict=True):
            show_image(axes, image, f"{task}: {title}")
    return _save(figure, path)


def save_before_after(path: Path, rows: list) -> None:
    """Save strips of candidates beside the ground truth, all in the range of the truth.

    Each candidate is shown after the least-squares gain and offset onto y, as the affine metric sees it.

    Args:
        path: .png to write.
        rows: [(task, [(title, (H, W) image), ...], (H, W) ground truth), ...].
    """
    columns = 1 + max(len(candidates) for _, candidates, _ in rows)
    figure = Figure(figsize=(2.4 * columns, 2.65 * len(rows)), layout="constrained")
    for (task, candidates, y), line in zip(rows, figure.subplots(len(rows), columns, squeeze=False), strict=True):
        low, high = np.percentile(y, [0.5, 99.5])
        fitted = [(title, fit_affine(image, y)) for title, image in candidates]
        for axes in line:  # those too that stay empty in a strip of fewer candidates
            axes.set_axis_off()
        for (title, image), axes in zip([*fitted, ("ground truth", y)], line, strict=False):
            axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            axes.set_title(f"{task}: {title}", fontsize=8)
    _save(figure, path)


def save_loss_curves(path: Path, rows: list[dict]) -> None:
    """Save the losses and the PSNR of each task over the iterations, from the rows of log.csv."""
    iterations = [int(row["iteration"]) for row in rows]
    columns = dict.fromkeys(key for row in rows for key in row)
    scores = [key for key in columns if key.startswith("affine_psnr_")]
    other = ("affine_", "paper_", "noise_ratio_", "gradient_")
    losses = [key for key in columns if not key.startswith(other) and key not in ("iteration", "seconds")]
    # Axes of its own for each loss: on one, a loss of -28 and one of 0.25 would both be flat.
    panels = [*([loss] for loss in losses), scores]
    columns = min(len(panels), 3)
    figure = Figure(figsize=(4.5 * columns, 3.2 * ceil(len(panels) / columns)), layout="constrained")
    for position, keys in enumerate(panels, start=1):
        axes = figure.add_subplot(ceil(len(panels) / columns), columns, position)
        for key in keys:
            values = [float(row.get(key) or "nan") for row in rows]
            axes.plot(iterations, values, marker=".", label=key.removeprefix("affine_psnr_"))
        axes.set(xlabel="iteration", ylabel="PSNR (affine), dB" if keys is scores else f"loss {keys[0]}")
        if keys is scores:
            axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    _save(figure, path)


def radial_spectrum(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Power spectrum of an (H, W) image over all directions: (cycles per pixel, mean power per pixel), 1-D arrays.

    White noise of variance v has power v at every frequency. A Hann window keeps the borders out.
    """
    window = np.outer(*(np.hanning(size + 2)[1:-1] for size in image.shape))
    power = np.abs(np.fft.fft2((image - np.mean(image)) * window)) ** 2 / np.sum(window**2)
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(size) for size in image.shape), indexing="ij"))
    width = 1 / min(image.shape)
    rings = np.round(frequency / width).astype(int).ravel()
    sums, counts = np.bincount(rings, power.ravel()), np.bincount(rings)
    inside = slice(1, min(image.shape) // 2)
    return np.arange(len(sums))[inside] * width, (sums / np.maximum(counts, 1))[inside]


def draw_spectra(images: dict[str, dict[str, np.ndarray]]) -> bytes:
    """A .png of power spectra, one panel a task.

    Args:
        images: {task: {title: (H, W) image}}; titles are the same in all tasks.
    """
    columns = min(len(images), 3)
    figure = Figure(figsize=(4.5 * columns, 3.2 * ceil(len(images) / columns)), layout="constrained")
    for position, (task, shown) in enumerate(images.items(), start=1):
        axes = figure.add_subplot(ceil(len(images) / columns), columns, position)
        for (title, image), style in zip(shown.items(), ("-", "--", ":"), strict=False):
            axes.loglog(*radial_spectrum(image), style, label=title)
        axes.set(xlabel="cycles per pixel", ylabel="power", title=task)
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    FigureCanvasAgg(figure)
    with io.BytesIO() as picture:
        figure.savefig(picture, dpi=100, format="png")
        return picture.getvalue()


def save_checkpoint_curve(path: Path, rows: list[dict], best: int) -> None:
    """Save PSNR and SSIM (affine) of the checkpoints of a run, and which one is best.

    Args:
        path: .png to write.
        rows: [{"iteration", "psnr", "ssim"}, ...].
        best: its iteration.
    """
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, key, label in zip(figure.subplots(1, 2), ("psnr", "ssim"), ("PSNR, dB", "SSIM"), strict=True):
        axes.plot([row["iteration"] for row in rows], [row[key] for row in rows], marker=".")
        axes.axvline(best, color="gray", linestyle="--", label=f"best: {best}")
        axes.set(xlabel="iteration of the checkpoint", ylabel=f"{label} (affine)")
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    _save(figure, path)


def _save(figure, path):
    FigureCanvasAgg(figure)
    with written_whole(path) as beside:
        figure.savefig(beside, dpi=100)
        # Read back, not drawn again: a second layout differs by a pixel, and TensorBoard shows what the file shows.
        with Image.open(beside) as picture:
            return np.asarray(picture.convert("RGB"))
