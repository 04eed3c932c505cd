"""From raw intensities to what a network sees, and back. Kept in `generator.h5`, so that one file is enough.

Every normalisation is affine, `(raw - offset) / span`; what differs is where offset and span come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from common.errors import InputError

if TYPE_CHECKING:
    from data_utils import Task

LOW_PERCENTILE, HIGH_PERCENTILE = 2.0, 99.8
# `fit_each`'s misfit, beyond which every pair goes by its own gain: 0.003 to 0.014 where pairs share one gain (eight
# tasks, blur among their defects), 0.17 where every image was stretched by itself (`Noise2`).
LARGEST_MISFIT = 0.05
SAMPLED = 2**24  # pixels that the percentiles of a large image or stack are taken from at most
BLOCK = 8  # pixels; block means are nearly free of noise and of the microscope's blur


class Scale(NamedTuple):
    """An affine map between raw intensities and network units."""

    offset: float
    span: float

    def normalize(self, raw: np.ndarray) -> np.ndarray:
        """Raw intensities to network units, float32."""
        return ((np.asarray(raw, np.float32) - self.offset) / self.span).astype(np.float32)

    def undo(self, normalized: np.ndarray) -> np.ndarray:
        """Network units to raw intensities, float32."""
        return (np.asarray(normalized, np.float32) * self.span + self.offset).astype(np.float32)


class FixedNormalization:
    """One scale for x and one for y per task, whatever the image (recipe `paper`, and both CIN-GANs).

    Args:
        scales: {task: (Scale of x, Scale of y)}.
    """

    kind = "fixed"

    def __init__(self, scales: Mapping[str, tuple[Scale, Scale]]):
        self.scales = {name: (Scale(*x), Scale(*y)) for name, (x, y) in scales.items()}

    def tasks(self) -> Iterable[str]:
        """Names of the tasks that it knows."""
        return self.scales.keys()

    def x_scale(self, task: str, image: np.ndarray) -> Scale:
        """Scale of a defective image of the task."""
        return self.scales[task][0]

    def y_scale(self, task: str, image: np.ndarray) -> Scale:
        """Scale of the clean partner of `image`: restored images are undone with it."""
        return self.scales[task][1]

    restored_scale = y_scale

    def pair_scales(self, task: str, x: np.ndarray, y: np.ndarray) -> tuple[Scale, Scale]:
        """(Scale of x, Scale of y) of a training pair, from the whole (H, W) images in raw units."""
        return self.x_scale(task, x), self.y_scale(task, x)

    def normalize_pair(self, task: str, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        """A training pair in network units."""
        return [scale.normalize(image) for scale, image in zip(self.pair_scales(task, x, y), (x, y), strict=True)]

    def to_json(self) -> dict:
        """Plain numbers for the HDF5 attribute."""
        return {"kind": self.kind, "scales": self.scales}


def percentile_scale(image: np.ndarray) -> Scale:
    """The 2 percentile of an image to 0 and its 99.8 percentile to 1."""
    low, high = np.percentile(image, [LOW_PERCENTILE, HIGH_PERCENTILE])
    # A nearly empty image may have equal percentiles; its full range, or 1, keeps the division meaningful.
    span = high - low or float(np.max(image)) - low or 1.0
    return Scale(float(low), float(span))


def stack_scale(planes: np.ndarray, chosen: np.ndarray | slice = slice(None)) -> Scale:
    """As `percentile_scale`, of the chosen of (N, H, W) planes together; where they are many, from a regular grid."""
    step = math.ceil(math.sqrt(max(planes.size / SAMPLED, 1)))
    return percentile_scale(planes[:, ::step, ::step][chosen])


class PercentileNormalization:
    """Each image by its own 2 and 99.8 percentiles; y by the numbers of its x after gain and offset (recipe `tuned`).

    Args:
        gains: {task: (gain, offset)} with gain * y + offset on x's scale.
        own_gains: {task: (lowest, highest)} gain of those tasks whose pairs each have a scale of their own, because the
            contrast of every image was stretched on export: training pairs are then fitted one by one, and how y of a
            new image is scaled is unknown.
    """

    kind = "percentile"

    def __init__(
        self, gains: Mapping[str, tuple[float, float]], own_gains: Mapping[str, tuple[float, float]] | None = None
    ):
        self.gains = {name: (float(gain), float(offset)) for name, (gain, offset) in gains.items()}
        self.own_gains = {name: tuple(ends) for name, ends in (own_gains or {}).items()}

    def tasks(self) -> Iterable[str]:
        """Names of the tasks that it knows."""
        return self.gains.keys()

    def x_scale(self, task: str | None, image: np.ndarray | Scale) -> Scale:
        """Scale of a defective image, from its own percentiles or taken before; the task does not matter."""
        return image if isinstance(image, Scale) else percentile_scale(image)

    # A restored image comes back in x's units, with x's brightness.
    restored_scale = x_scale

    def y_scale(self, task: str, image: np.ndarray) -> Scale:
        """Scale of the clean partner of the defective `image`."""
        gain, offset = self.gains[task]
        return _of_y(self.x_scale(task, image), gain, offset)

    def pair_scales(self, task: str, x: np.ndarray, y: np.ndarray) -> tuple[Scale, Scale]:
        """(Scale of x, Scale of y) of a training pair, from the whole (H, W) images in raw units."""
        gain, offset = fit_gain([x], [y]) if task in self.own_gains else self.gains[task]
        x_scale = self.x_scale(task, x)
        return x_scale, _of_y(x_scale, gain, offset)

    normalize_pair = FixedNormalization.normalize_pair

    def to_json(self) -> dict:
        """Plain numbers for the HDF5 attribute."""
        own = {"own_gains": self.own_gains} if self.own_gains else {}
        return {"kind": self.kind, "gains": self.gains, **own}


def _of_y(x_scale, gain, offset):
    """y's scale where gain * y + offset is on x's."""
    return Scale((x_scale.offset - offset) / gain, x_scale.span / gain)


class OwnPercentileNormalization(PercentileNormalization):
    """CARE's: in training y is normalised by its own percentiles; in use its output is read in x's (csbdeep's way).

    Args:
        gains: {task: (gain, offset)} with gain * y + offset on x's scale where y is any percentile of a clean image and
            x that of its defective partner. A clean image's percentiles are narrower than those of its noisy partner,
            so this is not the gain of the pixels.
    """

    def pair_scales(self, task: str, x: np.ndarray, y: np.ndarray) -> tuple[Scale, Scale]:
        """(Scale of x, Scale of y) of a training pair, from the whole (H, W) images in raw units."""
        return self.x_scale(task, x), self.x_scale(task, y)

    def to_json(self) -> dict:
        """Plain numbers for the HDF5 attribute. Files without `own_percentiles` hold gains that nobody measured."""
        return {**super().to_json(), "own_percentiles": True}


Normalization = FixedNormalization | PercentileNormalization


def from_json(stored: dict) -> Normalization:
    """The normalisation that `to_json` described.

    Raises:
        InputError: the description is of no known kind.
    """
    percentile = OwnPercentileNormalization if stored.get("own_percentiles") else PercentileNormalization
    kinds = {
        FixedNormalization.kind: ("scales", FixedNormalization),
        PercentileNormalization.kind: ("gains", percentile),
    }
    if stored.get("kind") in kinds:
        key, build = kinds[stored["kind"]]
        numbers = np.array(list(stored[key].values()), float)
        # The last number of each is a span or a gain.
        if not numbers.size or not np.isfinite(numbers).all() or not numbers[..., 0 if key == "gains" else -1].all():
            raise InputError(
                "a normalisation without tasks, with a span or gain of 0, or with numbers that are not finite"
            )
        return build(stored[key], stored.get("own_gains")) if build is PercentileNormalization else build(stored[key])
    raise InputError(f"unknown normalisation {stored.get('kind')!r}; expected 'fixed' or 'percentile'")


def fit_range(tasks: list[Task], generated: dict[str, tuple[Sequence, Sequence]] | None = None) -> FixedNormalization:
    """Minimum and maximum of each task's training x, and of its y, become -1 and 1; generated pairs change nothing."""
    return FixedNormalization({t.name: (_range_scale(t.train_x), _range_scale(t.train_y)) for t in tasks})


def fit_gains(
    tasks: list[Task], generated: dict[str, tuple[Sequence, Sequence]] | None = None
) -> PercentileNormalization:
    """Percentiles of each image, and the gain between x and y of the training pairs: the task's, or each pair's own.

    Args:
        generated: None, or {task: (x images, y images)} to fit the gain to in place of the real pairs. Those share one.
    """
    found = fit_task_gains(tasks, generated)
    own = {}
    for task in tasks if generated is None else []:
        gains, misfit = fit_each(task.train_x, task.train_y, found.gains[task.name])
        if misfit > LARGEST_MISFIT:
            own[task.name] = (float(gains.min()), float(gains.max()))
    return PercentileNormalization(found.gains, own)


def fit_task_gains(
    tasks: list[Task], generated: dict[str, tuple[Sequence, Sequence]] | None = None
) -> PercentileNormalization:
    """As `fit_gains`, one gain for all pairs of a task, whether or not they agree."""
    pairs = generated or {t.name: (t.train_x, t.train_y) for t in tasks}
    return PercentileNormalization({name: fit_gain(x, y) for name, (x, y) in pairs.items()})


def fit_each(
    x_images: Sequence[np.ndarray], y_images: Sequence[np.ndarray], task_gain: tuple[float, float], sample: int = 200
) -> tuple[np.ndarray, float]:
    """The gain of each pair by itself, and how far the task's gain and offset miss them.

    Returns:
        (gains (N,), misfit): the misfit is the difference between what the two make of y's block means, as a root mean
        square in units of y's percentile span, in the median of the pairs.
    """
    gains, misfits = [], []
    for row in _spread(len(x_images), sample):
        y, span = block_means(y_images[row]), percentile_scale(y_images[row]).span
        gain, offset = fit_gain([x_images[row]], [y_images[row]])
        difference = (task_gain[0] - gain) * y + task_gain[1] - offset
        gains.append(gain)
        misfits.append(np.sqrt(np.mean(difference**2)) / (gain * span))
    return np.array(gains), float(np.median(misfits))


def one_scale(
    tasks: list[Task], generated: dict[str, tuple[Sequence, Sequence]] | None = None
) -> PercentileNormalization:
    """Percentiles of each x; y shares its scale, as in simulated pairs. Nothing is fitted."""
    return PercentileNormalization({task.name: (1.0, 0.0) for task in tasks})


def fit_unpaired_range(tasks: list[Task]) -> FixedNormalization:
    """As `fit_range`, of the unpaired images."""
    return FixedNormalization({t.name: (_range_scale(t.unpaired_x), _range_scale(t.unpaired_y)) for t in tasks})


def fit_unpaired_gains(tasks: list[Task]) -> FixedNormalization:
    """One scale for all x of a task, and y's by their brightness: which x belongs to which y is not used.

    The brightness of x and y is compared over the first `images_limit` rows alone: those of the unpaired pool show
    other fields in x than in y, which put the gain of real micrographs 8 to 18 % off.
    """
    return FixedNormalization({t.name: _unpaired_scales(t.train_x, t.train_y) for t in tasks})


def fit_own_percentiles(task: Task, sample: int = 200) -> OwnPercentileNormalization:
    """CARE's normalisation: how the percentiles of x relate to those of y, in the median of the training pairs.

    Noise widens the percentiles of one image more than those of another: y's span is then up to 12 % off for an image
    of the sample, up to 37 % for a micrograph.
    """
    normalization = OwnPercentileNormalization({task.name: (1.0, 0.0)})
    pairs = [(task.train_x[i], task.train_y[i]) for i in _spread(len(task.train_x), sample)]
    scales = [normalization.pair_scales(task.name, x, y) for x, y in pairs]
    gain = float(np.median([x.span / y.span for x, y in scales]))
    offset = float(np.median([x.offset - gain * y.offset for x, y in scales]))
    return OwnPercentileNormalization({task.name: (gain, offset)})


def _range_scale(images):
    """Minimum and maximum over all images to -1 and 1."""
    low = min(float(image.min()) for image in images)
    high = max(float(image.max()) for image in images)
    return Scale((low + high) / 2, (high - low) / 2)


def _unpaired_scales(x_images, y_images, sample=200):
    """One scale for all x of a task, and y's after the gain and offset that match its block means to those of x."""
    xs, ys = ([images[i] for i in _spread(len(images), sample)] for images in (x_images, y_images))
    low, high = np.percentile(np.stack(xs), [LOW_PERCENTILE, HIGH_PERCENTILE])
    x_blocks, y_blocks = (np.concatenate([block_means(image) for image in images]) for images in (xs, ys))
    gain = x_blocks.std() / max(y_blocks.std(), 1e-12)
    gain, offset = _snap(gain, x_blocks.mean() - gain * y_blocks.mean(), y_blocks)
    x_scale = Scale(float(low), float(high - low) or 1.0)
    return x_scale, Scale(float((x_scale.offset - offset) / gain), float(x_scale.span / gain))


def _spread(count, sample):
    return np.unique(np.linspace(0, count - 1, min(count, sample)).astype(int))


def block_means(image: np.ndarray, height: int = BLOCK, width: int = BLOCK) -> np.ndarray:
    """Means of blocks, 8 x 8 pixels as a rule, of an (H, W) image, flattened; what is left over is dropped."""
    rows, columns = image.shape[0] // height, image.shape[1] // width
    blocks = image[: rows * height, : columns * width].reshape(rows, height, columns, width)
    return blocks.mean(axis=(1, 3), dtype=np.float64).ravel()


def fit_gain(x_images: Sequence[np.ndarray], y_images: Sequence[np.ndarray], sample: int = 200) -> tuple[float, float]:
    """Gain and offset that put y on x's scale: x = gain * y + offset.

    Least squares of x's block means on y's (the noise is in x alone, so the slope is not biased), refitted twice
    without residuals beyond 3 robust deviations; 1 and 0 where the two share a scale.

    Returns:
        (gain, offset), gain > 0.
    """
    indices = _spread(len(x_images), sample)
    x = np.concatenate([block_means(x_images[i]) for i in indices])
    y = np.concatenate([block_means(y_images[i]) for i in indices])
    keep = np.ones(len(x), bool)
    for _ in range(3):
        variance = y[keep].var()
        gain = np.mean((y[keep] - y[keep].mean()) * (x[keep] - x[keep].mean())) / variance if variance else 0.0
        offset = x[keep].mean() - gain * y[keep].mean()
        residual = np.abs(x - gain * y - offset)
        keep = residual <= 3 * 1.4826 * np.median(residual) + 1e-12
    if gain <= 0:
        gain = x.std() / max(y.std(), 1e-12)
        offset = x.mean() - gain * y.mean()
    return _snap(gain, offset, y)


def _snap(gain, offset, y_blocks):
    """(1, 0) where gain and offset are within a tenth and a twentieth of it: x and y then share a scale."""
    span = y_blocks.max() - y_blocks.min()
    if abs(gain - 1) < 0.1 and abs(offset) < 0.05 * span:
        return 1.0, 0.0
    return float(gain), float(offset)
