"""Has a defect a direction, as a blur along the optical axis has? Measured from x and y, paired or not. No TensorFlow.

A defect without one treats both axes alike: at each frequency it passes the same share h of y's power along axis 0 and
along axis 1, and adds the same noise n. Let R be the logarithm of the power along axis 0 over that along axis 1. From
Rx = log((h Y0 + n) / (h Y1 + n)) follows that x's R lies between 0 (all noise) and y's R (no noise), however much
stronger the content itself is along one axis (layers, fibres). Two signs of a direction follow:

- R of x lies outside that interval. No pairs are needed, because R is compared as a mean over images, and no common
  scale, because each R is a ratio within one image.
- The part of x that is coherent with y passes more along one axis than along the other. This needs pairs, is free of
  noise and content, and so finds weaker blurs in fewer images. Other fields are not coherent and say nothing here.

Each is taken in four octave-like bands, and counts where it exceeds MARGIN by SIGMAS standard errors over the images.

Beyond it: a direction along neither axis (motion at 45 degrees treats both axes alike, and flips change it too), and a
weak blur without pairs in fields that are all far stronger along the same axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SIDE = 32  # pixels of the Hann-windowed tiles whose power spectra are averaged (Welch's method)
MOST_IMAGES, MOST_TILES = 100, 16  # of a task; along a side of an image
LEAST_TILES = 9  # in all images, for any answer
COHERENT_TILES = 25  # in one image, for its transfer (96 x 96 pixels): fewer are coherent by chance
BANDS = ((2, 3), (4, 5), (6, 8), (9, 16))  # first and last frequency, in cycles per SIDE pixels
FLOOR = 1e-6  # of an image's power, added to each frequency's: below is what windows leak and arithmetic rounds
COHERENT = 0.6  # squared coherence along both axes from which a transfer is trusted
LOPSIDED = 2.0  # |R| of y up to which it is: beyond, the weaker axis holds what windows leak of the stronger
# A logarithm of power. Of 1000 draws of 3 to 30 pairs a task of the sample and of both collections, the surest without
# a direction is at 0.14, the least sure with one at 2.4.
MARGIN, SIGMAS = 0.4, 3.0
# Standard deviations over images of R and of the transfer's that are assumed beside the measured ones, as if from two
# more images: three images alone say little about their own scatter.
PRIOR_IMAGES, PRIOR_R, PRIOR_TRANSFER = 2, 0.5, 0.2


class Direction(NamedTuple):
    """What was measured.

    Args:
        found: whether the defect has a direction; None where too few pixels say nothing.
        axis: 0 or 1, the axis along which x varies less, if found.
        times: how many times less (amplitudes), relative to y, if found.
    """

    found: bool | None
    axis: int = 0
    times: float = 1.0

    def __str__(self) -> str:
        if self.found is None:
            return "too few pixels to tell whether the defect has a direction"
        if not self.found:
            return "no direction found in the defect"
        less = f"x varies {self.times:.1f} times less along axis {self.axis} than along axis {1 - self.axis}"
        return f"the defect has a direction ({less}, relative to y)"


def measure(x_images: Sequence[np.ndarray], y_images: Sequence[np.ndarray]) -> Direction:
    """Whether turning images by 90 degrees would show a defect that does not exist.

    Args:
        x_images, y_images: (H, W) arrays of real numbers in any units, no image constant; both in the same order where
            they are pairs. Of more than 100 images 100 are looked at, evenly spread; of unequal numbers the first ones.
    """
    count = min(len(x_images), len(y_images))
    if min(*x_images[0].shape, *y_images[0].shape) < SIDE:
        return Direction(None)
    rows = np.unique(np.linspace(0, count - 1, MOST_IMAGES).round().astype(int))
    pairs = [(_spectra(x_images[row]), _spectra(y_images[row])) for row in rows]
    if sum(len(x) for x, _ in pairs) < LEAST_TILES:
        return Direction(None)
    r_x, r_y = (np.stack([_band_means(_log_ratio(_power(pair[k]))) for pair in pairs]) for k in (0, 1))
    transfer = np.stack([_transfer(x, y) for x, y in pairs])
    strength, sign = max((_strength(r_x, r_y, transfer, sign), sign) for sign in (-1, 1))
    return Direction(True, int(sign > 0), float(np.exp(strength / 2))) if strength > 0 else Direction(False)


def _strength(r_x, r_y, transfer, sign):
    """The largest logarithm of power that is surely beyond MARGIN in a direction of this sign; 0 where none is."""
    beyond = _means_and_bounds([sign * r_x, sign * (r_x - r_y)], PRIOR_R).min(axis=0)
    passed = _means_and_bounds([sign * transfer], PRIOR_TRANSFER)[0]
    means, bounds = np.concatenate([beyond, passed], axis=-1)
    return means[bounds > MARGIN].max(initial=0.0)


def _means_and_bounds(values, prior):
    """For each (images, bands) array its means over images and their lower bounds: (arrays, 2, bands).

    NaN is left out; where all are NaN both are -infinity.
    """
    results = []
    for array in values:
        count = np.maximum(np.isfinite(array).sum(axis=0), 1)
        mean = np.nansum(array, axis=0) / count
        squares = np.nansum((array - mean) ** 2, axis=0) + PRIOR_IMAGES * prior**2
        bound = mean - SIGMAS * np.sqrt(squares / (count - 1 + PRIOR_IMAGES) / count)
        results.append(np.where(np.isfinite(array).any(axis=0), [mean, bound], -np.inf))
    return np.stack(results)


def _spectra(image):
    """(tiles, SIDE, SIDE) complex spectra of windowed tiles without their means; their mean power sums to 1."""
    image = np.asarray(image, dtype=np.float64)
    tops, lefts = (_starts(size) for size in image.shape)
    tiles = np.stack([image[top : top + SIDE, left : left + SIDE] for top in tops for left in lefts])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(SIDE) + 0.5) / SIDE)
    spectra = np.fft.fft2((tiles - tiles.mean(axis=(1, 2), keepdims=True)) * hann[:, None] * hann)
    return spectra / np.sqrt(max(_power(spectra).sum(), np.finfo(float).tiny))


def _power(spectra):
    """(SIDE, SIDE) mean power of (tiles, SIDE, SIDE) spectra."""
    return (np.abs(spectra) ** 2).mean(axis=0)


def _starts(size):
    """First pixels of half-overlapping tiles along one side, at most MOST_TILES, evenly spread."""
    tiles = min((size - SIDE) // (SIDE // 2) + 1, MOST_TILES)
    return np.linspace(0, size - SIDE, tiles).round().astype(int)


def _wedges():
    """(2, frequencies, SIDE, SIDE) weights of means near axis 0 and near axis 1, at 2 to SIDE / 2 cycles."""
    along, across = np.meshgrid(*[np.abs(np.fft.fftfreq(SIDE, 1 / SIDE))] * 2, indexing="ij")
    near = np.stack([(along == k) & (across < max(k // 2, 1)) for k in range(BANDS[0][0], BANDS[-1][1] + 1)])
    return np.stack([near, near.swapaxes(1, 2)]) / near.sum(axis=(1, 2))[:, None, None]


WEDGES = _wedges()


def _near_axes(power):
    """(2, frequencies) means of a (SIDE, SIDE) power near axis 0 and near axis 1."""
    return np.tensordot(WEDGES, power, axes=2)


def _log_ratio(power):
    """(frequencies,) logarithm of a (SIDE, SIDE) power along axis 0 over that along axis 1."""
    along, across = np.log(_near_axes(power) + FLOOR)
    return along - across


def _transfer(x, y):
    """(bands,) logarithm of the power that x has of y's along axis 0 over that along axis 1; NaN without coherence."""
    x_power, y_power, tiny = _power(x), _power(y), np.finfo(float).tiny
    common = np.maximum(_near_axes(np.abs((x * y.conj()).mean(axis=0)) ** 2), tiny)
    share = common / np.maximum(_near_axes(y_power**2), tiny)
    coherence = common / np.maximum(_near_axes(x_power * y_power), tiny)
    trusted = (coherence.min(axis=0) > COHERENT) & (np.abs(_log_ratio(y_power)) < LOPSIDED) & (len(x) >= COHERENT_TILES)
    return _band_means(np.where(trusted, np.log(share[0] / share[1]), np.nan))


def _band_means(values):
    """(bands,) means of (frequencies,) values, NaN left out."""
    first = BANDS[0][0]
    bands = [values[low - first : high + 1 - first] for low, high in BANDS]
    return np.array([band[np.isfinite(band)].mean() if np.isfinite(band).any() else np.nan for band in bands])
