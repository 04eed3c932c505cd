"""Seconds of a training step of recipe `paper`, against the released scheme and a matrix product in the same run.

    python benchmarks/train_speed.py --output=train_speed.json            about 8 minutes on 2 CPU cores

For both GANs and both precisions: the median of the timed steps after two that warm up, images/s, peak memory, and the
rate as a share of a matrix product's of the same precision. released_scheme.py says what it is compared with. A
precision that the CPU has no instructions for is left out: a step would take several times as long as in float32.
"""

import argparse
import json
import sys

import numpy as np
from timing import matrix_rate, measured_alone, median_seconds, peak_megabytes, report

from common.command_line import integer
from common.devices import is_slow_on_cpu, start_tensorflow
from recipes import RECIPES

N_CRITIC = 5
PRECISIONS = ("float32", "bfloat16")


def make_batch(method, size, count):
    """A batch of noise for one step."""
    rng = np.random.default_rng(0)
    images = (count,) if method == "cGAN" else (count, N_CRITIC + 1)
    batch = {name: rng.uniform(-1, 1, (*images, size, size, 1)).astype(np.float32) for name in "xy"}
    if method == "CIN-GAN":
        batch["task"] = np.zeros((*images, 1), np.int32)
        batch["epsilon"] = rng.uniform(size=(*images, 1, 1, 1)).astype(np.float32)
    return batch


def our_step(method, features, batch):
    """A function that trains once with this project's compiled step."""
    import tensorflow as tf

    from methods import gans
    from training.loop import compile_step

    args = argparse.Namespace(recipe="paper", num_iters=100, seed=0, n_critic=N_CRITIC)
    if method == "cGAN":
        gan = gans.build_cgan(args, RECIPES["paper"], features)
    else:
        gan = gans.build_cin_gan(args, RECIPES["paper"], 3, features)
    step = compile_step(tf.distribute.get_strategy(), gan)
    batch = {name: tf.constant(value) for name, value in batch.items()}
    return lambda: float(step(tf.constant(0, tf.int64), batch)["content"])


def measure(args):
    """One row: method, scheme and precision as given."""
    start_tensorflow(None)
    import keras
    import released_scheme

    from methods import vgg

    keras.config.set_dtype_policy("float32" if args.precision == "float32" else f"mixed_{args.precision}")
    features = vgg.load_vgg("random")[0]
    batch = make_batch(args.method, args.size, args.batch_size)
    if args.scheme == "ours":
        step = our_step(args.method, features, batch)
    else:
        step = {"cGAN": released_scheme.cgan_step, "CIN-GAN": released_scheme.cin_gan_step}[args.method](
            features, batch
        )
    before = matrix_rate(args.precision)
    seconds = median_seconds(step, args.steps)
    gflop = RECIPES["paper"].gflop[args.method == "cGAN"] * args.batch_size * args.size**2 / 128**2
    return {
        "method": args.method,
        "precision": args.precision,
        "scheme": args.scheme,
        "s a step": seconds,
        "images/s": args.batch_size / seconds,
        "GFLOP/s": gflop / seconds,
        "% of a matrix product": 100 * gflop / seconds / ((before + matrix_rate(args.precision)) / 2),
        "peak MB": peak_megabytes(),
    }


def main(args):
    """Measure every combination in a process of its own, or the one that is asked for."""
    if args.method:
        print(json.dumps(measure(args)))
        return
    rows = []
    for method in ("cGAN", "CIN-GAN"):
        for precision in PRECISIONS:
            if is_slow_on_cpu(precision):
                print(f"{method}, {precision}: left out, this CPU has no instructions for it", file=sys.stderr)
                continue
            flags = [f"--method={method}", f"--precision={precision}", f"--size={args.size}", f"--steps={args.steps}"]
            flags.append(f"--batch_size={args.batch_size if method == 'cGAN' else max(args.batch_size // 4, 1)}")
            pair = [measured_alone(__file__, *flags, f"--scheme={scheme}") for scheme in ("released", "ours")]
            for row in pair:
                rows.append({**row, "x released": pair[0]["s a step"] / row["s a step"]})
                print(rows[-1], file=sys.stderr, flush=True)
    report(rows, args.output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_size", type=integer(1), default=4, help="of the cGAN; CIN-GAN has a quarter of it")
    parser.add_argument("--size", type=integer(32), default=128)
    parser.add_argument("--steps", type=integer(1), default=10)
    parser.add_argument("--output", help="JSON file")
    parser.add_argument("--method", choices=["cGAN", "CIN-GAN"], help="this one alone")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--scheme", choices=["ours", "released"], default="ours")
    main(parser.parse_args())
