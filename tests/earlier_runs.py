"""What earlier_runs.zip was made of: runs of two iterations, with networks and images that are small everywhere.

git worktree add ../earlier e98cdf5 && cp tests/earlier_runs.py ../earlier/tests/ && cd ../earlier
PYTHONPATH=. python tests/earlier_runs.py OUTPUT.zip        (e98cdf5: the last commit without a version in the state)
"""

import importlib
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

# {name: (script, flags)}
RUNS = {
    "cGAN_paper": ("train_cGAN", ["--recipe=paper"]),
    "cGAN_tuned": ("train_cGAN", ["--recipe=tuned", "--no_rotate=B"]),
    "CIN-GAN_paper": ("train_CIN_GAN", ["--recipe=paper", "--n_critic=1"]),
    "CIN-GAN_tuned": ("train_CIN_GAN", ["--recipe=tuned", "--n_critic=1", "--no_rotate=B"]),
}
COMMON = "--data_dir=pairs --num_iters=2 --batch_size=2 --num_gpu=0 --vgg_weights=random".split()


def write_pairs(folder):
    """Tasks A and B of 6 pairs, 32 x 32, of whole numbers that are the same on every machine."""
    folder.mkdir()
    for step, name in enumerate(("A_X", "A_Y", "B_X", "B_Y"), 1):
        pixels = np.arange(6 * 32 * 32, dtype=np.int64) * step
        np.save(folder / f"{name}.npy", (pixels * pixels % 991).astype(np.uint16).reshape(6, 32, 32))


def shrink_networks(patch):
    """Few filters and one residual block; `patch` is called with (module, name, value)."""
    import gans
    import models

    resnet, unet = models.resnet, models.tuned_generator
    patch(models, "resnet", lambda image, norm, blocks, *rest, **more: resnet(image, norm, 1, *rest, width=2, **more))
    patch(models, "tuned_generator", lambda: unet((2, 4, 4)))
    patch(gans, "JUDGE_FILTERS", {"paper": (2, 4, 4, 4), "tuned": (2, 4, 4)})


def main(output):
    """Train all runs and pack them."""
    from devices import start_tensorflow

    start_tensorflow(0)
    shrink_networks(setattr)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(output, "w", zipfile.ZIP_LZMA) as packed:
        os.chdir(folder)
        write_pairs(Path("pairs"))
        for name, (command, flags) in RUNS.items():
            script = importlib.import_module(command)
            assert script.main(script.make_parser().parse_args([*COMMON, *flags, f"--dir={name}"])) == 0
        for path in sorted(Path(".").glob("*/*/**/*")):
            if path.name in ("args.json", "log.csv", "generator.h5") or (path.suffix == ".npz" and path.stem.isdigit()):
                packed.write(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
