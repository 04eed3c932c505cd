"""What a defect is on average, seen without pairs: its power spectrum, and its noise at each intensity.

CIN-GAN of recipe `tuned` brings those of its generated x to those of real x. A critic alone needs far more images to
learn them. Both are running means per task over the last batches, because the images of one batch differ more than
defects do. Coarse structure is left to `losses.coarse_loss`.
"""

import tensorflow as tf

SIDE = 16  # pixels of the tiles whose power spectra are averaged
BINS, LOW, HIGH = 12, -0.1, 1.3  # of intensity, in network units
MIN_PIXELS = 10  # that a bin needs before it counts
DECAY = 0.95
# Differences below 0.3 % of the intensity range (spectrum) or 0.1 % (noise) do not matter.
SPECTRUM_FLOOR, NOISE_FLOOR = 1e-5, 1e-6


def power_spectrum(images):
    """Power at each frequency by Welch's method: half-overlapping Hann-windowed tiles without their means.

    Args:
        images: (batch, height, width, 1), at least SIDE x SIDE.

    Returns:
        (batch, SIDE, SIDE // 2 + 1); white noise of variance v has v everywhere but near frequency 0.
    """
    tiles = tf.signal.frame(images[..., 0], SIDE, SIDE // 2, axis=1)  # (batch, rows, SIDE, width)
    tiles = tf.signal.frame(tiles, SIDE, SIDE // 2, axis=3)  # (batch, rows, SIDE, columns, SIDE)
    tiles = tf.transpose(tiles, (0, 1, 3, 2, 4))
    hann = tf.signal.hann_window(SIDE)
    window = hann[:, None] * hann[None]
    tiles = (tiles - tf.reduce_mean(tiles, axis=(3, 4), keepdims=True)) * window
    power = tf.square(tf.abs(tf.signal.rfft2d(tiles))) / tf.reduce_sum(tf.square(window))
    return tf.reduce_mean(power, axis=(1, 2))


def noise_by_intensity(images, size=5):
    """Squared differences from the size x size local mean, sorted into BINS overlapping (triangular) bins of that mean.

    Args:
        images: (batch, height, width, 1).

    Returns:
        (sums, pixels), each (batch, BINS): the mean square of a bin is their ratio.
    """
    margin = size // 2
    mean = tf.nn.avg_pool2d(images, size, 1, "VALID")
    squares = tf.square(images[:, margin:-margin, margin:-margin] - mean)
    width = (HIGH - LOW) / (BINS - 1)
    position = tf.clip_by_value(tf.stop_gradient(mean), LOW, HIGH)
    pixels = tf.nn.relu(1.0 - tf.abs(position - tf.linspace(LOW, HIGH, BINS)) / width)
    return tf.reduce_sum(pixels * squares, axis=(1, 2)), tf.reduce_sum(pixels, axis=(1, 2))


class RunningMeans:
    """Weighted means per task over the batches seen so far, older ones by DECAY less.

    Args:
        num_tasks: number of tasks.
        shape: of what is averaged.
    """

    def __init__(self, num_tasks, shape):
        def zeros():
            # Every replica assigns the same value, because the sums are reduced over replicas first.
            first = tf.VariableAggregation.ONLY_FIRST_REPLICA
            return tf.Variable(tf.zeros((num_tasks, *shape)), trainable=False, aggregation=first)

        self.num_tasks, self.sums, self.weights = num_tasks, zeros(), zeros()

    def update(self, task, sums, weights):
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

    def __init__(self, num_tasks):
        self.spectra = [RunningMeans(num_tasks, (SIDE, SIDE // 2 + 1)) for _ in range(2)]
        self.noises = [RunningMeans(num_tasks, (BINS,)) for _ in range(2)]

    def variables(self):
        """Everything that a checkpoint must hold."""
        return [variable for means in (*self.spectra, *self.noises) for variable in (means.sums, means.weights)]

    def terms(self, real, generated, task):
        """Mean absolute differences of the logarithms.

        Args:
            real, generated: x of the same tasks, (batch, height, width, 1) in network units.
            task: (batch, 1) int32.

        Returns:
            {"spectrum": scalar, "noise": scalar}.
        """
        spectra, noises = [], []
        for images, spectrum, noise in zip((real, generated), self.spectra, self.noises, strict=True):
            power = power_spectrum(images)
            spectra.append(spectrum.update(task, power, tf.ones_like(power))[0])
            noises.append(noise.update(task, *noise_by_intensity(images)))
        (real_noise, real_pixels), (generated_noise, generated_pixels) = noises
        seen = tf.cast(tf.minimum(real_pixels, generated_pixels) > MIN_PIXELS, tf.float32)
        noise = tf.reduce_sum(seen * _log_difference(real_noise, generated_noise, NOISE_FLOOR))
        return {
            "spectrum": tf.reduce_mean(_log_difference(*spectra, SPECTRUM_FLOOR)),
            "noise": tf.math.divide_no_nan(noise, tf.reduce_sum(seen)),
        }


def _log_difference(a, b, floor):
    return tf.abs(tf.math.log(a + floor) - tf.math.log(b + floor))
