"""Images cut into patches of one size, which of them show something, and where in a stack they come from."""

import numpy as np

BACKGROUND = 0.1  # of the set's range


def cut(image, patch, step=1):
    """Patches of an (H, W) image without overlap, (N, patch, patch), from its middle, at multiples of step."""
    counts = [size // patch for size in image.shape]
    starts = [(size - count * patch) // 2 // step * step for size, count in zip(image.shape, counts, strict=True)]
    inner = image[starts[0] : starts[0] + counts[0] * patch, starts[1] : starts[1] + counts[1] * patch]
    grid = inner.reshape(counts[0], patch, counts[1], patch).swapaxes(1, 2)
    return grid.reshape(-1, patch, patch)


def not_empty(patches, ends=None):
    """Which of (N, patch, patch) show more than background, (N,) bool; `ends` of the range: the set's, unless given."""
    low, high = np.percentile(patches, [2, 99.8]) if ends is None else ends
    return np.percentile(patches, 99.8, axis=(1, 2)) - low >= BACKGROUND * (high - low)


def most_depth_ranges(rows, patch):
    """How many windows of `patch` of so many rows there are where neighbours overlap by half of it at most."""
    return max(2 * rows // patch - 1, 1)


def depth_windows(rows, count, patch):
    """The rows of each of `count` depth ranges, slices, evenly spaced: its share of all, or `patch` rows if more."""
    size = max(rows // count, patch)
    starts = np.linspace(0, rows - size, count).round().astype(int)
    return [slice(start, start + size) for start in starts]
