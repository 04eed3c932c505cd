"""Images/s of two processes that train together over loopback, against one process on as many cores.

    python benchmarks/scaling.py --output=scaling.json                    about 3 minutes on 2 CPU cores

One process has all cores, two have half each; the global batch is the same. The median step comes from `log.csv`
between evaluations, compilation left out. Also: seconds from the start of train_cGAN.py to its first iteration.
"""

import argparse
import csv
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from timing import ROOT, report

ITERATIONS, EVERY = 60, 20


def command(folder, *flags):
    """A training of small networks' standard size on the shipped sample."""
    words = [sys.executable, str(ROOT / "train_cGAN.py"), "--recipe=tuned", "--num_gpu=0", "--batch_size=16"]
    return [*words, f"--data_dir={ROOT / 'data'}", "--tasks=Nuclei", "--eval_limit=1", f"--dir={folder}", *flags]


def workers(count):
    """(environment, cores) of each process."""
    cores = sorted(os.sched_getaffinity(0))
    share = len(cores) // count
    if count == 1:
        return [({}, cores)]
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    addresses = [f"localhost:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    configs = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}} for i in range(count)]
    return [({"TF_CONFIG": json.dumps(c)}, cores[i * share : (i + 1) * share]) for i, c in enumerate(configs)]


def median_step(count):
    """Median seconds of an iteration of so many processes."""
    with tempfile.TemporaryDirectory() as folder:
        flags = (f"--num_iters={ITERATIONS}", f"--eval_every={EVERY}", "--save_every=100000")
        processes = []
        for environment, cores in workers(count):
            pin = lambda cores=cores: os.sched_setaffinity(0, cores)  # noqa: E731
            environment = {**os.environ, **environment}
            output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
            processes.append(subprocess.Popen(command(folder, *flags), env=environment, preexec_fn=pin, **output))
        for process in processes:
            _, errors = process.communicate()
            if process.returncode:
                raise RuntimeError(errors.decode()[-2000:])
        with open(Path(folder) / "Microscopy_cGAN_results/log.csv", newline="") as file:
            seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    return statistics.median(np.diff(seconds[1:])) / EVERY


def seconds_to_first_iteration():
    """From the start of the command to its first finished iteration, small images."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        flags = ("--num_iters=1", "--batch_size=2")
        process = subprocess.Popen(command(folder, *flags), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list(Path(folder).glob("*/generator.h5")):
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        process.wait()
    return seconds


def main(args):
    rows, first = [], None
    for count in (1, 2):
        step = median_step(count)
        first = first or step
        rows.append({"processes": count, "s a step": step, "images/s": 16 / step, "% of one": 100 * first / step})
        print(rows[-1], file=sys.stderr, flush=True)
    report(rows, args.output)
    print(f"from the start to the first iteration, saved: {seconds_to_first_iteration():.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", help="JSON file")
    main(parser.parse_args())
