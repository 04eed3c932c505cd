"""Tables and curves of benchmarks/quality.py: means over seeds, whatever the order in which they were trained."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import pairs_curve
import quality

from data_utils import SAMPLE_DIR, load_tasks

TASKS = ("Layers", "Nuclei", "Tubules")


def scores(psnr):
    return {name: [psnr, 0.8, psnr - 1, 0.7] for name in TASKS}


def test_a_row_of_the_table_is_the_mean_over_seeds_and_its_deviation():
    lines = quality.table({"tuned": {"42 10": scores(27.0), "43 10": scores(28.0), "42 -1": scores(30.0)}}).splitlines()
    assert lines[2] == "| tuned | 10 | 2 |" + 4 * " 27.50 ± 0.71 / 0.800 |"
    assert lines[3] == "| tuned | all | 1 |" + 4 * " 30.00 / 0.800 |"


def test_the_headline_is_the_row_tuned_alone_of_part_seeds():
    """The same trainings, three of them, so that either part goes on where the other ended."""
    cells = quality.cells_of("headline")
    assert cells == [cell for cell in quality.cells_of("seeds") if cell.label == "tuned"]
    assert [(cell.seed, cell.limit, cell.average) for cell in cells] == [(seed, 10, 8) for seed in (42, 43, 44)]


def test_the_curve_is_over_ascending_numbers_of_pairs_that_the_task_has():
    task = SimpleNamespace(name="Nuclei", train_x=np.zeros((20, 4, 4)))
    cells = {
        "42 10": scores(27.0),
        "43 10": scores(28.0),
        "42 30": scores(29.0),
        "42 -1": scores(30.0),
        "42 1": scores(25.0),
    }
    assert pairs_curve.points_of(cells, task) == ([1, 10, 20], [25.0, 27.5, 29.5])


@pytest.fixture
def records(tmp_path):
    cells = {f"42 {limit}": scores(25 + limit / 10) for limit in (10, 1)}
    (tmp_path / "pairs.json").write_text(json.dumps(dict.fromkeys(pairs_curve.LINES, cells)))
    (tmp_path / "seeds.json").write_text(json.dumps({pairs_curve.WITHOUT_PAIRS: cells}))
    return tmp_path


def test_the_curves_are_drawn(records):
    tasks, _ = load_tasks(SAMPLE_DIR, None, -1, None, 0, 42)
    assert sorted(task.name for task in tasks) == sorted(TASKS)
    args = SimpleNamespace(dir=records, data_dir=SAMPLE_DIR, output=records / "pairs.png")
    assert pairs_curve.main(args) == 0 and imread(args.output).std() > 0


def test_folds_train_and_score_on_other_training_rows(tmp_path):
    """Images numbered by their row: no fold sees a row of another, a row that scores it, or a test image."""
    images = np.broadcast_to(np.arange(60, dtype=np.uint16)[:, None, None], (60, 32, 32)).copy()
    images[:, 0] += 1000  # Constant images are refused.
    for name, stack in (("X", images), ("Y", images), ("X_test", images[:9] + 100), ("Y_test", images[:9] + 100)):
        np.save(tmp_path / f"Coded_{name}.npy", stack)
    quality.make_folds(SimpleNamespace(dir=tmp_path / "out", data_dir=tmp_path))
    for k in range(quality.FOLDS):
        (task,), _ = load_tasks(tmp_path / f"out/fold{k}")
        assert [int(image.min()) for image in task.train_x] == list(range(10 * k, 10 * k + 10))
        assert [int(image.min()) for image in task.test_y] == list(range(40, 56))
