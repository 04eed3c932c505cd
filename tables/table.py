"""One table in its folder: the record of its cells, their scores, and the files that show them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.files import write_text, written_whole
from data_utils import Task
from tables.page import save_picture, table_text
from tables.rows import ROWS, Row


class Table:
    """table_A.json (every score of every image and seed), table_A.md and table_A.png in a folder.

    Args:
        setting: "A" or "B".
        folder: of its files.
        settings: {name: value} of what changes the meaning of a cell, as JSON holds it; a folder's cells agree in it.
        about: {name: text} for the page: command, machine, seeds, data.

    Raises:
        InputError: the folder's record was made with other settings, or is missing where trainings are.
    """

    def __init__(self, setting: str, folder: Path, settings: dict, about: dict):
        self.setting, self.folder, self.path = setting, folder, folder / f"table_{setting}.json"
        self.record = {**self._open(settings), **about}

    @property
    def runs_folder(self) -> Path:
        """Folder of its trainings and of its restored images."""
        return self.folder / f"table_{self.setting}_runs"

    def _open(self, settings):
        if not self.path.is_file():
            if self.runs_folder.exists():
                raise InputError(
                    f"{self.folder} holds trainings of a table, but not its {self.path.name}; choose another --dir"
                )
            return {"settings": settings, "plan": {}, "cells": {}}
        record = json.loads(self.path.read_text())
        changed = [key for key in settings if record["settings"].get(key) != settings[key]]
        if changed:
            stored = "; ".join(f"{key}={record['settings'].get(key)}" for key in changed)
            raise InputError(f"{self.path} was made with other arguments ({stored}); use the same, or another --dir")
        return record

    def save(self) -> None:
        """Write the record."""
        write_text(self.path, json.dumps(self.record, indent=1) + "\n")

    def score(self, rows: list[Row], tasks: list[Task], seed: int, runs: Path, failures: dict[str, str]) -> None:
        """Restore the test images with every row of one seed that has no scores yet, and keep the scores.

        Args:
            rows: what to score.
            tasks: split by this seed.
            seed: of the split.
            runs: folder of the jobs, FOLDER/<job>/<results folder>[/<task>].
            failures: {job: reason} of those that failed.
        """
        from methods import filters

        for row in rows:
            cells = self.record["cells"].setdefault(row.job, {})
            known = cells.get(str(seed), {})
            if known and not any("failed" in cell for cell in known.values()):
                continue
            if row.job == "bm3d" and not filters.has_bm3d():
                print("note: no row for BM3D; its package (non-commercial use only) is in requirements/bm3d.txt")
                continue
            print(f"[seed {seed}] restoring with {row.label}", flush=True)
            cells[str(seed)] = {task.name: self._score_cell(row, task, seed, runs, failures) for task in tasks}
            self.save()

    def _score_cell(self, row, task, seed, runs, failures):
        """Scores of one row, task and seed; its first restored image is kept for the picture."""
        from tables.scores import score_filter, score_generator

        try:
            if row.job in failures:
                raise InputError(failures[row.job])
            if row.training:
                run = row.training.run(runs, row.job, task.name)
                cell, first = score_generator(run, task, row.average, row.training.cin_run(runs))
            else:
                cell, first = score_filter(row.job, task)
        except InputError as failure:
            return {"failed": str(failure)}
        except (OSError, ValueError, KeyError, RuntimeError) as failure:
            return {"failed": f"{type(failure).__name__}: {failure}"}
        with written_whole(self._picture(row, task, seed)) as beside:
            np.save(beside, first)
        return cell

    def _picture(self, row, task, seed):
        """Where the first test image as a row of one seed restores it is kept."""
        return self.runs_folder / f"seed{seed}" / "pictures" / f"{row.job}_{task.name}.npy"

    def write(self, tasks: list[Task], seed: int) -> None:
        """Write the page, and the picture of one seed."""
        names, cells = [task.name for task in tasks], self.record["cells"]
        write_text(self.path.with_suffix(".md"), table_text(self.setting, names, self.record))
        rows = [row for row in ROWS[self.setting] if str(seed) in cells.get(row.job, {})]
        paths = {(row.label, task.name): self._picture(row, task, seed) for row in rows for task in tasks}
        pictures = {place: np.load(path) for place, path in paths.items() if path.is_file()}
        save_picture(self.path.with_suffix(".png"), self.setting, tasks, pictures)


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
