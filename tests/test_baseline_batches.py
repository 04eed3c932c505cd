"""What the baselines are trained on: CARE's patches, CycleGAN's unpaired images and its pools."""

import numpy as np
import pytest
import tensorflow as tf

from data_utils import Task, load_tasks
from methods import baselines
from methods.baseline_batches import CycleBatches, GridPatchBatches
from methods.batches import Sampling
from restoring.normalization import FixedNormalization, OwnPercentileNormalization, Scale

RNG = np.random.default_rng(0)


def fake_task(count=6):
    """x and y of row i are i everywhere, but for a pixel that tells them apart."""

    class Rows(list):
        shape = (16, 16)

    def rows(mark):
        values = [np.full((16, 16), i, np.float32) for i in range(count)]
        for value in values:
            value[0, 0] = mark
        return Rows(values)

    x, y = rows(-1), rows(-2)
    return Task("Coded", x, y, x, y, x, y)


def identity(task):
    return FixedNormalization({task.name: (Scale(0, 1), Scale(0, 1))})


def test_pool_gives_what_the_published_pool_gives():
    """CycleBatches plans, from_pool carries out; a list with the authors' rules says what must come out."""
    size, batch_size = 5, 2
    task = fake_task()
    batches = CycleBatches(task, identity(task), Sampling(batch_size, (16, 16), 3, ["Coded"], False), size)
    variable, reference = tf.Variable(tf.zeros((size, 16, 16, 1))), []
    swapped = 0
    for iteration in range(20):
        plan, new = batches(iteration), RNG.uniform(-1, 1, (batch_size, 16, 16, 1)).astype(np.float32)
        slots, swaps = plan["slot"][:, 0], plan["swap"][:, 0]
        given = baselines.from_pool(variable, tf.constant(new), tf.constant(slots), tf.constant(swaps))
        for image, slot, swap, result in zip(new, slots, swaps, given, strict=True):
            if len(reference) < size:
                assert slot == len(reference) and not swap
                reference.append(image)
                expected = image
            elif swap:
                expected, reference[slot] = reference[slot], image
                swapped += 1
            else:
                assert slot == -1
                expected = image
            assert np.array_equal(result, expected)
    assert np.array_equal(variable, reference) and 8 <= swapped <= 27  # half of 35, within 3 deviations


def test_cyclegan_draws_x_and_y_independently():
    """A sixth of the drawn pairs are of one row, as chance has it: no pairing leaks in."""
    task = fake_task()
    batches = CycleBatches(task, identity(task), Sampling(4, (16, 16), 3, ["Coded"], False), 50)
    drawn = [batches(i) for i in range(150)]
    same = np.mean([x[5, 5] == y[5, 5] for batch in drawn for x, y in zip(batch["x"], batch["y"], strict=True)])
    assert same == pytest.approx(1 / 6, abs=0.05)


def test_care_sees_every_patch_once_per_epoch_and_pairs_stay_together():
    task = fake_task(count=3)
    batches = GridPatchBatches(task, identity(task), 4, (8, 8), 1)
    seen = [(x, y) for i in range(3) for x, y in zip(batches(i)["x"], batches(i)["y"], strict=True)]
    assert all(x[5, 5] == y[5, 5] for x, y in seen)
    keys = sorted((float(x[5, 5, 0]), bool(x[0, 0, 0] == -1)) for x, _ in seen)
    assert keys == sorted((float(row), corner) for row in range(3) for corner in (True, False, False, False))


def test_care_sees_the_whole_image_where_patches_do_not_divide_it():
    task = fake_task(count=1)
    assert GridPatchBatches(task, identity(task), 1, (12, 16), 1).corners == [(0, 0), (4, 0)]


def test_care_normalises_as_csbdeep_predicts():
    """csbdeep's PercentileNormalizer takes the 2 and 99.8 percentiles of each image."""
    x, y = RNG.gamma(2, 100, (2, 32, 32)).astype(np.float32)
    normalization = OwnPercentileNormalization({"A": (0.5, 20.0)})
    for image, normalized in zip((x, y), normalization.normalize_pair("A", x, y), strict=True):
        low, high = np.percentile(image, [2, 99.8])
        assert np.allclose(normalized, (image - low) / (high - low), atol=1e-5)


def test_unpaired_limits_reach_cyclegan(pair_folder):
    task = load_tasks(pair_folder, ["Speckle"], images_limit=2, unpaired_limit=3)[0][0]
    assert len(task.unpaired_x) == len(task.unpaired_y) == 5
    assert not {tuple(task.unpaired_x.rows[2:])} & {tuple(task.unpaired_y.rows[2:])}
