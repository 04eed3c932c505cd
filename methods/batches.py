"""Batches as pure functions of the seed and the iteration number, so that a resumed run sees what it would have seen.

Nothing here keeps a running random state: which images, which turns, which noise all follow from (seed, iteration).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from data_utils import Task
from restoring.normalization import FixedNormalization, Normalization, Scale
from restoring.sampling import sampling_matrix

# Share of rehearsed pairs with a planted outlier, as the shipped generator was trained.
REHEARSED_OUTLIERS = 0.25
# One independent random stream per purpose.
STREAM_EPOCH, STREAM_PAIR, STREAM_UNPAIRED, STREAM_PHASE = range(4)


def patch_shape(tasks: list[Task], largest: int | None, multiple: int) -> tuple[int, int]:
    """Common (height, width) of the training patches: the smallest image's, limited and rounded down.

    Args:
        largest: limit in pixels, or None.
        multiple: both sides become multiples of it.
    """
    smallest = [min(task.shape[axis] for task in tasks) for axis in (0, 1)]
    return tuple(min(size, largest or size) // multiple * multiple for size in smallest)


def epoch_row(seed: int, task_index: int, draw: int, count: int) -> int:
    """Row of the `draw`-th draw from `count` images: every image once per epoch, in an order shuffled per epoch."""
    epoch, position = divmod(draw, count)
    return int(_epoch_order(seed, task_index, epoch, count)[position])


@lru_cache(maxsize=64)
def _epoch_order(seed, task_index, epoch, count):
    return np.random.default_rng([seed, STREAM_EPOCH, task_index, epoch]).permutation(count)


def crop(images: list[np.ndarray], patch: tuple[int, int], rng: np.random.Generator) -> list[np.ndarray]:
    """The same random crop of every (H, W) image in the list."""
    height, width = images[0].shape
    top, left = rng.integers(height - patch[0] + 1), rng.integers(width - patch[1] + 1)
    return [image[top : top + patch[0], left : left + patch[1]] for image in images]


def turn(images: list[np.ndarray], rng: np.random.Generator, rotate: bool, mirror: bool) -> list[np.ndarray]:
    """The same random symmetry of every (H, W) image in the list.

    Args:
        images: list of arrays of one shape.
        rng: numpy Generator.
        rotate: whether quarter turns are allowed (half turns always are, where `rotate` or `mirror` is).
        mirror: whether flips are allowed.
    """
    square = images[0].shape[0] == images[0].shape[1]
    quarters, flip_rows, flip_columns = rng.integers(4), rng.random() < 0.5, rng.random() < 0.5
    if rotate:
        images = [np.rot90(image, quarters if square else quarters // 2 * 2) for image in images]
    if mirror and flip_rows:
        images = [image[::-1] for image in images]
    if mirror and flip_columns:
        images = [image[:, ::-1] for image in images]
    return images


def vary_intensity(images: list[np.ndarray], rng: np.random.Generator, amount: float) -> list[np.ndarray]:
    """The same random gain and offset for every image in the list, in network units.

    A network that has seen a field at one brightness only learns it by heart, and trusts percentiles that another crop
    of the field would not have.

    Args:
        images: list of (H, W) float32 arrays, about 0 to 1.
        rng: numpy Generator.
        amount: the gain is within exp(-amount) and exp(amount), the offset within -amount / 6 and amount / 6.

    Returns:
        gain * image + offset for each image.
    """
    gain, offset = np.exp(rng.uniform(-amount, amount)), rng.uniform(-amount, amount) / 6
    return [(gain * image + offset).astype(np.float32) for image in images]


def plant_outlier(pair: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """The same pixel, square, bead or line of light in x and y, 3 to 100 units high: around it nothing is to change.

    Args:
        pair: [x, y], both (H, W) float32 in network units.
        rng: numpy Generator.
    """
    height, width = pair[0].shape
    side, shape = rng.integers(1, 13), rng.integers(4)
    rows, columns = [(1, 1), (side, side), (1, width), (height, 1)][shape]
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    light = np.zeros((height, width), np.float32)
    light[top : top + rows, left : left + columns] = np.exp(rng.uniform(np.log(3), np.log(100)))
    return [image + light for image in pair]


def mixup(pair: list[np.ndarray], other: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Convex combination of two pairs, the same for x and y (mixup; Zhang et al., arXiv 1710.09412, section 2).

    Args:
        pair, other: [x, y], all (H, W) float32 in network units.
        rng: numpy Generator; it draws the share of `other`, uniform in [0, 0.5).

    Returns:
        (1 - share) * image + share * other image for x and y, float32.
    """
    share = np.float32(rng.uniform(0.0, 0.5))
    return [(1 - share) * image + share * second for image, second in zip(pair, other, strict=True)]


class Sampling(NamedTuple):
    """How images become the samples of a batch.

    Args:
        batch_size: images of one update over all devices.
        patch: (height, width) of the crops in pixels.
        seed: of everything random.
        no_rotate: names of tasks that are never turned by 90 degrees.
        mirror: flip images.
        intensity: `vary_intensity`'s amount for pairs; 0 leaves them as they are.
        mixup_after: epochs after which every real pair is mixed with one drawn from its task, unless it is the only
            one; epochs of all draws, generated pairs among them. None never mixes.
        outliers: share of the pairs in which `plant_outlier` plants one.
    """

    batch_size: int
    patch: tuple[int, int]
    seed: int
    no_rotate: list[str]
    mirror: bool
    intensity: float = 0.0
    mixup_after: int | None = None
    outliers: float = 0.0


class Pairs:
    """Pairs of raw images as normalised patches. Percentiles of an image cost more than a batch, and are taken once.

    Args:
        images: {task name: (x images, y images)}, sequences of (H, W) arrays; row i of both is a pair.
        normalization: maps raw images to network units.
        x_scales: {task name: percentile scales of the whole x that `images` are cut from}; None: they are whole.
    """

    def __init__(
        self,
        images: dict[str, tuple[Sequence, Sequence]],
        normalization: Normalization,
        x_scales: dict[str, Sequence[Scale]] | None = None,
    ):
        self.images, self.normalization, self.x_scales, self.scales = images, normalization, x_scales, {}

    def count(self, name: str) -> int:
        """Number of pairs of a task."""
        return len(self.images[name][0])

    def patches(self, name: str, row: int, cut: Callable[[list[np.ndarray]], list[np.ndarray]]) -> list[np.ndarray]:
        """[x, y] of one pair in network units, float32; `cut` makes patches of the two whole images."""
        pair, key = [images[row] for images in self.images[name]], (name, int(row))
        if key not in self.scales:
            whole = self.x_scales[name][row] if self.x_scales else None
            self.scales[key] = self.normalization.pair_scales(name, *pair, whole)
        return [scale.normalize(patch) for scale, patch in zip(self.scales[key], cut(pair), strict=True)]


class PairBatches:
    """Batches of the cGAN: `batches(iteration)` gives {"x", "y"}, each (batch_size, height, width, 1) float32.

    Args:
        tasks: list of `data_utils.Task`; a batch holds them in equal shares.
        normalization: maps raw images to network units.
        generated: {task name: (x images, y images)} made by CIN-GAN, in raw units.
        alpha: expected share of generated samples, 0 to 1.
        generated_normalization: of the generated pairs; None for `normalization`. Fitted to them, it keeps an error
            in CIN-GAN's gain from contradicting the real pairs.
        generated_scales: `Pairs`' x_scales of the generated pairs.
        rehearsed: (name, share, `Pairs` of that one task) of what fills the end of every batch; None for nothing.
    """

    def __init__(
        self,
        tasks: list[Task],
        normalization: Normalization,
        sampling: Sampling,
        generated: dict[str, tuple[Sequence, Sequence]] | None = None,
        alpha: float = 0.0,
        generated_normalization: Normalization | None = None,
        generated_scales: dict[str, Sequence[Scale]] | None = None,
        rehearsed: tuple[str, float, Pairs] | None = None,
    ):
        self.tasks, self.normalization = tasks, normalization
        self.batch_size, self.patch, self.seed, self.no_rotate, self.mirror, *variety = sampling
        self.intensity, self.mixup_after, self.outliers = variety
        self.alpha = alpha if generated else 0.0
        self.real = Pairs({task.name: (task.train_x, task.train_y) for task in tasks}, normalization)
        self.generated = Pairs(generated or {}, generated_normalization or normalization, generated_scales)
        name, share, self.rehearsed = rehearsed or ("", 0.0, None)
        self.rehearsals = [name] * round(share * self.batch_size)

    def __call__(self, iteration: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, STREAM_PAIR, iteration])
        count = self.batch_size - len(self.rehearsals)
        pairs = [self._pair(sample, rng) for sample in range(iteration * count, (iteration + 1) * count)]
        pairs += [self._rehearse(name, rng) for name in self.rehearsals]
        x, y = (np.stack(images)[..., None] for images in zip(*pairs, strict=True))
        return {"x": x, "y": y}

    def _pair(self, sample, rng):
        draw, task_index = divmod(sample, len(self.tasks))
        task = self.tasks[task_index]
        # Drawn whether needed or not, so that alpha = 0 sees the same real pairs as a run without CIN-GAN.
        if rng.random() < self.alpha:
            return self._random_pair(self.generated, task.name, rng)
        count = self.real.count(task.name)
        pair = self._pair_of(self.real, task.name, epoch_row(self.seed, task_index, draw, count), rng)
        if self.mixup_after is None or draw // count < self.mixup_after or count == 1:
            return pair
        return mixup(pair, self._random_pair(self.real, task.name, rng), rng)

    def _rehearse(self, name, rng):
        pair = self._random_pair(self.rehearsed, name, rng)
        return plant_outlier(pair, rng) if rng.random() < REHEARSED_OUTLIERS else pair

    def _random_pair(self, pairs, name, rng):
        return self._pair_of(pairs, name, rng.integers(pairs.count(name)), rng)

    def _pair_of(self, pairs, name, row, rng):
        pair = pairs.patches(name, row, lambda images: crop(images, self.patch, rng))
        pair = turn(pair, rng, name not in self.no_rotate, self.mirror)
        if self.intensity:
            pair = vary_intensity(pair, rng, self.intensity)
        return plant_outlier(pair, rng) if self.outliers and rng.random() < self.outliers else pair


class UnpairedBatches:
    """Batches of CIN-GAN: x and y drawn independently, one sub-batch per critic update and one for the generator.

    `batches(iteration)` gives {"x", "y": (batch, updates, height, width, 1), "task": (batch, updates, 1) int32,
    "epsilon": (batch, updates, 1, 1, 1) from U[0, 1], "noise": (batch, updates, height, width, noise_channels)}, and
    where x of a task are sections of a stack, "sampling": (batch, updates, height, height), what the stack shows of y,
    from a random first plane on (`sampling_matrix`).

    Args:
        updates: n_critic + 1.
        mixed_tasks: every batch holds all tasks in equal shares; else each iteration draws one task.
        noise_channels: Gaussian noise maps per image; 0 leaves "noise" out.
        samples: False leaves "sampling" out.
    """

    def __init__(
        self,
        tasks: list[Task],
        normalization: FixedNormalization,
        sampling: Sampling,
        updates: int,
        mixed_tasks: bool,
        noise_channels: int,
        samples: bool = False,
    ):
        self.tasks, self.normalization, self.updates = tasks, normalization, updates
        self.batch_size, self.patch, self.seed, self.no_rotate, self.mirror, *_ = sampling
        self.mixed_tasks, self.noise_channels = mixed_tasks, noise_channels
        self.samples = samples and any(task.stride for task in tasks)

    def __call__(self, iteration: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, STREAM_UNPAIRED, iteration])
        shape = (self.batch_size, self.updates)
        task = np.broadcast_to(rng.integers(len(self.tasks)), shape)
        if self.mixed_tasks:
            task = np.broadcast_to((np.arange(self.batch_size) + rng.integers(len(self.tasks)))[:, None], shape)
            task = task % len(self.tasks)
        batch = {
            "x": np.stack([[self._image(t, "x", rng) for t in row] for row in task])[..., None],
            "y": np.stack([[self._image(t, "y", rng) for t in row] for row in task])[..., None],
            "task": task[..., None].astype(np.int32),
            "epsilon": rng.random((*shape, 1, 1, 1), np.float32),
        }
        if self.noise_channels:
            batch["noise"] = rng.standard_normal((*shape, *self.patch, self.noise_channels), np.float32)
        if self.samples:
            phases = np.random.default_rng([self.seed, STREAM_PHASE, iteration]).random(shape)
            batch["sampling"] = np.stack(
                [[self._sampling(*one) for one in zip(*row, strict=True)] for row in zip(task, phases, strict=True)]
            )
        return batch

    def _sampling(self, task_index, phase):
        rows, stride = self.patch[0], self.tasks[task_index].stride
        return sampling_matrix(rows, stride, phase * stride) if stride else np.eye(rows, dtype=np.float32)

    def _image(self, task_index, kind, rng):
        task = self.tasks[task_index]
        images = task.unpaired_x if kind == "x" else task.unpaired_y
        image = images[rng.integers(len(images))]
        scale = self.normalization.x_scale if kind == "x" else self.normalization.y_scale
        patches = [scale(task.name, image).normalize(patch) for patch in crop([image], self.patch, rng)]
        return turn(patches, rng, task.name not in self.no_rotate, self.mirror)[0]
