"""The training loop: steps under a strategy, evaluation, checkpoints, exact resume, clean stops."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from common.errors import InputError
from common.progress import progress_bar
from training.cluster import Agreement
from training.options import LengthOptions

if TYPE_CHECKING:
    from methods.method import Method

# Mean discriminator loss below which its logits are saturated in float32 and tell the generator nothing.
COLLAPSED = 1e-6


class DivergenceError(InputError):
    """A training that cannot get better any more; the message names the loss and the iteration."""


def check_losses(losses: dict[str, float], done: int) -> None:
    """Raise DivergenceError where a mean loss is no finite number, or the discriminator has collapsed."""
    for name, value in losses.items():
        if not math.isfinite(value):
            raise DivergenceError(f"training diverged: {name} was {value} at iteration {done} or just before")
    if losses.get("discriminator", 1.0) < COLLAPSED:
        loss = losses["discriminator"]
        raise DivergenceError(
            f"training diverged: the discriminator has collapsed (loss {loss:.1g}) by iteration {done}"
        )


def check_weights(gan: Method, done: int) -> None:
    """Raise DivergenceError where a weight is not finite: the last update may have done that after a finite loss."""
    for name, network in gan.networks.items():
        if not all(np.isfinite(np.asarray(weight)).all() for weight in network.weights):
            raise DivergenceError(f"training diverged: weights of the {name} are not finite at iteration {done}")


def distribute_batches(
    strategy: tf.distribute.Strategy, batches: Callable[[int], dict], start: int, stop: int
) -> tf.distribute.DistributedDataset:
    """Batches of iterations start to stop - 1, prepared ahead and split over the replicas.

    Every global batch is cut into equal parts by position, so a run's images do not depend on the number of replicas.
    """
    first = batches(start)

    def make_dataset(context):
        replicas = context.num_replicas_in_sync
        share = replicas // context.num_input_pipelines
        local = range(context.input_pipeline_id * share, (context.input_pipeline_id + 1) * share)

        def parts(iteration):
            batch = batches(int(iteration))
            return [np.stack([np.array_split(value, replicas)[i] for i in local]) for value in batch.values()]

        def read(iteration):
            values = tf.numpy_function(parts, [iteration], [value.dtype for value in first.values()])
            shapes = {name: (share, value.shape[0] // replicas, *value.shape[1:]) for name, value in first.items()}
            return {name: tf.ensure_shape(value, shapes[name]) for name, value in zip(first, values, strict=True)}

        # Not Dataset.from_generator: with it TensorFlow 2.21 makes the allocator give every buffer back to the system,
        # and getting them again took a third of a training step.
        return tf.data.Dataset.range(start, stop).map(read).unbatch().prefetch(2 * share)

    return strategy.distribute_datasets_from_function(make_dataset)


def compile_step(strategy: tf.distribute.Strategy, gan: Method) -> Callable:
    """One iteration as a compiled function of (iteration, batch), giving the losses averaged over the replicas."""

    @tf.function
    def step(iteration, batch):
        gan.before_step(iteration)
        per_replica = strategy.run(gan.train_step, args=(batch,))
        gan.after_step(iteration)
        return {name: strategy.reduce("MEAN", value, axis=None) for name, value in per_replica.items()}

    return step


class StopSignal:
    """Notes the first SIGINT, SIGTERM or SIGHUP (a terminal is closed), so that the loop can save and stop.

    A second one stops at once. Under nohup SIGHUP stays ignored.
    """

    def __init__(self):
        self.number = None

    def __enter__(self):
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        self._previous = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *failure):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        self.number = number
        # A Python handler does not run inside a TensorFlow step, so the second one must be the system's own.
        signal.signal(number, signal.SIG_DFL)

    @property
    def exit_code(self) -> int:
        """The shell's convention: 128 + the signal's number; 0 where none came."""
        return 128 + self.number if self.number else 0


class LossMeans:
    """Running means of the losses between two evaluations, fetched from the device only when shown."""

    def __init__(self):
        self.totals, self.count = {}, 0

    def add(self, losses: dict[str, tf.Tensor]) -> None:
        """Add the losses of one iteration."""
        self.totals = {name: self.totals.get(name, 0.0) + value for name, value in losses.items()}
        self.count += 1

    def means(self) -> dict[str, float]:
        """Waits for the device, which runs behind the host."""
        return {name: float(total) / max(self.count, 1) for name, total in self.totals.items()}


class TrainingClock:
    """Seconds of training alone: it stands still while a run is evaluated and saved.

    Args:
        seconds: of training before a resume.
    """

    def __init__(self, seconds: float):
        self._began = time.monotonic() - seconds

    def seconds(self) -> float:
        """Seconds of training so far."""
        return time.monotonic() - self._began

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stand still for a block."""
        began = time.monotonic()
        yield
        self._began += time.monotonic() - began


class Progress:
    """The bar: how far, the losses and images per second since the start, written twice a second at most.

    Args:
        start: number of finished iterations.
        num_iters: number of all iterations.
        batch_size: images per iteration.
    """

    def __init__(self, start: int, num_iters: int, batch_size: int):
        self.start, self.num_iters, self.batch_size = start, num_iters, batch_size
        self._began, self._shown = time.monotonic(), 0.0
        self.bar = progress_bar(total=num_iters, initial=start, unit="it")

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def is_due(self, done: int) -> bool:
        """Whether it is time to fetch the losses and show them."""
        return self.elapsed() - self._shown > 0.5 or done == self.num_iters

    def show(self, done: int, losses: dict[str, float]) -> None:
        """Write the losses and the speed beside the bar."""
        self._shown = self.elapsed()
        shown = [f"{name} {value:.3g}" for name, value in losses.items() if not name.startswith("gradient_")]
        speed = (done - self.start) * self.batch_size / self._shown
        self.bar.set_postfix_str(f"{', '.join(shown)}, {speed:.1f} images/s", False)


class Loop:
    """Iterations under a strategy, with evaluations and saves on the way and at the end.

    Args:
        batches: callable from the iteration to the global batch; has `batch_size`.
        strategy: the tf.distribute strategy that `gan` was built under.
        limits: when to end, evaluate and save.
        evaluate: called with (finished iterations, mean losses, seconds of training alone).
        save: called with (finished iterations, seconds of training alone).
        evaluated: the iteration to start from, if its evaluation stands in the log already.
    """

    def __init__(
        self,
        gan: Method,
        batches: Callable[[int], dict],
        strategy: tf.distribute.Strategy,
        limits: LengthOptions,
        evaluate: Callable[[int, dict[str, float], float], None],
        save: Callable[[int, float], None],
        evaluated: int | None = None,
    ):
        self.gan, self.batches, self.strategy, self.limits = gan, batches, strategy, limits
        self.evaluate, self.save = evaluate, save
        self.agreement, self.means = Agreement(strategy), LossMeans()
        self.evaluated, self.saved = evaluated, None

    def run(self, start: int, trained: float) -> tuple[int, int]:
        """Train on from `start` finished iterations, which took `trained` seconds.

        Returns:
            (finished iterations, exit code): 0, or 130 / 143 after Ctrl-C / SIGTERM.

        Raises:
            DivergenceError: before anything of the diverged networks is saved.
        """
        step, last, done = compile_step(self.strategy, self.gan), self.limits.num_iters, start
        data = iter(distribute_batches(self.strategy, self.batches, start, last)) if start < last else None
        clock, progress = TrainingClock(trained), Progress(start, last, self.batches.batch_size)
        with StopSignal() as stop, progress.bar:
            while done < last and not self._stops(stop, progress, done):
                self.means.add(step(tf.constant(done, tf.int64), next(data)))
                done += 1
                if progress.is_due(done):
                    progress.show(done, self._losses_to_show(done))
                progress.bar.update()
                self._report(done, clock)
        self._finish(done, clock, stop)
        return done, stop.exit_code

    def _stops(self, stop, progress, done):
        """Whether to end before the last iteration: after a signal, or --max_seconds and at least one iteration."""
        late = bool(self.limits.max_seconds) and progress.elapsed() >= self.limits.max_seconds
        return self.agreement.stops(bool(stop.number) or (late and done > progress.start), done - progress.start)

    def _losses_to_show(self, done):
        losses = self.means.means()
        if self.agreement.alone:  # Several workers look at the same iterations, so that all of them find it.
            check_losses({name: value for name, value in losses.items() if name != "discriminator"}, done)
        return losses

    def _checked(self, done, clock):
        """(mean losses, seconds of training) after a look at losses and weights. Raises DivergenceError."""
        losses, seconds = self.means.means(), clock.seconds()
        check_losses(losses, done)
        check_weights(self.gan, done)
        return losses, seconds

    def _report(self, done, clock):
        """Evaluate and save where it is time."""
        evaluates, saves = done % self.limits.eval_every == 0, done % self.limits.save_every == 0
        if not (evaluates or saves):
            return
        losses, seconds = self._checked(done, clock)
        with clock.stopped():
            # Saved before it is evaluated: should that fail or be interrupted, the training is not lost, and what
            # stands in the log is always on disk.
            if saves or done == self.limits.num_iters:
                self.save(done, seconds)
                self.saved = done
            if evaluates:
                self.evaluate(done, losses, seconds)
                self.means, self.evaluated = LossMeans(), done

    def _finish(self, done, clock, stop):
        losses, seconds = self._checked(done, clock)
        if self.saved != done:
            self.save(done, seconds)
        if self.evaluated != done and not stop.number:
            self.evaluate(done, losses, seconds)
