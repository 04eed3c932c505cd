"""Rows that are not true pairs are named; right pairs never are."""

import numpy as np
import pytest

import train_baseline
import train_cGAN
from common.errors import InputError
from data_utils import SAMPLE_DIR, load_tasks
from training.pair_check import noise, notices_of, shift, two_groups, unlike_rows


@pytest.fixture
def folder_with_wrong_rows(tmp_path):
    """12 pairs of the shipped sample's nuclei, and 8 rows whose x and y show different fields."""
    x, y = (np.load(SAMPLE_DIR / f"Nuclei_{kind}.npy") for kind in "XY")
    np.save(tmp_path / "Nuclei_X.npy", x[:20])
    np.save(tmp_path / "Nuclei_Y.npy", np.concatenate([y[:12], y[20:28]]))
    for kind, images in (("X", x), ("Y", y)):
        np.save(tmp_path / f"Nuclei_{kind}_test.npy", images[30:32])
    return tmp_path


def test_nothing_is_said_of_the_sample():
    tasks, _ = load_tasks(SAMPLE_DIR)
    assert len(tasks) == 3 and [notices_of(task) for task in tasks] == [[], [], []]


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
        assert notices_of(task)  # They are saturated, and the test images look like them.


def test_who_trains_on_pairs_says_it(folder_with_wrong_rows, capsys):
    # Every command ends in an error after its data was loaded, before anything is trained.
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


def notices(folder, x, y, test=None, **limits):
    """All notices of a task of these images in one text."""
    for kind, images, held in zip("XY", (x, y), test or (None, None), strict=True):
        np.save(folder / f"A_{kind}.npy", images)
        if test:
            np.save(folder / f"A_{kind}_test.npy", held)
    (task,), _ = load_tasks(folder, **limits)
    return "\n".join(notices_of(task))


@pytest.fixture(scope="module")
def nuclei():
    """(x, y) of the shipped sample's nuclei: y has no noise, x much; a thousand gray values and more."""
    return [np.load(SAMPLE_DIR / f"Nuclei_{kind}.npy") for kind in "XY"]


@pytest.mark.parametrize("planted", [(2, 0), (0, -3), (-5, 4)])
def test_a_shift_is_measured_to_a_tenth_of_a_pixel(nuclei, planted):
    x, y = nuclei
    for own, partner in zip(x[:5].astype(np.float32), y[:5].astype(np.float32), strict=True):
        moved = np.roll(partner, planted, (0, 1))
        assert shift(own, moved) == pytest.approx(planted, abs=0.25)
        assert shift(own, partner) is None and shift(own, np.roll(partner, 1, 0)) is None


def test_shifted_rows_and_by_how_much_are_said(tmp_path, nuclei):
    x, y = (images[:10] for images in nuclei)
    y = np.concatenate([y[:4], np.roll(y[4:6], (3, -2), (1, 2)), y[6:]])
    said = notices(tmp_path, x, y, test=[images[10:12] for images in nuclei])
    assert "y is shifted against x in rows 4, 5, in the median by 3.0 pixels down and 1.9 to the left" in said
    assert said.count("\n") == 0


def test_noise_is_measured_whatever_the_structure():
    rng = np.random.default_rng(0)
    structure = 100 * np.add.outer(np.sin(np.arange(128) / 8), np.cos(np.arange(128) / 5))
    noisy = structure + rng.normal(0, 12, structure.shape)
    low, high = np.percentile(noisy, [2, 99.8])
    assert noise(noisy) * (high - low) == pytest.approx(12, rel=0.1)
    assert noise(structure) < 0.005


def test_swapped_x_and_y_are_noticed_where_x_is_noisy(tmp_path, nuclei):
    x, y = nuclei
    assert "are X and Y swapped?" in notices(tmp_path, y, x)
    assert "swapped" not in notices(tmp_path, x, y)


def test_one_image_saved_as_both_is_noticed(tmp_path, nuclei):
    x, y = (images[:10] for images in nuclei)
    same = np.concatenate([y[:2], x[2:]])
    said = notices(tmp_path, same, y, test=[images[10:12] for images in nuclei])
    assert "x and y are the same image in rows 0, 1" in said


def test_saturation_is_noticed_and_a_single_brightest_pixel_is_not(tmp_path, nuclei):
    x, y = (images[:10] for images in nuclei)
    held = [images[10:12] for images in nuclei]
    limit = np.percentile(y[3], 98)
    clipped = np.where(np.arange(10)[:, None, None] == 3, np.minimum(y, limit), y)
    assert "y is saturated in row 3 (up to 2." in notices(tmp_path, x, clipped, held)
    assert "saturated" not in notices(tmp_path, x, y, held)


def test_two_channels_in_one_task_are_noticed(tmp_path, nuclei):
    x, y = (images[:20].astype(np.float32) for images in nuclei)
    brighter = np.where(np.arange(20) % 2, 1.0, 5.0)[:, None, None].astype(np.float32)
    said = notices(tmp_path, brighter * x, brighter * y, [images[20:22] for images in nuclei])
    assert "fall into two groups, rows 1, 3, 5, 7, 9 and 5 more and the others, which have 5" in said


def test_one_spread_is_not_two_groups():
    rng = np.random.default_rng(0)
    assert not any(two_groups(rng.normal(size=n)) is not None for n in (8, 10, 20, 100) for _ in range(200))
    apart = np.concatenate([rng.normal(0, 0.2, 6), rng.normal(3, 0.2, 6)])
    assert list(two_groups(apart)) == [True] * 6 + [False] * 6


def test_test_planes_beside_training_planes_are_noticed(tmp_path, nuclei):
    x, y = nuclei
    near = np.roll(y[4:6], 1, axis=2)  # a plane on, little has moved
    said = notices(tmp_path, x[:10], y[:10], [np.concatenate([x[4:6], x[20:22]]), np.concatenate([near, y[20:22]])])
    assert "test images look like training images in test rows 0, 1 (the first like row 4)" in said


def test_a_single_pair_that_is_its_own_test_is_no_neighbour(tmp_path, nuclei):
    assert notices(tmp_path, *(images[:1] for images in nuclei)) == ""


def test_a_look_at_ten_large_pairs_costs_about_a_second(tmp_path):
    import time

    fields = np.random.default_rng(0).normal(100, 10, (10, 1024, 1024)).astype(np.float32)
    for kind in "XY":
        np.save(tmp_path / f"A_{kind}.npy", fields)
    (task,), _ = load_tasks(tmp_path)
    start = time.process_time()
    notices_of(task)
    assert time.process_time() - start < 5
