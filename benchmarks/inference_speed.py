"""Seconds and memory of restoring one image with recipe `tuned`, against csbdeep's CARE and Keras' predict.

    python benchmarks/inference_speed.py --output=inference_speed.json    about 3 minutes on 2 CPU cores

Each row is a process of its own: the median of the timed calls after one that warms up, megapixels/s, peak memory above
that of an image of 64 x 64 pixels. Tiles are 512 x 512 in all rows but the last of 2048 x 2048, which has none.
"""

import argparse
import json
import sys

import numpy as np
from timing import measured_alone, median_seconds, peak_megabytes, report

from common.devices import is_slow_on_cpu, start_tensorflow

METHODS = ("tuned", "tuned, bfloat16", "CARE", "tuned, keras predict")


def make_restore(method):
    """A function that restores an (H, W) image."""
    start_tensorflow(None)
    import keras

    import models
    from restoring.apply import Applier
    from restoring.generator_file import Metadata
    from restoring.normalization import PercentileNormalization

    if method == "CARE":
        from methods.baselines import load_csbdeep

        csbdeep = load_csbdeep()
        network = csbdeep.models.CARE(csbdeep.models.Config("YX"), name="care", basedir=None)

        def restore(image):
            tiles = [-(-side // 512) for side in image.shape]
            return network.predict(image, "YX", n_tiles=tiles)

        return restore
    if method.endswith("bfloat16"):
        keras.config.set_dtype_policy("mixed_bfloat16")
    model = models.tuned_generator()
    if method.endswith("predict"):
        return lambda image: model.predict(image[None, ..., None], verbose=0)
    metadata = Metadata("cGAN", "tuned", ["A"], PercentileNormalization({"A": (1.0, 0.0)}), (), 8)
    apply = Applier(lambda inputs, training: model.predict_on_batch(inputs), metadata)
    return lambda image: apply(image, None, tile=512, overlap=64)


def measure(method, size, repeats):
    """One row."""
    restore, rng = make_restore(method), np.random.default_rng(0)
    restore(rng.random((64, 64), np.float32))
    image, before = rng.random((size, size), np.float32), peak_megabytes()
    seconds = median_seconds(lambda: restore(image), repeats, 1)
    return {
        "method": method,
        "image": f"{size} x {size}",
        "s": seconds,
        "megapixels/s": size**2 / seconds / 1e6,
        "added MB": peak_megabytes() - before,
    }


def main(args):
    """Measure every row in a process of its own, or the one that is asked for."""
    if args.method:
        print(json.dumps(measure(args.method, args.size, args.repeats)))
        return
    rows = []
    cases = [(method, 2048, 10) for method in METHODS] + [
        ("tuned", size, 10 if size < 4096 else 3) for size in (1024, 4096)
    ]
    for method, size, repeats in cases:
        if method.endswith("bfloat16") and is_slow_on_cpu("bfloat16"):
            print(f"{method}: left out, this CPU has no instructions for it", file=sys.stderr)
            continue
        flags = (f"--method={method}", f"--size={size}", f"--repeats={repeats}")
        rows.append(measured_alone(__file__, *flags))
        print(rows[-1], file=sys.stderr, flush=True)
    report(rows, args.output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", help="JSON file")
    parser.add_argument("--method", choices=METHODS, help="this one alone")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=10)
    main(parser.parse_args())
