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
SAMPLED = 2**24  # pixels that the percentiles of a large image or stack are taken from at most
BLOCK = 8  # pixels; block means are nearly free of noise and of the microscope's blur
# Pairs share a gain and offset unless these misplace more than a fifth of them by over a twentieth of y's span: that is
# how far well-restored images are off (26 dB). None to 5 % of the pairs of eight tasks are, 90 % of `Noise2`.
MISPLACED, MOST_MISPLACED = 0.05, 0.2
UNCERTAIN = 0.25  # relative deviation of a pair's gain from which it says nothing: the image shows too little contrast


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

    def pair_scales(self, task: str, x: np.ndarray, y: np.ndarray, whole: Scale | None = None) -> tuple[Scale, Scale]:
        """(Scale of x, Scale of y) of a training pair, (H, W) images in raw units.

        Args:
            whole: percentile scale of the image that x is cut from; None where x is whole.
        """
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
        gains: {task: (gain, offset)} with gain * y + offset on x's scale; of tasks in `own_gains` the medians.
        own_gains: {task: (lowest, highest)} gain, of tasks whose pairs differ in gain and offset: each training pair is
            scaled by its own, and the scale of y of a new image is unknown.
    """

    kind = "percentile"

    def __init__(
        self, gains: Mapping[str, tuple[float, float]], own_gains: Mapping[str, tuple[float, float]] | None = None
    ):
        self.gains = {name: (float(gain), float(offset)) for name, (gain, offset) in gains.items()}
        self.own_gains = {name: (float(low), float(high)) for name, (low, high) in (own_gains or {}).items()}

    def tasks(self) -> Iterable[str]:
        """Names of the tasks that it knows."""
        return self.gains.keys()

    def x_scale(self, task: str | None, image: np.ndarray | Scale) -> Scale:
        """Scale of a defective image, from its own percentiles or taken before; the task does not matter."""
        return image if isinstance(image, Scale) else percentile_scale(image)

    # A restored image comes back in x's units, with x's brightness.
    restored_scale = x_scale

    def y_scale(self, task: str, image: np.ndarray) -> Scale:
        """Scale of the clean partner of the defective `image`; a guess for tasks in `own_gains`."""
        return _of_y(self.x_scale(task, image), *self.gains[task])

    def pair_scales(self, task: str, x: np.ndarray, y: np.ndarray, whole: Scale | None = None) -> tuple[Scale, Scale]:
        """As `FixedNormalization.pair_scales`."""
        x_scale = self.x_scale(task, x) if whole is None else whole
        gain, offset = self.gains[task]
        if task in self.own_gains:
            gain, offset = fit_line(x, y).gain_and_offset(gain)
        return x_scale, _of_y(x_scale, gain, offset)

    normalize_pair = FixedNormalization.normalize_pair

    def to_json(self) -> dict:
        """Plain numbers for the HDF5 attribute."""
        own = {"own_gains": self.own_gains} if self.own_gains else {}
        return {"kind": self.kind, "gains": self.gains, **own}


def _of_y(x_scale, gain, offset):
    """y's scale, where gain * y + offset is on x's."""
    return Scale((x_scale.offset - offset) / gain, x_scale.span / gain)


class OwnPercentileNormalization(PercentileNormalization):
    """CARE's: in training y is normalised by its own percentiles; in use its output is read in x's (csbdeep's way).

    Args:
        gains: {task: (gain, offset)} with gain * y + offset on x's scale where y is any percentile of a clean image and
            x that of its defective partner. A clean image's percentiles are narrower than those of its noisy partner,
            so this is not the gain of the pixels.
    """

    def pair_scales(self, task: str, x: np.ndarray, y: np.ndarray, whole: Scale | None = None) -> tuple[Scale, Scale]:
        """As `FixedNormalization.pair_scales`."""
        return self.x_scale(task, x) if whole is None else whole, self.x_scale(task, y)

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
        return build(stored[key], stored["own_gains"]) if stored.get("own_gains") else build(stored[key])
    raise InputError(f"unknown normalisation {stored.get('kind')!r}; expected 'fixed' or 'percentile'")


def fit_range(tasks: list[Task], generated: dict[str, tuple[Sequence, Sequence]] | None = None) -> FixedNormalization:
    """Minimum and maximum of each task's training x, and of its y, become -1 and 1; generated pairs change nothing."""
    return FixedNormalization({t.name: (_range_scale(t.train_x), _range_scale(t.train_y)) for t in tasks})


def fit_gains(
    tasks: list[Task], generated: dict[str, tuple[Sequence, Sequence]] | None = None
) -> PercentileNormalization:
    """Percentiles of each image, and the gain between x and y: one for a task whose pairs agree, else each pair's own.

    Args:
        generated: None, or {task: (x images, y images)} to fit the gain to in place of the real pairs.
    """
    gains, own_gains = fit_task_gains(tasks, generated).gains, {}
    for name, (x, y) in (generated or {t.name: (t.train_x, t.train_y) for t in tasks}).items():
        lines = [fit_line(x[i], y[i]) for i in _spread(len(x), 200)]
        certain = [line for line in lines if line.is_certain]
        if certain and np.mean([line.is_misplaced_by(*gains[name]) for line in lines]) > MOST_MISPLACED:
            gain = np.median([line.gain for line in certain])
            gains[name] = gain, np.median([line.level - gain * line.level_of_y for line in certain])
            own_gains[name] = min(line.gain for line in certain), max(line.gain for line in certain)
    return PercentileNormalization(gains, own_gains)


def fit_task_gains(
    tasks: list[Task], generated: dict[str, tuple[Sequence, Sequence]] | None = None
) -> PercentileNormalization:
    """As `fit_gains`, but one gain for each task, whether or not its pairs agree."""
    pairs = generated or {t.name: (t.train_x, t.train_y) for t in tasks}
    return PercentileNormalization({name: fit_gain(x, y) for name, (x, y) in pairs.items()})


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
    return OwnPercentileNormalization({task.name: (gain, offset)}, fit_gains([task]).own_gains)


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


def white_noise(image: np.ndarray) -> float:
    """Standard deviation of the white noise of an image or a stack, (..., H, W), in its own units.

    The median of the finest diagonal Haar coefficients over 0.6745 (Donoho and Johnstone, Biometrika 81, 1994): the
    structure of an image is in few of them.
    """
    height, width = (size // 2 * 2 for size in image.shape[-2:])
    difference = np.subtract(image[..., 0:height:2, :width], image[..., 1:height:2, :width], dtype=np.float32)
    return float(np.median(np.abs(difference[..., ::2] - difference[..., 1::2])) / 2 / 0.6745)


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


class Line(NamedTuple):
    """What one pair says by itself: x = gain * (y - level_of_y) + level, but for noise and blur.

    Args:
        gain, gain_deviation: of x against y, and its standard deviation.
        level, level_deviation: x's mean brightness, and its standard deviation as far as y does not explain it.
        level_of_y, contrast_of_y, span_of_y: mean and deviation of y's block means; the 99.8 minus the 2 percentile.
    """

    gain: float
    gain_deviation: float
    level: float
    level_deviation: float
    level_of_y: float
    contrast_of_y: float
    span_of_y: float

    @property
    def is_certain(self) -> bool:
        """Whether the image shows enough contrast for a gain of its own."""
        return self.gain > 0 and self.gain_deviation < UNCERTAIN * self.gain

    def gain_and_offset(self, otherwise: float) -> tuple[float, float]:
        """(gain, offset) that put y on x's scale; the gain is `otherwise` where its own is not certain."""
        gain = self.gain if self.is_certain else otherwise
        return gain, self.level - gain * self.level_of_y

    def is_misplaced_by(self, gain: float, offset: float) -> bool:
        """Whether gain * y + offset is off by over MISPLACED of y's span, and by more than chance alone explains."""
        at_mean, slope = self.level - gain * self.level_of_y - offset, self.gain - gain
        off = np.hypot(at_mean, slope * self.contrast_of_y)  # root mean square over the image
        by_chance = np.hypot(self.level_deviation, self.gain_deviation * self.contrast_of_y)
        return bool(off > MISPLACED * abs(self.gain) * self.span_of_y + 2 * by_chance)


def fit_line(x: np.ndarray, y: np.ndarray) -> Line:
    """Gain and level of x against y, from the block means of one pair of (H, W) images.

    Least squares, as in `fit_gain`, on y's block means and on their second differences along both axes. A blur of sigma
    s adds s^2 / 2 times the second derivative to first order: with that term the gain is that of structures so large
    that the blur does not matter. Without it thin layers under an axial blur lose up to a fifth of their gain. Blocks
    are smaller than BLOCK in images below 64 pixels, so that at least 8 x 8 are left.
    """
    side = max(min(BLOCK, min(x.shape) // 8), 1)
    blocks, target = (block_means(image, side, side).reshape(x.shape[0] // side, -1) for image in (y, x))
    wide = np.pad(blocks, 1, mode="edge")
    rows = wide[2:, 1:-1] - 2 * blocks + wide[:-2, 1:-1]
    columns = wide[1:-1, 2:] - 2 * blocks + wide[1:-1, :-2]
    terms = np.stack([term.ravel() - term.mean() for term in (blocks, rows, columns)], axis=1)
    spread = np.maximum(terms.std(axis=0), np.finfo(float).tiny)
    terms, target = np.column_stack([terms / spread, np.ones(len(terms))]), target.ravel()
    keep = np.ones(len(terms), bool)
    for _ in range(3):
        found = np.linalg.lstsq(terms[keep], target[keep], rcond=None)[0]
        residual = target - terms @ found
        keep = np.abs(residual) <= 3 * 1.4826 * np.median(np.abs(residual)) + 1e-12 * np.ptp(target)
    inverse = np.linalg.pinv(terms[keep].T @ terms[keep])
    # Of each coefficient, where the noise may differ from block to block (White 1980, doi 10.2307/1912934).
    gain_deviation, *_, level_deviation = np.linalg.norm(inverse @ terms[keep].T * residual[keep], axis=1)
    return Line(
        float(found[0] / spread[0]),
        float(gain_deviation / spread[0]),
        float(found[3]),
        float(level_deviation),
        float(blocks.mean()),
        float(blocks.std()),
        percentile_scale(y).span,
    )


def _snap(gain, offset, y_blocks):
    """(1, 0) where gain and offset are within a tenth and a twentieth of it: x and y then share a scale."""
    span = y_blocks.max() - y_blocks.min()
    if abs(gain - 1) < 0.1 and abs(offset) < 0.05 * span:
        return 1.0, 0.0
    return float(gain), float(offset)
