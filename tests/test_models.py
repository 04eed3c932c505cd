"""The networks: parameter counts, CIN against instance normalisation, and files that load anywhere."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import models

RNG = np.random.default_rng(0)


def image(height=32, width=32, batch=2):
    return RNG.standard_normal((batch, height, width, 1)).astype(np.float32)


def inputs_of(model, batch=2, height=32, width=32, task=0):
    """Random inputs for a model, by the names of its inputs."""
    values = {
        "image": image(height, width, batch),
        "task": np.full((batch, 1), task, np.int32),
        "noise": image(height, width, batch),
    }
    return [values[tensor.name] for tensor in model.inputs]


BUILDERS = {
    "paper": lambda: models.paper_generator(dropout=0.0),
    "paper_cin": lambda: models.paper_cin_generator(3, dropout=0.0),
    "tuned": models.tuned_generator,
    "tuned_cin": lambda: models.tuned_cin_generator(3),
    "critic": lambda: models.patch_critic(3, (8, 16)),
}


def test_paper_generator_has_the_published_number_of_parameters():
    assert models.paper_generator().count_params() == 11_376_129


def test_paper_cin_generator_shares_all_but_cin():
    """A task more costs one gamma and one beta per CIN channel: 64 + 128 + 256 + 12 blocks x 2 x 256."""
    two, three = (models.paper_cin_generator(n).count_params() for n in (2, 3))
    assert three - two == 2 * (64 + 128 + 256 + 12 * 2 * 256)


def test_tuned_generator_costs_a_fifth_of_the_papers():
    assert forward_macs(models.tuned_generator()) < forward_macs(models.paper_generator()) / 5


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (12, 12), (1, 64), (64, 1)])
def test_a_tuned_generator_corrects_around_an_outlier_as_if_it_were_not_there(shape):
    image = np.full((1, 64, 64, 1), 0.5, np.float32)
    light = np.zeros_like(image)
    light[0, 24 : 24 + shape[0], 27 : 27 + shape[1]] = 100
    model = models.tuned_generator((4, 4, 4))
    np.testing.assert_allclose(model(image + light), model(image) + light, atol=1e-4)


def test_a_tuned_generator_replaces_nothing_but_small_parts_far_above_their_surroundings():
    image = RNG.random((1, 64, 64, 1)).astype(np.float32)
    image[0, 10, 10], image[0, 30:50, 30:50] = 1.9, 60
    local = models.tuned_generator((4, 4, 4))
    limited = models.tuned_generator((4, 4, 4), local=False)
    limited.set_weights(local.get_weights())
    np.testing.assert_allclose(local(image), limited(image), atol=1e-5)


def forward_macs(model):
    """Multiply-accumulates per pixel of a 64 x 64 image in all convolutions."""
    model = keras.models.clone_model(model, input_tensors=keras.Input((64, 64, 1)))
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            total += np.prod(layer.kernel.shape) * np.prod(layer.input.shape[1:3])
        elif isinstance(layer, keras.layers.Conv2D):
            total += np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3])
    return total / 64**2


def test_cin_by_hand():
    """gamma_s * (z - mean) / std + beta_s with mean and std per image and channel (eq. 5)."""
    z, task = keras.Input((None, None, 5)), keras.Input((1,), dtype="int32")
    layer = keras.Model([z, task], models.conditional_instance_normalization(z, task, 3))
    gamma, beta = RNG.random((3, 5)), RNG.random((3, 5))
    layer.set_weights([gamma, beta])
    values = RNG.standard_normal((2, 6, 7, 5)) * 3 + 1
    mean, variance = values.mean(axis=(1, 2), keepdims=True), values.var(axis=(1, 2), keepdims=True)
    s = np.array([2, 0])
    expected = gamma[s][:, None, None] * (values - mean) / np.sqrt(variance + 1e-3) + beta[s][:, None, None]
    assert np.allclose(layer([values.astype(np.float32), s[:, None]]), expected, atol=1e-4)


def test_cin_with_one_task_is_instance_normalisation():
    z, task = keras.Input((None, None, 4)), keras.Input((1,), dtype="int32")
    conditional = keras.Model([z, task], models.conditional_instance_normalization(z, task, 1))
    plain = keras.Model(z, models.instance_normalization(z))
    gamma, beta = RNG.random(4), RNG.random(4)
    conditional.set_weights([gamma[None], beta[None]])
    plain.set_weights([gamma, beta])
    values = RNG.standard_normal((2, 8, 8, 4)).astype(np.float32)
    assert np.allclose(conditional([values, np.zeros((2, 1), np.int32)]), plain(values), atol=1e-6)


@pytest.mark.parametrize("name", ["paper_cin", "tuned_cin", "critic"])
def test_task_matters_once_learned(name):
    model = BUILDERS[name]()
    for layer in model.layers:
        if isinstance(layer, keras.layers.Embedding):
            layer.set_weights([RNG.standard_normal(layer.get_weights()[0].shape)])
    inputs = inputs_of(model)
    others = [np.full((2, 1), 1, np.int32) if v.dtype == np.int32 else v for v in inputs]
    assert not np.allclose(model(inputs), model(others), atol=1e-4)


def set_numbers(model, values):
    """Set the numbers per task of a tuned CIN generator: {starting value of the embedding: values, one per task}."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Embedding):
            (start,) = set(np.round(layer.get_weights()[0].ravel(), 6))
            layer.set_weights([np.float32(values[round(float(start), 6)])[:, None]])


BLUR, GRAIN, DEVIATION = -0.2, -0.3, -0.4


def test_tuned_cin_generator_blurs_each_task_by_its_own_shares():
    """All shares 1 is a chain of plain averages, whose variances add: (side^2 - 1) / 12 each; shares 0 change nothing.

    The sum of variances is measured as that of the response to a point.
    """
    model = models.tuned_cin_generator(2)
    set_numbers(model, {BLUR: (-10.0, 10.0), GRAIN: (-10.0, -10.0), DEVIATION: (-10.0, -10.0)})
    point = np.zeros((2, 64, 64, 1), np.float32)
    point[:, 32, 32] = 1.0
    sharp, blurred = np.asarray(model([point, np.array([[0], [1]]), np.zeros_like(point)]))[..., 0]
    assert np.allclose(sharp, point[0, ..., 0], atol=1e-5)
    rows = blurred.sum(axis=1) / blurred.sum()
    variance = sum((side**2 - 1) / 12 for side in models.BLUR_SIDES)
    assert np.sum(rows * (np.arange(64) - 32) ** 2) == pytest.approx(variance, rel=1e-3)


def test_tuned_cin_generator_has_noise_that_grows_with_brightness():
    """In the dark the deviation is the constant; where all ramps have ended, the weights of all ramps are added."""
    model = models.tuned_cin_generator(1)
    set_numbers(model, {BLUR: (-10.0,), GRAIN: (-10.0,), DEVIATION: (-0.2,)})
    noise = RNG.standard_normal((1, 128, 128, 1)).astype(np.float32)
    weight = np.log1p(np.exp(-2.0))
    for brightness, count in ((-0.1, 1), (2.0, 1 + len(models.NOISE_RAMPS))):
        clean = np.full((1, 128, 128, 1), brightness, np.float32)
        made = np.asarray(model([clean, np.zeros((1, 1), np.int32), noise]))
        assert np.allclose(made - clean, count * weight * noise, atol=1e-3)


def test_paper_output_is_the_mean_of_input_and_tanh():
    model = BUILDERS["paper"]()
    model.layers[-3].set_weights([np.zeros_like(w) for w in model.layers[-3].get_weights()])
    x = image()
    assert np.allclose(model(x), x / 2, atol=1e-6)


@pytest.mark.parametrize(("name", "multiple"), [("paper", 4), ("paper_cin", 4), ("tuned", 4), ("tuned_cin", 4)])
def test_any_size_that_is_a_multiple(name, multiple):
    model = BUILDERS[name]()
    height, width = 5 * multiple, 3 * multiple
    inputs = inputs_of(model, 1, height, width)
    assert model(inputs if len(inputs) > 1 else inputs[0]).shape == (1, height, width, 1)


def test_discriminator_and_critic_outputs():
    discriminator = models.patch_discriminator((8, 16, 16))
    assert discriminator([image(), image()]).shape == (2, 8, 8, 1)
    assert models.patch_critic(2, (8, 16))([image(), np.zeros((2, 1), np.int32)]).shape == (2, 1)


def test_every_h5_loads_in_a_process_without_this_project(tmp_path):
    """Built-in layers alone: plain Keras, started elsewhere, gives the same outputs."""
    from restoring.generator_file import save_keras

    expected = {}
    for name, build in BUILDERS.items():
        model = build()
        inputs = inputs_of(model, task=1)
        save_keras(model, tmp_path / f"{name}.h5")
        np.savez(tmp_path / f"{name}.npz", *inputs)
        expected[name] = np.asarray(model(inputs if len(inputs) > 1 else inputs[0]))
    code = (
        "import keras, numpy as np, sys\n"
        "for name in sys.argv[1:]:\n"
        "    stored = np.load(name + '.npz'); values = [stored[k] for k in stored.files]\n"
        "    model = keras.models.load_model(name + '.h5', compile=False)\n"
        "    np.save(name + '.npy', np.asarray(model(values if len(values) > 1 else values[0])))"
    )
    subprocess.run([sys.executable, "-I", "-c", code, *expected], cwd=tmp_path, check=True, capture_output=True)
    for name, output in expected.items():
        assert np.allclose(np.load(tmp_path / f"{name}.npy"), output, atol=1e-5), name
