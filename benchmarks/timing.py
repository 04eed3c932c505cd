"""What the speed measurements share: medians, peak memory, the rate of a matrix product, tables and JSON."""

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


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


def matrix_rate(dtype="float32", size=4096):
    """GFLOP/s of a matrix product."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal((size, size)), dtype)
    return 2 * size**3 / median_seconds(lambda: tf.linalg.matmul(matrix, matrix).numpy(), 3, 1) / 1e9


def measured_alone(script, *flags):
    """Run a script in a process of its own, so that its peak memory is its own; gives its last line."""
    command = [sys.executable, script, *flags]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def machine():
    """What the numbers were measured on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cpu = model.group(1) if model else platform.machine()
    return {"cpus": os.cpu_count(), "cpu": cpu, "python": platform.python_version()}


def report(rows, path):
    """Print rows (dicts with the same keys) as Markdown, and save them with the machine as JSON."""
    print("| " + " | ".join(rows[0]) + " |")
    print("|---" * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()) + " |")
    if path:
        Path(path).write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
        print(f"saved as {path}")
