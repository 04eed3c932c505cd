"""The trainings of a table: planned, run as commands, resumed, and known to be finished."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.errors import InputError
from data_utils import Task
from tables.rows import JOBS, budget, jobs_of
from training import run_folder
from training.commands import run_logged
from training.options import acting
from training.run_folder import RunFolder


@dataclass(frozen=True)
class Shared:
    """What all trainings of a table have in common.

    Args:
        flags: of every command.
        num_gpu: GPUs; None for all.
        table_batch: batch size of the jobs that take the table's.
    """

    flags: list[str]
    num_gpu: int | None
    table_batch: int


@dataclass(frozen=True)
class Length:
    """How long every network is trained: iterations, or seconds of training steps of each row."""

    num_iters: int | None = None
    seconds: float | None = None

    def iterations(self, setting: str, name: str, step: float, num_tasks: int) -> int:
        """Iterations of a job of a setting whose step takes `step` seconds."""
        if not self.seconds:
            return self.num_iters
        return max(1, int(budget(setting, name, self.seconds, num_tasks) / step))


class Trainings:
    """Every training of one setting, below FOLDER/seed<seed>/<job>.

    Args:
        setting: "A" or "B".
        folder: of all runs.
        shared, length: of the commands.
        task_names: what is trained on.
        plan: {job: {"iterations": ..., "step": seconds}}, filled in here.
    """

    def __init__(
        self, setting: str, folder: Path, shared: Shared, length: Length, task_names: list[str], plan: dict[str, dict]
    ):
        self.setting, self.folder, self.shared, self.length = setting, folder, shared, length
        self.task_names, self.plan = task_names, plan
        self.failures = {}  # {job: reason} of those whose step could not be measured

    def measure(self, tasks: list[Task], save: Callable[[], None]) -> None:
        """Fill in the plan: the step of every job, measured, and its iterations; `save` is called after each."""
        steps = {JOBS[name].speed_of: planned["step"] for name, planned in self.plan.items()}
        for name in jobs_of(self.setting):
            if name in self.plan:
                continue
            speed_of = JOBS[name].speed_of
            try:
                if speed_of not in steps:
                    steps[speed_of] = seconds_per_iteration(speed_of, self.shared, tasks)
            except InputError as failure:
                self.failures[name] = str(failure)
                print(f"{name}: failed ({failure})", flush=True)
                continue
            step = steps[speed_of]
            iterations = self.length.iterations(self.setting, name, step, len(self.task_names))
            self.plan[name] = {"iterations": iterations, "step": step}
            print(f"{name}: {step:.3g} s a step, {iterations} iterations", flush=True)
            save()

    def train(self, seed: int, last_seed: int) -> dict[str, str]:
        """Train every job of one seed that is not finished and whose CIN-GAN has not failed.

        Args:
            seed: of the runs.
            last_seed: of the table, for the estimate of what is left.

        Returns:
            {job: reason} of those that failed.
        """
        failures, names = dict(self.failures), jobs_of(self.setting)
        for number, name in enumerate(names, 1):
            cin = JOBS[name].cin
            if cin in failures:
                failures[name] = failures[cin]
            if name in failures or self._is_finished(name, seed):
                continue
            iterations = self.plan[name]["iterations"]
            left = f"about {self._minutes_left(range(seed, last_seed + 1), failures):.0f} minutes left in all"
            print(f"[seed {seed}, {number}/{len(names)}] {name}: {iterations} iterations; {left}", flush=True)
            folder, cin_folder = self.seed_folder(seed) / name, cin and self.seed_folder(seed) / cin
            try:
                command = training_arguments(name, self.shared, iterations, seed, folder, cin_folder)
                run_logged(command, folder / "log.txt")
            except InputError as failure:
                failures[name] = str(failure)
                print(f"{name}: failed ({failure})", flush=True)
        return failures

    def seed_folder(self, seed: int) -> Path:
        """Folder of the jobs of one seed."""
        return self.folder / f"seed{seed}"

    def _is_finished(self, name, seed):
        """Whether all runs of a job of one seed are finished."""
        runs = {JOBS[name].run(self.seed_folder(seed), name, task) for task in self.task_names}
        return all(RunFolder(run).finished(self.plan[name]["iterations"]) for run in runs)

    def _minutes_left(self, seeds, failures):
        """Minutes of the jobs of these seeds; a third is added for all but the steps."""
        seconds = 0.0
        for name in (name for name in jobs_of(self.setting) if name not in failures):
            networks = len(self.task_names) if JOBS[name].per_task else 1
            runs = sum(not self._is_finished(name, seed) for seed in seeds)
            seconds += runs * networks * self.plan[name]["step"] * self.plan[name]["iterations"]
        return 1.33 * seconds / 60


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
    if job.table_batch:
        flags.append(f"--batch_size={shared.table_batch}")
    if cin_folder:
        flags.append(f"--cin_generator_path={cin_folder / JOBS[job.cin].folder / 'generator.h5'}")
    if any(folder.glob(f"{job.folder}/**/checkpoints/*.npz")):
        flags.append("--resume")
    elif (folder / job.folder).exists():
        flags.append("--overwrite")
    script, *own = job.command
    return [script, *acting(Path(script).stem, [*own, *flags])]


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
        run_logged(training_arguments(name, replace(shared, flags=few), job.probe, 0, folder), folder / "log.txt")
        run = folder / job.folder / (tasks[0].name if job.per_task else "")
        return seconds_per_logged_iteration(read_log(run))


def seconds_per_logged_iteration(log: list[dict[str, float]]) -> float:
    """Mean step between the first row of a log and its last: what comes before the first, compilation too, is left out.

    A log of one row gives its own mean.
    """
    first, last = (log[0] if len(log) > 1 else {"seconds": 0.0, "iteration": 0.0}), log[-1]
    return (last["seconds"] - first["seconds"]) / (last["iteration"] - first["iteration"])
