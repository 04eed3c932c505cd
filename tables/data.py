"""Which images the methods of a table see."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import data_utils
from data_utils import Task


@dataclass(frozen=True)
class Data:
    """As in the training scripts: pairs, unpaired rows and test images per task, their folder, the tasks."""

    images_limit: int
    unpaired_limit: int
    eval_limit: int | None
    data_dir: Path
    tasks: list[str] | None

    def load(self, seed: int) -> tuple[list[Task], list[str]]:
        """(the pair sets, split by one seed; notices). Raises InputError."""
        limits = (self.images_limit, self.eval_limit, self.unpaired_limit)
        return data_utils.load_tasks(self.data_dir, self.tasks, *limits, seed)
