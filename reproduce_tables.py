"""Train every row of the paper's two tables at equal budgets and write them.

    python reproduce_tables.py --setting=A --seconds=225 --seeds=1 --images_limit=10 --data_dir=FOLDER
    python reproduce_tables.py --setting=B --seconds=225 --seeds=3
    python reproduce_tables.py --setting=A --num_iters=3000 --batch_size=100 --data_dir=care    the paper's settings

Setting A: few real pairs; B: no pairs (x and y of the same rows, drawn independently). --seconds is the time of the
training steps of one row: methods with one network per task share it, and in B a CIN-GAN counts in its row. A step is
measured first and turned into a number of iterations, so that schedules never depend on the clock. Results:
table_A.md, table_A.json (every score of every image and seed) and table_A.png below --dir. What is finished is kept:
the same command again goes on where it was stopped, and tries again what failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

import data_utils
from common import command_line
from common.errors import InputError, run_script
from common.files import json_values, write_text, written_whole
from data_utils import Task
from tables import jobs as table_jobs
from tables.rows import JOBS, ROWS, budget, jobs_of
from training.run_folder import RunFolder

# Arguments that change what a cell means: a folder's cells must agree in them.
FIXED = ("setting", "images_limit", "unpaired_limit", "eval_limit", "num_iters", "seconds", "batch_size", "data_dir")
FIXED += ("tasks", "vgg_weights", "no_rotate", "rotate")


def make_parser() -> argparse.ArgumentParser:
    """The script's arguments."""
    parser = command_line.OneLineParser(__doc__)
    add = parser.add_argument
    add("--setting", choices=list(ROWS), required=True, help="A: few real pairs; B: no pairs")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--num_iters", type=command_line.integer(1), help="iterations of every network")
    length.add_argument("--seconds", type=command_line.seconds, help="seconds of training steps of every row")
    add("--seeds", type=command_line.integer(1), default=1, help="how many seeds, from --seed on (default: 1)")
    add("--seed", type=command_line.integer(0), default=42, help="the first seed (default: 42)")
    add("--batch_size", type=command_line.integer(1), default=4, help="of recipe paper's rows (4; published: 100)")
    add("--images_limit", type=command_line.integer(1, (-1,)), default=10, help="pairs per task (default: 10); -1: all")
    add("--unpaired_limit", type=command_line.integer(0, (-1,)), default=0, help="as in the training scripts")
    add("--eval_limit", type=command_line.integer(1), help="as in the training scripts")
    add("--data_dir", type=Path, help="as in the training scripts")
    add("--tasks", type=command_line.names, help="as in the training scripts")
    add("--no_rotate", type=command_line.names, help="as in the training scripts")
    add("--rotate", type=command_line.names, help="as in the training scripts")
    add("--vgg_weights", default="imagenet", metavar="imagenet|random|PATH.h5", help="filters of content losses")
    add("--num_gpu", type=command_line.integer(0, ()), help="as in the training scripts; baselines use one")
    add("--dir", type=Path, default=Path("results"), help="folder of the tables and runs (default: results)")
    return parser


def main(args: argparse.Namespace) -> int:
    """Train what is missing, write the tables; returns the exit code."""
    if args.data_dir is None:
        args.data_dir = data_utils.default_data_dir()
    tasks, notices = load_tasks(args, args.seed)
    for notice in notices:
        print(f"note: {notice}")
    table = Table(args, tasks)
    try:
        unplanned = table.plan_iterations(tasks)
        for seed in table.record["seeds"]:
            tasks, _ = load_tasks(args, seed)
            failures = unplanned | table.train_jobs(seed, unplanned)
            table.score_rows(tasks, seed, failures)
            table.write(tasks, seed)
    except KeyboardInterrupt:
        print("stopped; the same command goes on")
        return 130
    print(
        f"\n{(args.dir / f'table_{args.setting}.md').read_text()}\n{args.dir}/table_{args.setting}.md, .json and .png"
    )
    return 0


def load_tasks(args: argparse.Namespace, seed: int) -> tuple[list[Task], list[str]]:
    """The pair sets, split by one seed; (list of `data_utils.Task`, notices). Raises InputError."""
    limits = (args.images_limit, args.eval_limit, args.unpaired_limit)
    return data_utils.load_tasks(args.data_dir, args.tasks, *limits, seed)


def open_record(args: argparse.Namespace) -> dict:
    """The table's record: the one in --dir if it was made with the same arguments, else a new one."""
    settings = json_values({key: value for key, value in vars(args).items() if key in FIXED})
    path = args.dir / f"table_{args.setting}.json"
    if not path.is_file() and (path.parent / f"table_{args.setting}_runs").exists():
        raise InputError(f"{path.parent} holds trainings of a table, but not its {path.name}; choose another --dir")
    record = {"settings": settings, "plan": {}, "cells": {}}
    if path.is_file():
        record = json.loads(path.read_text())
        changed = [key for key in settings if record["settings"].get(key) != settings[key]]
        if changed:
            stored = "; ".join(f"{key}={record['settings'].get(key)}" for key in changed)
            raise InputError(f"{path} was made with other arguments ({stored}); use the same, or another --dir")
    record["command"] = "python reproduce_tables.py " + shlex.join(sys.argv[1:])
    record["machine"] = describe_machine(args.num_gpu)
    record["seeds"] = [args.seed + i for i in range(args.seeds)]
    return record


def describe_task(task: Task) -> str:
    """How much data a task has, in words."""
    height, width = task.shape
    return f"{task.name}: {len(task.train_x)} pairs, {len(task.test_x)} test images, {height} x {width} pixels"


def describe_machine(num_gpu: int | None) -> str:
    """The hardware in words; `num_gpu` as in the arguments."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        if num_gpu == 0:
            raise OSError
        gpus = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split("\n")
    except (OSError, subprocess.SubprocessError):
        gpus = []
    return ", ".join(gpu for gpu in gpus if gpu) or f"{os.cpu_count()} CPU cores, no GPU"


def shared_flags(args: argparse.Namespace) -> list[str]:
    """Flags that every training gets."""
    keys = ("images_limit", "unpaired_limit", "eval_limit", "data_dir", "vgg_weights")
    flags = [f"--{key}={getattr(args, key)}" for key in keys if getattr(args, key) is not None]
    lists = ("tasks", "no_rotate", "rotate")
    return flags + [f"--{key}={','.join(getattr(args, key))}" for key in lists if getattr(args, key) is not None]


class Table:
    """One table in its folder: the record, the trainings that it needs and their scores."""

    def __init__(self, args: argparse.Namespace, tasks: list[Task]):
        self.args, self.setting = args, args.setting
        self.task_names = [task.name for task in tasks]
        self.record = {**open_record(args), "data": "; ".join(describe_task(task) for task in tasks)}
        self.shared = table_jobs.Shared(shared_flags(args), args.num_gpu, args.batch_size)

    def plan_iterations(self, tasks: list[Task]) -> dict[str, str]:
        """Fill in record["plan"]: the step of every job, measured, and its iterations.

        Returns:
            {job: reason} of those whose step could not be measured.
        """
        plan, failures = self.record["plan"], {}
        steps = {JOBS[name].speed_of: planned["step"] for name, planned in plan.items()}
        for name in jobs_of(self.setting):
            if name in plan:
                continue
            speed_of = JOBS[name].speed_of
            try:
                if speed_of not in steps:
                    steps[speed_of] = table_jobs.seconds_per_iteration(speed_of, self.shared, tasks)
            except InputError as failure:
                failures[name] = str(failure)
                print(f"{name}: failed ({failure})", flush=True)
                continue
            plan[name] = {"iterations": self._iterations(name, steps[speed_of]), "step": steps[speed_of]}
            print(f"{name}: {plan[name]['step']:.3g} s a step, {plan[name]['iterations']} iterations", flush=True)
            self._save_record()
        return failures

    def _iterations(self, name, step):
        """Iterations of a job whose step takes `step` seconds."""
        if not self.args.seconds:
            return self.args.num_iters
        return max(1, int(budget(self.setting, name, self.args.seconds, len(self.task_names)) / step))

    def train_jobs(self, seed: int, failures: dict[str, str]) -> dict[str, str]:
        """Train every job of one seed that is not finished and whose CIN-GAN has not failed.

        Returns:
            {job: reason} of those that failed.
        """
        failures, names = dict(failures), jobs_of(self.setting)
        for number, name in enumerate(names, 1):
            cin = JOBS[name].cin
            if cin in failures:
                failures[name] = failures[cin]
            if name in failures or self._is_finished(name, seed):
                continue
            iterations = self.record["plan"][name]["iterations"]
            left = f"about {self._minutes_left(seed, failures):.0f} minutes left in all"
            print(f"[seed {seed}, {number}/{len(names)}] {name}: {iterations} iterations; {left}", flush=True)
            try:
                self._train(name, seed)
            except InputError as failure:
                failures[name] = str(failure)
                print(f"{name}: failed ({failure})", flush=True)
        return failures

    def _train(self, name, seed):
        iterations, cin = self.record["plan"][name]["iterations"], JOBS[name].cin
        folder, cin_folder = self._seed_folder(seed) / name, cin and self._seed_folder(seed) / cin
        command = table_jobs.training_arguments(name, self.shared, iterations, seed, folder, cin_folder)
        table_jobs.run_logged(command, folder / "log.txt")

    def _is_finished(self, name, seed):
        """Whether all runs of a job of one seed are finished."""
        iterations = self.record["plan"][name]["iterations"]
        return all(RunFolder(run).finished(iterations) for run in self._runs(name, seed).values())

    def _minutes_left(self, seed, failures):
        """Minutes of the jobs of this seed and of those after it; a third is added for all but the steps."""
        seconds = 0.0
        for other in (s for s in self.record["seeds"] if s >= seed):
            for name in jobs_of(self.setting):
                if name not in failures and not self._is_finished(name, other):
                    networks = len(self.task_names) if JOBS[name].per_task else 1
                    planned = self.record["plan"][name]
                    seconds += planned["step"] * planned["iterations"] * networks
        return 1.33 * seconds / 60

    def _seed_folder(self, seed):
        """Folder of the runs of one seed."""
        return self.args.dir / f"table_{self.setting}_runs" / f"seed{seed}"

    def _runs(self, name, seed):
        """{task name: run folder} of a job; one folder for all tasks where it trains one network."""
        job = JOBS[name]
        folder = self._seed_folder(seed) / name / job.folder
        return {task: folder / task if job.per_task else folder for task in self.task_names}

    def score_rows(self, tasks: list[Task], seed: int, failures: dict[str, str]) -> None:
        """Restore the test images with every row of one seed and keep the scores in the record."""
        from methods import filters

        for row in ROWS[self.setting]:
            cells = self.record["cells"].setdefault(row.job, {})
            known = cells.get(str(seed), {})
            if known and not any("failed" in cell for cell in known.values()):
                continue
            if row.job == "bm3d" and not filters.has_bm3d():
                print("note: no row for BM3D; its package (non-commercial use only) is in requirements/bm3d.txt")
                continue
            print(f"[seed {seed}] restoring with {row.label}", flush=True)
            cells[str(seed)] = {task.name: self._score_cell(row, task, seed, failures) for task in tasks}
            self._save_record()

    def _score_cell(self, row, task, seed, failures):
        """Scores of one row, task and seed; its first restored image is kept for the picture."""
        try:
            cell, first = self._score(row, task, seed, failures)
        except InputError as failure:
            return {"failed": str(failure)}
        except (OSError, ValueError, KeyError, RuntimeError) as failure:
            return {"failed": f"{type(failure).__name__}: {failure}"}
        with written_whole(self._picture(row, task, seed)) as beside:
            np.save(beside, first)
        return cell

    def _score(self, row, task, seed, failures):
        from tables.scores import score_filter, score_generator

        if row.job not in JOBS:
            return score_filter(row.job, task)
        if row.job in failures:
            raise InputError(failures[row.job])
        cin = JOBS[row.job].cin
        cin_run = cin and self._runs(cin, seed)[task.name]
        return score_generator(row, task, self._runs(row.job, seed)[task.name], cin_run)

    def _picture(self, row, task, seed):
        """Where the first test image as a row of one seed restores it is kept."""
        return self._seed_folder(seed) / "pictures" / f"{row.job}_{task.name}.npy"

    def _save_record(self):
        write_text(self.args.dir / f"table_{self.setting}.json", json.dumps(self.record, indent=1) + "\n")

    def write(self, tasks: list[Task], seed: int) -> None:
        """Write the Markdown table, and the picture of one seed."""
        from tables import text as tables

        folder, name = self.args.dir, f"table_{self.setting}"
        write_text(folder / f"{name}.md", tables.table_text(self.setting, self.task_names, self.record))
        rows = ROWS[self.setting]
        paths = {(row.label, task.name): self._picture(row, task, seed) for row in rows for task in tasks}
        pictures = {place: np.load(path) for place, path in paths.items() if path.is_file()}
        tables.save_picture(folder / f"{name}.png", self.setting, tasks, pictures)


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
