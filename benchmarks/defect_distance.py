"""How far the defects that CIN-GAN makes are from real ones, by measure and on images that it has not seen.

    python benchmarks/defect_distance.py --data_dir=REAL CIN-GAN_results/generator.h5 [OTHER.h5 ...]

Each generator makes x from the y of the test pairs; means over a task's test images are compared with those of real x:
- spectrum 0, spectrum 1: mean absolute difference of the logarithm of the power spectrum along each axis;
- noise: the same of the mean square difference from the 5 x 5 mean, in eight equally filled bins of intensity;
- gain, offset: straight line from the 8 x 8 block means of real x to those of generated x, offset in percent of x's
  range; 1 and 0 are right.
Differences of the logarithm are in nepers of power: 0.69 is a factor of 2. Two rows say what the numbers mean: `y
itself` is no defect at all, but on the scale of x; `real x, half` compares one half of the real x with the other.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import uniform_filter

from common.devices import start_tensorflow
from common.errors import run_script
from data_utils import load_tasks
from restoring.apply import Applier
from restoring.generator_file import load_generator

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


def block_means(images, size=8):
    """8 x 8 block means of (H, W) images as one array."""
    rows, columns = (length // size for length in images[0].shape)
    cut = [image[: rows * size, : columns * size].reshape(rows, size, columns, size) for image in images]
    return np.concatenate([blocks.mean(axis=(1, 3)).ravel() for blocks in cut])


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
    if not partners:
        return " / ".join([*(f"{part:.2f}" for part in parts), "- / -"])
    gain, offset = np.polyfit(block_means(real), block_means(made), 1)
    return " / ".join([*(f"{part:.2f}" for part in parts), f"{gain:.2f}", f"{100 * offset:+.1f} %"])


def on_scale(ys, xs):
    """Clean images y after the gain and offset that put them on the scale of x."""
    gain, offset = np.polyfit(block_means(ys), block_means(xs), 1)
    return [gain * y + offset for y in ys]


def main(args):
    tasks, _ = load_tasks(args.data_dir, None, -1, None, 0, 42)
    start_tensorflow(0)
    rows = {
        "y itself": [distances(on_scale(list(task.test_y), list(task.test_x)), list(task.test_x)) for task in tasks],
        "real x, half": [distances(list(task.test_x)[::2], list(task.test_x)[1::2], False) for task in tasks],
    }
    for path in args.generator:
        model, metadata = load_generator(path)
        applier = Applier(lambda inputs, training, model=model: model.predict_on_batch(inputs), metadata)
        made = [[applier(y, task.name, draw=i) for i, y in enumerate(task.test_y)] for task in tasks]
        rows[str(path)] = [distances(m, list(task.test_x)) for m, task in zip(made, tasks, strict=True)]
    print("| spectrum 0 / spectrum 1 / noise / gain / offset | " + " | ".join(t.name for t in tasks) + " |")
    print("|---" * (len(tasks) + 1) + "|")
    for label, cells in rows.items():
        print(f"| {label} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", type=Path, nargs="+")
    parser.add_argument("--data_dir", type=Path, required=True)
    run_script(main, parser.parse_args())
