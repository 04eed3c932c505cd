"""Training on several machines: who takes part, who writes, and that all stop together.

Every machine (or process) runs the same command with the same flags in a folder that all of them see. TF_CONFIG, or a
SLURM step of several tasks, says which of them this one is. The first worker is the chief: it alone writes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from common.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

PORT = 8888  # the first that SLURM's tasks on one machine listen on
# Iterations between two agreements on whether to stop: an agreement waits for the slowest machine.
AGREE_EVERY = 10


def is_asked_for() -> bool:
    """Whether the environment names other workers, without importing TensorFlow."""
    return len(_workers()) > 1 or _is_slurm_step()


def _workers():
    text = os.environ.get("TF_CONFIG")
    if not text:
        return []
    try:
        config = json.loads(text)
        spec = config["cluster"]
        workers = [*spec.get("chief", []), *spec["worker"]]
        index = config["task"]["index"]
        known = index < len(spec[config["task"]["type"]])
    except (ValueError, KeyError, TypeError, AttributeError) as failure:
        raise InputError(
            f"TF_CONFIG cannot be read ({failure!r}): {text[:200]!r}; docs/training.md has an example"
        ) from failure
    if not known or set(spec) - {"chief", "worker"}:
        raise InputError(f"TF_CONFIG: expected workers (and a chief) alone, one of them this task: {text[:200]!r}")
    return workers


def _is_slurm_step():
    # Without srun there is no step: an allocation of many tasks with a plain command runs on one machine.
    return "TF_CONFIG" not in os.environ and "SLURM_PROCID" in os.environ and _slurm_tasks() > 1


def _slurm_tasks():
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))


def make_strategy(gpus: int) -> tf.distribute.Strategy:
    """MultiWorkerMirroredStrategy over the workers that the environment names; waits until all have come.

    Args:
        gpus: that this process uses. SLURM is trusted to have shown each task its own (--gpus-per-task).
    """
    import tensorflow as tf

    try:
        return tf.distribute.MultiWorkerMirroredStrategy(_make_resolver(gpus))
    except (RuntimeError, ValueError, tf.errors.OpError) as failure:
        raise InputError(f"the workers cannot reach each other ({_first_line(failure)})") from failure


def _make_resolver(gpus):
    import tensorflow as tf

    resolvers = tf.distribute.cluster_resolver
    if not _is_slurm_step():
        return resolvers.TFConfigClusterResolver()
    # Its division of a node's GPUs among tasks fails where there are none; only its addresses are taken.
    slurm = resolvers.SlurmClusterResolver(
        port_base=PORT, gpus_per_node=_slurm_tasks(), gpus_per_task=1, auto_set_gpu=False
    )
    spec, (job, index) = slurm.cluster_spec(), slurm.get_task_info()
    return resolvers.SimpleClusterResolver(spec, "", job, index, num_accelerators={"GPU": gpus}, rpc_layer="grpc")


def describe(strategy: tf.distribute.Strategy, own: str) -> str:
    """The workers in words, for the first line of a training; `own` are the devices of this one."""
    spec = strategy.cluster_resolver.cluster_spec()
    role = "the chief, which writes" if is_chief(strategy) else "not the chief"
    return f"{sum(spec.num_tasks(job) for job in spec.jobs)} workers (this one on {own}; {role})"


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes: always, unless it is one of several workers and not the first."""
    resolver = strategy.cluster_resolver
    if resolver is None:
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id == 0)


class Agreement:
    """All workers stop at the same iteration, once any of them wishes to.

    Args:
        strategy: of the training.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy, self.alone = strategy, strategy.cluster_resolver is None
        self._sum = None

    def stops(self, wish: bool, iteration: int) -> bool:
        """Whether to stop now. Several workers ask each other every `AGREE_EVERY` iterations."""
        if self.alone or (iteration and iteration % AGREE_EVERY):
            return self.alone and wish
        import tensorflow as tf

        if self._sum is None:
            self._sum = tf.function(
                lambda values: self.strategy.reduce("SUM", self.strategy.run(tf.identity, (values,)), axis=None)
            )
        return float(self._sum(tf.constant(float(wish)))) > 0


@contextmanager
def failures_told(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turn what TensorFlow raises for lost workers, broken data and full memory into one line that says what to do."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as failure:
        told = re.search(r"InputError: (.+)", str(failure))  # raised while batches were made
        if told:
            raise InputError(told[1]) from failure
        if isinstance(failure, tf.errors.ResourceExhaustedError):
            raise InputError(f"the device's memory is full ({_first_line(failure)}); lower --batch_size") from failure
        if strategy.cluster_resolver is None:
            raise
        raise InputError(
            f"another worker ended or cannot be reached ({_first_line(failure)}); "
            "start any number of workers again with --resume"
        ) from failure


def _first_line(failure):
    return (str(failure) or type(failure).__name__).strip().splitlines()[0][:200]
