"""A look at the pairs before a training, which costs about a second: what seems wrong with them is said in notes.

Beyond it: wrong pairs of fields that resemble each other, shifts below SHIFTED, saturation of fewer pixels than
SATURATED, and channels of equal brightness and detail in one task.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from data_utils import Images, Task
from restoring.normalization import block_means, percentile_scale, white_noise

# Pairs and pixels that are looked at, evenly spread over the pairs; of a larger image, its middle.
MOST_PAIRS, MOST_PIXELS, MIDDLE = 100, 800_000, 512
# Neighbouring fields of one sample resemble each other: only a clear difference counts.
CELLS, CLEARLY = 8, 0.1
# Pixels along an axis, and what the correlation of x and y must gain by it. In the eleven thousand pixels or more of an
# image of any task of the sample and of both collections, 1.9 is the most that defects alone feign.
SHIFTED, GAINED = 1.5, 0.02
SATURATED = 0.005  # share of an image's pixels that have its highest value
# Noise of y, as a share of its brightness range, and how many times x's: seven of nine tasks have less in y than in x,
# one (a deconvolved y) 0.017 and 3 times x's.
NOISY, NOISIER = 0.03, 2.0
# Share of the variance that two groups of pairs explain, and how many pairs and which share of them a group has.
# 0.81 is the most in the nine tasks, where 0.64 is that of one normal distribution, 0.75 of a uniform one.
TWO_GROUPS, GROUP, GROUP_SHARE = 0.95, 4, 0.2
# Correlation of two y over 32 x 32 cells: 0.92 at most between fields of one sample.
FINE_CELLS, NEIGHBOURS = 32, 0.95


def notices_of(task: Task, paired: bool = True) -> list[str]:
    """What seems wrong with a task's images, a line each.

    Args:
        paired: whether x and y of a row are taken for one field; else only what concerns single images is looked at.
    """
    rows = _chosen(len(task.train_x), task.shape)
    x, y = ([_middle(images[i]) for i in rows] for images in (task.train_x, task.train_y))
    notices = [*_saturation("x", x, task.train_x.rows[rows]), *_saturation("y", y, task.train_y.rows[rows])]
    if not task.stride:  # Interpolation between planes takes noise from x, and y are planes as they were recorded.
        notices += _noise(x, y)
    notices += _groups(y, task.train_y.rows[rows])
    if paired:
        notices += [*_equal(x, y, task.train_x.rows[rows]), *_wrong_rows(task), *_shifts(x, y, task.train_x.rows[rows])]
    return [f"{task.name}: {notice}" for notice in [*notices, *_neighbours(task)]]


def _chosen(count, shape):
    pixels = min(shape[0], MIDDLE) * min(shape[1], MIDDLE)
    return np.unique(np.linspace(0, count - 1, min(MOST_PAIRS, max(MOST_PIXELS // pixels, 4))).round().astype(int))


def _middle(image):
    rows, columns = (slice(max(size - MIDDLE, 0) // 2, max(size - MIDDLE, 0) // 2 + MIDDLE) for size in image.shape)
    return image[rows, columns]


def _named(rows: Iterable[int], word: str = "row") -> str:
    """Rows of a file in words: the first five, and how many more there are."""
    rows = sorted(int(row) for row in rows)
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"{word}{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows[:5]))}{more}"


def unlike_rows(task: Task) -> list[int]:
    """Rows (of the file) of training pairs whose x resembles another pair's y clearly more than its own.

    The resemblance of two images is the correlation of their means over 8 x 8 cells, which noise hardly changes. Of
    more than 100 pairs 100 are looked at, evenly spread. A wrong pair is not always found.
    """
    chosen = np.unique(np.linspace(0, len(task.train_x) - 1, MOST_PAIRS).round().astype(int))
    x, y = _cell_means(task.train_x, chosen), _cell_means(task.train_y, chosen)
    resemblance = x @ y.T  # (pairs, pairs)
    unlike = resemblance.max(axis=1) - np.diag(resemblance) > CLEARLY
    return [int(row) for row in sorted(task.train_x.rows[chosen[unlike]])]


def _cell_means(images: Images, chosen, cells=CELLS):
    """(pairs, cells * cells): raw means of each image, shifted and scaled to mean 0, length 1 (0 if all are equal)."""
    height, width = (max(side // cells, 1) for side in images.shape)
    means = np.stack([block_means(images[i][: cells * height, : cells * width], height, width) for i in chosen])
    means -= means.mean(axis=1, keepdims=True)
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.finfo(np.float64).tiny)


def _wrong_rows(task):
    rows = unlike_rows(task)
    if rows:
        yield (
            f"x looks more like the y of another row than like its own in {_named(rows)}; "
            "if these rows are not true pairs, fix the files or lower --images_limit"
        )


def _equal(x_images, y_images, rows):
    equal = [row for row, x, y in zip(rows, x_images, y_images, strict=True) if np.array_equal(x, y)]
    if equal:
        yield f"x and y are the same image in {_named(equal)}; nothing is learned from them"


def _noise(x_images, y_images):
    x, y = (float(np.median([noise(image) for image in images])) for images in (x_images, y_images))
    if y > NOISY and y > NOISIER * x:
        yield (
            f"y has {100 * y:.0f} % noise and x {100 * x:.0f} %, of their brightness ranges; y is to be the clean one: "
            "are X and Y swapped?"
        )


def noise(image: np.ndarray) -> float:
    """Standard deviation of an image's white noise, as a share of its percentile span."""
    return white_noise(image) / percentile_scale(image).span


def _saturation(name, images, rows):
    shares = [float(np.mean(image == image.max())) for image in images]
    found = [(row, share) for row, share in zip(rows, shares, strict=True) if share > SATURATED]
    if found:
        most = 100 * max(share for _, share in found)
        yield f"{name} is saturated in {_named(row for row, _ in found)} (up to {most:.1f} % of the pixels)"


def _shifts(x_images, y_images, rows):
    found = {row: move for row, *pair in zip(rows, x_images, y_images, strict=True) if (move := shift(*pair))}
    if found:
        down, right = np.median(list(found.values()), axis=0)
        yield (
            f"y is shifted against x in {_named(found)}, in the median by {abs(down):.1f} pixels "
            f"{'down' if down >= 0 else 'up'} and {abs(right):.1f} to the {'right' if right >= 0 else 'left'}; "
            "register x and y before training"
        )


def shift(x: np.ndarray, y: np.ndarray) -> tuple[float, float] | None:
    """(rows, columns) by which y lies further down and right than x, to a tenth of a pixel; None below SHIFTED.

    The peak of their cross-correlation. That of phases alone follows the noise: it put 9 to 20 pixels between the true
    pairs of a collection.
    """
    from skimage.registration import phase_cross_correlation

    window = np.outer(*(np.hanning(side) for side in x.shape))  # An image does not go on at its other side.
    windowed = [(image - image.mean()) * window for image in (y, x)]
    move = phase_cross_correlation(*windowed, normalization=None, upsample_factor=10)[0]
    if np.abs(move).max() < SHIFTED or (np.abs(move) > np.array(x.shape) / 2).any():
        return None
    down, right = np.round(move).astype(int)
    height, width = x.shape
    moved = y[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
    still = x[max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)]
    gained = np.corrcoef(moved.ravel(), still.ravel())[0, 1] - np.corrcoef(x.ravel(), y.ravel())[0, 1]
    return (float(move[0]), float(move[1])) if gained > GAINED else None


def _groups(images, rows):
    """Two channels differ in brightness or in how much of their contrast is fine detail."""
    if len(images) < 2 * GROUP:
        return
    spans = [percentile_scale(image).span for image in images]
    details = [np.diff(image, axis=0).std() / max(image.std(), 1e-12) for image in images]
    medians = [np.median(image) for image in images]
    for word, values in (("contrast", spans), ("brightness", medians), ("share of fine detail", details)):
        logs = np.log(np.maximum(values, 1e-12))
        group = two_groups(logs)
        if group is not None:
            times = np.exp(logs[~group].mean() - logs[group].mean())
            yield (
                f"its y fall into two groups, {_named(rows[group])} and the others, which have {times:.1f} times the "
                f"{word}; two channels or stains are better trained as two tasks"
            )
            return


def two_groups(values: np.ndarray) -> np.ndarray | None:
    """Which of (N,) values are in the lower of two groups that explain nearly all variance (Otsu 1979); None: one."""
    order, count = np.sort(values), len(values)
    least = max(GROUP, int(np.ceil(GROUP_SHARE * count)))
    best, end = 0.0, 0
    for i in range(least, count - least + 1):
        between = i * (count - i) / count**2 * (order[:i].mean() - order[i:].mean()) ** 2
        best, end = max((best, end), (between, i))
    # Less than a factor of 1.5 is no matter for a training.
    if best <= TWO_GROUPS * order.var() or order[end:].mean() - order[:end].mean() < np.log(1.5):
        return None
    return values < order[end]


def _neighbours(task):
    trained, tested = _chosen(len(task.train_y), task.shape), _chosen(len(task.test_y), task.shape)
    if np.shares_memory(task.train_y.array, task.test_y.array) and set(task.train_y.rows) & set(task.test_y.rows):
        return  # A single pair is its own test, and that is said.
    alike = _cell_means(task.test_y, tested, FINE_CELLS) @ _cell_means(task.train_y, trained, FINE_CELLS).T
    near = alike.max(axis=1) > NEIGHBOURS
    if near.any():
        first = int(np.argmax(near))
        row = int(task.train_y.rows[trained[alike[first].argmax()]])
        yield (
            f"test images look like training images in {_named(task.test_y.rows[tested[near]], 'test row')} (the first "
            f"like row {row}): neighbouring planes of a stack? Scores on them are too good; hold whole stacks or "
            "fields for testing (data/prepare_folders.py --test_files)"
        )
