"""Sections of stacks: which rows are planes, what lies between, and that CIN-GAN's x are sampled alike."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_generators import metadata
from small_methods import small_cin_gan, tensors, unpaired_batch

import train_CIN_GAN
from common.errors import InputError
from data_utils import load_tasks
from methods.batches import Sampling, UnpairedBatches
from recipes import RECIPES
from restoring.apply import Applier
from restoring.generator_file import Metadata, read_metadata
from restoring.normalization import FixedNormalization, Scale, fit_unpaired_gains
from restoring.sampling import rows_at, sampled_rows, sampling_matrix


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(0, 1, (40, 6)).astype(np.float32)


def test_every_fth_row_is_kept_and_rows_between_lie_on_straight_lines(image):
    made = sampling_matrix(40, 5, 2.7) @ image
    for row in range(2, 37):
        below = 2 + (row - 2) // 5 * 5
        expected = image[below] + (row - below) / 5 * (image[min(below + 5, 37)] - image[below])
        np.testing.assert_allclose(made[row], expected, atol=1e-6)
    assert (made[:2] == made[2]).all() and (made[37:] == made[37]).all()


@pytest.mark.parametrize("stride", [1.7, 3.3, 4.5])
def test_of_a_fractional_stride_whole_rows_are_kept_as_far_apart_on_average(stride, image):
    recorded, positions = sampled_rows(40, stride, 0.6)
    assert (
        np.abs(recorded - (0.6 + stride * np.arange(len(recorded)))).max() < 1.001 and 39 - recorded[-1] <= stride + 1
    )
    made = rows_at(image[recorded], positions)
    np.testing.assert_allclose(made[recorded], image[recorded], atol=1e-6)
    np.testing.assert_allclose(sampling_matrix(40, stride, 0.6) @ image, made, atol=1e-6)


def test_a_single_plane_is_the_same_everywhere(image):
    made = sampling_matrix(40, 64, 63.0) @ image
    assert (made == image[39]).all()


@pytest.fixture
def tasks(pair_folder):
    """Speckle without a stride, and Layers with planes 4 rows apart."""
    (pair_folder / "Layers_stack.json").write_text(json.dumps({"stride": 4.0}))
    return load_tasks(pair_folder)[0]


def batches_of(tasks, samples=True):
    sampling = Sampling(4, (16, 16), 3, [], True)
    return UnpairedBatches(tasks, fit_unpaired_gains(tasks), sampling, 3, True, 1, samples)


def test_batches_hold_the_sampling_of_each_image_from_a_random_first_plane_on(tasks):
    assert {task.name: task.stride for task in tasks} == {"Layers": 4.0, "Speckle": None}
    firsts = set()
    for batch in map(batches_of(tasks), range(10)):
        assert batch["sampling"].shape == (4, 3, 16, 16) and batch["sampling"].dtype == np.float32
        for task, matrix in zip(batch["task"].ravel(), batch["sampling"].reshape(-1, 16, 16), strict=True):
            if tasks[task].stride:
                assert (matrix.max(axis=0) > 0).sum() == 4  # planes in 16 rows
                firsts.add(int(np.argmax(matrix[0])))
            else:
                assert np.array_equal(matrix, np.eye(16))
    assert firsts == {0, 1, 2, 3}


def test_without_a_stride_or_in_recipe_paper_batches_are_as_they_were(tasks, pair_folder):
    sampled, plain = batches_of(tasks)(0), batches_of(tasks, samples=False)(0)
    assert sampled.keys() - plain.keys() == {"sampling"}
    assert all(np.array_equal(plain[name], sampled[name]) for name in plain)
    (pair_folder / "Layers_stack.json").unlink()
    assert batches_of(load_tasks(pair_folder)[0])(0).keys() == plain.keys()
    assert RECIPES["tuned"].cin_gan.samples and not RECIPES["paper"].cin_gan.samples


def test_cin_gan_samples_what_its_generator_makes():
    gan, rng = small_cin_gan(), np.random.default_rng(0)
    part = {name: value[:, 0] for name, value in tensors(unpaired_batch(rng)).items()}
    matrices = np.stack([sampling_matrix(20, 4, phase) for phase in (0, 1, 2, 3)])
    plain = gan.generator([part["y"], part["task"], part["noise"]])
    made = gan._generate({**part, "sampling": tf.constant(matrices)})
    expected = np.stack([matrix @ one[..., 0] for matrix, one in zip(matrices, plain.numpy(), strict=True)])
    np.testing.assert_allclose(made[..., 0], expected[:, 2:-2, 2:-2], atol=1e-5)
    assert np.array_equal(gan._generate(part), plain[:, 2:-2, 2:-2])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(gan._generate({**part, "sampling": tf.constant(matrices)}) ** 2)
    assert any(np.any(gradient) for gradient in tape.gradient(loss, gan.generator.trainable_variables))


def test_the_margin_reaches_to_the_first_plane():
    part = RECIPES["tuned"].cin_gan
    assert [part.for_strides([None, f]).margin for f in (None, 5.0, 11.3)] == [8, 8, 12]
    assert RECIPES["paper"].cin_gan.for_strides([30.0]) == RECIPES["paper"].cin_gan


def noise_applier(strides):
    """Makes y plus noise of deviation 1."""
    image, task, noise = (keras.Input(shape) for shape in ((None, None, 1), (1,), (None, None, 1)))
    model = keras.Model([image, task, noise], keras.layers.Add()([image, noise]))
    same = FixedNormalization({"A": (Scale(0, 1), Scale(0, 1))})
    about = metadata(same, script="CIN-GAN", noise_channels=1, margin=8, strides=strides)
    return Applier(model, about)


def test_generated_x_have_the_noise_of_interpolated_planes():
    """Between two planes, at a share s, white noise of variance 1 has (1 - s)^2 + s^2; generator.h5 stays plain."""
    apply = noise_applier({"A": 5.0})
    made = [apply(np.zeros((64, 400), np.float32), "A", draw=draw) for draw in range(6)]
    found = {}
    for x in made:
        variances = x.var(axis=1)
        first = min(range(5), key=lambda row: -variances[row::5].mean())
        found.setdefault(first, x)
        expected = [(1 - s) ** 2 + s**2 for s in ((np.arange(64) - first) % 5) / 5]
        np.testing.assert_allclose(variances, expected, atol=0.3)
        second = np.diff(x, n=2, axis=0)
        flat = np.delete(np.arange(62), np.arange((first - 1) % 5, 62, 5))
        np.testing.assert_allclose(second[flat], 0, atol=1e-5)
    assert len(found) > 1, "every draw has planes of its own"
    plain = noise_applier({})(np.zeros((64, 400), np.float32), "A")
    np.testing.assert_allclose(plain.var(axis=1), 1, atol=0.3)


def test_tiles_show_the_planes_of_the_whole_image():
    y = np.random.default_rng(1).random((150, 60)).astype(np.float32)
    whole, tiled = (noise_applier({"A": 4.4})(y, "A", tile=tile, overlap=32) for tile in (None, 64))
    np.testing.assert_allclose(whole, tiled, atol=1e-5)


def test_a_trained_generator_carries_the_strides_of_its_tasks(tasks, train):
    run = train(train_CIN_GAN, "--recipe=tuned")
    about = read_metadata(run / "generator.h5")
    assert about.strides == {"Layers": 4.0}
    assert Metadata("cGAN", "tuned", ["A"], about.normalization, [], 8).to_json().count("strides") == 0


@pytest.mark.parametrize("text", ["{", "{}", '{"stride": "far"}', '{"stride": 1}', '{"stride": NaN}', "[5]"])
def test_a_stride_that_cannot_be_is_one_line(text, pair_folder):
    (pair_folder / "Layers_stack.json").write_text(text)
    with pytest.raises(InputError, match=r"Layers_stack\.json"):
        load_tasks(pair_folder)
