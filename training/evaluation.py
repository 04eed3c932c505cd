"""Scores and sample pictures of a generator on the test images. They report; nothing is ever chosen by them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from common.metrics import mean_scores
from data_utils import Task
from restoring.apply import Applier
from restoring.generator_file import Metadata
from training.plots import save_loss_curves, save_sample_grid
from training.report import save_latest
from training.run_folder import RunFolder

if TYPE_CHECKING:
    from methods.method import Method


class Evaluator:
    """Scores a generator on the test images of every task; calling it writes one row of the log.

    Args:
        metadata: of the generator. A cGAN's restores x and is compared with y; a CIN generator makes x from y and is
            compared with the real x, in noise too.
    """

    def __init__(self, tasks: list[Task], metadata: Metadata):
        self.tasks, self.metadata = tasks, metadata
        self.makes_defects = metadata.makes_defects
        self._input_scores = {}
        self.seconds = []  # that each evaluation took

    def bind(self, gan: Method, run: RunFolder) -> Callable[[int, dict[str, float], float], None]:
        """Scores `gan.released` into the run folder; returns what `training.Loop` calls."""
        import tensorflow as tf

        # Compiled: a paper generator is a third faster than layer by layer, and the loop calls it often.
        predict = tf.function(lambda inputs, training: gan.released(inputs, training=training), reduce_retracing=True)
        events = tf.summary.create_file_writer(str(run / "events"))

        def evaluate(done, losses, seconds):
            began = time.monotonic()
            scores, panels = self.score(Applier(predict, self.metadata))
            tqdm.write(f"{done}: {self._line(scores)}")
            run.log({"iteration": done, "seconds": round(seconds, 1), **losses, **scores})
            grid = save_sample_grid(run / "samples" / f"{done:06d}.png", panels, f"iteration {done}")
            save_latest(run / "samples" / "latest.npz", scores, self._input_scores, panels)
            save_loss_curves(run / "losses.png", run.rows)
            with events.as_default(step=done):
                for name, value in {**losses, **scores}.items():
                    tf.summary.scalar(name, value)
                tf.summary.image("samples", grid[None])
            events.flush()
            self.seconds.append(time.monotonic() - began)

        return evaluate

    def score(self, applier: Applier) -> tuple[dict[str, float], list]:
        """Apply the generator to every test image.

        Returns:
            ({metric_task: value}, [(task, [(title, image), ...])] with the first image of each task).
        """
        scores, panels = {}, []
        for task in self.tasks:
            inputs, targets = (task.test_y, task.test_x) if self.makes_defects else (task.test_x, task.test_y)
            outputs = [applier(image, task.name, draw=i) for i, image in enumerate(inputs)]
            if task.name not in self._input_scores:
                self._input_scores[task.name] = mean_scores(inputs, targets)
            means = mean_scores(outputs, targets)
            if self.makes_defects:
                means["noise_ratio"] = np.mean([noise_level(o) for o in outputs]) / np.mean(
                    [noise_level(t) for t in targets]
                )
            scores |= {f"{key}_{task.name}": float(value) for key, value in means.items()}
            titles = ("y", "generated x", "real x") if self.makes_defects else ("x", "restored", "y")
            panels.append((task.name, list(zip(titles, (inputs[0], outputs[0], targets[0]), strict=True))))
        return scores, panels

    def _line(self, scores):
        parts = []
        for task in self.tasks:
            psnr, ssim = (scores[f"affine_{key}_{task.name}"] for key in ("psnr", "ssim"))
            own = self._input_scores[task.name]
            part = f"{task.name} {psnr:.2f} dB / {ssim:.3f} (input {own['affine_psnr']:.2f} / {own['affine_ssim']:.3f})"
            if self.makes_defects:
                part = f"{task.name} noise {scores[f'noise_ratio_{task.name}']:.2f} of real, {psnr:.2f} dB to real x"
            parts.append(part)
        return "; ".join(parts)


def noise_level(image: np.ndarray) -> float:
    """Noise deviation of an (H, W) image in its own units: root mean square of its second difference along both axes.

    That difference is nearly blind to structure, and 6 is its gain for white noise (Immerkaer 1996, doi
    10.1006/cviu.1996.0060).
    """
    second = image[:-2] - 2 * image[1:-1] + image[2:]
    second = second[:, :-2] - 2 * second[:, 1:-1] + second[:, 2:]
    return float(np.sqrt(np.mean(np.square(second))) / 6)
