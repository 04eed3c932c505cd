"""How far the defects that CIN-GAN makes are from real ones, by measure and on images that it has not seen.

    python -m benchmarks defect_distance --data_dir=REAL CIN-GAN_results/generator.h5 [OTHER.h5 ...]

Each generator makes x from the y of the test pairs; means over a task's test images are compared with those of real x:
- spectrum 0, 1: mean absolute difference of the logarithm of power along each axis, in nepers: 0.69 is a factor of 2;
- noise: the same of the mean square difference from the 5 x 5 mean, in eight equally filled bins of intensity;
- gain, offset: straight line from the 8 x 8 block means of real x to those of generated x, percent of x's range.
`y itself` is no defect at all, but on the scale of x; `real x, half` compares one half of the real x with the other.
"""

from pathlib import Path

import numpy as np
from scipy.ndimage import uniform_filter

from benchmarks.measuring import print_table, read_tasks
from restoring.apply import Applier
from restoring.normalization import block_means

FLOOR = 1e-5  # of the power in units of x's range: 0.3 % of it does not matter


def spectrum(images, axis):
    """Mean power at each frequency along one axis, of (H, W) images."""
    window = np.expand_dims(np.hanning(images[0].shape[axis]), 1 - axis)
    power = [np.abs(np.fft.rfft((image - image.mean()) * window, axis=axis)) ** 2 for image in images]
    return np.mean(power, axis=(0, 2 - axis))[1:] / np.sum(window**2)


def noise_curve(images, edges):
    """Mean square difference from the 5 x 5 mean in each bin of that mean; NaN where a bin has fewer than 50 pixels."""
    means = [uniform_filter(image, 5) for image in images]
    squares = np.concatenate([((image - mean) ** 2).ravel() for image, mean in zip(images, means, strict=True)])
    bins = np.digitize(np.concatenate([mean.ravel() for mean in means]), edges) - 1
    return np.array([squares[bins == k].mean() if (bins == k).sum() >= 50 else np.nan for k in range(len(edges) - 1)])


def log_distance(a, b):
    """Mean absolute difference of logarithms, NaN left out."""
    return np.nanmean(np.abs(np.log(a + FLOOR) - np.log(b + FLOOR)))


def distances(made, real, partners=True):
    """The numbers of one cell as text; without `partners` images are not compared one to one."""
    low, high = np.percentile(real, [2, 99.8])
    made, real = ([(np.asarray(image, float) - low) / (high - low) for image in images] for images in (made, real))
    edges = np.percentile([uniform_filter(image, 5) for image in real], np.linspace(1, 99, 9))
    parts = [log_distance(spectrum(made, axis), spectrum(real, axis)) for axis in (0, 1)]
    parts.append(log_distance(noise_curve(made, edges), noise_curve(real, edges)))
    gain, offset = fit_line(real, made) if partners else (0, 0)
    line = f"{gain:.2f} / {100 * offset:+.1f} %" if partners else "- / -"
    return " / ".join([*(f"{part:.2f}" for part in parts), line])


def fit_line(images, others):
    """Gain and offset of the straight line from the block means of images to those of others."""
    return np.polyfit(*(np.concatenate([block_means(image) for image in stack]) for stack in (images, others)), 1)


def rows(generators, tasks):
    """(label, cells of all tasks)."""
    real = {task.name: list(task.test_x) for task in tasks}
    on_scale = {t.name: np.poly1d(fit_line(t.test_y, t.test_x))(np.stack(list(t.test_y))) for t in tasks}
    yield "y itself", *(distances(on_scale[name], real[name]) for name in real)
    yield "real x, half", *(distances(x[::2], x[1::2], False) for x in real.values())
    for path in generators:
        apply = Applier.load(path)
        made = {task.name: [apply(y, task.name, draw=i) for i, y in enumerate(task.test_y)] for task in tasks}
        yield path, *(distances(made[name], real[name]) for name in real)


def main(*generators, data_dir: Path):
    tasks = read_tasks(data_dir, -1)
    print_table(["spectrum 0 / spectrum 1 / noise / gain / offset", *(t.name for t in tasks)], rows(generators, tasks))
