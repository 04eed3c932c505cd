"""CARE, content-aware restoration (Weigert et al. 2018): a U-Net trained on pairs with csbdeep's loss, no GAN.

Network and loss are csbdeep's own. Its patches are csbdeep's too, or with `--augment` ours.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from data_utils import Task
from methods.baseline import Baseline
from methods.batches import PairBatches, Pairs, Sampling, epoch_row
from methods.method import Method, build_float32
from restoring.normalization import Normalization, OwnPercentileNormalization, fit_own_percentiles

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class CARE(Method):
    """A network with csbdeep's loss."""

    def __init__(self, *args, loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], **kwargs):
        import tensorflow as tf

        super().__init__(*args, **kwargs)
        # Its source is not to be converted: AutoGraph cannot read it, and would say so.
        self.loss = tf.autograph.experimental.do_not_convert(loss)

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One update; `batch` is {"x", "y"}, each (batch, height, width, 1)."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            restored = tf.cast(self.generator(batch["x"], training=True), tf.float32)
            loss = tf.reduce_mean(self.loss(batch["y"], restored))
            replica_loss = loss / self.replicas
        self.update("generator", tape.gradient(replica_loss, self.generator.trainable_variables))
        return {"mae": loss}


class GridPatchBatches:
    """CARE's training set: every image pair cut into patches once, all patches in shuffled order per epoch.

    `batches(iteration)` gives {"x", "y"}, each (batch_size, height, width, 1) float32.

    Args:
        normalization: maps raw images to network units.
        batch_size: patches of one iteration.
        patch: (height, width) of the patches in pixels.
        seed: of the order.
    """

    def __init__(self, task: Task, normalization: Normalization, batch_size: int, patch: tuple[int, int], seed: int):
        self.task, self.batch_size = task, batch_size
        self.pairs = Pairs({task.name: (task.train_x, task.train_y)}, normalization)
        self.patch, self.seed = patch, seed
        # Side by side, the last one moved to the image's end.
        starts = [[*range(0, size - side, side), size - side] for size, side in zip(task.shape, patch, strict=True)]
        self.corners = list(itertools.product(*starts))

    def __call__(self, iteration: int) -> dict[str, np.ndarray]:
        draws = range(iteration * self.batch_size, (iteration + 1) * self.batch_size)
        x, y = (np.stack(patches)[..., None] for patches in zip(*map(self._pair, draws), strict=True))
        return {"x": x, "y": y}

    def _pair(self, draw):
        count = len(self.task.train_x) * len(self.corners)
        row, corner = divmod(epoch_row(self.seed, 0, draw, count), len(self.corners))
        (top, left), (height, width) = self.corners[corner], self.patch
        window = np.s_[top : top + height, left : left + width]
        return self.pairs.patches(self.task.name, row, lambda images: [image[window] for image in images])


def has_csbdeep() -> bool:
    """Whether the optional package csbdeep is installed, without importing it."""
    return importlib.util.find_spec("csbdeep") is not None


def load_csbdeep() -> ModuleType:
    """CARE's own library; it greets on import where it finds no GPU, which is held back."""
    with contextlib.redirect_stdout(io.StringIO()):
        import csbdeep.models
    return csbdeep


@dataclass(frozen=True, kw_only=True)
class CareBaseline(Baseline):
    """csbdeep's 2-D U-Net: depth 2, 32 filters of 5 x 5, residual, mean absolute error."""

    def missing(self) -> str | None:
        """csbdeep is optional."""
        return None if has_csbdeep() else "csbdeep; pip install -r requirements/baselines.txt"

    def fit_normalization(self, task: Task) -> OwnPercentileNormalization:
        """Percentiles of each image, csbdeep's way."""
        return fit_own_percentiles(task)

    def make_batches(
        self, task: Task, normalization: Normalization, sampling: Sampling, augment: bool, n_critic: int
    ) -> Callable[[int], dict]:
        """csbdeep's patches, or random crops with flips and turns."""
        if augment:
            return PairBatches([task], normalization, sampling)
        return GridPatchBatches(task, normalization, sampling.batch_size, sampling.patch, sampling.seed)

    def build(
        self,
        patch: tuple[int, int],
        seed: int,
        num_iters: int,
        augment: bool,
        n_critic: int,
        features: keras.Model | None,
    ) -> CARE:
        """As csbdeep builds it; with `augment` the weights are averaged."""
        import keras

        csbdeep = load_csbdeep()
        from csbdeep.internals.losses import loss_mae

        def network():
            return csbdeep.models.CARE(csbdeep.models.Config("YX"), name="care", basedir=None).keras_model

        return CARE(
            {"generator": network()},
            {"generator": keras.optimizers.Adam(self.learning_rate)},
            build_float32(network),
            self.average_decay if augment else None,
            seed,
            loss=loss_mae(),
        )


BASELINE = CareBaseline(
    name="CARE",
    folder="CARE_results",
    batch_size=8,
    patch=64,
    learning_rate=4e-4,
    linear=False,
    average_decay=0.995,  # ours, as in recipe `tuned`
    gflop=26.0,
    turns=True,
)
