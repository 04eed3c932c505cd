"""What the benchmarks share: their images, trainings, records that are resumed, tables, and the timing of processes."""

import json
import multiprocessing
import os
import platform
import re
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from pathlib import Path

import data_utils
from common.files import write_text
from training.commands import run_logged

ROOT = Path(__file__).resolve().parents[1]


def read_tasks(data_dir, images_limit=10, seed=42):
    """The pair sets of a folder: so many training pairs (-1: all), and the test images."""
    return data_utils.load_tasks(data_dir, None, images_limit, None, 0, seed)[0]


def train_once(words, folder, results):
    """Run a training unless it is finished, its output to a log; gives its results folder.

    `words` are script and flags, or `-m`, a module and flags; `folder` is its --dir, `results` what it makes there.
    """
    if not (folder / "done").is_file():
        again = ["--overwrite"] if (folder / results).exists() else []
        run_logged([*words, f"--dir={folder}", "--eval_every=100000", *again], folder / "log.txt")
        (folder / "done").touch()
    return folder / results


class Record:
    """Results {label: {key: value}} in a JSON file, saved after each: the same command goes on where it was stopped."""

    def __init__(self, path):
        self.path = Path(path) if path else None
        self.results = json.loads(self.path.read_text()) if path and self.path.is_file() else {}

    def add(self, label, key, measure):
        """The result of that name, from `measure()` where it is missing."""
        if key not in self.results.get(label, {}):
            self.results.setdefault(label, {})[key] = measure()
            print(f"{label}, {key}: done", file=sys.stderr, flush=True)
            if self.path:
                write_text(self.path, json.dumps(self.results, indent=1) + "\n")
        return self.results[label][key]


def print_table(head, rows):
    """Print a Markdown table, each row as soon as it is known, and give it as text; cells are texts or numbers."""
    lines = []
    for row in chain([head, ["---"] * len(head)], rows):
        lines.append(f"| {' | '.join(f'{cell:.3g}' if isinstance(cell, float) else str(cell) for cell in row)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def print_rows(record):
    """Print a record of `measured_alone` as a table, below it the machine, or machines where it was resumed."""
    rows = [{"what": f"{label}, {key}", **row} for label, keys in record.results.items() for key, row in keys.items()]
    machines = {row.pop("machine") for row in rows}
    print_table(rows[0], (row.values() for row in rows))
    print("\n".join(machines))


def measured_alone(function, *args):
    """The dict that a function gives in a process of its own, so that its peak memory is its own, and the machine."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    machine = f"{os.cpu_count()} cores, {model.group(1) if model else platform.machine()}"
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return {**pool.submit(function, *args).result(), "machine": machine}


def median_seconds(function, repeats=10, warm_up=2):
    """Median seconds of a call, after some that are not counted."""
    seconds = []
    for _ in range(warm_up + repeats):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[warm_up:])


def peak_megabytes():
    """Most memory that this process has held at once; not getrusage's, which starts from its parent's."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)) / 1024
