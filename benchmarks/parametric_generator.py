"""A defect model with a handful of numbers, fitted to the real pairs: the control that CIN-GAN has to beat.

    python benchmarks/parametric_generator.py --data_dir=REAL --images_limit=10 --output=parametric.h5
    python train_cGAN.py --recipe=tuned --data_dir=REAL --images_limit=10 --unpaired_limit=-1 --cin_augment=True \
        --cin_generator_path=parametric.h5

x = blur(gain * y + offset) + deviation(intensity) * blur(noise), per task: gain and offset, a Gaussian blur along each
axis, a noise variance that grows linearly with intensity, and a Gaussian correlation of the noise along each axis.
It is written as a generator.h5 of CIN-GAN's kind, so that what follows does not know which of the two it uses: does
CIN-GAN help, or do merely more clean images? Unlike CIN-GAN it is fitted to pairs.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize

from common.devices import start_tensorflow
from common.errors import run_script
from data_utils import load_tasks
from restoring.normalization import FixedNormalization, Scale, fit_gain

SIZE = 21  # pixels of the blur kernels
KNOTS = np.linspace(-0.1, 1.5, 17)  # of the deviation as a broken line over intensity


class Defect(NamedTuple):
    """One task's numbers in network units (x's 2 and 99.8 percentiles at 0 and 1); blurs as (rows, columns) sigmas."""

    blur: tuple[float, float]
    noise_blur: tuple[float, float]
    slope: float
    floor: float

    def deviation(self, intensity):
        """Noise deviation at an intensity."""
        return np.sqrt(np.maximum(self.slope * intensity + self.floor, 0))


def fit_scales(task):
    """Scales that put x and y of a task on common network units."""
    x, y = (np.stack([images[i] for i in range(len(images))]) for images in (task.train_x, task.train_y))
    low, high = np.percentile(x, [2, 99.8])
    gain, offset = fit_gain(x, y)
    return Scale(low, high - low), Scale((low - offset) / gain, (high - low) / gain)


def fit_defect(task, x_scale, y_scale):
    """Fit blur, then noise against intensity, then the noise's correlation, to the real pairs."""
    xs = [x_scale.normalize(task.train_x[i]) for i in range(len(task.train_x))]
    ys = [y_scale.normalize(task.train_y[i]) for i in range(len(task.train_y))]

    def blurred(sigmas):
        return [gaussian_filter(y, np.abs(sigmas), mode="reflect") for y in ys]

    def error(sigmas):
        return sum(np.mean((b - x) ** 2) for b, x in zip(blurred(sigmas), xs, strict=True))

    blur = np.abs(minimize(error, [1.0, 1.0], method="Nelder-Mead", options={"xatol": 0.02, "fatol": 1e-6}).x)
    expected = blurred(blur)
    noise = [x - e for x, e in zip(xs, expected, strict=True)]
    slope, floor = _fit_variance(
        np.concatenate([e.ravel() for e in expected]), np.concatenate([n.ravel() for n in noise])
    )
    return Defect(tuple(blur), tuple(_correlation_sigma(noise, axis) for axis in (0, 1)), slope, floor)


def _fit_variance(intensity, noise, bins=20):
    """Line through the noise variance in bins of intensity, in relative least squares; never negative."""
    edges = np.unique(np.percentile(intensity, np.linspace(0, 100, bins + 1)))
    index = np.digitize(intensity, edges[1:-1])
    mean, variance = (
        np.array([f(values[index == k]) for k in range(len(edges) - 1)])
        for f, values in ((np.mean, intensity), (np.var, noise))
    )
    columns = np.stack([mean, np.ones_like(mean)], axis=1) / variance[:, None]
    slope, floor = np.linalg.lstsq(columns, np.ones_like(mean), rcond=None)[0]
    return max(slope, 0.0), max(floor, 1e-6)


def _correlation_sigma(noise, axis):
    """Sigma of the Gaussian that would give white noise the correlation of neighbours: rho = exp(-1 / (4 sigma^2))."""
    products = [np.mean(np.delete(n, -1, axis) * np.delete(n, 0, axis)) for n in noise]
    rho = np.clip(np.mean(products) / np.mean([np.mean(n * n) for n in noise]), 0.0, 0.97)
    return 0.0 if rho < 0.03 else float(np.sqrt(-1 / (4 * np.log(rho))))


def kernel(sigmas, unit):
    """(SIZE, SIZE) Gaussian; its sum (`unit`="sum") or the sum of its squares ("square") is 1."""
    impulse = np.zeros((SIZE, SIZE))
    impulse[SIZE // 2, SIZE // 2] = 1
    blurred = gaussian_filter(impulse, sigmas, mode="constant", truncate=8)
    return blurred / (blurred.sum() if unit == "sum" else np.sqrt(np.sum(blurred**2)))


def broken_line(defect):
    """Heights and slopes of the deviation as value at KNOTS[0] + sum of slopes * relu(intensity - knot)."""
    values = defect.deviation(KNOTS)
    slopes = np.diff(values) / np.diff(KNOTS)
    return values[0], np.concatenate([slopes[:1], np.diff(slopes)])


def build(defects):
    """The model as a Keras generator with inputs [image, task, noise]."""
    import keras
    from keras import layers

    count = len(defects)
    image, noise = (keras.Input((None, None, 1), name=name) for name in ("image", "noise"))
    task = keras.Input((1,), dtype="int32", name="task")

    def of_task(z, matrix):
        """The sum of z's channels weighted by the task's row of a matrix."""
        rows = layers.Embedding(*matrix.shape, embeddings_initializer="zeros", weights=[matrix])(task)
        product = layers.Multiply()([z, layers.Reshape((1, 1, matrix.shape[1]))(rows)])
        return _fixed(layers.Conv2D(1, 1, use_bias=False), np.ones((1, 1, matrix.shape[1], 1)))(product)

    def filtered(z, kernels):
        return _fixed(layers.Conv2D(count, SIZE, padding="same", use_bias=False), np.stack(kernels, -1)[:, :, None])(z)

    expected = of_task(filtered(image, [kernel(d.blur, "sum") for d in defects]), np.eye(count))
    correlated = of_task(filtered(noise, [kernel(d.noise_blur, "square") for d in defects]), np.eye(count))
    lines = [broken_line(d) for d in defects]
    ramps = layers.Conv2D(len(KNOTS), 1, activation="relu")
    ramps = _fixed(ramps, np.ones((1, 1, 1, len(KNOTS))), np.append(-KNOTS[:-1], 1e3))(expected)
    # The last ramp is a constant: the deviation at the first knot.
    weights = np.array([[*slopes, first / 1e3] for first, slopes in lines])
    deviation = of_task(ramps, weights)
    return keras.Model([image, task, noise], layers.Add()([expected, layers.Multiply()([deviation, correlated])]))


def _fixed(layer, *weights):
    layer.build((None, None, None, weights[0].shape[2]))
    layer.set_weights(weights)
    return layer


def main(args):
    tasks, _ = load_tasks(args.data_dir, None, args.images_limit, None, 0, 42)
    start_tensorflow(0)
    from restoring.generator_file import Metadata, save_generator

    scales = {task.name: fit_scales(task) for task in tasks}
    defects = [fit_defect(task, *scales[task.name]) for task in tasks]
    for task, defect in zip(tasks, defects, strict=True):
        print(f"{task.name}: {defect}")
    names = [task.name for task in tasks]
    metadata = Metadata("CIN-GAN", "parametric", names, FixedNormalization(scales), [], 1, 1, SIZE // 2)
    save_generator(build(defects), args.output, metadata)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--images_limit", type=int, default=10)
    parser.add_argument("--output", type=Path, required=True)
    run_script(main, parser.parse_args())
