"""Train CycleGAN with a quarter of its filters, which a CPU can take to the end of its training.

    python benchmarks/reduced_cyclegan.py --data_dir=REAL --images_limit=10 --num_iters=3000

All other arguments are those of train_baseline.py. Run and scored by benchmarks/quality.py --part=unpaired.
"""

import sys
from functools import partial

import train_baseline
from common.errors import InputError, run_script

WIDTH = 16  # in place of 64


def main(argv):
    args = train_baseline.make_parser().parse_args(["--method=cyclegan", *argv])
    if args.method != "cyclegan":
        raise InputError(f"--method={args.method} is not reduced here; use train_baseline.py")
    import models
    from methods import baselines

    filters = tuple(WIDTH * factor for factor in (1, 2, 4, 8))
    baselines.cycle_generator = partial(baselines.cycle_generator, WIDTH)
    models.patch_discriminator = partial(models.patch_discriminator, filters)
    return train_baseline.main(args)


if __name__ == "__main__":
    run_script(main, sys.argv[1:])
