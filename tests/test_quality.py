"""Tables and curves of `python -m benchmarks quality`: means over seeds, whatever the order of training."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread

from benchmarks import pairs_curve, quality
from benchmarks.__main__ import NAMES, main
from benchmarks.measuring import Record, print_table
from common.errors import InputError
from data_utils import SAMPLE_DIR, load_tasks

TASKS = ("Layers", "Nuclei", "Tubules")


def scores(psnr):
    return {name: [psnr, 0.8, psnr - 1, 0.7] for name in TASKS}


def test_a_row_of_the_table_is_the_mean_over_seeds_and_its_deviation():
    cells = {"42 10": scores(27.0), "43 10": scores(28.0), "42 -1": scores(30.0)}
    lines = print_table(*quality.table({"tuned": cells})).splitlines()
    assert lines[2] == "| tuned | 10 | 2 |" + 4 * " 27.50 ± 0.71 / 0.800 |"
    assert lines[3] == "| tuned | all | 1 |" + 4 * " 30.00 / 0.800 |"


def test_the_headline_is_the_row_tuned_alone_of_part_seeds():
    """The same trainings, three of them, so that either part goes on where the other ended."""
    cells = quality.PARTS["headline"]
    assert cells == [cell for cell in quality.PARTS["seeds"] if cell.label == "tuned"]
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
    assert (
        main(["pairs_curve", f"--dir={records}", f"--data_dir={SAMPLE_DIR}", f"--output={records / 'pairs.png'}"]) == 0
    )
    assert imread(records / "pairs.png").shape == (310, 900, 4)


def test_folds_train_and_score_on_other_training_rows(tmp_path):
    """Images numbered by their row: no fold sees a row of another, a row that scores it, or a test image."""
    images = np.broadcast_to(np.arange(60, dtype=np.uint16)[:, None, None], (60, 32, 32)).copy()
    images[:, 0] += 1000  # Constant images are refused.
    for name, stack in (("X", images), ("Y", images), ("X_test", images[:9] + 100), ("Y_test", images[:9] + 100)):
        np.save(tmp_path / f"Coded_{name}.npy", stack)
    quality.make_folds(tmp_path, tmp_path / "out")
    for k in range(quality.FOLDS):
        (task,), _ = load_tasks(tmp_path / f"out/fold{k}")
        assert [int(image.min()) for image in task.train_x] == list(range(10 * k, 10 * k + 10))
        assert [int(image.min()) for image in task.test_y] == list(range(40, 56))


def test_the_headline_is_tuned_alone_from_ten_pairs_of_three_seeds():
    cells = quality.PARTS["headline"]
    assert [(cell.label, cell.command, cell.limit, cell.seed) for cell in cells] == [
        ("tuned", ("train_cGAN.py",), 10, seed) for seed in (42, 43, 44)
    ]


def test_a_part_that_was_stopped_goes_on_with_what_is_missing(tmp_path, monkeypatch):
    trained = []

    def score(cell, data_dir, dir):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(cell.seed)
        return scores(27.0)

    monkeypatch.setattr(quality, "train_and_score", score)
    words = ["quality", "--part=headline", f"--dir={tmp_path}", "--data_dir=pairs"]
    with pytest.raises(KeyboardInterrupt):
        main(words)
    assert list(Record(tmp_path / "headline.json").results["tuned"]) == ["42 10", "43 10"]
    monkeypatch.setattr(quality, "train_and_score", lambda cell, data_dir, dir: scores(30.0))
    assert main(words) == 0 and trained == [42, 43]
    assert "| tuned | 10 | 3 | 28.00 ± 1.73 / 0.800 |" in (tmp_path / "headline.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_says_what_it_measures(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0 and f"    python -m benchmarks {name} " in capsys.readouterr().out


def test_an_unknown_name_or_flag_is_named(capsys):
    with pytest.raises(InputError, match="no benchmark 'sped'; choose one of quality, "):
        main(["sped"])
    with pytest.raises(SystemExit):
        main(["flux", "--generator_path=a.h5", "--data_dir=pairs", "--average=8"])
    assert capsys.readouterr().err == "error: unrecognized arguments: --average=8 (see --help)\n"


def test_without_a_name_the_benchmarks_are_listed(capsys):
    assert main([]) == 0
    assert set(NAMES) <= set(capsys.readouterr().out.split())
