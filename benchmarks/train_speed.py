"""Seconds of one cGAN step of recipe `paper`, against the rate of a matrix product measured in the same run.

    python benchmarks/train_speed.py --batch_size=4 --size=128

Prints a warm-up, then the median of the timed steps, and how many GFLOP/s that is (about 115 GFLOP an image).
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the modules beside the training scripts
from arguments import integer
from devices import start_tensorflow
from recipes import RECIPES


def matrix_rate(size=4096, repeats=3):
    """GFLOP/s of a float32 matrix product."""
    import tensorflow as tf

    matrix = tf.random.normal((size, size))
    tf.linalg.matmul(matrix, matrix).numpy()
    began = time.perf_counter()
    for _ in range(repeats):
        product = tf.linalg.matmul(matrix, matrix)
    product.numpy()
    return repeats * 2 * size**3 / (time.perf_counter() - began) / 1e9


def time_steps(args):
    """Median seconds of a step over args.steps."""
    import numpy as np
    import tensorflow as tf

    import gans
    import vgg
    from training import compile_step

    cgan_args = argparse.Namespace(recipe="paper", num_iters=100, seed=0)
    gan = gans.build_cgan(cgan_args, RECIPES["paper"], vgg.load_vgg("random")[0])
    step = compile_step(tf.distribute.get_strategy(), gan)
    shape = (args.batch_size, args.size, args.size, 1)
    rng = np.random.default_rng(0)
    batch = {name: tf.constant(rng.uniform(-1, 1, shape), tf.float32) for name in "xy"}
    seconds = []
    for iteration in range(args.steps + 2):
        began = time.perf_counter()
        float(step(tf.constant(iteration, tf.int64), batch)["content"])
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[2:])


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_size", type=integer(1), default=4)
    parser.add_argument("--size", type=integer(16), default=128)
    parser.add_argument("--steps", type=integer(1), default=10)
    args = parser.parse_args()
    _, devices = start_tensorflow(None)
    before = matrix_rate()
    seconds = time_steps(args)
    rate = (before + matrix_rate()) / 2
    gflop = RECIPES["paper"].gflop[1] * args.batch_size * args.size**2 / 128**2
    print(f"{devices}: {seconds:.2f} s a step of batch {args.batch_size} at {args.size} x {args.size}")
    print(f"{gflop / seconds:.0f} of the {rate:.0f} GFLOP/s of a matrix product ({100 * gflop / seconds / rate:.0f} %)")


if __name__ == "__main__":
    main()
