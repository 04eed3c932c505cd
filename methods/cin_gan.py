"""CIN-GAN, the unpaired GAN that makes defects: WGAN-GP (Gulrajani et al. 2017, algorithm 1) and its recipe's terms.

Recipe `paper` adds content and style. Recipe `tuned` has defect statistics in place of style, and no content term: its
generator cannot move structure. Where x are sections of a stack, what its generator makes is sampled as the stack
samples, before the critic sees it; noise is then as correlated between planes as linear interpolation makes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import tensorflow as tf

import losses
from methods.defect_statistics import DefectStatistics
from methods.method import Method, build_float32, make_adam

if TYPE_CHECKING:
    from recipes.recipe import CinPart


class CINGAN(Method):
    """A generator that makes x of y and a task, and a critic that knows the task.

    Args:
        n_critic, gp_weight, margin: as in `CinPart`.
        statistics: running means of the defects' power spectra, or None where no term sees them.
    """

    def __init__(
        self, *args, n_critic: int, gp_weight: float, margin: int, statistics: DefectStatistics | None = None, **kwargs
    ):
        super().__init__(*args, **kwargs)
        self.n_critic, self.gp_weight, self.margin, self.statistics = n_critic, gp_weight, margin, statistics

    def variables(self) -> dict[str, list]:
        """As `Method.variables`, and the running means of the defect statistics."""
        return {**super().variables(), **({"statistics": self.statistics.variables()} if self.statistics else {})}

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """`n_critic` critic updates and one generator update, each with images of its own.

        Args:
            batch: {"x", "y": (batch, n_critic + 1, height, width, 1), "task", "epsilon"[, "noise"][, "sampling"]}.

        Returns:
            {name: scalar}: this replica's losses and gradient norms.
        """
        # One sub-batch per update. Unrolled in Python: tf.cond and tf.while_loop around apply_gradients fail under a
        # strategy.
        parts = [{name: value[:, update] for name, value in batch.items()} for update in range(self.n_critic + 1)]
        for part in parts[:-1]:
            x, score, generated = self._crop(part["x"]), self._score(part["task"]), self._generate(part)
            with tf.GradientTape() as tape:
                critic_loss = losses.critic_loss(score(x), score(generated))
                penalty = losses.gradient_penalty(score, x, generated, part["epsilon"])
                loss = self.scaled("critic", (critic_loss + self.gp_weight * penalty) / self.replicas)
            self.update("critic", tape.gradient(loss, self.networks["critic"].trainable_variables))
        part = parts[-1]
        x, y, score = self._crop(part["x"]), self._crop(part["y"]), self._score(part["task"])
        real = {"x": self.look_at(x), "y": self.look_at(y)}
        with tf.GradientTape() as generator_tape:
            generated = self._generate(part)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(generated)
            made = {**self.look_at(generated), "judgement": score(generated)}
            if self.statistics:
                of_x, of_generated = self.statistics(x, generated, part["task"])
                real["x"].update(of_x)
                made.update(of_generated)
            terms = self.losses_of(made, real)
        norms = self.update_generator(generator_tape, tape, terms, self.weights(), generated)
        return {**terms, **norms, "critic": critic_loss, "penalty": penalty}

    def _generate(self, part):
        inputs = [part[name] for name in ("y", "task", "noise") if name in part]
        generated = self.generator(inputs, training=True)
        if "sampling" in part:
            # How a stack samples is known, so that the generator learns blur and noise alone.
            generated = tf.einsum("brs,bswc->brwc", part["sampling"], generated)
        return self._crop(generated)

    def _crop(self, images):
        """Real images lose the margin too. The zeros around an image must not teach the critic to know borders."""
        margin = self.margin
        return images[:, margin:-margin, margin:-margin] if margin else images

    def _score(self, task):
        """The critic as a function of images alone."""
        return lambda images: self.networks["critic"]([images, task], training=True)


def build(
    part: CinPart, seed: int, num_iters: int, n_critic: int, num_tasks: int, features: keras.Model | None
) -> CINGAN:
    """The CIN-GAN of a recipe, ready to train: see `CinPart.build`."""
    return CINGAN(
        {"generator": part.generator(num_tasks), "critic": part.critic(num_tasks)},
        {"generator": make_adam(part.adam, num_iters), "critic": make_adam(part.adam, num_iters * n_critic)},
        build_float32(lambda: part.generator(num_tasks)),
        part.average_decay,
        seed,
        features,
        part.terms,
        n_critic=n_critic,
        gp_weight=part.gp_weight,
        margin=part.margin,
        statistics=DefectStatistics(num_tasks) if part.sees("spectrum", "noise") else None,
    )
