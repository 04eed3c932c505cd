"""What a defect is on average, seen without pairs: power at each frequency, over all and at each brightness.

CIN-GAN of recipe `tuned` brings those of its generated x to those of real x. A critic alone needs far more images to
learn them. Both are running means per task over the last batches, because the images of one batch differ more than
defects do.
"""

from __future__ import annotations

import tensorflow as tf

SIDE = 16  # pixels of the tiles whose power spectra are averaged
FREQUENCIES = SIDE * (SIDE // 2 + 1)
BINS = 6  # of a tile's mean brightness, from 0 to 1 in network units
DECAY = 0.95
FLOOR = 3e-4  # of the power: what is below 2 % of the intensity range does not matter


def tile_spectra(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Power spectra of half-overlapping Hann-windowed tiles without their means (Welch's method before its average).

    Args:
        images: (batch, height, width, 1), at least SIDE x SIDE.

    Returns:
        (power, means): power (batch, tiles, FREQUENCIES), for white noise of variance v it is v on average
        everywhere but near frequency 0; means (batch, tiles).
    """
    tiles = tf.signal.frame(images[..., 0], SIDE, SIDE // 2, axis=1)  # (batch, rows, SIDE, width)
    tiles = tf.signal.frame(tiles, SIDE, SIDE // 2, axis=3)  # (batch, rows, SIDE, columns, SIDE)
    tiles = tf.transpose(tiles, (0, 1, 3, 2, 4))
    tiles = tf.reshape(tiles, (tf.shape(images)[0], -1, SIDE, SIDE))
    means = tf.reduce_mean(tiles, axis=(2, 3), keepdims=True)
    hann = tf.signal.hann_window(SIDE)
    window = hann[:, None] * hann[None]
    power = tf.square(tf.abs(tf.signal.rfft2d((tiles - means) * window))) / tf.reduce_sum(tf.square(window))
    return tf.reshape(power, (tf.shape(images)[0], -1, FREQUENCIES)), means[..., 0, 0]


def sort_by_brightness(values: tf.Tensor, means: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Sums over tiles in BINS overlapping (triangular) bins of the tiles' means.

    Args:
        values: (batch, tiles, frequencies).
        means: (batch, tiles), brightness in network units.

    Returns:
        (sums, tiles), each (batch, BINS, frequencies): the mean of a bin is their ratio.
    """
    distance = tf.abs(tf.clip_by_value(means, 0.0, 1.0)[..., None] - tf.linspace(0.0, 1.0, BINS))
    shares = tf.stop_gradient(tf.nn.relu(1.0 - distance * (BINS - 1)))
    sums = tf.einsum("btk,btf->bkf", shares, values)
    return sums, tf.broadcast_to(tf.reduce_sum(shares, axis=1)[..., None], tf.shape(sums))


class RunningMeans:
    """Weighted means per task over the batches seen so far, older ones by DECAY less.

    Args:
        num_tasks: number of tasks.
        shape: of what is averaged.
    """

    def __init__(self, num_tasks: int, shape: tuple[int, ...]):
        def zeros():
            # Every replica assigns the same value, because the sums are reduced over replicas first.
            first = tf.VariableAggregation.ONLY_FIRST_REPLICA
            return tf.Variable(tf.zeros((num_tasks, *shape)), trainable=False, aggregation=first)

        self.num_tasks, self.sums, self.weights = num_tasks, zeros(), zeros()

    def update(self, task: tf.Tensor, sums: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Add a batch; gradients flow through what it adds.

        Args:
            task: (batch, 1) int32.
            sums, weights: (batch, *shape) each.

        Returns:
            (means, weights), each (num_tasks, *shape); 0 where nothing was seen.
        """
        one_hot = tf.one_hot(task[:, 0], self.num_tasks)
        batch = [tf.tensordot(one_hot, value, [[0], [0]]) for value in (sums, weights)]
        batch = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, batch)
        sums, weights = DECAY * self.sums + batch[0], DECAY * self.weights + batch[1]
        self.sums.assign(sums)
        self.weights.assign(weights)
        return tf.math.divide_no_nan(sums, weights), weights


class DefectStatistics:
    """The statistics of real and of generated x of every task, and the loss terms that bring them together."""

    def __init__(self, num_tasks: int):
        self.spectra = [RunningMeans(num_tasks, (FREQUENCIES,)) for _ in range(2)]
        self.noises = [RunningMeans(num_tasks, (BINS, FREQUENCIES)) for _ in range(2)]

    def variables(self) -> list[tf.Variable]:
        """Everything that a checkpoint must hold."""
        return [variable for means in (*self.spectra, *self.noises) for variable in (means.sums, means.weights)]

    def terms(self, real: tf.Tensor, generated: tf.Tensor, task: tf.Tensor) -> dict[str, tf.Tensor]:
        """Mean absolute differences of the logarithms of power.

        The mean power ("spectrum") follows blur and noise alike. The mean logarithm at each brightness ("noise") tells
        them apart: it is dominated by the tiles that show little structure, where the power is that of the noise.

        Args:
            real, generated: x of the same tasks, (batch, height, width, 1) in network units.
            task: (batch, 1) int32.

        Returns:
            {"spectrum": scalar, "noise": scalar}.
        """
        spectra, noises = [], []
        for images, spectrum, noise in zip((real, generated), self.spectra, self.noises, strict=True):
            power, means = tile_spectra(images)
            mean_power = tf.reduce_mean(power, axis=1)
            spectra.append(tf.math.log(spectrum.update(task, mean_power, tf.ones_like(mean_power))[0] + FLOOR))
            noises.append(noise.update(task, *sort_by_brightness(tf.math.log(power + FLOOR), means)))
        (real_noise, real_tiles), (generated_noise, generated_tiles) = noises
        tiles = tf.minimum(real_tiles, generated_tiles)
        noise = tf.reduce_sum(tiles * tf.abs(real_noise - generated_noise))
        return {
            "spectrum": tf.reduce_mean(tf.abs(spectra[0] - spectra[1])),
            "noise": tf.math.divide_no_nan(noise, tf.reduce_sum(tiles)),
        }
