"""Seconds and memory of training, of restoring, and of several processes.

    python -m benchmarks speed --part=training --output=training.json      8 minutes on 2 CPU cores
    python -m benchmarks speed --part=restoring --output=restoring.json    3 minutes
    python -m benchmarks speed --part=operations --output=operations.json  4 minutes
    python -m benchmarks speed --part=processes --output=processes.json    3 minutes
    python -m benchmarks speed --part=loading

Each row comes from a process of its own; what is in --output already is kept. Times are medians, compilation left out.
- training: a step of recipe `paper`, batch 4 of the cGAN and 1 of CIN-GAN, in both precisions unless the CPU has no
  instructions for one, against the released scheme (released_scheme.py) and the rate of a matrix product;
- operations: where a step of recipe `paper`'s CIN-GAN, batch 1, spends its time, by TensorFlow's profiler, and its
  arithmetic, by TensorFlow's count of every convolution;
- restoring: one image with recipe `tuned` against csbdeep's CARE, tiles of 512 x 512; memory above that of 64 x 64;
- processes: two that train together over loopback, each with half the cores, against one with all, the global batch the
  same; and seconds from the start of train_cGAN.py to its first iteration, saved;
- loading: peak memory of a process that draws batches of ten pairs from X and Y files of 6.6 MB and of 3 GB.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from itertools import chain, product
from pathlib import Path

import numpy as np

from benchmarks.measuring import ROOT, Record, measured_alone, median_seconds, peak_megabytes, print_rows, read_tasks
from common.devices import is_slow_on_cpu, start_tensorflow
from common.errors import InputError
from methods.batches import PairBatches, Sampling
from recipes.paper import PAPER
from restoring.normalization import PercentileNormalization, fit_gains
from tables.trainings import read_log

ITERATIONS, EVERY, BATCH = 60, 20, 16  # of part processes
KINDS_OF_OPERATION = {
    "gradients by filters": ("BackpropFilter",),
    "gradients by images": ("BackpropInput",),
    "convolutions": ("Conv2D",),
    "casts": ("Cast",),
    "random numbers": ("Random",),
}


def training(record):
    for method, precision in product(("cGAN", "CIN-GAN"), ("float32", "bfloat16")):
        label = f"{method}, {precision}"
        if is_slow_on_cpu(precision):
            print(f"{label}: left out, this CPU has no instructions for it", file=sys.stderr)
            continue
        row = partial(measured_alone, training_row, method, precision, 4 if method == "cGAN" else 1)
        released, ours = (record.add(label, f.__name__, partial(row, f)) for f in (released_step, our_step))
        print(f"{label}: {released['s a step'] / ours['s a step']:.2f} x the released scheme", flush=True)


def training_row(method, precision, count, make_step):
    start_tensorflow(None)
    import keras

    from methods import vgg

    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    step = make_step(method, vgg.load_vgg("random")[0], noise_batch(method, count))
    before = matrix_rate(precision)
    seconds = median_seconds(step)
    rate = (before + matrix_rate(precision)) / 2
    gflop = sum(arithmetic(method).values()) * count
    speeds = {"s a step": seconds, "images/s": count / seconds, "GFLOP/s": gflop / seconds}
    return {**speeds, "% of a matrix product": 100 * gflop / seconds / rate, "peak MB": peak_megabytes()}


def noise_batch(method, count):
    """A batch of 128 x 128 pixels for one step."""
    rng = np.random.default_rng(0)
    images = (count,) if method == "cGAN" else (count, PAPER.cin_gan.n_critic + 1)
    batch = {name: rng.uniform(-1, 1, (*images, 128, 128, 1)).astype(np.float32) for name in "xy"}
    if method == "CIN-GAN":
        batch["task"] = np.zeros((*images, 1), np.int32)
        batch["epsilon"] = rng.uniform(size=(*images, 1, 1, 1)).astype(np.float32)
    return batch


def our_step(method, features, batch):
    """A function that trains once with this project's compiled step."""
    import tensorflow as tf

    from training.loop import compile_step

    step = compile_step(tf.distribute.get_strategy(), build_paper(method, features))
    batch = {name: tf.constant(value) for name, value in batch.items()}
    return lambda: float(step(tf.constant(0, tf.int64), batch)["content"])


def build_paper(method, features):
    """Recipe `paper`'s cGAN or CIN-GAN, ready to train."""
    if method == "cGAN":
        return PAPER.cgan.build(0, 100, features)
    return PAPER.cin_gan.build(0, 100, PAPER.cin_gan.n_critic, 3, features)


def released_step(method, features, batch):
    """A function that trains once as the released code does."""
    from benchmarks import released_scheme as released

    return (released.cgan_step if method == "cGAN" else released.cin_gan_step)(features, batch)


def operations(record):
    for precision in ("float32", "bfloat16"):
        if is_slow_on_cpu(precision):
            print(f"{precision}: left out, this CPU has no instructions for it", file=sys.stderr)
            continue
        record.add("CIN-GAN", precision, partial(measured_alone, operations_row, precision))


def operations_row(precision):
    start_tensorflow(None)
    import keras
    import tensorflow as tf

    from methods import vgg

    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    step = our_step("CIN-GAN", vgg.load_vgg("random")[0], noise_batch("CIN-GAN", 1))
    seconds = median_seconds(step, 5)
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        step()
        tf.profiler.experimental.stop()
        found = seconds_by_operation(next(Path(folder).rglob("*.xplane.pb")))
    row = {"s a step": seconds}
    for kind, names in KINDS_OF_OPERATION.items():
        row[f"s {kind}"] = sum(found.pop(name, 0) for name in list(found) if any(part in name for part in names))
    return {**row, "s the rest": sum(found.values()), **arithmetic("CIN-GAN")}


def seconds_by_operation(path):
    """{type of operation: seconds} of a profile of TensorFlow on the CPU."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space, found = xplane_pb2.XSpace(), Counter()
    space.ParseFromString(path.read_bytes())
    for plane in space.planes:
        names = {number: event.name for number, event in plane.event_metadata.items()}
        for event in chain.from_iterable(line.events for line in plane.lines):
            # Operations are called by their place in the graph and their type: critic/conv2d:Conv2D.
            place, _, kind = names[event.metadata_id].rpartition(":")
            if place and not place.endswith(":") and kind.isidentifier():
                found[kind] += event.duration_ps / 1e12
    return found


def arithmetic(method):
    """{"GFLOP TYPE": of one image's part of an iteration of recipe `paper`}, by type of convolution."""
    import tensorflow as tf

    from methods import vgg

    gan = build_paper(method, vgg.load_vgg("random")[0])
    batch = {name: tf.constant(value) for name, value in noise_batch(method, 1).items()}
    return gflop_of(tf.function(gan.train_step).get_concrete_function(batch).graph)


def gflop_of(graph):
    """{"GFLOP TYPE": of a TensorFlow graph}, by type of convolution."""
    from tensorflow.python.framework.ops import get_stats_for_node_def
    from tensorflow.python.profiler.internal import flops_registry  # noqa: F401, registers how they are counted

    found = Counter()
    for operation in graph.get_operations():
        if operation.type.startswith("Conv2D"):
            found[f"GFLOP {operation.type}"] += get_stats_for_node_def(graph, operation.node_def, "flops").value / 1e9
    return found


def matrix_rate(dtype, size=4096):
    """GFLOP/s of a matrix product."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal((size, size)), dtype)
    return 2 * size**3 / median_seconds(lambda: tf.linalg.matmul(matrix, matrix).numpy(), 3, 1) / 1e9


def restoring(record):
    for method, size in (("tuned", 2048), ("CARE", 2048), ("tuned", 1024), ("tuned", 4096)):
        record.add(method, f"{size} x {size}", partial(measured_alone, restoring_row, method, size))


def restoring_row(method, size):
    restore, rng = make_restore(method), np.random.default_rng(0)
    restore(rng.random((64, 64), np.float32))
    image, before = rng.random((size, size), np.float32), peak_megabytes()
    seconds = median_seconds(lambda: restore(image), 10 if size < 4096 else 3, 1)
    return {"s": seconds, "megapixels/s": size**2 / seconds / 1e6, "added MB": peak_megabytes() - before}


def make_restore(method):
    """A function that restores an (H, W) image."""
    start_tensorflow(None)
    import models
    from methods.care import load_csbdeep
    from restoring.apply import Applier
    from restoring.generator_file import Metadata

    if method == "CARE":
        csbdeep = load_csbdeep()
        network = csbdeep.models.CARE(csbdeep.models.Config("YX"), name="care", basedir=None)
        return lambda image: network.predict(image, "YX", n_tiles=[-(-side // 512) for side in image.shape])
    model = models.tuned_generator()
    metadata = Metadata("cGAN", "tuned", ["A"], PercentileNormalization({"A": (1.0, 0.0)}), (), 8)
    apply = Applier(lambda inputs, training: model.predict_on_batch(inputs), metadata)
    return lambda image: apply(image, None, tile=512, overlap=64)


def processes(record):
    one, two = (record.add("processes", str(count), partial(measured_alone, processes_row, count)) for count in (1, 2))
    print(f"two processes train {100 * one['s a step'] / two['s a step']:.0f} % of the images of one in the same time")
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with start_training(folder, "--num_iters=1", "--batch_size=2") as process:
            while process.poll() is None and not list(Path(folder).glob("*/generator.h5")):
                time.sleep(0.01)
            print(f"from the start to the first iteration, saved: {time.perf_counter() - began:.1f} s")


def processes_row(count):
    flags = (f"--num_iters={ITERATIONS}", f"--eval_every={EVERY}", f"--batch_size={BATCH}", "--save_every=100000")
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for environment, cores in workers(count):
            pin = partial(os.sched_setaffinity, 0, cores)
            running.append(start_training(folder, *flags, env={**os.environ, **environment}, preexec_fn=pin))
        for process in running:
            _, errors = process.communicate()
            if process.returncode:
                raise InputError(errors[-2000:])
        seconds = [row["seconds"] for row in read_log(Path(folder) / "Microscopy_cGAN_results")]
    step = float(np.median(np.diff(seconds[1:])) / EVERY)
    return {"s a step": step, "images/s": BATCH / step}


def start_training(folder, *flags, **options):
    """Start a training of small networks' standard size on the shipped sample."""
    fixed = (
        "--recipe=tuned",
        "--init_from=none",
        "--num_gpu=0",
        "--tasks=Nuclei",
        "--eval_limit=1",
        f"--data_dir={ROOT / 'data'}",
    )
    words = [sys.executable, str(ROOT / "train_cGAN.py"), *fixed, f"--dir={folder}", *flags]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)


def workers(count):
    """(environment, cores) of each process."""
    cores = [part.tolist() for part in np.array_split(sorted(os.sched_getaffinity(0)), count)]
    if count == 1:
        return [({}, cores[0])]
    with socket.create_server(("localhost", 0)) as one, socket.create_server(("localhost", 0)) as two:
        addresses = [f"localhost:{s.getsockname()[1]}" for s in (one, two)]
    configs = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}} for i in range(count)]
    return [({"TF_CONFIG": json.dumps(config)}, part) for config, part in zip(configs, cores, strict=True)]


def loading(record, sizes=(0.0066, 3.0)):
    for size in sizes:
        images, rng = int(size * 1e9 / (128 * 128 * 4)), np.random.default_rng(0)
        with tempfile.TemporaryDirectory() as folder:
            for kind in "XY":
                array = np.lib.format.open_memmap(Path(folder) / f"A_{kind}.npy", "w+", np.float32, (images, 128, 128))
                for start in range(0, images, 1000):
                    array[start : start + 1000] = rng.random(array[start : start + 1000].shape, np.float32)
            record.add("ten pairs of a file", f"{size:g} GB", partial(measured_alone, loading_row, folder))


def loading_row(folder):
    tasks = read_tasks(folder)
    batches = PairBatches(tasks, fit_gains(tasks), Sampling(8, (128, 128), 0, [], True))
    for iteration in range(20):
        batches(iteration)
    return {"peak MB": peak_megabytes()}


PARTS = {
    "training": training,
    "operations": operations,
    "restoring": restoring,
    "processes": processes,
    "loading": loading,
}


def main(*, part: str, output: str = ""):
    if part not in PARTS:
        raise InputError(f"--part={part}: choose one of {', '.join(PARTS)}")
    record = Record(output)
    PARTS[part](record)
    print_rows(record)
