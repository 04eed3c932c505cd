"""Peak memory of loading ten pairs from a large X file, against a small one.

    python benchmarks/memory.py --gigabytes=3

Writes both files to a temporary folder (the large one twice, as X and as Y), loads each in a process of its own with
--images_limit=10, and prints the peak resident memory of both.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LOAD = r"""
import re, sys
sys.path.insert(0, sys.argv[1])
from data_utils import load_tasks
from restoring.normalization import fit_cgan
from methods.batches import PairBatches, Sampling
tasks, _ = load_tasks(sys.argv[2], images_limit=10)
batches = PairBatches(tasks, fit_cgan("tuned", tasks), Sampling(8, (128, 128), 0, [], True))
for iteration in range(20):
    batches(iteration)
# Not getrusage: its maximum starts from the parent's, which wrote the files.
print(int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read()).group(1)) / 1024)
"""


def peak_megabytes(images):
    """Peak resident memory of a process that loads from arrays of so many images."""
    with tempfile.TemporaryDirectory() as folder:
        for kind in "XY":
            array = np.lib.format.open_memmap(Path(folder) / f"A_{kind}.npy", "w+", np.float32, (images, 128, 128))
            rng = np.random.default_rng(0)
            for start in range(0, images, 1000):
                array[start : start + 1000] = rng.random(array[start : start + 1000].shape, np.float32)
            del array
        done = subprocess.run(
            [sys.executable, "-c", LOAD, str(ROOT), folder], capture_output=True, text=True, check=True
        )
    return float(done.stdout)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=3.0, help="size of the large file (default: 3)")
    args = parser.parse_args()
    small, large = (peak_megabytes(images) for images in (100, int(args.gigabytes * 1e9 / (128 * 128 * 4))))
    print(f"peak memory: {small:.0f} MB from a file of 6.6 MB, {large:.0f} MB from one of {args.gigabytes:g} GB")


if __name__ == "__main__":
    main()
