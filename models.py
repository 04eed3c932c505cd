"""The networks. Every function returns a named `keras.Model` of built-in layers alone, any height and width.

Images are (batch, height, width, 1) float32; tasks are (batch, 1) int32 indices.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers


def instance_normalization(x: keras.KerasTensor) -> keras.KerasTensor:
    """Normalise each channel of each image by its own mean and deviation (Ulyanov et al., arXiv 1607.08022)."""
    return layers.GroupNormalization(groups=-1, epsilon=1e-3, dtype="float32")(x)


def conditional_instance_normalization(
    z: keras.KerasTensor, task: keras.KerasTensor, num_tasks: int
) -> keras.KerasTensor:
    """CIN(z; s) = gamma_s * (z - mean) / std + beta_s (Dumoulin et al., arXiv 1610.07629, eq. 5).

    Args:
        z: features, (batch, height, width, channels).
        task: the task s, (batch, 1) int32 in [0, num_tasks).
        num_tasks: number of (gamma, beta) rows to learn.

    Returns:
        Features of z's shape; mean and std are per image and channel.
    """
    channels = z.shape[-1]
    z = layers.GroupNormalization(groups=-1, epsilon=1e-3, center=False, scale=False, dtype="float32")(z)
    gamma = layers.Embedding(num_tasks, channels, embeddings_initializer="ones", dtype="float32")(task)
    beta = layers.Embedding(num_tasks, channels, embeddings_initializer="zeros", dtype="float32")(task)
    gamma, beta = (layers.Reshape((1, 1, channels), dtype="float32")(v) for v in (gamma, beta))
    return layers.Add(dtype="float32")([layers.Multiply(dtype="float32")([z, gamma]), beta])


def resnet(
    image: keras.KerasTensor,
    normalize: Callable[[keras.KerasTensor], keras.KerasTensor],
    num_blocks: int,
    dropout: float = 0.0,
    normalize_upsampling: bool = True,
    width: int = 64,
) -> keras.KerasTensor:
    """The body of the residual generators: two stride-2 convolutions, residual blocks, two upsamplings, tanh.

    `width` filters at full resolution, four times as many in the blocks.
    """
    x = image
    for filters, size, strides in ((width, 7, 1), (2 * width, 3, 2), (4 * width, 3, 2)):
        x = layers.Conv2D(filters, size, strides=strides, padding="same")(x)
        x = layers.ReLU()(normalize(x))
    for _ in range(num_blocks):
        x = _residual_block(x, normalize, dropout)
    for filters in (2 * width, width):
        x = layers.Conv2D(filters, 3, padding="same")(layers.UpSampling2D()(x))
        x = layers.ReLU()(instance_normalization(x) if normalize_upsampling else x)
    x = layers.Conv2D(1, 7, padding="same")(x)
    return layers.Activation("tanh", dtype="float32")(x)


def _residual_block(x, normalize, dropout):
    filters = x.shape[-1]
    y = layers.Conv2D(filters, 3, padding="same")(x)
    y = layers.ReLU()(normalize(y))
    if dropout:
        y = layers.Dropout(dropout)(y)
    y = layers.Conv2D(filters, 3, padding="same")(y)
    return layers.Add()([x, normalize(y)])


def paper_generator(dropout: float = 0.5) -> keras.Model:
    """The paper's restoring generator: 9 residual blocks of 256, instance normalisation; 11,376,129 parameters.

    Heights and widths are multiples of 4, values in [-1, 1].
    """
    image = keras.Input((None, None, 1), name="image")
    correction = resnet(image, instance_normalization, 9, dropout)
    return keras.Model(image, layers.Average(dtype="float32")([image, correction]), name="paper_generator")


def paper_cin_generator(num_tasks: int, dropout: float = 0.5) -> keras.Model:
    """The paper's defect generator: 12 residual blocks, CIN down to the last of them, no normalisation after.

    Inputs are [image, task]; heights and widths are multiples of 4, values in [-1, 1].
    """
    image = keras.Input((None, None, 1), name="image")
    task = keras.Input((1,), dtype="int32", name="task")

    def normalize(z):
        return conditional_instance_normalization(z, task, num_tasks)

    correction = resnet(image, normalize, 12, dropout, normalize_upsampling=False)
    defective = layers.Average(dtype="float32")([image, correction])
    return keras.Model([image, task], defective, name="paper_cin_generator")


def _convolve(x, filters, activation=None, size=3, strides=1):
    return layers.Conv2D(filters, size, strides=strides, padding="same", activation=activation)(x)


# Network units (0 and 1 are an image's 2 and 99.8 percentiles) between which the tuned generator looks at an image.
LOWEST_SEEN, HIGHEST_SEEN = -1.0, 2.0
# An outlier is more than so many network units above what is around it: between the two the tuned generator replaces it
# by a growing share. In one direction at least it is smaller than a window of so many pairs of pixels.
OUTLIER_HEIGHTS, OUTLIER_SIDE = (2.0, 4.0), 7
# Sides in pairs of pixels of the averages that fill the place of an outlier, from coarse to fine.
FILL_SIDES = (7, 3, 3)


def tuned_generator(
    filters: tuple[int, ...] = (24, 48, 96),
    activation: str = "leaky_relu",
    skips: bool = True,
    limited: bool = True,
    local: bool = True,
) -> keras.Model:
    """A U-Net (arXiv 1505.04597) with a global skip and without normalisation; a thirteenth of the paper's arithmetic.

    The U-Net computes a correction from the image limited to LOWEST_SEEN and HIGHEST_SEEN, in which bright outliers are
    replaced by what is around them. The correction is added to the image itself: a hot pixel or a bead comes out as it
    went in, and does little to its surroundings, whatever its height. Heights and widths are multiples of 2 for each
    resolution after the first. Without `skips` the two halves of the U-Net are connected at the lowest resolution
    alone. Earlier generators replace no outlier (not `local`), or look at images without limits (not `limited`).
    """
    image = keras.Input((None, None, 1), name="image")
    seen = _limit(image, LOWEST_SEEN, HIGHEST_SEEN) if limited else image
    seen = _replace_outliers(image, seen) if limited and local else seen
    correction = layers.Conv2D(1, 1, dtype="float32")(_unet(seen, filters, activation, skips))
    return keras.Model(image, layers.Add(dtype="float32")([image, correction]), name="tuned_generator")


def _limit(image, lowest, highest):
    image = layers.Rescaling(1.0, -lowest, dtype="float32")(image)
    image = layers.ReLU(max_value=highest - lowest, dtype="float32")(image)
    return layers.Rescaling(1.0, lowest, dtype="float32")(image)


def _replace_outliers(image, seen):
    """`seen` with averages of the surroundings in place of what stands far above them in `image`.

    The surroundings are a morphological opening: of the smallest values of windows of OUTLIER_SIDE the largest that a
    pixel is part of. They and the averages are taken at half the resolution, for speed.
    """

    def pool(z, kind, side):
        for window in ((side, 1), (1, side)):
            z = kind(window, 1, padding="same", dtype="float32")(z)
        return z

    def scale(z, factor, offset=0.0):
        return layers.Rescaling(factor, offset, dtype="float32")(z)

    def mix(original, filling, share):
        kept = layers.Multiply(dtype="float32")([original, scale(share, -1.0, 1.0)])
        return layers.Add(dtype="float32")([kept, layers.Multiply(dtype="float32")([filling, share])])

    smallest = pool(layers.MaxPooling2D(dtype="float32")(scale(seen, -1.0)), layers.MaxPooling2D, OUTLIER_SIDE)
    around = pool(scale(smallest, -1.0), layers.MaxPooling2D, OUTLIER_SIDE)
    low, high = OUTLIER_HEIGHTS
    behind = layers.UpSampling2D(dtype="float32")(around)
    height = layers.Subtract(dtype="float32")([image, behind])
    far = layers.ReLU(max_value=1.0, dtype="float32")(scale(height, 1 / (high - low), -low / (high - low)))
    # Nothing of a large region beyond the limits: there `image` is far above what is seen of its surroundings.
    seen_height = layers.Subtract(dtype="float32")([seen, behind])
    share = layers.Multiply(dtype="float32")([far, layers.ReLU(max_value=1.0, dtype="float32")(seen_height)])

    half, half_share = layers.AveragePooling2D(2, dtype="float32")(seen), layers.MaxPooling2D(dtype="float32")(share)
    filled = mix(half, around, half_share)
    for side in FILL_SIDES:
        filled = mix(half, pool(filled, layers.AveragePooling2D, side), half_share)
    return mix(seen, layers.UpSampling2D(dtype="float32")(filled), share)


# Sides in pixels of the averages that a blur is made of: its standard deviation is 4 pixels at most.
BLUR_SIDES = (3, 3, 3, 5, 5, 7, 9)
# Brightness (network units, 0.1 under the dark percentile at 0) up to which each ramp of the noise deviation rises.
NOISE_RAMPS = (0.1, 0.2, 0.4, 0.8, 1.6)


def tuned_cin_generator(num_tasks: int) -> keras.Model:
    """Defects as optics and a camera make them: x = blur_s(y) + deviation_s(blur_s(y)) * blur_s'(noise).

    All layers are shared by the tasks s but for numbers that scale what they compute, as CIN's gamma does; CIN's
    normalisation is left out, because it would take away the brightness that shot noise depends on. A blur is a chain
    of small averages along either axis, each mixed in by a share of 0 to 1; the deviation is a sum of saturating
    ramps, each with a weight of at least 0. Nothing here can pass image content off as noise, or noise as content,
    which a U-Net trained on ten images does. Without its noise input it could make one x of a y only.

    Inputs are [image, task, noise], noise (batch, height, width, 1) from N(0, 1).
    """
    image = keras.Input((None, None, 1), name="image")
    task = keras.Input((1,), dtype="int32", name="task")
    noise = keras.Input((None, None, 1), name="noise")

    def of_task(start, activation):
        # Stored as a tenth, so that one of Adam's steps moves it ten times as far as a filter's weight.
        start = keras.initializers.Constant(0.1 * start)
        number = layers.Embedding(num_tasks, 1, embeddings_initializer=start, dtype="float32")(task)
        number = layers.Activation(activation, dtype="float32")(layers.Rescaling(10.0, dtype="float32")(number))
        return layers.Reshape((1, 1, 1), dtype="float32")(number)

    expected = _blur(image, lambda: of_task(-2.0, "sigmoid"))
    grain = _blur(noise, lambda: of_task(-3.0, "sigmoid"))
    deviation = _noise_deviation(expected, lambda: of_task(-4.0, "softplus"))
    visible = layers.Multiply(dtype="float32")([deviation, grain])
    defective = layers.Add(dtype="float32")([expected, visible])
    return keras.Model([image, task, noise], defective, name="tuned_cin_generator")


def _blur(z, share):
    """A chain of averages along either axis; `share()` gives the part that each replaces of what it averages."""
    for side in BLUR_SIDES:
        for window in ((side, 1), (1, side)):
            mean = layers.AveragePooling2D(window, 1, padding="same", dtype="float32")(z)
            change = layers.Subtract(dtype="float32")([mean, z])
            z = layers.Add(dtype="float32")([z, layers.Multiply(dtype="float32")([change, share()])])
    return z


def _noise_deviation(expected, weight):
    """A sum of a constant and of ramps that rise to 1 with brightness; `weight()` gives the weight of each."""
    brightness = layers.Rescaling(1.0, 0.1, dtype="float32")(expected)
    parts = [weight()]
    for end in NOISE_RAMPS:
        ramp = layers.ReLU(max_value=end, dtype="float32")(brightness)
        ramp = layers.Rescaling(1.0 / end, dtype="float32")(ramp)
        parts.append(layers.Multiply(dtype="float32")([ramp, weight()]))
    return layers.Add(dtype="float32")(parts)


def _unet(x, filters, activation, skips):
    """Features at full resolution of a U-Net, one entry of `filters` per resolution."""

    def block(x, count):
        return _convolve(_convolve(x, count, activation), count, activation)

    passed = []
    for count in filters[:-1]:
        passed.append(block(x, count))
        x = layers.MaxPooling2D()(passed[-1])
    x = block(x, filters[-1])
    for count, features in zip(filters[-2::-1], passed[::-1], strict=True):
        x = layers.UpSampling2D()(x)
        x = block(layers.Concatenate()([x, features]) if skips else x, count)
    return x


def patch_discriminator(
    filters: tuple[int, ...] = (64, 128, 256, 512), normalize: bool = True, conditional: bool = True
) -> keras.Model:
    """A PatchGAN (Isola et al., arXiv 1611.07004): sees [x, candidate], or the candidate alone; a map of logits.

    The last two convolutions keep the resolution; with four filter counts the receptive field is 70 x 70 pixels.
    """
    candidate = keras.Input((None, None, 1), name="candidate")
    inputs = [keras.Input((None, None, 1), name="x"), candidate] if conditional else candidate
    z = layers.Concatenate()(inputs) if conditional else candidate
    for depth, count in enumerate(filters):
        z = _convolve(z, count, size=4, strides=2 if depth < len(filters) - 1 else 1)
        z = instance_normalization(z) if normalize and depth else z
        z = layers.LeakyReLU(negative_slope=0.2)(z)
    logits = layers.Conv2D(1, 4, padding="same", dtype="float32")(z)
    return keras.Model(inputs, logits, name="patch_discriminator")


def patch_critic(num_tasks: int, filters: tuple[int, ...] = (64, 128, 256, 512)) -> keras.Model:
    """A Wasserstein PatchGAN without normalisation that knows the task; gives one score per image, (batch, 1).

    Inputs are [image, task]. The task shifts the features of every layer (one learned row of biases per task).
    The score is the mean of the patch map, so that the gradient penalty is one number per image.
    """
    image = keras.Input((None, None, 1), name="image")
    task = keras.Input((1,), dtype="int32", name="task")
    z = image
    for depth, count in enumerate(filters):
        z = _convolve(z, count, size=4, strides=2 if depth < len(filters) - 1 else 1)
        bias = layers.Embedding(num_tasks, count, embeddings_initializer="zeros")(task)
        z = layers.Add()([z, layers.Reshape((1, 1, count))(bias)])
        z = layers.LeakyReLU(negative_slope=0.2)(z)
    z = layers.Conv2D(1, 4, padding="same", dtype="float32")(z)
    score = layers.GlobalAveragePooling2D(dtype="float32")(z)
    return keras.Model([image, task], score, name="patch_critic")
