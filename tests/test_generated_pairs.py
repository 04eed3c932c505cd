"""CIN-GAN's pairs: whole images where they fit, else parts that stand for them; memory that is bounded."""

import keras
import numpy as np
import pytest

from data_utils import load_tasks
from methods.batches import Pairs
from restoring.apply import Applier
from restoring.generator_file import Metadata, load_generator, save_generator
from restoring.normalization import FixedNormalization, PercentileNormalization, percentile_scale
from training import generated_pairs
from training.generated_pairs import generate_pairs

HEIGHT, WIDTH, CLEAN = 104, 90, 3


@pytest.fixture
def cin(tmp_path):
    """A CIN-GAN's generator: blurs y over 3 x 3 pixels and adds noise."""
    image, index, grain = keras.Input((None, None, 1)), keras.Input((1,), dtype="int32"), keras.Input((None, None, 1))
    blur = keras.layers.Conv2D(
        1, 3, padding="same", use_bias=False, kernel_initializer=keras.initializers.Constant(1 / 9)
    )
    gate = keras.layers.Reshape((1, 1, 1))(keras.layers.Embedding(1, 1, embeddings_initializer="ones")(index))
    noise = keras.layers.Multiply()([keras.layers.Rescaling(0.01)(grain), gate])
    scales = FixedNormalization({"Ramp": ((0, 5000), (0, 10000))})
    details = Metadata("CIN-GAN", "tuned", ["Ramp"], scales, (), 8, noise_channels=1, margin=8)
    model = keras.Model([image, index, grain], keras.layers.Add()([blur(image), noise]))
    save_generator(model, tmp_path / "cin.h5", details)
    return tmp_path / "cin.h5"


@pytest.fixture
def tasks(tmp_path):
    """Three clean images in which no intensity occurs twice: a pixel tells where it is from."""
    y = np.arange(CLEAN * HEIGHT * WIDTH, dtype=np.float32).reshape(CLEAN, HEIGHT, WIDTH)
    for kind in ("X", "X_test", "Y", "Y_test"):
        np.save(tmp_path / f"Ramp_{kind}.npy", y)
    return load_tasks(tmp_path)[0]


def whole_images(cin, task):
    """{(draw, row): the whole x}, as all were kept before."""
    apply = Applier(*load_generator(cin), seed=7)
    draws = -(-generated_pairs.DRAWS // CLEAN)
    return {(d, row): apply(task.unpaired_y[row], "Ramp", draw=d) for d in range(draws) for row in range(CLEAN)}


def test_images_that_fit_are_kept_whole(cin, tasks, monkeypatch):
    monkeypatch.setattr(generated_pairs, "DRAWS", 12)
    pairs, scales = generate_pairs(cin, tasks, 7, (16, 16))
    expected = whole_images(cin, tasks[0])
    x, y = pairs["Ramp"]
    assert len(x) == len(y) == len(scales["Ramp"]) == 12
    for found, clean, scale, ((_, row), whole) in zip(x, y, scales["Ramp"], expected.items(), strict=True):
        assert np.array_equal(found, whole) and np.array_equal(clean, tasks[0].unpaired_y[row])
        assert scale == percentile_scale(whole)
    assert len({id(clean) for clean in y}) == CLEAN


def test_large_images_keep_parts_whose_memory_is_bounded(cin, tasks, monkeypatch):
    """Parts are cut from the whole generated image, noise, borders and percentiles included."""
    monkeypatch.setattr(generated_pairs, "DRAWS", 30)
    monkeypatch.setattr(generated_pairs, "MOST_BYTES", 400_000)
    pairs, scales = generate_pairs(cin, tasks, 7, (16, 16))
    expected, kept = whole_images(cin, tasks[0]), list(zip(*pairs["Ramp"], scales["Ramp"], strict=True))
    assert all(image.base is None for images in pairs["Ramp"] for image in images)
    assert 200_000 < sum(x.nbytes + y.nbytes for x, y, _ in kept) <= 400_000
    corners = set()
    for (x, y, scale), ((_, row), whole) in zip(kept, expected.items(), strict=True):
        image, top, left = np.unravel_index(int(y[0, 0]), (CLEAN, HEIGHT, WIDTH))
        assert image == row and min(y.shape) >= 16
        part = np.s_[top : top + y.shape[0], left : left + y.shape[1]]
        assert np.array_equal(y, tasks[0].unpaired_y[row][part]) and np.array_equal(x, whole[part])
        assert scale == percentile_scale(whole)
        corners.add((row, top, left))
    assert len(corners) == len(kept)


def test_patches_take_what_they_need_where_that_is_more(cin, tasks, monkeypatch):
    monkeypatch.setattr(generated_pairs, "DRAWS", 6)
    monkeypatch.setattr(generated_pairs, "MOST_BYTES", 1000)
    x, y = generate_pairs(cin, tasks, 7, (48, 90))[0]["Ramp"]
    assert {image.shape for image in [*x, *y]} == {(48, 90)}


@pytest.mark.parametrize(
    "shape, patch, side", [((104, 90), (16, 16), 40), ((64, 200), (64, 32), 50), ((20, 20), (8, 8), 8)]
)
def test_every_position_of_a_patch_lies_in_one_part(shape, patch, side):
    """A random patch of a random part is then a random patch of the image."""
    found = generated_pairs._parts(shape, patch, side, 10_000, np.random.default_rng(0))
    seen, sizes = np.zeros([size - small + 1 for size, small in zip(shape, patch, strict=True)]), []
    for rows, columns in found:
        positions = np.s_[rows.start : rows.stop - patch[0] + 1, columns.start : columns.stop - patch[1] + 1]
        seen[positions] += 1
        sizes.append(seen[positions].shape)
    assert (seen == 1).all() and (np.ptp(sizes, axis=0) <= 1).all()
    assert max(rows.stop - rows.start for rows, _ in found) <= max(side, patch[0])
    assert max(columns.stop - columns.start for _, columns in found) <= max(side, patch[1])


def test_a_part_is_normalised_as_its_whole_image():
    x, y = np.random.default_rng(0).gamma(2, 100, (2, 64, 64)).astype(np.float32)
    normalization, part = PercentileNormalization({"A": (0.5, 20.0)}), np.s_[8:24, 30:46]
    parts = Pairs({"A": ([x[part]], [y[part]])}, normalization, {"A": [percentile_scale(x)]})
    whole = Pairs({"A": ([x], [y])}, normalization)
    found, expected = (
        parts.patches("A", 0, list),
        whole.patches("A", 0, lambda images: [image[part] for image in images]),
    )
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
