"""Importing TensorFlow quietly, choosing devices, and the time that a run will take on a CPU."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

# What TensorFlow's libraries print before their own log level applies: notes of INFO level, that no GPU was found,
# and that logging is not set up yet. Everything else is passed on.
CHATTER = re.compile(
    r"^(I\d{4} |[\d\-: .]+: I |WARNING: All log messages before absl::InitializeLog|"
    r"To enable the following instructions|[EW]\d{4} .*(cuda|gpu_device|cudart|computation_placer|TensorRT))",
    re.IGNORECASE,
)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hold back what native libraries write to standard error, then pass on all of it but known chatter."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines():
                if not CHATTER.match(line):
                    print(line, file=sys.stderr)


def keep_freed_memory() -> None:
    """Let the C library keep the buffers that are freed, on Linux; elsewhere nothing.

    By default glibc gives large ones back to the system, and getting them again took up to a third of a training step.
    """
    mmap_threshold, trim_threshold = -3, -1  # glibc's malloc.h
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    # Trimming alone must not be set: it would fix the other threshold at 128 kB, which is worse than the default.
    if set_option and (set_option(mmap_threshold, 2**30) or set_option(mmap_threshold, 2**25)):
        set_option(trim_threshold, 2**31 - 1)


def start_tensorflow(
    num_gpu: int | None,
    most: int | None = None,
    make_strategy: Callable[[int], tf.distribute.Strategy] | None = None,
) -> tuple[tf.distribute.Strategy, str]:
    """Import TensorFlow and choose the devices to train on.

    Args:
        num_gpu: None for all that are visible (the CPU where none is), 0 for the CPU, else how many; where there are
            fewer, those are used, with a note.
        most: use this many at most.
        make_strategy: makes the strategy from the number of GPUs, before TensorFlow's first operation; one over several
            machines must be.

    Returns:
        (tf.distribute strategy, description of the devices).
    """
    keep_freed_memory()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_libraries():
        import tensorflow as tf

        # What this process has chosen before stays: TensorFlow cannot change it.
        gpus = (tf.config.get_visible_devices if num_gpu is None else tf.config.list_physical_devices)("GPU")
        used = gpus[:most][:num_gpu]
        count = len(used)
        _use(used)
        strategy = make_strategy(count) if make_strategy else None
        # The first operation starts the device libraries, which have their say.
        tf.zeros(1)
    devices = "the CPU" if not count else "1 GPU" if count == 1 else f"{count} GPUs"
    if num_gpu and count < num_gpu:
        are = "is" if len(gpus) == 1 else "are"
        reason = f"{len(gpus)} {are} visible" if count == len(gpus) else f"this method uses {count} at most"
        print(f"note: --num_gpu={num_gpu}, but {reason}; using {devices}")
    if strategy is not None:
        return strategy, devices
    if count > 1:
        return tf.distribute.MirroredStrategy([f"GPU:{i}" for i in range(count)]), devices
    return tf.distribute.get_strategy(), devices


def _use(gpus):
    """Show TensorFlow these GPUs alone, or none."""
    import tensorflow as tf

    tf.config.set_visible_devices(gpus, "GPU")
    if not gpus:
        # One operation after another, each on all cores. Side by side, the order in which AddN sums gradients
        # depends on which of them was ready to be overwritten, and two runs differ by rounding.
        tf.config.threading.set_inter_op_parallelism_threads(1)
        # It fails on the gradient of a leaky ReLU, says so in the user's terminal, and where it works saves 1 %.
        tf.config.optimizer.set_experimental_options({"remapping": False})
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)


# CPU instructions that compute in a precision; without them TensorFlow does it in software, several times slower than
# in float32.
INSTRUCTIONS = {"bfloat16": ("avx512_bf16", "amx_bf16"), "float16": ("avx512_fp16", "amx_fp16")}


def is_slow_on_cpu(precision: str, cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether this CPU lacks the instructions of a precision; False where that is unknown."""
    try:
        with open(cpuinfo) as file:
            flags = next((line for line in file if line.startswith("flags")), None)
    except OSError:
        return False
    return flags is not None and precision in INSTRUCTIONS and not set(INSTRUCTIONS[precision]) & set(flags.split())


def estimate_seconds(gflop_per_image: float, images: int, pixels: int) -> float:
    """Rough seconds of training on this CPU, from the rate of a matrix product in the precision that is set.

    Args:
        gflop_per_image: of one 128 x 128 image in one iteration (`CganPart.gflop`).
        images: images times iterations.
        pixels: pixels of one image.
    """
    import keras
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal((2048, 2048)), keras.config.dtype_policy().compute_dtype)
    product = tf.linalg.matmul(matrix, matrix)
    start = time.perf_counter()
    for _ in range(3):
        product = tf.linalg.matmul(matrix, matrix)
    product.numpy()
    gflop_per_second = 3 * 2 * 2048**3 / (time.perf_counter() - start) / 1e9
    # What a recipe's or baseline's `gflop` goes by.
    return gflop_per_image * images * pixels / 128**2 / (0.6 * gflop_per_second)
