"""Choosing among the checkpoints of a run by images that were set aside, and making the best one generator.h5."""

from __future__ import annotations

import filecmp
import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import InputError
from common.files import write_text, written_whole
from common.progress import progress_bar
from restoring.apply import Applier
from restoring.generator_file import Metadata, save_generator
from restoring.image_files import find_images
from training.run_folder import RunFolder

if TYPE_CHECKING:
    import keras


def check_independent(x: Path, y: Path, data_dir: str | None) -> None:
    """Say where the images of two files or folders are among those that the run knows already."""
    files = {file.resolve() for path in (x, y) for file in find_images(path)}
    if data_dir and any(file.parent == Path(data_dir).resolve() for file in files):
        print(f"note: {x} lies in the run's --data_dir; choose on images that it neither trained nor reports on")


def score_checkpoints(
    run: RunFolder, x: list[np.ndarray], y: list[np.ndarray], task: str | None
) -> tuple[keras.Model, list[dict], int | None]:
    """Scores of the generator of each checkpoint on (x, y), two lists of raw images.

    Returns:
        (the network, [{"iteration", "psnr", "ssim"}, ...], iteration of the one that is generator.h5 or None).

    Raises:
        InputError: no checkpoint is whole, or one is of another network.
    """
    from common.metrics import mean_scores

    apply = Applier.load(run / "generator.h5")
    network, rows, standing = apply.network, [], None
    now = network.get_weights()
    for path in progress_bar(iterable=run.checkpoints(), unit="checkpoint", delay=2):
        weights = run.load_released(path)
        if weights is None:
            continue
        check_network(path, weights, now)
        network.set_weights(weights)
        rows.append(_row(path, mean_scores([apply(image, task) for image in x], y)))
        if all(map(np.array_equal, weights, now)):
            standing = rows[-1]["iteration"]
    if not rows:
        raise InputError(f"{run.path}: every checkpoint is damaged")
    return network, rows, standing


def _row(path, scores):
    """A checkpoint's scores, printed."""
    row = {"iteration": int(path.stem), "psnr": scores["affine_psnr"], "ssim": scores["affine_ssim"]}
    print(f"iteration {row['iteration']:6d}: {row['psnr']:.2f} dB / {row['ssim']:.3f}")
    return row


def check_network(path: Path, weights: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Raise InputError where a checkpoint's generator is not the network of generator.h5."""
    if [weight.shape for weight in weights] != [weight.shape for weight in expected]:
        raise InputError(f"{path} is a checkpoint of another network than generator.h5 beside it")


def promote(run: RunFolder, network: keras.Model, best: int, standing: int | None, metadata: Metadata) -> int:
    """Make a checkpoint's generator generator.h5, the one before kept beside it; gives its iteration."""
    if best == standing:
        print(f"{run / 'generator.h5'} is that of iteration {best} already")
        return best
    network.set_weights(run.load_released(run / "checkpoints" / f"{best:06d}.npz"))
    kept = keep_generator(run)
    save_generator(network, run / "generator.h5", metadata)
    print(f"{run / 'generator.h5'} is now that of iteration {best}; the one before is kept as {kept.name}")
    return best


def keep_generator(run: RunFolder) -> Path:
    """Copy generator.h5 to the first free of generator_before.h5, generator_before_2.h5, ...; gives its path."""
    kept, number = run / "generator_before.h5", 1
    while kept.exists() and not filecmp.cmp(run / "generator.h5", kept, shallow=False):
        number += 1
        kept = run / f"generator_before_{number}.h5"
    if not kept.exists():
        with written_whole(kept) as beside:
            shutil.copyfile(run / "generator.h5", beside)
    return kept


def write_results(run: RunFolder, choice: dict, rows: list[dict], standing: int | None) -> None:
    """Write evaluation.json, evaluation.png and report.html.

    Args:
        choice: {"x", "y": paths as text, "images": their number, "metric", "best": iteration}.
        rows, standing: as `score_checkpoints` gives them, or `promote`.
    """
    from training.plots import save_checkpoint_curve
    from training.report import write_report

    best, metric = choice["best"], choice["metric"]
    # Which of them generator.h5 is, and its digest, because a resumed training writes it anew.
    digest = hashlib.sha256((run / "generator.h5").read_bytes()).hexdigest()
    record = {**choice, "generator": standing, "generator_sha256": digest, "iterations": rows}
    write_text(run / "evaluation.json", json.dumps(record, indent=2) + "\n")
    save_checkpoint_curve(run / "evaluation.png", rows, best)
    write_report(run.path)
    print(f"best of {len(rows)} by {metric}, on {choice['images']} images of {choice['x']}: iteration {best}")
