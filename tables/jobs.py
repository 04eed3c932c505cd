"""The trainings of the tables as commands: run, measured, resumed, and known to be finished."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import InputError
from data_utils import SCRIPT_DIR, Task
from tables.rows import JOBS
from training import run_folder
from training.options import acting


class Shared(NamedTuple):
    """What all trainings of a table have in common: flags, GPUs (None: all), --batch_size of recipe `paper`."""

    flags: list[str]
    num_gpu: int | None
    paper_batch: int


def run_logged(arguments: Sequence[str], log: Path) -> None:
    """Run a training; its output goes to the end of `log`.

    Args:
        arguments: a script of the top level and its flags, or `-m`, a module and its flags.
        log: file.

    Raises:
        KeyboardInterrupt: a signal stopped it or this process; it has been waited for, so that it could save.
        InputError: it failed; the message is its own last line.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as file:
        start = file.tell()
        first = arguments[0] if arguments[0] == "-m" else str(SCRIPT_DIR / arguments[0])
        command = [sys.executable, first, *arguments[1:]]
        # In a session of its own a Ctrl-C reaches it once, passed on from here: a second one would stop its saving.
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        code, stopped = _wait(process)
    if stopped or code in (130, 143, -signal.SIGINT, -signal.SIGTERM):
        raise KeyboardInterrupt
    if code:
        lines = [line for line in log.read_bytes()[start:].decode(errors="replace").splitlines() if line.strip()]
        reason = f"ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise InputError(lines[-1].removeprefix("error: ") if lines and code > 0 else reason)


def _wait(process):
    """(exit code, whether a signal came); signals are passed on to the process."""
    stopped = []

    def pass_on(number, frame):
        stopped.append(number)
        process.send_signal(number)

    previous = {n: signal.signal(n, pass_on) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        return process.wait(), bool(stopped)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def training_arguments(
    name: str, shared: Shared, iterations: int, seed: int, folder: Path, cin_folder: Path | None = None
) -> list[str]:
    """The command of a job: script, and flags that act.

    Args:
        name: of the job.
        iterations, seed: of the run.
        folder: its --dir.
        cin_folder: --dir of the CIN-GAN that it uses.
    """
    job = JOBS[name]
    flags = [*shared.flags, f"--num_iters={iterations}", f"--seed={seed}", f"--dir={folder}"]
    flags += [f"--eval_every={-(-iterations // 3)}", "--save_every=1000"]
    if shared.num_gpu is not None:
        # A baseline uses one GPU at most.
        flags.append(f"--num_gpu={min(shared.num_gpu, 1) if job.per_task else shared.num_gpu}")
    if "--recipe=paper" in job.command:
        flags.append(f"--batch_size={shared.paper_batch}")
    if cin_folder:
        flags.append(f"--cin_generator_path={cin_folder / JOBS[job.cin].folder / 'generator.h5'}")
    if any(folder.glob(f"{job.folder}/**/checkpoints/*.npz")):
        flags.append("--resume")
    elif (folder / job.folder).exists():
        flags.append("--overwrite")
    script, *own = job.command
    name = Path(script).stem
    return [script, *acting(name, importlib.import_module(name).make_parser(), [*own, *flags])]


def read_log(run: Path) -> list[dict[str, float]]:
    """Rows of a run's log.csv as dicts of floats (empty texts left out)."""
    return [{key: float(value) for key, value in row.items() if value} for row in run_folder.read_log(run)]


def seconds_per_iteration(name: str, shared: Shared, tasks: list[Task]) -> float:
    """Measure a job's step on a few rows of the data: the mean after the first third, compilation left out."""
    job = JOBS[name]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for task in tasks[:1] if job.per_task else tasks:
            for kind, images in (("X", task.train_x), ("Y", task.train_y)):
                some = np.stack([images[i] for i in range(min(len(images), 4))])
                np.save(folder / f"{task.name}_{kind}.npy", some)
                np.save(folder / f"{task.name}_{kind}_test.npy", some[:1])
        few = [*shared.flags, f"--data_dir={folder}", "--images_limit=-1"]
        few += [f"--tasks={tasks[0].name}"] * job.per_task
        run_logged(training_arguments(name, shared._replace(flags=few), job.probe, 0, folder), folder / "log.txt")
        run = folder / job.folder / (tasks[0].name if job.per_task else "")
        return seconds_per_logged_iteration(read_log(run))


def seconds_per_logged_iteration(log: list[dict[str, float]]) -> float:
    """Mean step between the first row of a log and its last: what comes before the first, compilation too, is left out.

    A log of one row gives its own mean.
    """
    first, last = (log[0] if len(log) > 1 else {"seconds": 0.0, "iteration": 0.0}), log[-1]
    return (last["seconds"] - first["seconds"]) / (last["iteration"] - first["iteration"])
