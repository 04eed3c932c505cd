"""A defect model with a handful of numbers, fitted to the real pairs: the control that CIN-GAN has to beat.

    python -m benchmarks parametric_generator --data_dir=REAL --images_limit=10 --output=parametric.h5
    python train_cGAN.py --recipe=tuned --data_dir=REAL --images_limit=10 --unpaired_limit=-1 --cin_augment=True \
        --cin_generator_path=parametric.h5

x = blur(gain * y + offset) + deviation(intensity) * blur(noise), per task: gain and offset, a Gaussian blur along each
axis, a noise variance that grows linearly with intensity, and a Gaussian correlation of the noise along each axis.
Written as a generator.h5 of CIN-GAN's kind: does CIN-GAN help, or do merely more clean images?
"""

from collections import namedtuple
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize

from benchmarks.measuring import read_tasks
from common.devices import start_tensorflow
from restoring.normalization import FixedNormalization, Scale, fit_gain

SIZE = 21  # pixels of the blur kernels
KNOTS = np.linspace(-0.1, 1.5, 17)  # of the deviation as a broken line over intensity


# One task in network units (x's 2 and 99.8 percentiles at 0 and 1): sigmas of the blur, and of the noise's, along rows
# and columns; the noise's variance is slope * intensity + floor.
Defect = namedtuple("Defect", "blur noise_blur slope floor")


def fit_scales(x, y):
    """Scales that put x and y of a task, (N, H, W), on common network units."""
    low, high = np.percentile(x, [2, 99.8])
    gain, offset = fit_gain(x, y)
    return Scale(low, high - low), Scale((low - offset) / gain, (high - low) / gain)


def fit_defect(x, y):
    """Fit blur, then noise against intensity, then the noise's correlation, to x and y in network units."""

    def blurred(sigmas):
        return gaussian_filter(y, (0, *np.abs(sigmas)), mode="reflect")

    def error(sigmas):
        return sum(np.mean(difference**2) for difference in blurred(sigmas) - x)

    blur = np.abs(minimize(error, [1.0, 1.0], method="Nelder-Mead", options={"xatol": 0.02, "fatol": 1e-6}).x)
    expected = blurred(blur)
    noise = x - expected
    return Defect(
        tuple(blur), (correlation_sigma(noise, 1), correlation_sigma(noise, 2)), *fit_variance(expected, noise)
    )


def fit_variance(intensity, noise, bins=20):
    """Line through the noise variance in bins of intensity, in relative least squares; never negative."""
    edges = np.unique(np.percentile(intensity, np.linspace(0, 100, bins + 1)))
    index = np.digitize(intensity, edges[1:-1])
    members = [index == k for k in range(len(edges) - 1)]
    columns = np.array([[intensity[k].mean() / noise[k].var(), 1 / noise[k].var()] for k in members])
    slope, floor = np.linalg.lstsq(columns, np.ones(len(columns)), rcond=None)[0]
    return max(slope, 0.0), max(floor, 1e-6)


def correlation_sigma(noise, axis):
    """Sigma of the Gaussian that would give white noise the correlation of neighbours: rho = exp(-1 / (4 sigma^2))."""
    product = np.delete(noise, -1, axis) * np.delete(noise, 0, axis)
    rho = np.clip(np.mean(product) / np.mean(noise**2), 0.0, 0.97)
    return 0.0 if rho < 0.03 else float(np.sqrt(-1 / (4 * np.log(rho))))


def kernel(sigmas, unit):
    """(SIZE, SIZE) Gaussian; its sum (`unit`="sum") or the sum of its squares ("square") is 1."""
    impulse = np.zeros((SIZE, SIZE))
    impulse[SIZE // 2, SIZE // 2] = 1
    blurred = gaussian_filter(impulse, sigmas, mode="constant", truncate=8)
    return blurred / (blurred.sum() if unit == "sum" else np.sqrt(np.sum(blurred**2)))


def broken_line(defect):
    """The deviation as a sum of weights * relu(intensity - knot); the last weight is for 1000, the first height."""
    heights = np.sqrt(np.maximum(defect.slope * KNOTS + defect.floor, 0))
    slopes = np.diff(heights) / np.diff(KNOTS)
    return [slopes[0], *np.diff(slopes), heights[0] / 1e3]


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
        return fixed(layers.Conv2D(1, 1, use_bias=False), np.ones((1, 1, matrix.shape[1], 1)))(product)

    def filtered(z, kernels):
        return fixed(layers.Conv2D(count, SIZE, padding="same", use_bias=False), np.stack(kernels, -1)[:, :, None])(z)

    expected = of_task(filtered(image, [kernel(d.blur, "sum") for d in defects]), np.eye(count))
    correlated = of_task(filtered(noise, [kernel(d.noise_blur, "square") for d in defects]), np.eye(count))
    ramps = layers.Conv2D(len(KNOTS), 1, activation="relu")
    ramps = fixed(ramps, np.ones((1, 1, 1, len(KNOTS))), np.append(-KNOTS[:-1], 1e3))(expected)
    deviation = of_task(ramps, np.array([broken_line(d) for d in defects]))
    return keras.Model([image, task, noise], layers.Add()([expected, layers.Multiply()([deviation, correlated])]))


def fixed(layer, *weights):
    layer.build((None, None, None, weights[0].shape[2]))
    layer.set_weights(weights)
    return layer


def main(*, data_dir: Path, images_limit: int = 10, output: Path):
    tasks = read_tasks(data_dir, images_limit)
    start_tensorflow(0)
    from restoring.generator_file import Metadata, save_generator

    scales, defects = {}, {}
    for task in tasks:
        pairs = [np.stack([images[i] for i in range(len(images))]) for images in (task.train_x, task.train_y)]
        scales[task.name] = fit_scales(*pairs)
        network_units = (scale.normalize(images) for scale, images in zip(scales[task.name], pairs, strict=True))
        defects[task.name] = fit_defect(*network_units)
        print(f"{task.name}: {defects[task.name]}")
    metadata = Metadata("CIN-GAN", "parametric", list(defects), FixedNormalization(scales), [], 1, 1, SIZE // 2)
    save_generator(build(list(defects.values())), output, metadata)
