"""DeblurGAN (Kupyn et al. 2018, arXiv 1711.07064): WGAN-GP on the restored image and VGG content, on pairs.

Networks and losses are those of this project, which are its own: the paper's generator is DeblurGAN's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_utils import Task
from methods.baseline import Baseline
from methods.batches import PairBatches, Sampling
from methods.method import Method, build_float32, vgg_features
from restoring.normalization import FixedNormalization, Normalization, fit_range

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

WEIGHTS = {"content": 100.0, "wasserstein": 1.0}  # section 3.1
GP_WEIGHT = 10.0  # arXiv 1704.00028
STREAM_EPSILON = 10  # of random numbers, beside those of batches.py


class DeblurGAN(Method):
    """A generator and a critic; `n_critic` critic updates in one iteration."""

    def __init__(self, *args, n_critic: int, **kwargs):
        super().__init__(*args, **kwargs)
        self.critic, self.n_critic = self.networks["critic"], n_critic

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """`n_critic` critic updates and one generator update on the same pairs, as the authors' code does.

        Args:
            batch: {"x", "y": (batch, height, width, 1), "epsilon": (batch, n_critic, 1, 1, 1) from U[0, 1]}.

        Returns:
            {name: scalar}: losses and gradient norms.
        """
        import tensorflow as tf

        import losses

        x, y, epsilon = batch["x"], batch["y"], batch["epsilon"]
        y_features = vgg_features(self.features, y)[-1]
        with tf.GradientTape() as generator_tape:
            restored = self.generator(x, training=True)
        for update in range(self.n_critic):
            with tf.GradientTape() as tape:
                critic_loss = losses.critic_loss(self._score(y), self._score(restored))
                penalty = losses.gradient_penalty(self._score, y, restored, epsilon[:, update])
                loss = self.scaled("critic", (critic_loss + GP_WEIGHT * penalty) / self.replicas)
            self.update("critic", tape.gradient(loss, self.critic.trainable_variables))
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(restored)
            terms = {
                "wasserstein": losses.wasserstein_loss(self._score(restored)),
                "content": losses.content_loss(vgg_features(self.features, restored)[-1], y_features),
            }
        norms = self.update_generator(generator_tape, tape, terms, WEIGHTS, restored)
        return {**terms, "critic": critic_loss, "penalty": penalty, **norms}

    def _score(self, images):
        import tensorflow as tf

        # This project's critic knows its task; here there is one task per network.
        return self.critic([images, tf.zeros((tf.shape(images)[0], 1), tf.int32)], training=True)


class CriticPairBatches(PairBatches):
    """Pairs, and "epsilon" (batch_size, n_critic, 1, 1, 1) for the gradient penalties."""

    def __init__(self, task: Task, normalization: Normalization, sampling: Sampling, n_critic: int):
        super().__init__([task], normalization, sampling)
        self.n_critic = n_critic

    def __call__(self, iteration: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, STREAM_EPSILON, iteration])
        epsilon = rng.random((self.batch_size, self.n_critic, 1, 1, 1), np.float32)
        return {**super().__call__(iteration), "epsilon": epsilon}


def deblur_generator(width: int = 64) -> keras.Model:
    """9 residual blocks of 4 `width`, dropout 0.5, and a global skip.

    The authors' code clips the sum to [-1, 1]. A clipped pixel has no gradient: dark images, most of them near -1,
    were all clipped within 40 iterations and stayed so. Here the sum is left as it is.
    """
    import keras

    import models

    image = keras.Input((None, None, 1), name="image")
    correction = models.resnet(image, models.instance_normalization, 9, 0.5, width=width)
    return keras.Model(image, keras.layers.Add(dtype="float32")([image, correction]), name="deblur_generator")


@dataclass(frozen=True, kw_only=True)
class DeblurBaseline(Baseline):
    """DeblurGAN with this project's critic, which has no normalisation: the gradient penalty is per image.

    Both networks have `width` filters at full resolution.
    """

    width: int = 64

    def fit_normalization(self, task: Task) -> FixedNormalization:
        """The range of the training pairs."""
        return fit_range([task])

    def make_batches(
        self, task: Task, normalization: Normalization, sampling: Sampling, augment: bool, n_critic: int
    ) -> Callable[[int], dict]:
        """Random crops with flips."""
        return CriticPairBatches(task, normalization, sampling, n_critic)

    def build(
        self,
        patch: tuple[int, int],
        seed: int,
        num_iters: int,
        augment: bool,
        n_critic: int,
        features: keras.Model | None,
    ) -> DeblurGAN:
        """The rates of generator and critic fall over the updates of each."""
        import keras

        import models
        from methods.schedules import HalfThenLinear

        rates = {
            "generator": HalfThenLinear(self.learning_rate, num_iters),
            "critic": HalfThenLinear(self.learning_rate, num_iters * n_critic),
        }

        def generator():
            return deblur_generator(self.width)

        critic = models.patch_critic(1, tuple(self.width * factor for factor in (1, 2, 4, 8)))
        return DeblurGAN(
            {"generator": generator(), "critic": critic},
            {name: keras.optimizers.Adam(rate, beta_1=0.5) for name, rate in rates.items()},
            build_float32(generator),
            None,
            seed,
            features,
            n_critic=n_critic,
        )


BASELINE = DeblurBaseline(
    name="DeblurGAN",
    folder="DeblurGAN_results",
    batch_size=1,
    patch=64,
    learning_rate=1e-4,
    linear=True,
    gflop=170.0,
    has_critic=True,
    needs_vgg=True,
)
