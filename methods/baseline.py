"""What a method to compare with says of itself; `methods/NAME.py` holds one whole. No TensorFlow at import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from methods.batches import Sampling

if TYPE_CHECKING:
    import keras

    from data_utils import Task
    from methods.method import Method
    from restoring.normalization import Normalization


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A method that trains one network per task; its numbers are the published ones.

    Args:
        name: as its authors write it.
        folder: name of its results folder.
        batch_size: default of `--batch_size`.
        patch: largest side of the training patches in pixels.
        size_multiple: the network takes heights and widths that are multiples of this.
        learning_rate: Adam's step size at the start.
        linear: it falls linearly to 0 over the second half of `--num_iters`; else it is constant.
        average_decay: decay of the averaged weights with `--augment`, or None where there is no such thing.
        gflop: per 128 x 128 image of the batch, for the time estimate.
        unpaired: it is trained on unpaired images; else on pairs.
        turns: its images are turned by 90 degrees where the defect has no direction, in training or when averaged.
        has_critic: `--n_critic` acts.
        needs_vgg: its loss sees VGG16's features.
    """

    name: str
    folder: str
    batch_size: int
    patch: int
    size_multiple: int = 4
    learning_rate: float
    linear: bool
    average_decay: float | None = None
    gflop: float
    unpaired: bool = False
    turns: bool = False
    has_critic: bool = False
    needs_vgg: bool = False

    @property
    def augments(self) -> bool:
        """Whether `--augment` acts."""
        return self.average_decay is not None

    def missing(self) -> str | None:
        """What is to be installed first, as an error's words, or None."""
        return None

    def fit_normalization(self, task: Task) -> Normalization:
        """What turns raw intensities into network units, fitted to the training images."""
        raise NotImplementedError

    def make_batches(
        self, task: Task, normalization: Normalization, sampling: Sampling, augment: bool, n_critic: int
    ) -> Callable[[int], dict]:
        """Callable from the iteration to the batch.

        Args:
            augment: with our crops, flips and turns, where `average_decay` is a number.
            n_critic: critic updates of an iteration, where there is a critic.
        """
        raise NotImplementedError

    def build(
        self,
        patch: tuple[int, int],
        seed: int,
        num_iters: int,
        augment: bool,
        n_critic: int,
        features: keras.Model | None,
    ) -> Method:
        """The method, ready to train; call under the strategy's scope.

        Args:
            patch: (height, width) of the training patches in pixels.
            seed: of the dropout masks.
            num_iters: planned iterations.
            augment, n_critic: as in `make_batches`.
            features: VGG16's, where `needs_vgg`.
        """
        raise NotImplementedError
