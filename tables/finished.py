"""Runs that were trained elsewhere, laid out as FOLDER/<job>/<results folder>[/<task>]: which rows they give."""

from __future__ import annotations

from pathlib import Path

from common.errors import InputError
from data_utils import Task
from tables.data import Data
from tables.rows import JOBS, ROWS, Row
from training.run_folder import read_args


def finished_rows(setting: str, folder: Path, data: Data, seed: int, tasks: list[Task]) -> list[Row]:
    """The rows of a setting whose runs a folder holds, and the filters'; a note tells of each row without runs.

    Raises:
        InputError: the folder holds no such run, or one that was trained on other pairs than the table's.
    """
    _tell_of_unknown(folder)
    rows, missing = [], []
    for row in ROWS[setting]:
        runs = find_runs(row, folder, tasks)
        for run, task in runs.items():
            _check_same_pairs(run, data, seed, task)
        (rows if runs or not row.training else missing).append(row)
    if all(row.training is None for row in rows):
        expected = missing[0].training.run(folder, missing[0].job, tasks[0].name)
        raise InputError(f"--runs={folder} holds no run of table {setting}; expected folders like {expected}")
    for row in missing:
        print(f"note: no row for {row.label}; {folder / row.job / row.training.folder} holds no finished run")
    return rows


def find_runs(row: Row, folder: Path, tasks: list[Task]) -> dict[Path, Task]:
    """{run folder: a task of it} of those runs of a row that hold a generator and its log."""
    if not row.training:
        return {}
    found = {row.training.run(folder, row.job, task.name): task for task in tasks}
    return {run: task for run, task in found.items() if all((run / n).is_file() for n in ("generator.h5", "log.csv"))}


def _tell_of_unknown(folder):
    if not folder.is_dir():
        raise InputError(f"--runs={folder}: no such folder")
    unknown = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name not in JOBS)
    if unknown:
        print(f"note: no row uses {', '.join(unknown)} in {folder}; the rows' folders are {', '.join(JOBS)}")


def _check_same_pairs(run, data, seed, task):
    """Raise InputError where a run saw other pairs, among which may be test images of the table."""
    wanted = {"images_limit": data.images_limit}
    if task.test_x.path == task.train_x.path:  # split off the training file by the seed
        wanted |= {"seed": seed, "eval_limit": data.eval_limit}
    arguments = read_args(run)["arguments"]
    other = [f"--{key}={arguments.get(key)}" for key in wanted if arguments.get(key) != wanted[key]]
    if other:
        raise InputError(f"{run} was trained with {' '.join(other)}; give the table the same, or remove the run")
