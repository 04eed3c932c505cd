"""The two GANs: one small class each, the algorithm of a train step on one screen.

A step runs on every replica of a `tf.distribute` strategy. Gradients are summed over replicas, so each mean loss is
divided by their number. Losses, penalties and normalisation statistics stay in float32 under mixed precision.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import keras
import tensorflow as tf

import losses
import models
from methods.defect_statistics import DefectStatistics
from recipes import Recipe

GP_WEIGHT = 10.0
# Weights of the generator's terms. `paper`: the released ones, but for style, whose released 1 is of another scale; 0.1
# gives it the gradient of the content term (log.csv, columns gradient_*). `tuned`: chosen by those columns too.
CGAN_WEIGHTS = {
    "paper": {"content": 1.0, "adversarial": 0.1},
    "tuned": {"psnr": 0.005, "ssim": 0.1},
}
CIN_WEIGHTS = {
    "paper": {"content": 1.0, "style": 0.1, "wasserstein": 0.1},
    "tuned": {"spectrum": 100.0, "noise": 200.0, "wasserstein": 1.0},
}
# Filters of discriminator and critic.
JUDGE_FILTERS = {"paper": (64, 128, 256, 512), "tuned": (32, 64, 128)}


class Method:
    """What every trained method shares: its networks with an optimizer each, the released generator, its checkpoint.

    Args:
        networks: {name: keras.Model} of all trained networks; "generator" is the one that is released.
        optimizers: {name: keras optimizer}, one for each network.
        released: float32 copy of the generator that is evaluated and saved, averaged where the recipe averages.
        average_decay: decay of the released copy's running average; None copies the weights as they are.
        seed: of the dropout masks.
        features: VGG16 features, or None where no term needs them.
    """

    def __init__(
        self,
        networks: dict[str, keras.Model],
        optimizers: dict[str, keras.optimizers.Optimizer],
        released: keras.Model,
        average_decay: float | None,
        seed: int,
        features: keras.Model | None = None,
    ):
        self.networks, self.optimizers = networks, optimizers
        # Built before a checkpoint is restored: an optimizer that builds later forgets its state.
        for name, network in networks.items():
            optimizers[name].build(network.trainable_variables)
        self.generator, self.released = networks["generator"], released
        released.set_weights(self.generator.get_weights())
        self.average_decay, self.seed, self.features = average_decay, seed, features
        self.replicas = tf.distribute.get_strategy().num_replicas_in_sync

    def variables(self) -> dict[str, list]:
        """{name: variables} of everything that a checkpoint must hold."""
        networks = {name: network.weights for name, network in self.networks.items()}
        optimizers = {f"{name}_optimizer": optimizer.variables for name, optimizer in self.optimizers.items()}
        return {**networks, "released": self.released.weights, **optimizers}

    def before_step(self, iteration: tf.Tensor) -> None:
        """Dropout masks follow from the seed and the iteration, not from a running state: resume is exact."""
        for index, layer in enumerate(self.generator.layers):
            if isinstance(layer, keras.layers.Dropout) and layer.rate:
                state = tf.stack([tf.cast(self.seed + index, tf.uint32), tf.cast(iteration, tf.uint32)])
                layer.seed_generator.state.assign(tf.cast(state, layer.seed_generator.state.dtype))

    def after_step(self, iteration: tf.Tensor) -> None:
        """Move the released copy towards the generator; in the first iterations faster, so that it forgets them."""
        decay = 0.0
        if self.average_decay:
            step = tf.cast(iteration, tf.float32)
            decay = tf.minimum(self.average_decay, (1.0 + step) / (10.0 + step))
        for average, weight in zip(self.released.weights, self.generator.weights, strict=True):
            average.assign(decay * average + (1.0 - decay) * tf.cast(weight, tf.float32))

    def _update(self, name, gradients):
        """Apply gradients, already divided by the number of replicas, to one network."""
        self.optimizers[name].apply_gradients(zip(gradients, self.networks[name].trainable_variables, strict=True))

    def _scaled(self, name, loss):
        """A loss times what keeps its gradients in the range of float16; the optimizer divides by it again."""
        return self.optimizers[name].scale_loss(loss)

    def _update_generator(self, generator_tape, image_tape, terms, weights, images):
        """Update the generator that made `images` by the weighted sum of terms; gives each term's gradient norm."""
        scale = self._scaled("generator", tf.constant(1.0))
        image_gradient, norms = gradients_of_terms(image_tape, terms, weights, images, scale)
        gradients = generator_tape.gradient(
            images, self.generator.trainable_variables, output_gradients=image_gradient / self.replicas
        )
        self._update("generator", gradients)
        return norms

    def _update_critic(self, score, real, generated, epsilon):
        """One critic update of WGAN-GP (Gulrajani et al. 2017, algorithm 1); gives its loss and the penalty."""
        with tf.GradientTape() as tape:
            critic_loss = losses.critic_loss(score(real), score(generated))
            penalty = losses.gradient_penalty(score, real, generated, epsilon)
            loss = self._scaled("critic", (critic_loss + GP_WEIGHT * penalty) / self.replicas)
        self._update("critic", tape.gradient(loss, self.networks["critic"].trainable_variables))
        return {"critic": critic_loss, "penalty": penalty}

    def _vgg(self, images):
        return [tf.cast(f, tf.float32) for f in self.features(losses.gray_to_rgb(images), training=False)]


def gradients_of_terms(
    tape: tf.GradientTape, terms: dict[str, tf.Tensor], weights: dict[str, float], images: tf.Tensor, scale: tf.Tensor
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Gradient of the weighted sum of terms with respect to images, and each weighted term's own norm per image.

    Args:
        tape: persistent tape that watched `images`.
        terms: {name: scalar loss}.
        weights: {name: float}.
        images: (batch, height, width, 1).
        scale: scalar, by which the gradient is multiplied, the norms are not.

    Returns:
        (gradient of images' shape, {"gradient_" + name: mean norm over images}).
    """
    gradients = {
        name: weights[name] * tape.gradient(term, images, output_gradients=scale) for name, term in terms.items()
    }
    batch = tf.cast(tf.shape(images)[0], tf.float32)
    norms = {
        f"gradient_{name}": batch * tf.reduce_mean(tf.norm(tf.reshape(g, (tf.shape(g)[0], -1)), axis=1)) / scale
        for name, g in gradients.items()
    }
    return tf.add_n(list(gradients.values())), norms


class ConditionalGAN(Method):
    """The paired GAN that restores: content + adversarial loss (arXiv 1910.14207, section 2.2).

    Recipe `tuned` has PSNR and SSIM in their place, and no discriminator: it took 30 % of a step and earned neither
    PSNR nor SSIM nor sharpness (docs/results_appendix.md).
    """

    def __init__(self, *args, weights: dict[str, float], **kwargs):
        super().__init__(*args, **kwargs)
        self.discriminator, self.weights = self.networks.get("discriminator"), weights

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One update of the generator, and of a discriminator where there is one, from one forward pass of each.

        Args:
            batch: {"x", "y"}, each (batch, height, width, 1).

        Returns:
            {name: scalar}: this replica's losses and gradient norms.
        """
        x, y = batch["x"], batch["y"]
        # Outside the tapes, which watch VGG16's filters although they do not learn.
        y_features = self._vgg(y)[-1] if "content" in self.weights else None
        with tf.GradientTape() as generator_tape:
            restored = self.generator(x, training=True)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(restored)
            terms = self._distances(restored, y, y_features)
            if self.discriminator:
                judged, terms["adversarial"] = self._judge(x, y, restored)
                replica_loss = self._scaled("discriminator", judged / self.replicas)
        # Taken before the generator's update, applied after it: both see the other network as it was.
        gradients = tape.gradient(replica_loss, self.discriminator.trainable_variables) if self.discriminator else None
        norms = self._update_generator(generator_tape, tape, terms, self.weights, restored)
        if self.discriminator:
            self._update("discriminator", gradients)
            terms["discriminator"] = judged
        return {**terms, **norms}

    def _distances(self, restored, y, y_features):
        """{name: scalar}: the generator's terms that compare with y."""
        terms = {}
        if "content" in self.weights:
            terms["content"] = losses.content_loss(self._vgg(restored)[-1], y_features)
        if "psnr" in self.weights:
            terms["psnr"] = losses.psnr_loss(restored, y)
        if "ssim" in self.weights:
            terms["ssim"] = losses.ssim_loss(restored, y)
        return terms

    def _judge(self, x, y, restored):
        """(the discriminator's loss, the generator's adversarial loss) from one pass of each pair."""
        logits = self.discriminator([x, restored], training=True)
        loss = losses.discriminator_loss(self.discriminator([x, y], training=True), logits)
        return loss, losses.adversarial_loss(logits)


class CINGAN(Method):
    """The unpaired GAN that makes defects: WGAN-GP (Gulrajani et al. 2017, algorithm 1) + content + style.

    Recipe `tuned` has defect statistics in place of style, and no content term: its generator cannot move structure.
    """

    def __init__(self, *args, num_tasks: int, weights: dict[str, float], n_critic: int, margin: int, **kwargs):
        super().__init__(*args, **kwargs)
        self.critic, self.weights, self.n_critic, self.margin = self.networks["critic"], weights, n_critic, margin
        self.statistics = DefectStatistics(num_tasks) if "spectrum" in weights else None

    def variables(self) -> dict[str, list]:
        """As `Method.variables`, and the running means of the defect statistics."""
        return {**super().variables(), **({"statistics": self.statistics.variables()} if self.statistics else {})}

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """`n_critic` critic updates and one generator update, each with images of its own.

        Args:
            batch: {"x", "y": (batch, n_critic + 1, height, width, 1), "task", "epsilon"[, "noise"]}.

        Returns:
            {name: scalar}: this replica's losses and gradient norms.
        """
        # Unrolled in Python: tf.cond and tf.while_loop around apply_gradients fail under a strategy.
        for update in range(self.n_critic):
            part = self._part(batch, update)
            score, generated = self._score(part["task"]), self._generate(part)
            critic_losses = self._update_critic(score, part["cropped_x"], generated, part["epsilon"])
        terms = self._generator_step(self._part(batch, self.n_critic))
        return {**terms, **critic_losses}

    def _part(self, batch, update):
        """The images of one update; "cropped_x" and "cropped_y" lack the margin that generated images lack."""
        part = {name: value[:, update] for name, value in batch.items()}
        return {**part, "cropped_x": self._crop(part["x"]), "cropped_y": self._crop(part["y"])}

    def _crop(self, images):
        margin = self.margin
        return images[:, margin:-margin, margin:-margin] if margin else images

    def _generator_step(self, batch):
        needs_vgg = "content" in self.weights
        y_features = self._vgg(batch["cropped_y"])[-1] if needs_vgg else None
        x_features = self._vgg(batch["cropped_x"])[:-1] if needs_vgg else None
        with tf.GradientTape() as generator_tape:
            generated = self._generate(batch)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(generated)
            terms = {"wasserstein": losses.wasserstein_loss(self._score(batch["task"])(generated))}
            if needs_vgg:
                *style_features, content_features = self._vgg(generated)
                terms["content"] = losses.content_loss(content_features, y_features)
                terms["style"] = losses.style_loss(style_features, x_features)
            if self.statistics:
                terms.update(self.statistics.terms(batch["cropped_x"], generated, batch["task"]))
        return {**terms, **self._update_generator(generator_tape, tape, terms, self.weights, generated)}

    def _generate(self, batch):
        inputs = [batch[name] for name in ("y", "task", "noise") if name in batch]
        # The zeros that convolutions see around an image must not teach the critic to know borders.
        return self._crop(self.generator(inputs, training=True))

    def _score(self, task):
        """The critic as a function of images alone."""
        return lambda images: self.critic([images, task], training=True)


def make_adam(
    rate: float | keras.optimizers.schedules.LearningRateSchedule, **betas: float
) -> keras.optimizers.Optimizer:
    """Adam, with a loss scale that finds its own size under float16."""
    adam = keras.optimizers.Adam(rate, **betas)
    half = keras.config.dtype_policy().name == "mixed_float16"
    return keras.optimizers.LossScaleOptimizer(adam) if half else adam


def build_float32(build: Callable[[], keras.Model]) -> keras.Model:
    """Build a network in float32 whatever the training precision."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        return build()
    finally:
        keras.config.set_dtype_policy(policy)


def build_cgan(args: argparse.Namespace, recipe: Recipe, features: keras.Model | None) -> ConditionalGAN:
    """The cGAN of `args.recipe`, ready to train; call under the strategy's scope."""
    paper = args.recipe == "paper"
    build = models.paper_generator if paper else models.tuned_generator
    weights = CGAN_WEIGHTS[args.recipe]
    networks = {"generator": build()}
    if "adversarial" in weights:
        networks["discriminator"] = models.patch_discriminator(JUDGE_FILTERS[args.recipe], normalize=paper)
    return ConditionalGAN(
        networks,
        {name: make_adam(recipe.cgan_learning_rate) for name in networks},
        build_float32(build),
        recipe.average_decay,
        args.seed,
        features,
        weights=weights,
    )


def build_cin_gan(args: argparse.Namespace, recipe: Recipe, num_tasks: int, features: keras.Model | None) -> CINGAN:
    """The CIN-GAN of `args.recipe`, ready to train; call under the strategy's scope."""

    def build():
        if args.recipe == "paper":
            return models.paper_cin_generator(num_tasks)
        return models.tuned_cin_generator(num_tasks)

    def adam(updates):
        rate = recipe.cin_learning_rate
        if recipe.cin_cosine:  # Over the planned updates: never a function of the clock.
            rate = keras.optimizers.schedules.CosineDecay(rate, args.num_iters * updates)
        return make_adam(rate, beta_1=0.5, beta_2=0.9)

    return CINGAN(
        {"generator": build(), "critic": models.patch_critic(num_tasks, JUDGE_FILTERS[args.recipe])},
        {"generator": adam(1), "critic": adam(args.n_critic)},
        build_float32(build),
        recipe.average_decay,
        args.seed,
        features,
        num_tasks=num_tasks,
        weights=CIN_WEIGHTS[args.recipe],
        n_critic=args.n_critic,
        margin=recipe.cin_margin,
    )
