"""CARE, DeblurGAN and CycleGAN: an oracle for each rule of theirs, and exact resume."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import losses
import methods
import models
from methods import BASELINES, care, cyclegan, deblurgan
from methods.schedules import HalfThenLinear
from training.loop import compile_step
from training.run_folder import RunFolder

RNG = np.random.default_rng(0)
needs_csbdeep = pytest.mark.skipif(
    not care.has_csbdeep(), reason="csbdeep is not installed (requirements/baselines.txt)"
)


def images(*shape):
    return RNG.uniform(-1, 1, (*shape, 16, 16, 1)).astype(np.float32)


def small_generator():
    image = keras.Input((None, None, 1))
    z = keras.layers.Conv2D(3, 3, padding="same", activation="tanh")(image)
    return keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(z))


def shift_generator(shift):
    """Adds a constant."""
    image = keras.Input((None, None, 1))
    layer = keras.layers.Conv2D(1, 1, kernel_initializer="ones", bias_initializer=keras.initializers.Constant(shift))
    return keras.Model(image, layer(image))


def small_cyclegan(make_generator=small_generator, optimizer=lambda: keras.optimizers.SGD(0.1)):
    keras.utils.set_random_seed(1)
    networks = {"generator": make_generator(), "reverse_generator": make_generator()}
    for name in ("discriminator_y", "discriminator_x"):
        networks[name] = models.patch_discriminator((4, 8), normalize=False, conditional=False)
    optimizers = {name: optimizer() for name in networks}
    return cyclegan.CycleGAN(networks, optimizers, make_generator(), None, 7, patch=(16, 16))


def small_deblurgan(critic_rate=0.1, optimizer=keras.optimizers.SGD):
    keras.utils.set_random_seed(1)
    networks = {"generator": small_generator(), "critic": models.patch_critic(1, (4, 8))}
    optimizers = {"generator": optimizer(0.01), "critic": optimizer(critic_rate)}
    # A stand-in for VGG16: the content loss is then the pixels' own squared difference.
    features = lambda images, training: [images]  # noqa: E731
    return deblurgan.DeblurGAN(networks, optimizers, small_generator(), None, 7, features, n_critic=2)


def test_a_baseline_is_found_by_its_file_and_the_others_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "toy.py").write_text("from methods.care import BASELINE as CARE\n\nBASELINE = CARE\n")
    (tmp_path / "gan.py").write_text("raise AssertionError('this imports TensorFlow')\n")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    assert methods.find_baselines() == {**BASELINES, "toy": BASELINES["care"]}
    assert {"care", "cyclegan", "deblurgan"} <= BASELINES.keys()
    monkeypatch.delitem(sys.modules, "methods.toy")


def cycle_batch(rng, size=2):
    x, y = (rng.uniform(-1, 1, (size, 16, 16, 1)).astype(np.float32) for _ in "xy")
    slot = rng.integers(-1, cyclegan.POOL_SIZE, (size, 2)).astype(np.int32)
    return {"x": x, "y": y, "slot": slot, "swap": (slot >= 0) & (rng.random((size, 2)) < 0.5)}


def deblur_batch(rng):
    x, y = (rng.uniform(-1, 1, (2, 16, 16, 1)).astype(np.float32) for _ in "xy")
    return {"x": x, "y": y, "epsilon": rng.random((2, 2, 1, 1, 1), np.float32)}


def tensors(batch):
    return {name: tf.constant(value) for name, value in batch.items()}


def test_least_squares_loss_is_the_mean_squared_distance():
    assert float(losses.least_squares_loss(tf.constant([0.0, 3.0]), 1.0)) == pytest.approx((1 + 4) / 2)


def test_cycle_and_identity_terms_of_known_generators():
    """G adds 0.5 and F adds 0.25: a cycle is off by 0.75 both ways, the identities by 0.5 and 0.25."""
    gan = small_cyclegan(lambda: shift_generator(0.5))
    gan.networks["reverse_generator"].set_weights(shift_generator(0.25).get_weights())
    x, y = tf.constant(images(2)), tf.constant(images(2))
    terms = gan.generator_terms(x, y, gan.networks["reverse_generator"](y), gan.generator(x))
    assert float(terms["cycle"]) == pytest.approx(1.5, abs=1e-5)
    assert float(terms["identity"]) == pytest.approx(0.75, abs=1e-5)


def test_cyclegan_step_is_gradient_descent_on_the_published_objectives():
    gan, reference = small_cyclegan(), small_cyclegan()
    batch = tensors(cycle_batch(np.random.default_rng(2)) | {"slot": np.full((2, 2), -1, np.int32)})
    batch["swap"] = tf.zeros((2, 2), bool)
    gan.train_step(batch)
    forward, back = reference.networks["generator"], reference.networks["reverse_generator"]
    judge_y, judge_x = reference.networks["discriminator_y"], reference.networks["discriminator_x"]
    x, y = batch["x"], batch["y"]
    with tf.GradientTape(persistent=True) as tape:
        made_y, made_x = forward(x), back(y)
        mean, absolute = tf.reduce_mean, tf.abs
        objective = mean((judge_y(made_y) - 1) ** 2) + mean((judge_x(made_x) - 1) ** 2)
        objective += 10 * (mean(absolute(back(made_y) - x)) + mean(absolute(forward(made_x) - y)))
        objective += 5 * (mean(absolute(forward(y) - y)) + mean(absolute(back(x) - x)))
        kept_y, kept_x = tf.stop_gradient(made_y), tf.stop_gradient(made_x)
        judged = 0.5 * (mean((judge_y(y) - 1) ** 2) + mean(judge_y(kept_y) ** 2))
        judged += 0.5 * (mean((judge_x(x) - 1) ** 2) + mean(judge_x(kept_x) ** 2))
    for name, loss in (
        ("generator", objective),
        ("reverse_generator", objective),
        ("discriminator_y", judged),
        ("discriminator_x", judged),
    ):
        before, after = reference.networks[name], gan.networks[name]
        for old, gradient, new in zip(
            before.trainable_variables,
            tape.gradient(loss, before.trainable_variables),
            after.trainable_variables,
            strict=True,
        ):
            assert np.allclose(old - 0.1 * gradient, new, atol=1e-5), name


def test_deblurgan_step_is_gradient_descent_on_the_published_objective():
    """With a critic that stands still: 100 content minus the critic's mean score."""
    gan, reference = small_deblurgan(critic_rate=0.0), small_deblurgan()
    batch = tensors(deblur_batch(np.random.default_rng(1)))
    gan.train_step(batch)
    with tf.GradientTape() as tape:
        restored = reference.generator(batch["x"])
        content = tf.reduce_mean(tf.square(losses.gray_to_rgb(restored) - losses.gray_to_rgb(batch["y"])))
        objective = 100 * content - tf.reduce_mean(reference.critic([restored, tf.zeros((2, 1), tf.int32)]))
    gradients = tape.gradient(objective, reference.generator.trainable_variables)
    for old, gradient, new in zip(
        reference.generator.trainable_variables, gradients, gan.generator.trainable_variables, strict=True
    ):
        assert np.allclose(old - 0.01 * gradient, new, atol=1e-5)


def test_learning_rate_is_constant_then_falls_to_zero():
    rate = HalfThenLinear(2e-4, 100)
    assert [float(rate(step)) for step in (0, 50, 75, 100)] == pytest.approx([2e-4, 2e-4, 1e-4, 0.0])


@needs_csbdeep
def test_care_trains_as_csbdeep_trains():
    """Three steps on the same batches give the weights that csbdeep's own `train` gives."""
    csbdeep = care.load_csbdeep()
    keras.utils.set_random_seed(3)
    ours = BASELINES["care"].build(None, 3, 1, False, 1, None)
    config = csbdeep.models.Config("YX", train_batch_size=4, train_tensorboard=False, train_reduce_lr=None)
    theirs = csbdeep.models.CARE(config, name="care", basedir=None)
    theirs.keras_model.set_weights(ours.generator.get_weights())
    theirs.prepare_for_training()
    x, y = images(4), images(4)
    theirs.keras_model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    for _ in range(3):
        ours.train_step({"x": tf.constant(x), "y": tf.constant(y)})
    for a, b in zip(ours.generator.get_weights(), theirs.keras_model.get_weights(), strict=True):
        assert np.allclose(a, b, atol=1e-6)


@needs_csbdeep
def test_care_has_the_published_network():
    method = BASELINES["care"].build(None, 3, 1, True, 1, None)
    kernels = [layer.kernel.shape for layer in method.generator.layers if isinstance(layer, keras.layers.Conv2D)]
    assert kernels[0] == (5, 5, 1, 32) and max(shape[-1] for shape in kernels) == 128
    assert float(method.optimizers["generator"].learning_rate) == pytest.approx(4e-4) and method.average_decay == 0.995


def test_generators_are_the_published_ones():
    """Both are the paper's body of nine blocks; DeblurGAN adds its input to the tanh, CycleGAN does not."""
    deblur, cycle = deblurgan.deblur_generator(), cyclegan.cycle_generator()
    assert deblur.count_params() == cycle.count_params() == 11_376_129
    x = images(1)
    for model, expected in ((deblur, x + 0.9), (cycle, 0.9)):
        last = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)][-1]
        last.set_weights([np.zeros(last.kernel.shape), np.full(1, np.arctanh(0.9))])
        assert np.allclose(model(x), expected, atol=1e-5)


METHODS = {"cyclegan": (small_cyclegan, cycle_batch), "deblurgan": (small_deblurgan, deblur_batch)}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(METHODS))
def test_resume_is_exact_to_the_bit(name, tmp_path):
    """Pools and all optimizers are in the checkpoint."""
    build, make_batch = METHODS[name]

    def run(method, start, stop):
        step = compile_step(tf.distribute.get_strategy(), method)
        for iteration in range(start, stop):
            step(tf.constant(iteration, tf.int64), tensors(make_batch(np.random.default_rng(iteration))))

    adam = {"optimizer": lambda rate=1e-3: keras.optimizers.Adam(rate)}
    whole, first, second = (build(**adam) for _ in range(3))
    run(whole, 0, 6)
    run(first, 0, 3)
    folder = RunFolder(tmp_path / "run")
    folder.create(resume=False, overwrite=False)
    folder.save_checkpoint(3, first.variables(), {})
    run(second, folder.load_checkpoint(second.variables(), {})[0], 6)
    for group, values in whole.variables().items():
        assert all(np.array_equal(a, b) for a, b in zip(values, second.variables()[group], strict=True)), group
