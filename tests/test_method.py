"""What all methods share: the released copy, dropout masks, two replicas, a loss scale, and a checkpoint to the bit."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_methods import BUILDERS, SIZE, pair_batch, run, small_cgan

import models
from methods.method import gradients_of_terms
from training.run_folder import RunFolder

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def short_blur(monkeypatch):
    """Two of the seven averages that a blur of the tuned CIN generator is made of: the steps are tested, not they."""
    monkeypatch.setattr(models, "BLUR_SIDES", (3, 5))


def test_gradient_norms_name_the_dead_term():
    watched = tf.constant(RNG.standard_normal((2, SIZE, SIZE, 1)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(watched)
        terms = {"alive": tf.reduce_mean(tf.reduce_sum(watched, axis=(1, 2, 3))), "dead": tf.reduce_sum(watched * 0.0)}
    gradient, norms = gradients_of_terms(tape, terms, {"alive": 3.0, "dead": 1.0}, watched, 1.0)
    assert float(norms["gradient_alive"]) == pytest.approx(3 * SIZE, rel=1e-5)
    assert float(norms["gradient_dead"]) == 0
    assert np.allclose(gradient, 1.5)


def test_released_copy_is_the_running_average():
    gan = small_cgan(average_decay=0.9)
    before = [np.asarray(w) for w in gan.released.weights]
    gan.generator.set_weights([w + 1 for w in before])
    gan.after_step(tf.constant(1000))
    assert all(np.allclose(b + 0.1, r, atol=1e-5) for b, r in zip(before, gan.released.weights, strict=True))
    gan.after_step(tf.constant(0))
    assert all(
        np.allclose(b + 0.1 + 0.9 * 0.9, r, atol=1e-5) for b, r in zip(before, gan.released.weights, strict=True)
    )


def test_the_released_copy_of_a_fine_tuning_stays_between_its_start_and_what_was_trained():
    gan = small_cgan(average_decay=None)
    start = [RNG.standard_normal(weight.shape).astype(np.float32) for weight in gan.generator.weights]
    gan.start_from(start, learned=0.25)
    assert all(np.array_equal(s, w) for s, w in zip(start, gan.generator.get_weights(), strict=True))
    gan.generator.set_weights([weight + 1 for weight in start])
    gan.after_step(tf.constant(5))
    assert all(np.allclose(s + 0.25, r, atol=1e-6) for s, r in zip(start, gan.released.get_weights(), strict=True))


def test_released_copy_without_averaging_is_the_generator():
    gan = small_cgan(average_decay=None)
    weights, _ = run(gan, pair_batch, 0, 2)
    count = len(gan.generator.weights)
    assert all(np.array_equal(a, b) for a, b in zip(weights[:count], weights[-count:], strict=True))


def test_dropout_masks_follow_from_the_iteration():
    gan = small_cgan(dropout=0.5)
    x = RNG.standard_normal((1, SIZE, SIZE, 1)).astype(np.float32)

    def output(iteration):
        gan.before_step(iteration)
        return np.asarray(gan.generator(x, training=True))

    first, other, again = output(3), output(4), output(3)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def mirrored_and_single(name, optimizer):
    """The same three iterations on one device and on two replicas."""
    build, make_batch = BUILDERS[name]
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        gan = build(optimizer)
    return run(gan, make_batch, 0, 3, strategy), run(build(optimizer), make_batch, 0, 3)


@pytest.mark.parametrize("name", list(BUILDERS))
def test_mirrored_on_two_logical_cpus_equals_single(name):
    """Same global batch, same weights. SGD shows a wrong factor in the gradients, which Adam would hide."""
    (mirrored, mirrored_losses), (single, single_losses) = mirrored_and_single(name, lambda: keras.optimizers.SGD(0.05))
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(mirrored, single, strict=True))
    assert mirrored_losses == pytest.approx(single_losses, abs=1e-4)


def test_mirrored_adam_gives_the_same_losses():
    """Adam turns the rounding of a zero gradient into a step, so losses are compared, not weights."""
    (_, mirrored), (_, single) = mirrored_and_single("cgan", lambda: keras.optimizers.Adam(1e-3))
    assert mirrored == pytest.approx(single, abs=1e-4)


@pytest.mark.parametrize("name", list(BUILDERS))
def test_a_loss_scale_changes_no_update(name):
    """Every gradient is scaled once, and divided by the optimizer once; a power of two rounds nothing."""
    build, make_batch = BUILDERS[name]

    def scaled():
        return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05), initial_scale=2.0**10)

    plain, losses = run(build(lambda: keras.optimizers.SGD(0.05)), make_batch, 0, 2)
    with_scale, losses_with_scale = run(build(scaled), make_batch, 0, 2)
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(plain, with_scale, strict=True))
    assert losses == pytest.approx(losses_with_scale, rel=1e-4)


@pytest.mark.parametrize("name", list(BUILDERS))
def test_resume_through_a_checkpoint_is_exact_to_the_bit(name, tmp_path):
    build, make_batch = BUILDERS[name]
    adam = lambda: keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, 6))  # noqa: E731
    whole, _ = run(build(adam), make_batch, 0, 6)
    folder = RunFolder(tmp_path / "run")
    folder.create(resume=False, overwrite=False)
    first = build(adam)
    run(first, make_batch, 0, 3)
    folder.save_checkpoint(3, first.variables(), {"seed": 1})
    second = build(adam)
    start, *_ = folder.load_checkpoint(second.variables(), {"seed": 1})
    resumed, _ = run(second, make_batch, start, 6)
    assert start == 3 and all(np.array_equal(a, b) for a, b in zip(whole, resumed, strict=True))
