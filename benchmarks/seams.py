"""How much a tiled restoration differs from that of the whole image, and how far a pixel is seen.

    python benchmarks/seams.py GENERATOR.h5 [OTHER.h5 ...] --image=IMAGE.npy

The image is repeated, mirrored, or cut to 1024 x 1024 pixels. Differences are the largest and the mean one, in percent
of the whole restoration's 0.1 to 99.9 percentile span, for several --tile and the default --overlap; then the largest
distance at which a change of one pixel changes the output by more than 0.1 % of its change at the pixel itself.
"""

import argparse
from pathlib import Path

import numpy as np

from common.devices import start_tensorflow
from common.errors import run_script
from restoring.apply import Applier
from restoring.generator_file import load_generator
from restoring.image_files import read_image

SIDE, TILES = 1024, (512, 256, 128)


def sight(model):
    """Largest distance in pixels at which the output notices a change of one input pixel."""
    image = np.random.default_rng(0).random((1, 256, 256, 1), np.float32)
    changed = image.copy()
    changed[0, 128, 128] += 0.5
    difference = np.abs(model.predict_on_batch(changed) - model.predict_on_batch(image))[0, ..., 0]
    seen = np.argwhere(difference > 1e-3 * difference[128, 128])
    return int(np.abs(seen - 128).max())


def main(args):
    start_tensorflow(None)
    plane = np.asarray(read_image(args.image).planes[0], np.float32)
    image = np.pad(plane, [(0, max(SIDE - size, 0)) for size in plane.shape], mode="symmetric")[:SIDE, :SIDE]
    print("| generator | tile | largest difference, % | mean difference, % | sees, pixels |\n|---|---|---|---|---|")
    for path in args.generators:
        model, metadata = load_generator(path)
        apply = Applier(lambda inputs, training, model=model: model.predict_on_batch(inputs), metadata)
        task = metadata.tasks[0] if args.task is None else args.task
        whole = apply(image, task, tile=None)
        span = np.subtract(*np.percentile(whole, [99.9, 0.1]))
        for tile in TILES:
            difference = 100 * np.abs(apply(image, task, tile=tile, overlap=min(64, tile // 2)) - whole) / span
            values = f"{difference.max():.3g} | {difference.mean():.2g}"
            print(f"| {metadata.script} {metadata.recipe} | {tile} | {values} | {sight(model)} |", flush=True)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generators", type=Path, nargs="+")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--task")
    run_script(main, parser.parse_args())
