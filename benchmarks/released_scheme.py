"""The peer of speed.py: both GANs trained as the released code does, on the same networks and losses.

Images are predicted, the discriminator (or critic) is trained on them by `train_on_batch`, then the generator by that
of a combined model in which the discriminator does not learn. Every call is compiled by Keras on its own, images travel
over the host between them, and the generator's forward pass is computed twice.
"""

import keras
import tensorflow as tf

import losses
import models
from methods import gans


class Trainer(keras.Model):
    """Trains the variables of one network alone; `loss(batch)` gives what it minimises."""

    def __init__(self, network, loss, learning_rate):
        super().__init__()
        self.network, self.loss_of = network, loss
        self.compile(keras.optimizers.Adam(learning_rate))

    def train_step(self, data):
        """Keras' hook."""
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            loss = self.optimizer.scale_loss(self.loss_of(data[0]))
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return {"loss": loss}


def vgg_of(features):
    """VGG16's layers of gray images, in float32."""
    return lambda images: [tf.cast(f, tf.float32) for f in features(losses.gray_to_rgb(images), training=False)]


def cgan_step(features, batch):
    """A function that trains the cGAN of recipe `paper` once; `batch` holds x and y as NumPy arrays."""
    generator, discriminator = models.paper_generator(), models.patch_discriminator()
    vgg, weights = vgg_of(features), gans.CGAN_WEIGHTS["paper"]

    def loss(data):
        restored = tf.cast(generator(data["x"], training=True), tf.float32)
        content = losses.content_loss(vgg(restored)[-1], vgg(data["y"])[-1])
        adversarial = losses.adversarial_loss(discriminator([data["x"], restored], training=True))
        return weights["content"] * content + weights["adversarial"] * adversarial

    combined = Trainer(generator, loss, 1e-4)
    discriminator.compile(keras.optimizers.Adam(1e-4), loss=keras.losses.BinaryCrossentropy(from_logits=True))

    def step():
        restored = generator.predict_on_batch(batch["x"])
        for candidate, real in ((batch["y"], 1.0), (restored, 0.0)):
            shape = (len(restored), *[side // 8 for side in restored.shape[1:3]], 1)
            discriminator.train_on_batch([batch["x"], candidate], tf.fill(shape, real))
        combined.train_on_batch(batch)

    return step


def cin_gan_step(features, batch):
    """As `cgan_step`, of CIN-GAN: five critic updates and one of the generator; `batch` is that of `gans.CINGAN`."""
    generator, critic = models.paper_cin_generator(3), models.patch_critic(3)
    vgg, weights = vgg_of(features), gans.CIN_WEIGHTS["paper"]

    def loss(data):
        generated = tf.cast(generator([data["y"], data["task"]], training=True), tf.float32)
        *style, content = vgg(generated)
        scores = critic([generated, data["task"]], training=True)
        value = weights["wasserstein"] * losses.wasserstein_loss(scores)
        value += weights["content"] * losses.content_loss(content, vgg(data["y"])[-1])
        return value + weights["style"] * losses.style_loss(style, vgg(data["x"])[:-1])

    def loss_of_critic(data):
        def score(images):
            return critic([images, data["task"]], training=True)

        penalty = losses.gradient_penalty(score, data["x"], data["generated"], data["epsilon"])
        return losses.critic_loss(score(data["x"]), score(data["generated"])) + gans.GP_WEIGHT * penalty

    combined, judge = Trainer(generator, loss, 1e-5), Trainer(critic, loss_of_critic, 1e-5)

    def step():
        for update in range(5):
            part = {name: value[:, update] for name, value in batch.items()}
            generated = generator.predict_on_batch([part["y"], part["task"]])
            judge.train_on_batch({**part, "generated": generated})
        combined.train_on_batch({name: value[:, 5] for name, value in batch.items()})

    return step
