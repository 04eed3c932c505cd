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

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

import arguments
import data_utils
import filters
import table_jobs
from errors import InputError, run_script
from run_folder import RunFolder, write_text, written_whole
from table_rows import JOBS, ROWS, budget, jobs_of

# Arguments that change what a cell means: a folder's cells must agree in them.
FIXED = ("setting", "images_limit", "unpaired_limit", "eval_limit", "num_iters", "seconds", "batch_size", "data_dir")
FIXED += ("tasks", "vgg_weights", "no_rotate")


def make_parser():
    """The script's arguments."""
    parser = arguments.OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--setting", choices=list(ROWS), required=True, help="A: few real pairs; B: no pairs")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--num_iters", type=arguments.integer(1), help="iterations of every network")
    length.add_argument("--seconds", type=arguments.seconds, help="seconds of training steps of every row")
    add("--seeds", type=arguments.integer(1), default=1, help="how many seeds, from --seed on (default: 1)")
    add("--seed", type=arguments.integer(0), default=42, help="the first seed (default: 42)")
    add("--batch_size", type=arguments.integer(1), default=4, help="of recipe paper's rows (4; published: 100)")
    add("--images_limit", type=arguments.integer(1, (-1,)), default=10, help="pairs per task (default: 10); -1: all")
    add("--unpaired_limit", type=arguments.integer(0, (-1,)), default=0, help="as in the training scripts")
    add("--eval_limit", type=arguments.integer(1), help="as in the training scripts")
    add("--data_dir", type=Path, help="as in the training scripts")
    add("--tasks", type=arguments.names, help="as in the training scripts")
    add("--no_rotate", type=arguments.names, help="as in the training scripts")
    add("--vgg_weights", default="imagenet", metavar="imagenet|random|PATH.h5", help="filters of content losses")
    add("--num_gpu", type=arguments.integer(0, ()), help="as in the training scripts; baselines use one")
    add("--dir", type=Path, default=Path("results"), help="folder of the tables and runs (default: results)")
    return parser


def main(args):
    """Train what is missing, write the tables; returns the exit code."""
    if args.data_dir is None:
        args.data_dir = data_utils.default_data_dir()
    limits = (args.images_limit, args.eval_limit, args.unpaired_limit)
    tasks, notices = data_utils.load_tasks(args.data_dir, args.tasks, *limits, args.seed)
    for notice in notices:
        print(f"note: {notice}")
    record = open_record(args)
    record["data"] = "; ".join(describe_task(task) for task in tasks)
    shared = table_jobs.Shared(shared_flags(args), args.num_gpu, args.batch_size)
    try:
        unplanned = plan_iterations(args, tasks, shared, record)
        for seed in record["seeds"]:
            tasks, _ = data_utils.load_tasks(args.data_dir, args.tasks, *limits, seed)
            failures = unplanned | train_jobs(args, tasks, shared, record, seed, unplanned)
            score_rows(args, tasks, record, seed, failures)
            write_tables(args, tasks, record, seed)
    except KeyboardInterrupt:
        print("stopped; the same command goes on")
        return 130
    print(
        f"\n{(args.dir / f'table_{args.setting}.md').read_text()}\n{args.dir}/table_{args.setting}.md, .json and .png"
    )
    return 0


def open_record(args):
    """The table's record: the one in --dir if it was made with the same arguments, else a new one."""
    settings = {key: value for key, value in vars(args).items() if key in FIXED}
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
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


def describe_task(task):
    """How much data a task has, in words."""
    height, width = task.shape
    return f"{task.name}: {len(task.train_x)} pairs, {len(task.test_x)} test images, {height} x {width} pixels"


def save_record(args, record):
    """Write the record as JSON."""
    write_text(args.dir / f"table_{args.setting}.json", json.dumps(record, indent=1) + "\n")


def describe_machine(num_gpu):
    """The hardware in words; `num_gpu` as in the arguments."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        if num_gpu == 0:
            raise OSError
        gpus = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split("\n")
    except (OSError, subprocess.SubprocessError):
        gpus = []
    return ", ".join(gpu for gpu in gpus if gpu) or f"{os.cpu_count()} CPU cores, no GPU"


def shared_flags(args):
    """Flags that every training gets."""
    keys = ("images_limit", "unpaired_limit", "eval_limit", "data_dir", "vgg_weights")
    flags = [f"--{key}={getattr(args, key)}" for key in keys if getattr(args, key) is not None]
    return flags + [f"--{key}={','.join(getattr(args, key))}" for key in ("tasks", "no_rotate") if getattr(args, key)]


def plan_iterations(args, tasks, shared, record):
    """Fill in record["plan"]: the step of every job, measured, and its iterations.

    Returns:
        {job: reason} of those whose step could not be measured.
    """
    steps = {JOBS[name].speed_of: plan["step"] for name, plan in record["plan"].items()}
    failures = {}
    for name in jobs_of(args.setting):
        if name in record["plan"]:
            continue
        speed_of = JOBS[name].speed_of
        try:
            if speed_of not in steps:
                steps[speed_of] = table_jobs.seconds_per_iteration(speed_of, shared, tasks)
        except InputError as failure:
            failures[name] = str(failure)
            print(f"{name}: failed ({failure})", flush=True)
            continue
        step, iterations = steps[speed_of], args.num_iters
        if args.seconds:
            iterations = max(1, int(budget(args.setting, name, args.seconds, len(tasks)) / step))
        print(f"{name}: {step:.3g} s a step, {iterations} iterations", flush=True)
        record["plan"][name] = {"iterations": iterations, "step": step}
        save_record(args, record)
    return failures


def train_jobs(args, tasks, shared, record, seed, failures):
    """Train every job of one seed that is not finished and whose CIN-GAN has not failed.

    Returns:
        {job: reason} of those that failed.
    """
    failures, names = dict(failures), jobs_of(args.setting)
    for number, name in enumerate(names, 1):
        cin = JOBS[name].cin
        if cin in failures:
            failures[name] = failures[cin]
        if name in failures or is_finished(args, tasks, record, name, seed):
            continue
        iterations, folder = record["plan"][name]["iterations"], seed_folder(args, seed)
        left = f"about {minutes_left(args, tasks, record, seed, failures):.0f} minutes left in all"
        print(f"[seed {seed}, {number}/{len(names)}] {name}: {iterations} iterations; {left}", flush=True)
        command = table_jobs.training_arguments(name, shared, iterations, seed, folder / name, cin and folder / cin)
        try:
            table_jobs.run_script(command, folder / name / "log.txt")
        except InputError as failure:
            failures[name] = str(failure)
            print(f"{name}: failed ({failure})", flush=True)
    return failures


def is_finished(args, tasks, record, name, seed):
    """Whether all runs of a job of one seed are finished."""
    iterations = record["plan"][name]["iterations"]
    return all(RunFolder(run).finished(iterations) for run in job_runs(args, tasks, name, seed).values())


def minutes_left(args, tasks, record, seed, failures):
    """Minutes that the jobs of this seed and of those after it will take; a third is added for all but the steps."""
    seconds = 0.0
    for other in (s for s in record["seeds"] if s >= seed):
        for name in jobs_of(args.setting):
            if name not in failures and not is_finished(args, tasks, record, name, other):
                networks = len(tasks) if JOBS[name].per_task else 1
                seconds += record["plan"][name]["step"] * record["plan"][name]["iterations"] * networks
    return 1.33 * seconds / 60


def seed_folder(args, seed):
    """Folder of the runs of one seed."""
    return args.dir / f"table_{args.setting}_runs" / f"seed{seed}"


def job_runs(args, tasks, name, seed):
    """{task name: run folder} of a job; one folder for all tasks where it trains one network."""
    job = JOBS[name]
    folder = seed_folder(args, seed) / name / job.folder
    return {task.name: folder / task.name if job.per_task else folder for task in tasks}


def score_rows(args, tasks, record, seed, failures):
    """Restore the test images with every row of one seed and keep the scores in the record."""
    for row in ROWS[args.setting]:
        cells = record["cells"].setdefault(row.job, {})
        known = cells.get(str(seed), {})
        if known and not any("failed" in cell for cell in known.values()):
            continue
        if row.job == "bm3d" and not filters.has_bm3d():
            print("note: no row for BM3D; its package (non-commercial use only) is in requirements-bm3d.txt")
            continue
        print(f"[seed {seed}] restoring with {row.label}", flush=True)
        cells[str(seed)] = {task.name: score_cell(args, tasks, record, row, task, seed, failures) for task in tasks}
        save_record(args, record)


def score_cell(args, tasks, record, row, task, seed, failures):
    """Scores of one row, task and seed; its first restored image is kept for the picture."""
    from table_scores import score_filter, score_generator

    try:
        if row.job not in JOBS:
            cell, first = score_filter(row.job, task)
        else:
            run, cin = job_runs(args, tasks, row.job, seed)[task.name], JOBS[row.job].cin
            if row.job in failures:
                raise InputError(failures[row.job])
            cell, first = score_generator(row, task, run, cin and job_runs(args, tasks, cin, seed)[task.name])
    except (InputError, OSError, ValueError, KeyError, RuntimeError) as failure:
        return {"failed": f"{failure}" if isinstance(failure, InputError) else f"{type(failure).__name__}: {failure}"}
    with written_whole(picture_path(args, row, task, seed)) as beside:
        np.save(beside, first)
    return cell


def picture_path(args, row, task, seed):
    """Where the first test image as a row of one seed restores it is kept for the picture."""
    return seed_folder(args, seed) / "pictures" / f"{row.job}_{task.name}.npy"


def write_tables(args, tasks, record, seed):
    """Write the Markdown table, and the picture of one seed."""
    import tables

    names = [task.name for task in tasks]
    write_text(args.dir / f"table_{args.setting}.md", tables.table_text(args.setting, names, record))
    pictures = {}
    for row in ROWS[args.setting]:
        for task in tasks:
            if picture_path(args, row, task, seed).is_file():
                pictures[row.label, task.name] = np.load(picture_path(args, row, task, seed))
    tables.save_picture(args.dir / f"table_{args.setting}.png", args.setting, tasks, pictures)


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
