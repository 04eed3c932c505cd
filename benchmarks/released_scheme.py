"""The peer of train_speed.py: both GANs trained as the released code does, on the same networks and losses.

Images are predicted first; then the discriminator (or critic) is trained by `train_on_batch` on them, and then the
generator by `train_on_batch` of a combined model in which the discriminator does not learn. Every call is compiled by
Keras on its own, images travel over the host between them, and the generator's forward pass is computed twice.
"""

import keras
import tensorflow as tf

import losses
import models
from methods import gans


class GeneratorTrainer(keras.Model):
    """Trains a generator through a discriminator that stays as it is; `terms(batch, images)` gives weighted losses."""

    def __init__(self, generator, terms):
        super().__init__()
        self.generator, self.terms = generator, terms

    def train_step(self, data):
        """Keras' hook."""
        with tf.GradientTape() as tape:
            loss = tf.add_n(self.terms(data[0]))
            scaled = self.optimizer.scale_loss(loss)
        variables = self.generator.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(scaled, variables), variables, strict=True))
        return {"loss": loss}


def cgan_step(features, batch):
    """A function that trains the cGAN of recipe `paper` once; `batch` holds x and y as NumPy arrays."""
    generator, discriminator = models.paper_generator(), models.patch_discriminator()
    weights = gans.CGAN_WEIGHTS["paper"]

    def vgg(images):
        return tf.cast(features(losses.gray_to_rgb(images), training=False)[-1], tf.float32)

    def terms(data):
        restored = tf.cast(generator(data["x"], training=True), tf.float32)
        content = losses.content_loss(vgg(restored), vgg(data["y"]))
        adversarial = losses.adversarial_loss(discriminator([data["x"], restored], training=True))
        return [weights["content"] * content, weights["adversarial"] * adversarial]

    combined = GeneratorTrainer(generator, terms)
    combined.compile(keras.optimizers.Adam(1e-4))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    discriminator.compile(keras.optimizers.Adam(1e-4), loss=loss)

    def step():
        restored = generator.predict_on_batch(batch["x"])
        for candidate, real in ((batch["y"], 1.0), (restored, 0.0)):
            shape = (len(restored), *[side // 8 for side in restored.shape[1:3]], 1)
            discriminator.train_on_batch([batch["x"], candidate], tf.fill(shape, real))
        combined.train_on_batch(batch)

    return step


class CriticTrainer(keras.Model):
    """Trains the critic on real and predicted images with the gradient penalty."""

    def __init__(self, critic):
        super().__init__()
        self.critic = critic

    def train_step(self, data):
        """Keras' hook."""
        x, generated, task, epsilon = (data[0][name] for name in ("x", "generated", "task", "epsilon"))

        def score(images):
            return self.critic([images, task], training=True)

        with tf.GradientTape() as tape:
            loss = losses.critic_loss(score(x), score(generated))
            loss += gans.GP_WEIGHT * losses.gradient_penalty(score, x, generated, epsilon)
        variables = self.critic.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return {"loss": loss}


def cin_gan_step(features, batch):
    """As `cgan_step`, of CIN-GAN: five critic updates and one of the generator; `batch` is that of `gans.CINGAN`."""
    generator, critic = models.paper_cin_generator(3), models.patch_critic(3)
    weights = gans.CIN_WEIGHTS["paper"]

    def vgg(images):
        return [tf.cast(f, tf.float32) for f in features(losses.gray_to_rgb(images), training=False)]

    def terms(data):
        generated = tf.cast(generator([data["y"], data["task"]], training=True), tf.float32)
        *style, content = vgg(generated)
        found = {
            "content": losses.content_loss(content, vgg(data["y"])[-1]),
            "style": losses.style_loss(style, vgg(data["x"])[:-1]),
            "wasserstein": losses.wasserstein_loss(critic([generated, data["task"]], training=True)),
        }
        return [weights[name] * value for name, value in found.items()]

    combined, judge = GeneratorTrainer(generator, terms), CriticTrainer(critic)
    combined.compile(keras.optimizers.Adam(1e-5))
    judge.compile(keras.optimizers.Adam(1e-5))

    def step():
        for update in range(5):
            part = {name: value[:, update] for name, value in batch.items()}
            generated = generator.predict_on_batch([part["y"], part["task"]])
            judge.train_on_batch({**part, "generated": generated})
        combined.train_on_batch({name: value[:, 5] for name, value in batch.items()})

    return step
