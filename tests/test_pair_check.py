"""Rows that are not true pairs are named; right pairs never are."""

import numpy as np
import pytest

import train_baseline
import train_cGAN
from common.errors import InputError
from data_utils import SAMPLE_DIR, load_tasks
from training.pair_check import notice_of, unlike_rows


@pytest.fixture
def folder_with_wrong_rows(tmp_path):
    """12 pairs of the shipped sample's nuclei, and 8 rows whose x and y show different fields."""
    x, y = (np.load(SAMPLE_DIR / f"Nuclei_{kind}.npy") for kind in "XY")
    np.save(tmp_path / "Nuclei_X.npy", x[:20])
    np.save(tmp_path / "Nuclei_Y.npy", np.concatenate([y[:12], y[20:28]]))
    for kind, images in (("X", x), ("Y", y)):
        np.save(tmp_path / f"Nuclei_{kind}_test.npy", images[30:32])
    return tmp_path


def test_no_pair_of_the_sample_is_named():
    tasks, _ = load_tasks(SAMPLE_DIR)
    assert len(tasks) == 3 and not any(notice_of(task) for task in tasks)


def test_wrong_rows_are_named_and_no_others(folder_with_wrong_rows):
    (task,), _ = load_tasks(folder_with_wrong_rows)
    rows = unlike_rows(task)
    assert set(rows) <= set(range(12, 20)) and len(rows) >= 6
    (pairs_alone,), _ = load_tasks(folder_with_wrong_rows, images_limit=12)
    assert unlike_rows(pairs_alone) == []


def test_rows_are_those_of_the_file_after_a_shuffle(folder_with_wrong_rows):
    for kind in "XY":
        (folder_with_wrong_rows / f"Nuclei_{kind}_test.npy").unlink()
    (task,), _ = load_tasks(folder_with_wrong_rows, eval_limit=1)
    assert unlike_rows(task) and min(unlike_rows(task)) >= 12


def test_one_pair_and_flat_images_are_taken(tmp_path):
    flat = np.zeros((6, 16, 16)) + np.arange(16) % 2  # all cells alike
    for kind in "XY":
        np.save(tmp_path / f"A_{kind}.npy", flat)
    for limit in (1, 3):
        (task,), _ = load_tasks(tmp_path, images_limit=limit)
        assert unlike_rows(task) == []


def test_who_trains_on_pairs_says_it(folder_with_wrong_rows, capsys):
    # Each command ends in an error after its data was loaded, before anything is trained.
    folder = ["--data_dir", str(folder_with_wrong_rows), "--dir", str(folder_with_wrong_rows), "--resume"]
    for script, words in (
        (train_cGAN, ["--recipe=tuned", "--cin_augment=True"]),
        (train_cGAN, ["--recipe=tuned", "--cin_augment=True", "--alpha=1"]),
        (train_baseline, ["--method=deblurgan"]),
        (train_baseline, ["--method=cyclegan"]),
    ):
        words = [*folder[:4], *words] if script is train_cGAN else [*folder, *words]
        with pytest.raises(InputError):
            script.main(script.make_parser().parse_args(words))
        said = "Nuclei: x looks more like" in capsys.readouterr().out
        assert said == (words[-1] not in ("--alpha=1", "--method=cyclegan"))
