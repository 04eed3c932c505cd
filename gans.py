"""The two GANs: one small class each, the algorithm of a train step on one screen.

A step runs on every replica of a `tf.distribute` strategy. Gradients are summed over replicas, so each mean loss is
divided by their number. Losses, penalties and normalisation statistics stay in float32 under mixed precision.
"""

import keras
import tensorflow as tf

import losses
import models

GP_WEIGHT = 10.0
# Weights of the generator's terms. `paper`: the published ones; style's is not published, 0.1 gives it the gradient of
# the content term (log.csv, columns gradient_*). `tuned`: chosen by those columns too.
CGAN_WEIGHTS = {
    "paper": {"content": 1.0, "adversarial": 0.1},
    "tuned": {"pixel": 1.0, "adversarial": 0.0003},
}
CIN_WEIGHTS = {
    "paper": {"content": 1.0, "style": 0.1, "wasserstein": 0.1},
    "tuned": {"coarse": 100.0, "wasserstein": 1.0},
}
# Filters of discriminator and critic.
JUDGE_FILTERS = {"paper": (64, 128, 256, 512), "tuned": (32, 64, 128)}


class GAN:
    """What both GANs share: two networks, two optimizers, the averaged weights, the variables of a checkpoint.

    Args:
        generator, judge: the trained networks (judge: discriminator or critic).
        released: float32 copy of the generator that is evaluated and saved, averaged where the recipe averages.
        optimizers: (generator's, judge's).
        average_decay: decay of the released copy's running average; None copies the weights as they are.
        features: VGG16 features, or None where no term needs them.
        seed: of the dropout masks.
    """

    judge_name = "discriminator"

    def __init__(self, generator, judge, released, optimizers, average_decay, features, seed):
        self.generator, self.judge, self.released = generator, judge, released
        self.generator_optimizer, self.judge_optimizer = optimizers
        # Built before a checkpoint is restored: an optimizer that builds later forgets its state.
        self.generator_optimizer.build(generator.trainable_variables)
        self.judge_optimizer.build(judge.trainable_variables)
        released.set_weights(generator.get_weights())
        self.average_decay, self.features, self.seed = average_decay, features, seed
        self.replicas = tf.distribute.get_strategy().num_replicas_in_sync

    def variables(self):
        """{name: variables} of everything that a checkpoint must hold."""
        return {
            "generator": self.generator.weights,
            self.judge_name: self.judge.weights,
            "released": self.released.weights,
            "generator_optimizer": self.generator_optimizer.variables,
            f"{self.judge_name}_optimizer": self.judge_optimizer.variables,
        }

    def before_step(self, iteration):
        """Dropout masks follow from the seed and the iteration, not from a running state: resume is exact."""
        for index, layer in enumerate(self.generator.layers):
            if isinstance(layer, keras.layers.Dropout) and layer.rate:
                state = tf.stack([tf.cast(self.seed + index, tf.uint32), tf.cast(iteration, tf.uint32)])
                layer.seed_generator.state.assign(tf.cast(state, layer.seed_generator.state.dtype))

    def after_step(self, iteration):
        """Move the released copy towards the generator; in the first iterations faster, so that it forgets them."""
        decay = 0.0
        if self.average_decay:
            step = tf.cast(iteration, tf.float32)
            decay = tf.minimum(self.average_decay, (1.0 + step) / (10.0 + step))
        for average, weight in zip(self.released.weights, self.generator.weights, strict=True):
            average.assign(decay * average + (1.0 - decay) * tf.cast(weight, tf.float32))

    def _apply(self, optimizer, gradients, network):
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))

    def _vgg(self, images):
        return [tf.cast(f, tf.float32) for f in self.features(losses.gray_to_rgb(images), training=False)]


def gradients_of_terms(tape, terms, weights, images):
    """Gradient of the weighted sum of terms with respect to images, and each weighted term's own norm per image.

    Args:
        tape: persistent tape that watched `images`.
        terms: {name: scalar loss}.
        weights: {name: float}.
        images: (batch, height, width, 1).

    Returns:
        (gradient of images' shape, {"gradient_" + name: mean norm over images}).
    """
    gradients = {name: weights[name] * tape.gradient(term, images) for name, term in terms.items()}
    batch = tf.cast(tf.shape(images)[0], tf.float32)
    norms = {
        f"gradient_{name}": batch * tf.reduce_mean(tf.norm(tf.reshape(g, (tf.shape(g)[0], -1)), axis=1))
        for name, g in gradients.items()
    }
    return tf.add_n(list(gradients.values())), norms


class ConditionalGAN(GAN):
    """The paired GAN that restores: content (or pixel) + adversarial loss (arXiv 1910.14207, section 2.2)."""

    def __init__(self, *args, weights, **kwargs):
        super().__init__(*args, **kwargs)
        self.weights = weights

    def train_step(self, batch):
        """One update of generator and discriminator from one forward pass of each.

        Args:
            batch: {"x", "y"}, each (batch, height, width, 1).

        Returns:
            {name: scalar}: this replica's losses and gradient norms.
        """
        x, y = batch["x"], batch["y"]
        y_features = self._vgg(y)[-1] if "content" in self.weights else None
        with tf.GradientTape() as generator_tape:
            restored = self.generator(x, training=True)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(restored)
            restored_logits = self.judge([x, restored], training=True)
            discriminator_loss = losses.discriminator_loss(self.judge([x, y], training=True), restored_logits)
            terms = {"adversarial": losses.adversarial_loss(restored_logits)}
            if "content" in self.weights:
                terms["content"] = losses.content_loss(self._vgg(restored)[-1], y_features)
            if "pixel" in self.weights:
                terms["pixel"] = losses.pixel_loss(restored, y)

        image_gradient, norms = gradients_of_terms(tape, terms, self.weights, restored)
        generator_gradients = generator_tape.gradient(
            restored, self.generator.trainable_variables, output_gradients=image_gradient / self.replicas
        )
        discriminator_gradients = tape.gradient(discriminator_loss, self.judge.trainable_variables)
        self._apply(self.generator_optimizer, generator_gradients, self.generator)
        self._apply(self.judge_optimizer, [g / self.replicas for g in discriminator_gradients], self.judge)
        return {**terms, "discriminator": discriminator_loss, **norms}


class CINGAN(GAN):
    """The unpaired GAN that makes defects: WGAN-GP (Gulrajani et al. 2017, algorithm 1) + content + style."""

    judge_name = "critic"

    def __init__(self, *args, weights, n_critic, margin, **kwargs):
        super().__init__(*args, **kwargs)
        self.weights, self.n_critic, self.margin = weights, n_critic, margin

    def train_step(self, batch):
        """`n_critic` critic updates and one generator update, each with images of its own.

        Args:
            batch: {"x", "y": (batch, n_critic + 1, height, width, 1), "task", "epsilon"[, "noise"]}.

        Returns:
            {name: scalar}: this replica's losses and gradient norms.
        """
        # Unrolled in Python: tf.cond and tf.while_loop around apply_gradients fail under a strategy.
        for update in range(self.n_critic):
            critic_loss, penalty = self._critic_step(self._part(batch, update))
        terms = self._generator_step(self._part(batch, self.n_critic))
        return {**terms, "critic": critic_loss, "gradient_penalty": penalty}

    def _part(self, batch, update):
        """The images of one update; "cropped_x" and "cropped_y" lack the margin that generated images lack."""
        part = {name: value[:, update] for name, value in batch.items()}
        return {**part, "cropped_x": self._crop(part["x"]), "cropped_y": self._crop(part["y"])}

    def _crop(self, images):
        margin = self.margin
        return images[:, margin:-margin, margin:-margin] if margin else images

    def _critic_step(self, batch):
        generated = self._generate(batch)
        with tf.GradientTape() as tape:
            critic_loss = losses.critic_loss(self._score(batch["cropped_x"], batch), self._score(generated, batch))
            penalty = losses.gradient_penalty(
                lambda images: self._score(images, batch), batch["cropped_x"], generated, batch["epsilon"]
            )
            loss = (critic_loss + GP_WEIGHT * penalty) / self.replicas
        self._apply(self.judge_optimizer, tape.gradient(loss, self.judge.trainable_variables), self.judge)
        return critic_loss, penalty

    def _generator_step(self, batch):
        needs_vgg = "content" in self.weights
        y_features = self._vgg(batch["cropped_y"])[-1] if needs_vgg else None
        x_features = self._vgg(batch["cropped_x"])[:-1] if needs_vgg else None
        with tf.GradientTape() as generator_tape:
            generated = self._generate(batch)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(generated)
            terms = {"wasserstein": losses.wasserstein_loss(self._score(generated, batch))}
            if needs_vgg:
                *style_features, content_features = self._vgg(generated)
                terms["content"] = losses.content_loss(content_features, y_features)
                terms["style"] = losses.style_loss(style_features, x_features)
            if "coarse" in self.weights:
                terms["coarse"] = losses.coarse_loss(generated, batch["cropped_y"])
        image_gradient, norms = gradients_of_terms(tape, terms, self.weights, generated)
        gradients = generator_tape.gradient(
            generated, self.generator.trainable_variables, output_gradients=image_gradient / self.replicas
        )
        self._apply(self.generator_optimizer, gradients, self.generator)
        return {**terms, **norms}

    def _generate(self, batch):
        inputs = [batch[name] for name in ("y", "task", "noise") if name in batch]
        # The zeros that convolutions see around an image must not teach the critic to know borders.
        return self._crop(self.generator(inputs, training=True))

    def _score(self, images, batch):
        return self.judge([images, batch["task"]], training=True)


def _learning_rate(start, recipe, updates):
    """Constant, or a half cosine to 0 over the planned updates: never a function of the clock."""
    return keras.optimizers.schedules.CosineDecay(start, updates) if recipe.cosine else start


def _float32(build, *args, **kwargs):
    """Build a network in float32 whatever the training precision."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        return build(*args, **kwargs)
    finally:
        keras.config.set_dtype_policy(policy)


def build_cgan(args, recipe, features):
    """The cGAN of `args.recipe`, ready to train; call under the strategy's scope."""
    paper = args.recipe == "paper"
    build = models.paper_generator if paper else models.tuned_generator
    rate = _learning_rate(recipe.cgan_learning_rate, recipe, args.num_iters)
    return ConditionalGAN(
        build(),
        models.patch_discriminator(JUDGE_FILTERS[args.recipe], normalize=paper),
        _float32(build),
        [keras.optimizers.Adam(rate) for _ in range(2)],
        recipe.average_decay,
        features,
        args.seed,
        weights=CGAN_WEIGHTS[args.recipe],
    )


def build_cin_gan(args, recipe, num_tasks, features):
    """The CIN-GAN of `args.recipe`, ready to train; call under the strategy's scope."""

    def build():
        if args.recipe == "paper":
            return models.paper_cin_generator(num_tasks)
        return models.tuned_cin_generator(num_tasks, recipe.noise_channels)

    rates = [
        _learning_rate(recipe.cin_learning_rate, recipe, args.num_iters * updates) for updates in (1, args.n_critic)
    ]
    return CINGAN(
        build(),
        models.patch_critic(num_tasks, JUDGE_FILTERS[args.recipe]),
        _float32(build),
        [keras.optimizers.Adam(rate, beta_1=0.5, beta_2=0.9) for rate in rates],
        recipe.average_decay,
        features,
        args.seed,
        weights=CIN_WEIGHTS[args.recipe],
        n_critic=args.n_critic,
        margin=recipe.cin_margin,
    )
