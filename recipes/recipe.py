"""What a recipe is made of, as plain values that are read before TensorFlow is imported.

Networks are functions that import `models` when they are called. A changed recipe is `dataclasses.replace` of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

    from methods.method import Method
    from restoring.normalization import Normalization


@dataclass(frozen=True)
class Term:
    """One term of what a generator minimises.

    Args:
        name: of its columns in log.csv, the term's own and `gradient_NAME`.
        weight: its factor in the sum.
        loss: the function of losses.py that computes it.
        sees: what that function is given of the generator's images: "pixels"; VGG16's "content" or "style" features;
            "judgement" by the discriminator (logits) or the critic (scores); the running "spectrum" or "noise" of
            `methods/defect_statistics.py` (CIN-GAN alone).
        against: the real images of which it is given the same, "x" or "y"; None for a judgement.
    """

    name: str
    weight: float
    loss: str
    sees: str = "pixels"
    against: str | None = "y"


@dataclass(frozen=True)
class Adam:
    """Adam's numbers, for every network of a method.

    Args:
        rate: step size, at the start.
        cosine: anneal it to zero along a half cosine over the planned updates, never by the clock; else it is constant.
    """

    rate: float
    beta_1: float = 0.9
    beta_2: float = 0.999
    cosine: bool = False


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied.

    Args:
        turns: whose images are turned by 90 degrees: "all" tasks' or "none", as published; or "undirected": those of
            tasks whose defect has no direction (measured; --no_rotate and --rotate overrule it).
        mirror: flip images.
        intensity: pairs are made brighter or dimmer by a factor of up to exp(intensity), and moved by up to
            intensity / 6 of their span.
        mixup_after: epochs (pairs x tasks / batch size iterations each) after which real pairs are mixed with each
            other, or None.
        outliers: share of the pairs in which the same pixel, bead or line of light is planted into x and y.
    """

    turns: str
    mirror: bool = False
    intensity: float = 0.0
    mixup_after: int | None = None
    outliers: float = 0.0


@dataclass(frozen=True)
class Normalizing:
    """How raw intensities become network units.

    Args:
        fit: the function of restoring/normalization.py that fits it to the training images.
        kind: of what it fits: "fixed" scales for each task, or "percentile" of each image.
    """

    fit: Callable[..., Normalization]
    kind: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """What the cGAN's part of a recipe and CIN-GAN's have in common.

    Args:
        method: the file of methods/ that trains it.
        generator: builds the network.
        terms: what the generator minimises; they are summed in this order.
        adam: of all its networks.
        average_decay: decay of the averaged copy of the generator's weights, or None.
        normalizing: how raw intensities become network units.
        augmentation: how training images are varied.
        patch: largest side of the training patches in pixels, or None for whole images.
        gflop: of one iteration per 128 x 128 image of the batch, for the time estimate: at 0.6 of a matrix product's
            rate they take as long as it does.
    """

    method: str
    generator: Callable[..., keras.Model]
    terms: tuple[Term, ...]
    adam: Adam
    average_decay: float | None
    normalizing: Normalizing
    augmentation: Augmentation
    patch: int | None
    gflop: float

    @property
    def needs_vgg(self) -> bool:
        """Whether a term sees VGG16's features."""
        return bool(self.sees("content", "style"))

    def sees(self, *kinds: str) -> list[Term]:
        """The terms that see one of these (`Term`)."""
        return [term for term in self.terms if term.sees in kinds]

    def with_weights(self, **weights: float) -> tuple[Term, ...]:
        """Its terms with other weights for those that are named, for `dataclasses.replace`."""
        return tuple(replace(term, weight=weights.get(term.name, term.weight)) for term in self.terms)


@dataclass(frozen=True)
class FineTuning:
    """How a training goes on from a generator that was trained before.

    Args:
        rate: Adam's step size, in place of the recipe's.
        rehearsal: share of simulated pairs in every batch.
        start_counts: pairs a task that the start counts as where its weights and the trained ones are averaged
            (arXiv 2109.01903; the share, by the number of pairs, is ours).
        unpaired_counts: pairs that an image counts as of which CIN-GAN makes one.
    """

    rate: float
    rehearsal: float
    start_counts: float
    unpaired_counts: float

    def learned(self, pairs: float, unpaired: float) -> float:
        """Share of the trained weights in the released ones, 0 to 1.

        Args:
            pairs: real ones of 128 x 128 pixels a task.
            unpaired: images of 128 x 128 pixels a task of which CIN-GAN makes pairs.
        """
        pairs += self.unpaired_counts * unpaired
        return pairs / (pairs + self.start_counts)


@dataclass(frozen=True, kw_only=True)
class CganPart(Part):
    """What restores: `generator()` makes y of x.

    Args:
        discriminator: builds the network that tells real pairs from restored ones; None where there is none.
        fine_tuning: how it is trained from a start (`--init_from`), by default the shipped generator; None where it
            always starts from random weights.
        earlier: the parts with which runs of earlier versions go on, by the last version (training/run.py) of their
            state, in its order.
    """

    discriminator: Callable[[], keras.Model] | None = None
    fine_tuning: FineTuning | None = None
    earlier: dict[int, CganPart] = field(default_factory=dict)

    def of_version(self, version: int) -> CganPart:
        """The part with which a run goes on whose state has this version."""
        return next((part for last, part in self.earlier.items() if version <= last), self)

    def started(self) -> CganPart:
        """The part that trains on from a start."""
        return replace(self, adam=replace(self.adam, rate=self.fine_tuning.rate))

    def build(self, seed: int, num_iters: int, features: keras.Model | None) -> Method:
        """The method, ready to train; call under the strategy's scope.

        Args:
            seed: of the dropout masks.
            num_iters: planned iterations.
            features: VGG16's, where `needs_vgg`.
        """
        return import_module(f"methods.{self.method}").build(self, seed, num_iters, features)


@dataclass(frozen=True, kw_only=True)
class CinPart(Part):
    """What makes defects: `generator(num_tasks)` makes x of y and the task.

    Args:
        critic: builds the network that scores images, from the number of tasks.
        n_critic: critic updates in one iteration.
        gp_weight: of the critic's gradient penalty.
        mixed_tasks: batches mix the tasks; else each iteration draws one.
        noise_channels: Gaussian noise maps the generator is given.
        margin: pixels at the border of what the generator makes that are never used.
        samples: where x are sections of a stack, what the generator makes is sampled as the stack is.
    """

    critic: Callable[[int], keras.Model]
    n_critic: int
    gp_weight: float
    mixed_tasks: bool
    noise_channels: int
    margin: int
    samples: bool = False

    def for_strides(self, strides: list[float | None]) -> CinPart:
        """The part for tasks whose x are sections of stacks: up to one stride at the border, no plane is beyond."""
        farthest = max([stride or 0 for stride in strides]) if self.samples else 0
        return replace(self, margin=max(self.margin, math.ceil(farthest)))

    def build(self, seed: int, num_iters: int, n_critic: int, num_tasks: int, features: keras.Model | None) -> Method:
        """As `CganPart.build`; `n_critic` critic updates in one iteration, on `num_tasks` tasks."""
        return import_module(f"methods.{self.method}").build(self, seed, num_iters, n_critic, num_tasks, features)


@dataclass(frozen=True)
class Recipe:
    """A way to train both GANs.

    Args:
        summary: in a few words, for `--help`.
        batch_size: default of `--batch_size`, images per iteration over all devices.
        size_multiple: the networks take heights and widths that are multiples of this.
        cgan, cin_gan: what is trained.
    """

    summary: str
    batch_size: int
    size_multiple: int
    cgan: CganPart
    cin_gan: CinPart
