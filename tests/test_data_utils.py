"""The split never leaks, and every kind of bad input is named."""

import numpy as np
import pytest

from common.errors import InputError
from data_utils import load_tasks


def numbered(folder, name="A", n=50, suffix=""):
    """A pair set in which every image carries its own number."""
    images = np.arange(n)[:, None, None] * 1000.0 + np.arange(16 * 16).reshape(16, 16)
    np.save(folder / f"{name}_X{suffix}.npy", images)
    np.save(folder / f"{name}_Y{suffix}.npy", images)


def numbers(images):
    return [int(image[0, 0] // 1000) for image in images]


@pytest.mark.parametrize(("images_limit", "unpaired_limit"), [(10, 0), (10, 5), (7, -1), (-1, -1)])
def test_split_never_leaks(tmp_path, images_limit, unpaired_limit):
    numbered(tmp_path)
    (task,), _ = load_tasks(tmp_path, images_limit=images_limit, unpaired_limit=unpaired_limit)
    train, test = numbers(task.train_x), numbers(task.test_x)
    assert train == numbers(task.train_y) and test == numbers(task.test_y)
    assert len(train) == (40 if images_limit < 0 else images_limit) and len(test) == 10
    extra_x, extra_y = (set(numbers(images)) - set(train) for images in (task.unpaired_x, task.unpaired_y))
    assert not extra_x & extra_y, "one row gives both x and y"
    assert not (set(train) | extra_x | extra_y) & set(test), "a test image is trained on"
    if unpaired_limit > 0:
        assert len(extra_x) == len(extra_y) == unpaired_limit


def test_split_depends_on_the_seed_alone(tmp_path):
    numbered(tmp_path)
    first, again, other = (load_tasks(tmp_path, images_limit=10, seed=seed)[0][0] for seed in (1, 1, 2))
    assert numbers(first.train_x) == numbers(again.train_x) != numbers(other.train_x)


def test_test_files_keep_the_order(tmp_path):
    numbered(tmp_path)
    numbered(tmp_path, n=4, suffix="_test")
    (task,), _ = load_tasks(tmp_path, images_limit=3)
    assert numbers(task.train_x) == [0, 1, 2] and numbers(task.test_x) == [0, 1, 2, 3]


def test_more_pairs_than_there_are_is_a_notice(tmp_path):
    numbered(tmp_path)
    (task,), notices = load_tasks(tmp_path, images_limit=50)
    assert len(task.train_x) == 40 and "there are 40" in notices[0]


def test_channel_axis_and_big_endian_are_taken(tmp_path):
    images = np.random.default_rng(0).random((10, 16, 20, 1)).astype(">f8")
    np.save(tmp_path / "A_X.npy", images)
    np.save(tmp_path / "A_Y.npy", images)
    (task,), _ = load_tasks(tmp_path)
    assert task.shape == (16, 20) and task.train_x[0].dtype == np.float32


def test_only_chosen_rows_are_read(tmp_path):
    """Rows that no flag asks for may hold anything: they are never looked at."""
    numbered(tmp_path)
    numbered(tmp_path, n=4, suffix="_test")
    x = np.load(tmp_path / "A_X.npy")
    x[20:] = np.nan
    np.save(tmp_path / "A_X.npy", x)
    (task,), _ = load_tasks(tmp_path, images_limit=10)
    assert len(task.train_x) == 10


def spoil(folder, kind):
    """Damage the pair set in one way; returns what the message must say."""
    path = folder / "A_X.npy"
    x = np.load(path)
    if kind == "missing":
        path.unlink()
        return "A_X.npy: no such file"
    if kind == "lonely":
        (folder / "A_Y.npy").unlink()
        return "has no A_Y.npy"
    if kind == "text":
        path.write_text("1 2 3")
        return "not a NumPy .npy file"
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-100])
        return "cannot be read"
    changes = {
        "shape": (x[:40], "the shapes must agree"),
        "nan": (np.where(x == x[3, 3, 3], np.nan, x), "image 3 holds NaN"),
        "constant": (np.where(np.arange(50)[:, None, None] == 5, 7.0, x), "image 5 is constant"),
        "pickled": (np.array([{}, 1], dtype=object), "pickled Python objects"),
        "complex": (x.astype(complex), "received dtype complex128"),
        "colour": (np.repeat(x[..., None], 3, -1), "received shape (50, 16, 16, 3)"),
        "tiny": (x[:, :8, :8], "at least 16 x 16"),
    }
    array, message = changes[kind]
    np.save(path, array)
    if kind in ("colour", "tiny"):
        np.save(folder / "A_Y.npy", array)
    return message


@pytest.mark.parametrize(
    "kind",
    "missing lonely text cut shape nan constant pickled complex colour tiny".split(),
)
def test_bad_input_is_named(tmp_path, kind):
    numbered(tmp_path)
    message = spoil(tmp_path, kind)
    with pytest.raises(InputError) as failure:
        load_tasks(tmp_path, names=["A"] if kind == "missing" else None)
    assert message in str(failure.value)


def test_eval_limit_must_leave_training_images(tmp_path):
    numbered(tmp_path, n=3)
    with pytest.raises(InputError, match="3 images"):
        load_tasks(tmp_path, eval_limit=100)
    (task,), _ = load_tasks(tmp_path, eval_limit=1)
    assert len(task.train_x) == 2 and len(task.test_x) == 1


@pytest.mark.parametrize(("total", "trained"), [(1, 1), (2, 1), (3, 2), (4, 3)])
def test_one_to_four_pairs_are_trained_on_and_scored_as_far_as_they_go(tmp_path, total, trained):
    numbered(tmp_path, n=total)
    (task,), notices = load_tasks(tmp_path, images_limit=10)
    assert len(task.train_x) == trained and len(task.test_x) == 1
    shared = set(numbers(task.train_x)) & set(numbers(task.test_x))
    assert bool(shared) == (total == 1)
    assert ("only pair" if total == 1 else f"{total} pairs and no test files; {trained} train") in notices[0]
