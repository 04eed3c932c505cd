"""The training loop: steps under a strategy, evaluation, checkpoints, exact resume, clean stops."""

import math
import signal
import time
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from cluster import Agreement
from errors import InputError
from progress import progress_bar

# Mean discriminator loss below which its logits are saturated in float32 and tell the generator nothing.
COLLAPSED = 1e-6


class DivergenceError(InputError):
    """A training that cannot get better any more; the message names the loss and the iteration."""


def check_losses(losses, done):
    """Raise DivergenceError where a mean loss is no finite number, or the discriminator has collapsed."""
    for name, value in losses.items():
        if not math.isfinite(value):
            raise DivergenceError(f"training diverged: {name} was {value} at iteration {done} or just before")
    if losses.get("discriminator", 1.0) < COLLAPSED:
        loss = losses["discriminator"]
        raise DivergenceError(
            f"training diverged: the discriminator has collapsed (loss {loss:.1g}) by iteration {done}"
        )


def check_weights(gan, done):
    """Raise DivergenceError where a weight is not finite: the last update may have done that after a finite loss."""
    for name, network in gan.networks.items():
        if not all(np.isfinite(np.asarray(weight)).all() for weight in network.weights):
            raise DivergenceError(f"training diverged: weights of the {name} are not finite at iteration {done}")


def distribute_batches(strategy, batches, start, stop):
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


def compile_step(strategy, gan):
    """One iteration as a compiled function of (iteration, batch), giving the losses averaged over the replicas."""

    @tf.function
    def step(iteration, batch):
        gan.before_step(iteration)
        per_replica = strategy.run(gan.train_step, args=(batch,))
        gan.after_step(iteration)
        return {name: strategy.reduce("MEAN", value, axis=None) for name, value in per_replica.items()}

    return step


class StopSignal:
    """Notes the first SIGINT or SIGTERM, so that the loop can save and stop; a second one stops at once."""

    def __init__(self):
        self.number = None

    def __enter__(self):
        self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *failure):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        self.number = number
        # A Python handler does not run inside a TensorFlow step, so the second one must be the system's own.
        signal.signal(number, signal.SIG_DFL)

    @property
    def exit_code(self):
        """The shell's convention: 128 + the signal's number; 0 where none came."""
        return 128 + self.number if self.number else 0


class LossMeans:
    """Running means of the losses between two evaluations, fetched from the device only when shown."""

    def __init__(self):
        self.totals, self.count = {}, 0

    def add(self, losses):
        self.totals = {name: self.totals.get(name, 0.0) + value for name, value in losses.items()}
        self.count += 1

    def means(self):
        """Waits for the device, which runs behind the host."""
        return {name: float(total) / max(self.count, 1) for name, total in self.totals.items()}


class TrainingClock:
    """Seconds of training alone: it stands still while a run is evaluated and saved.

    Args:
        seconds: of training before a resume.
    """

    def __init__(self, seconds):
        self._began = time.monotonic() - seconds

    def seconds(self):
        return time.monotonic() - self._began

    @contextmanager
    def stopped(self):
        began = time.monotonic()
        yield
        self._began += time.monotonic() - began


def train(gan, batches, strategy, start, trained, limits, evaluate, save):
    """Train from iteration `start`, evaluating and saving on the way and at the end.

    Args:
        gan: a `gans.Method`.
        batches: callable from the iteration to the global batch; has `batch_size`.
        strategy: the tf.distribute strategy that `gan` was built under.
        start: number of finished iterations.
        trained: seconds that they took.
        limits: has num_iters, max_seconds, eval_every and save_every.
        evaluate: called with (finished iterations, mean losses, seconds of training alone).
        save: called with (finished iterations, seconds of training alone).

    Returns:
        (finished iterations, exit code): 0, or 130 / 143 after Ctrl-C / SIGTERM.

    Raises:
        DivergenceError: before anything of the diverged networks is saved.
    """
    step = compile_step(strategy, gan)
    data = iter(distribute_batches(strategy, batches, start, limits.num_iters)) if start < limits.num_iters else None
    means, clock, began, shown, done = LossMeans(), TrainingClock(trained), time.monotonic(), 0.0, start
    evaluated = saved = None
    agreement = Agreement(strategy)
    bar = progress_bar(total=limits.num_iters, initial=start, unit="it")
    with StopSignal() as stop, bar:
        while done < limits.num_iters:
            late = bool(limits.max_seconds) and time.monotonic() - began >= limits.max_seconds
            if agreement.stops(bool(stop.number) or (late and done > start), done - start):
                break
            means.add(step(tf.constant(done, tf.int64), next(data)))
            done += 1
            elapsed = time.monotonic() - began
            if elapsed - shown > 0.5 or done == limits.num_iters:
                shown = elapsed
                losses = means.means()
                if agreement.alone:  # Several workers look at the same iterations, so that all of them find it.
                    check_losses({name: value for name, value in losses.items() if name != "discriminator"}, done)
                bar.set_postfix_str(_describe(losses, (done - start) * batches.batch_size / elapsed), False)
            bar.update()
            if done % limits.eval_every == 0 or done % limits.save_every == 0:
                losses, seconds = means.means(), clock.seconds()
                check_losses(losses, done)
                check_weights(gan, done)
                with clock.stopped():
                    if done % limits.eval_every == 0:
                        evaluate(done, losses, seconds)
                        means, evaluated = LossMeans(), done
                    if done % limits.save_every == 0:
                        save(done, seconds)
                        saved = done
    losses, seconds = means.means(), clock.seconds()
    check_losses(losses, done)
    check_weights(gan, done)
    # Saved before the last evaluation: should that fail or be interrupted, the training is not lost.
    if saved != done:
        save(done, seconds)
    if evaluated != done and not stop.number:
        evaluate(done, losses, seconds)
    return done, stop.exit_code


def _describe(means, images_per_second):
    shown = [f"{name} {value:.3g}" for name, value in means.items() if not name.startswith("gradient_")]
    return f"{', '.join(shown)}, {images_per_second:.1f} images/s"
