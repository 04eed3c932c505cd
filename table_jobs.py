"""The trainings of the tables as commands: run, measured, resumed, and known to be finished."""

import csv
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from data_utils import SCRIPT_DIR
from errors import InputError
from table_rows import JOBS


def run_script(arguments, log):
    """Run a training script; its output goes to `log`.

    Raises:
        KeyboardInterrupt: it was stopped by a signal.
        InputError: it failed; the message is its own last line.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a") as file:
        command = [sys.executable, str(SCRIPT_DIR / arguments[0]), *arguments[1:]]
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    if code in (130, 143, -2, -15):
        raise KeyboardInterrupt
    if code:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise InputError(lines[-1].removeprefix("error: ") if lines else f"exit code {code}")


def training_arguments(name, options, iterations, seed, folder, cin_folder=None):
    """The command of a job: script, flags.

    Args:
        name: of the job.
        options: flags of all jobs, and "--batch_size" of recipe paper's under "paper".
        iterations, seed: of the run.
        folder: its --dir.
        cin_folder: --dir of the CIN-GAN that it uses.
    """
    job = JOBS[name]
    flags = [*options["all"], f"--num_iters={iterations}", f"--seed={seed}", f"--dir={folder}"]
    flags += [f"--eval_every={-(-iterations // 3)}", "--save_every=1000"]
    if "--recipe=paper" in job.command:
        flags.append(f"--batch_size={options['paper_batch']}")
    if cin_folder:
        flags.append(f"--cin_generator_path={cin_folder / JOBS[job.cin].folder / 'generator.h5'}")
    if any(folder.glob(f"{job.folder}/**/checkpoints/*.npz")):
        flags.append("--resume")
    elif (folder / job.folder).exists():
        flags.append("--overwrite")
    return [*job.command, *flags]


def read_log(run):
    """Rows of a run's log.csv as dicts of floats (empty texts left out)."""
    with open(run / "log.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def seconds_per_iteration(name, options, tasks):
    """Measure a job's step on a few rows of the data: the mean after the first third, compilation left out."""
    job = JOBS[name]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for task in tasks[:1] if job.per_task else tasks:
            for kind, images in (("X", task.train_x), ("Y", task.train_y)):
                some = np.stack([images[i] for i in range(min(len(images), 4))])
                np.save(folder / f"{task.name}_{kind}.npy", some)
                np.save(folder / f"{task.name}_{kind}_test.npy", some[:1])
        few = {**options, "all": [*options["all"], f"--data_dir={folder}", "--images_limit=-1"]}
        if job.per_task:
            few["all"].append(f"--tasks={tasks[0].name}")
        run_script(training_arguments(name, few, job.probe, 0, folder), folder / "log.txt")
        run = folder / job.folder / (tasks[0].name if job.per_task else "")
        return seconds_per_logged_iteration(read_log(run))


def seconds_per_logged_iteration(log):
    """Mean step between the rows of a log: what comes before its first row, compilation too, is left out.

    Where a run was resumed its clock starts again; those rows are passed over. A log of one row gives its own mean.
    """
    pairs = [(a, b) for a, b in itertools.pairwise(log) if b["seconds"] > a["seconds"]]
    pairs = pairs or [({"seconds": 0.0, "iteration": 0.0}, log[-1])]
    return sum(b["seconds"] - a["seconds"] for a, b in pairs) / sum(b["iteration"] - a["iteration"] for a, b in pairs)
