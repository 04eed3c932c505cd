"""What every trained method shares. Importing it does not import TensorFlow, so that a baseline can be one file.

A step runs on every replica of a `tf.distribute` strategy. Gradients are summed over replicas, so each mean loss is
divided by their number. Losses, penalties and normalisation statistics stay in float32 under mixed precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    from recipes.recipe import Adam, Term


class Method:
    """Its networks with an optimizer each, the released generator, its checkpoint.

    Args:
        networks: {name: keras.Model} of all trained networks; "generator" is the one that is released.
        optimizers: {name: keras optimizer}, one for each network.
        released: float32 copy of the generator that is evaluated and saved, averaged where the recipe averages.
        average_decay: decay of the released copy's running average; None copies the weights as they are.
        seed: of the dropout masks.
        features: VGG16 features, or None where no term needs them.
        terms: what the generator minimises, where a recipe says it.
    """

    def __init__(
        self,
        networks: dict[str, keras.Model],
        optimizers: dict[str, keras.optimizers.Optimizer],
        released: keras.Model,
        average_decay: float | None,
        seed: int,
        features: keras.Model | None = None,
        terms: Sequence[Term] = (),
    ):
        import tensorflow as tf

        self.networks, self.optimizers = networks, optimizers
        # Built before a checkpoint is restored: an optimizer that builds later forgets its state.
        for name, network in networks.items():
            optimizers[name].build(network.trainable_variables)
        self.generator, self.released = networks["generator"], released
        released.set_weights(self.generator.get_weights())
        self.average_decay, self.seed, self.features, self.terms = average_decay, seed, features, terms
        self.start, self.learned = None, 1.0
        self.replicas = tf.distribute.get_strategy().num_replicas_in_sync

    def start_from(self, weights: Sequence[np.ndarray], learned: float) -> None:
        """Train on from a generator's weights.

        Args:
            weights: of a network like the generator, as `keras.Model.get_weights` gives them.
            learned: share of the trained weights in the released ones, 0 to 1; the rest are these.
        """
        self.generator.set_weights(weights)
        self.released.set_weights(weights)
        self.start, self.learned = weights, learned

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One iteration on this replica's part of a batch; gives {name: scalar} of its losses and gradient norms."""
        raise NotImplementedError

    def variables(self) -> dict[str, list]:
        """{name: variables} of everything that a checkpoint must hold."""
        networks = {name: network.weights for name, network in self.networks.items()}
        optimizers = {f"{name}_optimizer": optimizer.variables for name, optimizer in self.optimizers.items()}
        return {**networks, "released": self.released.weights, **optimizers}

    def before_step(self, iteration: tf.Tensor) -> None:
        """Dropout masks follow from the seed and the iteration, not from a running state: resume is exact."""
        import keras
        import tensorflow as tf

        for index, layer in enumerate(self.generator.layers):
            if isinstance(layer, keras.layers.Dropout) and layer.rate:
                state = tf.stack([tf.cast(self.seed + index, tf.uint32), tf.cast(iteration, tf.uint32)])
                layer.seed_generator.state.assign(tf.cast(state, layer.seed_generator.state.dtype))

    def after_step(self, iteration: tf.Tensor) -> None:
        """Move the released copy towards the generator; in the first iterations faster, so that it forgets them."""
        import tensorflow as tf

        decay = 0.0
        if self.average_decay:
            step = tf.cast(iteration, tf.float32)
            decay = tf.minimum(self.average_decay, (1.0 + step) / (10.0 + step))
        for index, average in enumerate(self.released.weights):
            weight = tf.cast(self.generator.weights[index], tf.float32)
            if self.learned < 1.0:
                weight = self.start[index] + self.learned * (weight - self.start[index])
            average.assign(decay * average + (1.0 - decay) * weight)

    def update(self, name: str, gradients: Sequence[tf.Tensor]) -> None:
        """Apply gradients, already divided by the number of replicas, to one network."""
        self.optimizers[name].apply_gradients(zip(gradients, self.networks[name].trainable_variables, strict=True))

    def scaled(self, name: str, loss: tf.Tensor) -> tf.Tensor:
        """A loss times what keeps its gradients in the range of float16; the optimizer divides by it again."""
        return self.optimizers[name].scale_loss(loss)

    def update_generator(
        self,
        generator_tape: tf.GradientTape,
        image_tape: tf.GradientTape,
        terms: dict[str, tf.Tensor],
        weights: dict[str, float],
        images: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Update the generator by the weighted sum of terms.

        Args:
            generator_tape: recorded how the generator made `images`.
            image_tape: persistent, recorded how the terms follow from `images`.
            terms, weights: {name: scalar loss} and {name: its factor}.

        Returns:
            {"gradient_NAME": norm} of each weighted term's gradient.
        """
        import tensorflow as tf

        scale = self.scaled("generator", tf.constant(1.0))
        image_gradient, norms = gradients_of_terms(image_tape, terms, weights, images, scale)
        gradients = generator_tape.gradient(
            images, self.generator.trainable_variables, output_gradients=image_gradient / self.replicas
        )
        self.update("generator", gradients)
        return norms

    def look_at(self, images: tf.Tensor) -> dict[str, Any]:
        """What terms can see of images: {"pixels"}, and VGG16's {"content", "style"} where there is VGG16.

        Real ones are looked at outside the tapes, which watch VGG16's filters although they do not learn.
        """
        seen = {"pixels": images}
        if self.features is not None:
            *seen["style"], seen["content"] = vgg_features(self.features, images)
        return seen

    def losses_of(self, made: dict[str, Any], real: dict[str, dict[str, Any]]) -> dict[str, tf.Tensor]:
        """The recipe's terms: {name: scalar}, unweighted.

        Args:
            made: {what a term sees: it} of the generator's images (`Term.sees`).
            real: {"x" or "y": the same of real images}, where a term compares with them.
        """
        import losses

        found = {}
        for term in self.terms:
            against = [real[term.against][term.sees]] if term.against else []
            found[term.name] = getattr(losses, term.loss)(made[term.sees], *against)
        return found

    def weights(self) -> dict[str, float]:
        """{name: factor} of the recipe's terms."""
        return {term.name: term.weight for term in self.terms}


def vgg_features(features: keras.Model, images: tf.Tensor) -> list[tf.Tensor]:
    """VGG16's layers of gray images (batch, height, width, 1), in float32: three for style, then the content's."""
    import tensorflow as tf

    import losses

    return [tf.cast(f, tf.float32) for f in features(losses.gray_to_rgb(images), training=False)]


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
    import tensorflow as tf

    gradients = {
        name: weights[name] * tape.gradient(term, images, output_gradients=scale) for name, term in terms.items()
    }
    batch = tf.cast(tf.shape(images)[0], tf.float32)
    norms = {
        f"gradient_{name}": batch * tf.reduce_mean(tf.norm(tf.reshape(g, (tf.shape(g)[0], -1)), axis=1)) / scale
        for name, g in gradients.items()
    }
    return tf.add_n(list(gradients.values())), norms


def make_adam(adam: Adam, updates: int) -> keras.optimizers.Optimizer:
    """A recipe's Adam for a network with this many planned updates, with a loss scale that adapts under float16."""
    import keras

    rate = keras.optimizers.schedules.CosineDecay(adam.rate, updates) if adam.cosine else adam.rate
    optimizer = keras.optimizers.Adam(rate, beta_1=adam.beta_1, beta_2=adam.beta_2)
    half = keras.config.dtype_policy().name == "mixed_float16"
    return keras.optimizers.LossScaleOptimizer(optimizer) if half else optimizer


def build_float32(build: Callable[[], keras.Model]) -> keras.Model:
    """Build a network in float32 whatever the training precision."""
    import keras

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        return build()
    finally:
        keras.config.set_dtype_policy(policy)
