"""Batches follow from seed and iteration alone, keep pairs together, and respect what must not be turned."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from data_utils import load_tasks
from methods.batches import (
    PairBatches,
    Sampling,
    UnpairedBatches,
    crop,
    epoch_row,
    mixup,
    patch_shape,
    turn,
    vary_intensity,
)
from restoring.normalization import FixedNormalization, PercentileNormalization, Scale, fit_gains, fit_unpaired_gains


@pytest.fixture
def tasks(pair_folder):
    return load_tasks(pair_folder, images_limit=5)[0]


def pair_batches(tasks, **changes):
    options = {"batch_size": 6, "patch": (16, 16), "seed": 3, "no_rotate": ["Layers"], "mirror": True, **changes}
    return PairBatches(tasks, fit_gains(tasks), Sampling(**options))


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_a_batch_depends_on_seed_and_iteration_alone(tasks):
    first, again, other = pair_batches(tasks), pair_batches(tasks), pair_batches(tasks, seed=4)
    first(0)
    assert same(first(7), again(7))
    assert not same(first(7), again(8)) and not same(first(7), other(7))
    assert first(0)["x"].shape == (6, 16, 16, 1) and first(0)["x"].dtype == np.float32


def test_x_and_y_are_turned_and_cropped_alike(tasks):
    """With y in place of x, every pair of a batch is equal."""
    same_tasks = [task._replace(train_x=task.train_y) for task in tasks]
    scales = {task.name: (Scale(0, 1), Scale(0, 1)) for task in tasks}
    batches = PairBatches(same_tasks, FixedNormalization(scales), Sampling(6, (16, 16), 3, [], True))
    assert all(np.array_equal(batches(i)["x"], batches(i)["y"]) for i in range(5))


def test_scales_are_those_of_the_whole_images_and_taken_once(tasks):
    """Patches are cut from the normalised images, whose percentiles are not computed again for every batch."""

    class Counting(PercentileNormalization):
        calls = 0

        def x_scale(self, task, image):
            self.calls += 1
            return super().x_scale(task, image)

    names = [task.name for task in tasks]
    normalization = Counting(dict.fromkeys(names, (2.0, 1.0)))
    batches = PairBatches(tasks, normalization, Sampling(len(tasks), (16, 16), 3, names, False))
    for i in range(5):
        for index, task in enumerate(tasks):
            row = epoch_row(3, index, i, 5)
            whole = normalization.normalize_pair(task.name, task.train_x[row], task.train_y[row])
            for image, patches in zip(whole, batches(i).values(), strict=True):
                cuts = sliding_window_view(image, (16, 16))
                assert (cuts == patches[index, ..., 0]).all((2, 3)).any()
    before = normalization.calls
    assert before > 0 and batches(40) and normalization.calls == before


def test_intensities_vary_alike_in_x_and_y(tasks):
    """Gain and offset stay within what is promised, and are the same for both images of a pair."""
    x, y = np.random.default_rng(0).random((2, 16, 16), np.float32)
    rng, lines = np.random.default_rng(1), []
    for _ in range(200):
        x_varied, y_varied = vary_intensity([x, y], rng, 0.3)
        gain, offset = np.polyfit(x.ravel(), x_varied.ravel(), 1)
        assert np.allclose(gain * y + offset, y_varied, atol=1e-5) and y_varied.dtype == np.float32
        lines.append((np.log(gain), offset))
    limits = np.abs(lines).max(axis=0)
    assert np.all(limits <= [0.3001, 0.0501]) and np.all(limits > [0.27, 0.045])
    first = pair_batches(tasks, batch_size=len(tasks)), pair_batches(tasks, batch_size=len(tasks), intensity=0.3)
    (plain, plain_y), (varied, varied_y) = ((batches(0)["x"][0], batches(0)["y"][0]) for batches in first)
    gain, offset = np.polyfit(plain.ravel(), varied.ravel(), 1)
    assert abs(gain - 1) > 0.01 and np.allclose(gain * plain_y + offset, varied_y, atol=1e-4)


def test_mixup_takes_the_same_share_of_both_images():
    """Pairs of constant images: what comes out tells the share, which is uniform between 0 and a half."""
    rng = np.random.default_rng(0)
    pair, other = ([np.full((4, 4), value, np.float32) for value in values] for values in ((1, 10), (3, 30)))
    shares = []
    for _ in range(300):
        x, y = mixup(pair, other, rng)
        assert np.allclose(10 * x, y) and x.dtype == y.dtype == np.float32
        shares.append((x[0, 0] - 1) / 2)
    assert 0 <= min(shares) < 0.02 and 0.48 < max(shares) <= 0.5 and np.mean(shares) == pytest.approx(0.25, abs=0.03)


def test_real_pairs_are_mixed_from_their_epoch_on(tasks):
    """Five constant pairs a task, six images in a batch: epoch 2 of all tasks begins with iteration 5."""
    values = [np.full((32, 32), 2.0**row, np.float32) for row in range(5)]
    flat = [task._replace(train_x=values, train_y=values) for task in tasks]
    scales = {task.name: (Scale(0, 1), Scale(0, 1)) for task in tasks}
    first = 2 * 5 * len(tasks) // 6

    def levels(iterations, **changes):
        sampling = Sampling(6, (16, 16), 3, [], True, **changes)
        batches = [PairBatches(flat, FixedNormalization(scales), sampling)(i) for i in iterations]
        assert all(np.array_equal(batch["x"], batch["y"]) for batch in batches)
        return {float(image[0, 0, 0]) for batch in batches for image in batch["x"]}

    pure = {float(value[0, 0]) for value in values}
    assert levels(range(first), mixup_after=2) == levels(range(20)) == pure
    mixed = levels(range(first, 20), mixup_after=2)
    # A pair is mixed with itself one time in five.
    assert len(mixed - pure) > 0.7 * 6 * (20 - first) and min(mixed) >= 1 and max(mixed) <= 16


def test_a_single_pair_is_not_mixed(tasks):
    single = [task._replace(train_x=[task.train_x[0]], train_y=[task.train_y[0]]) for task in tasks]
    plain, mixed = (pair_batches(single, mixup_after=epochs) for epochs in (None, 0))
    assert all(same(plain(i), mixed(i)) for i in range(5))


def test_generated_pairs_are_not_mixed(tasks):
    ramp = np.arange(32 * 32, dtype=np.float32).reshape(32, 32)
    generated = {task.name: ([ramp, -ramp], [ramp, -ramp]) for task in tasks}
    scales = {task.name: (Scale(0, 1), Scale(0, 1)) for task in tasks}
    sampling = Sampling(8, (16, 16), 3, [], False, mixup_after=0)
    batch = PairBatches(tasks, FixedNormalization(scales), sampling, generated, 1.0)(3)
    steps = np.unique(np.abs(np.diff(batch["x"], axis=2)))
    assert set(steps) <= {1.0, 32.0}


def test_every_image_is_seen_once_per_epoch():
    rows = [epoch_row(1, 0, draw, 7) for draw in range(14)]
    assert sorted(rows[:7]) == sorted(rows[7:]) == list(range(7)) and rows[:7] != rows[7:]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_alpha_is_the_share_of_generated_samples(tasks, alpha):
    """Generated pairs carry a mark: y is x + 1000, in tasks where real y and x differ otherwise."""
    ramp = np.arange(32 * 32, dtype=np.float32).reshape(32, 32) * 100
    generated = {task.name: ([ramp], [ramp]) for task in tasks}
    scales = {task.name: (Scale(0, 1), Scale(0, 1)) for task in tasks}
    batches = PairBatches(
        tasks, FixedNormalization(scales), Sampling(8, (16, 16), 3, [], False), generated=generated, alpha=alpha
    )
    marked = [(image > 5000).any() for i in range(60) for image in batches(i)["x"]]
    # None and all are exact.
    assert np.mean(marked) == pytest.approx(alpha, abs=0.06 if 0 < alpha < 1 else 0)


def test_generated_pairs_have_a_normalisation_of_their_own(tasks):
    """A generated pair y = x / 2 is equal on the gain fitted to it; with the gain of the real pairs it is not."""
    x = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    generated = {task.name: ([x], [x / 2]) for task in tasks}
    real, own = (PercentileNormalization({t.name: (gain, 0.0) for t in tasks}) for gain in (1.0, 2.0))
    for normalization, equal in ((None, False), (own, True)):
        batch = PairBatches(tasks, real, Sampling(8, (16, 16), 3, [], True), generated, 1.0, normalization)(0)
        assert np.allclose(batch["x"], batch["y"], atol=1e-5) == equal


def test_turns_are_the_eight_symmetries_or_four_without_rotation():
    image = np.arange(9).reshape(3, 3)
    rng = np.random.default_rng(0)
    counts = [
        len({turn([image], rng, rotate, mirror)[0].tobytes() for _ in range(300)})
        for rotate, mirror in ((True, True), (True, False), (False, True), (False, False))
    ]
    assert counts == [8, 4, 4, 1]


def test_a_task_with_a_direction_keeps_its_axis():
    """Rows stay rows: an image that varies along axis 0 only still does after any allowed turn."""
    image = np.repeat(np.arange(8.0)[:, None], 8, axis=1)
    rng = np.random.default_rng(0)
    for _ in range(50):
        (turned,) = turn([image], rng, rotate=False, mirror=True)
        assert (turned == turned[:, :1]).all()


def test_half_turns_alone_where_the_image_is_not_square():
    rng = np.random.default_rng(0)
    shapes = {turn([np.zeros((4, 6))], rng, True, True)[0].shape for _ in range(50)}
    assert shapes == {(4, 6)}


def test_crop_is_inside_and_random():
    image = np.arange(10 * 12).reshape(10, 12)
    rng = np.random.default_rng(0)
    corners = {crop([image, image], (8, 8), rng)[0][0, 0] for _ in range(200)}
    assert corners == {12 * row + column for row in range(3) for column in range(5)}


def test_patches_fit_every_task_and_the_networks(tasks):
    assert patch_shape(tasks, None, 4) == (32, 32)
    assert patch_shape(tasks, 30, 8) == (24, 24)


def unpaired_batches(tasks, mixed=True, noise_channels=1):
    sampling = Sampling(4, (16, 16), 3, [], True)
    return UnpairedBatches(tasks, fit_unpaired_gains(tasks), sampling, 3, mixed, noise_channels)


def test_unpaired_batches_have_one_part_per_update(tasks):
    batch = unpaired_batches(tasks)(0)
    shapes = {name: value.shape for name, value in batch.items()}
    image = (4, 3, 16, 16, 1)
    assert shapes == {"x": image, "y": image, "task": (4, 3, 1), "epsilon": (4, 3, 1, 1, 1), "noise": image}
    assert same(batch, unpaired_batches(tasks)(0)) and not same(batch, unpaired_batches(tasks)(1))
    assert "noise" not in unpaired_batches(tasks, noise_channels=0)(0)


def test_one_task_an_iteration_as_published_or_all_in_equal_shares(tasks):
    published = [np.unique(unpaired_batches(tasks, mixed=False)(i)["task"]) for i in range(20)]
    assert all(len(seen) == 1 for seen in published) and len({int(seen[0]) for seen in published}) == 2
    assert np.bincount(unpaired_batches(tasks)(0)["task"].ravel()).tolist() == [6, 6]


def test_x_and_y_are_drawn_independently(tasks):
    """Over many draws the rows of x and y agree no more often than by chance: one in five."""

    class Numbered:
        shape = (16, 16)

        def __len__(self):
            return 5

        def __getitem__(self, row):
            return np.full((16, 16), row, np.float32)

    numbered = [tasks[0]._replace(unpaired_x=Numbered(), unpaired_y=Numbered())]
    scale = FixedNormalization({tasks[0].name: (Scale(0, 1), Scale(0, 1))})
    batches = UnpairedBatches(numbered, scale, Sampling(8, (16, 16), 3, [], True), 2, True, 0)
    agree = [np.mean(batch["x"] == batch["y"]) for batch in (batches(i) for i in range(60))]
    assert np.mean(agree) == pytest.approx(0.2, abs=0.05)
