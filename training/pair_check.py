"""Do x and y of each pair show one field? Rows that are no pairs are told before a training takes them for some."""

from __future__ import annotations

import numpy as np

from data_utils import Images, Task
from restoring.normalization import block_means

# Neighbouring fields of one sample resemble each other: only a clear difference counts.
CELLS, CLEARLY, MOST_PAIRS = 8, 0.1, 100


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


def _cell_means(images: Images, chosen):
    """(pairs, 64): raw means of each image's cells, shifted and scaled to mean 0 and length 1 (0 if all are equal)."""
    height, width = (side // CELLS for side in images.shape)
    means = np.stack([block_means(images[i][: CELLS * height, : CELLS * width], height, width) for i in chosen])
    means -= means.mean(axis=1, keepdims=True)
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.finfo(np.float64).tiny)


def notice_of(task: Task) -> str | None:
    """One line that names the rows, or None where all pairs look right."""
    rows = unlike_rows(task)
    if not rows:
        return None
    named = ", ".join(map(str, rows[:5])) + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")
    return (
        f"{task.name}: x looks more like the y of another row than like its own in rows {named}; "
        "if these are no pairs, lower --images_limit or mend the files"
    )
