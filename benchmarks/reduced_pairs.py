"""Cut pair sets to small windows, so that tables with as many iterations as published can be made on a CPU.

    python benchmarks/reduced_pairs.py --data_dir=FOLDER --output=SMALL --size=32
    python reproduce_tables.py --setting=A --data_dir=SMALL --num_iters=3000

Of each pair the window where y varies most is kept (a grid of windows without overlap is looked at), at x's and y's
own sampling and dtype: noise, blur and pixel size stay what they are.
"""

import argparse
from pathlib import Path

import numpy as np


def cut(x, y, size):
    """The windows of (N, H, W) x and y in which y varies most, each (N, size, size)."""
    rows, columns = (length // size for length in y.shape[1:3])
    shape = (-1, rows, size, columns, size)
    windows_x, windows_y = (
        images[:, : rows * size, : columns * size].reshape(shape).swapaxes(2, 3).reshape(len(y), -1, size, size)
        for images in (x, y)
    )
    best = windows_y.std(axis=(2, 3)).argmax(axis=1)
    return windows_x[np.arange(len(y)), best], windows_y[np.arange(len(y)), best]


def main(args):
    args.output.mkdir(parents=True, exist_ok=True)
    for ending in (".npy", "_test.npy"):
        for path in sorted(args.data_dir.glob(f"*_X{ending}")):
            partner = path.name.removesuffix(f"_X{ending}") + f"_Y{ending}"
            x, y = cut(np.load(path), np.load(args.data_dir / partner), args.size)
            np.save(args.output / path.name, x)
            np.save(args.output / partner, y)
            print(f"{path.name}, {partner}: {x.shape}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--size", type=int, default=32, help="pixels; at most an image's side")
    main(parser.parse_args())
