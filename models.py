"""The networks. Every function returns a named `keras.Model` of built-in layers alone, any height and width.

Images are (batch, height, width, 1) float32; tasks are (batch, 1) int32 indices.
"""

import keras
from keras import layers


def instance_normalization(x):
    """Normalise each channel of each image by its own mean and deviation (Ulyanov et al., arXiv 1607.08022)."""
    return layers.GroupNormalization(groups=-1, epsilon=1e-3, dtype="float32")(x)


def conditional_instance_normalization(z, task, num_tasks):
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


def _paper_resnet(image, normalize, num_blocks, dropout, normalize_upsampling):
    """The paper's generator body: two stride-2 convolutions, residual blocks, two upsamplings, (image + tanh) / 2."""
    x = image
    for filters, size, strides in ((64, 7, 1), (128, 3, 2), (256, 3, 2)):
        x = layers.Conv2D(filters, size, strides=strides, padding="same")(x)
        x = layers.ReLU()(normalize(x))
    for _ in range(num_blocks):
        x = _residual_block(x, normalize, dropout)
    for filters in (128, 64):
        x = layers.Conv2D(filters, 3, padding="same")(layers.UpSampling2D()(x))
        x = layers.ReLU()(instance_normalization(x) if normalize_upsampling else x)
    x = layers.Conv2D(1, 7, padding="same")(x)
    x = layers.Activation("tanh", dtype="float32")(x)
    return layers.Average(dtype="float32")([image, x])


def _residual_block(x, normalize, dropout):
    filters = x.shape[-1]
    y = layers.Conv2D(filters, 3, padding="same")(x)
    y = layers.ReLU()(normalize(y))
    if dropout:
        y = layers.Dropout(dropout)(y)
    y = layers.Conv2D(filters, 3, padding="same")(y)
    return layers.Add()([x, normalize(y)])


def paper_generator(dropout=0.5):
    """The paper's restoring generator: 9 residual blocks of 256, instance normalisation; 11,376,129 parameters.

    Heights and widths are multiples of 4, values in [-1, 1].
    """
    image = keras.Input((None, None, 1), name="image")
    restored = _paper_resnet(image, instance_normalization, 9, dropout, normalize_upsampling=True)
    return keras.Model(image, restored, name="paper_generator")


def paper_cin_generator(num_tasks, dropout=0.5):
    """The paper's defect generator: 12 residual blocks, CIN down to the last of them, no normalisation after.

    Inputs are [image, task]; heights and widths are multiples of 4, values in [-1, 1].
    """
    image = keras.Input((None, None, 1), name="image")
    task = keras.Input((1,), dtype="int32", name="task")

    def normalize(z):
        return conditional_instance_normalization(z, task, num_tasks)

    defective = _paper_resnet(image, normalize, 12, dropout, normalize_upsampling=False)
    return keras.Model([image, task], defective, name="paper_cin_generator")


def _convolve(x, filters, size=3, strides=1, activation="relu"):
    return layers.Conv2D(filters, size, strides=strides, padding="same", activation=activation)(x)


def tuned_generator(filters=(16, 48, 96)):
    """A U-Net with a global skip, without normalisation, most of its work at half and quarter resolution.

    Heights and widths are multiples of 8; about a twelfth of the paper generator's arithmetic.
    """
    image = keras.Input((None, None, 1), name="image")
    restored = _tuned_unet(image, image, filters, normalize=lambda z: z)
    return keras.Model(image, restored, name="tuned_generator")


def tuned_cin_generator(num_tasks, noise_channels=1, filters=(16, 48, 96)):
    """The same U-Net with CIN and a noise input, so that one clean image gives many different defective ones.

    Inputs are [image, task, noise], noise (batch, height, width, noise_channels) from N(0, 1).
    """
    image = keras.Input((None, None, 1), name="image")
    task = keras.Input((1,), dtype="int32", name="task")
    noise = keras.Input((None, None, noise_channels), name="noise")

    def normalize(z):
        return conditional_instance_normalization(z, task, num_tasks)

    defective = _tuned_unet(layers.Concatenate()([image, noise]), image, filters, normalize)
    return keras.Model([image, task, noise], defective, name="tuned_cin_generator")


def _tuned_unet(inputs, image, filters, normalize):
    """image + U-Net(inputs): full-, half- and quarter-resolution features of `filters` channels, additive skips."""
    full, half, quarter = filters

    def residual(x):
        channels = x.shape[-1]
        y = layers.ReLU()(normalize(_convolve(x, channels, activation=None)))
        return layers.Add()([x, _convolve(y, channels, activation=None)])

    def upsample(x, skip):
        x = layers.UpSampling2D(interpolation="bilinear")(_convolve(x, skip.shape[-1], size=1, activation=None))
        return layers.Add()([x, skip])

    full_skip = _convolve(inputs, full, size=5)
    half_skip = residual(_convolve(full_skip, half, size=4, strides=2))
    x = _convolve(half_skip, quarter, size=2, strides=2)
    x = residual(residual(x))
    x = residual(upsample(x, half_skip))
    x = _convolve(upsample(x, full_skip), full)
    x = layers.Conv2D(1, 3, padding="same", dtype="float32")(x)
    return layers.Add(dtype="float32")([image, x])


def patch_discriminator(filters=(64, 128, 256, 512), normalize=True):
    """A conditional PatchGAN (Isola et al., arXiv 1611.07004): sees [x, candidate], gives a map of logits.

    The last two convolutions keep the resolution; with four filter counts the receptive field is 70 x 70 pixels.
    """
    x = keras.Input((None, None, 1), name="x")
    candidate = keras.Input((None, None, 1), name="candidate")
    z = layers.Concatenate()([x, candidate])
    for depth, count in enumerate(filters):
        z = _convolve(z, count, size=4, strides=2 if depth < len(filters) - 1 else 1, activation=None)
        z = instance_normalization(z) if normalize and depth else z
        z = layers.LeakyReLU(negative_slope=0.2)(z)
    logits = layers.Conv2D(1, 4, padding="same", dtype="float32")(z)
    return keras.Model([x, candidate], logits, name="patch_discriminator")


def patch_critic(num_tasks, filters=(64, 128, 256, 512)):
    """A Wasserstein PatchGAN without normalisation that knows the task; gives one score per image, (batch, 1).

    Inputs are [image, task]. The task shifts the features of every layer (one learned row of biases per task).
    The score is the mean of the patch map, so that the gradient penalty is one number per image.
    """
    image = keras.Input((None, None, 1), name="image")
    task = keras.Input((1,), dtype="int32", name="task")
    z = image
    for depth, count in enumerate(filters):
        z = _convolve(z, count, size=4, strides=2 if depth < len(filters) - 1 else 1, activation=None)
        bias = layers.Embedding(num_tasks, count, embeddings_initializer="zeros")(task)
        z = layers.Add()([z, layers.Reshape((1, 1, count))(bias)])
        z = layers.LeakyReLU(negative_slope=0.2)(z)
    z = layers.Conv2D(1, 4, padding="same", dtype="float32")(z)
    score = layers.GlobalAveragePooling2D(dtype="float32")(z)
    return keras.Model([image, task], score, name="patch_critic")
