"""Train steps: against autodiff of the whole objective, on two replicas, and through a checkpoint to the bit."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import losses
import models
import train_cGAN
import train_CIN_GAN
from methods import gans
from recipes import RECIPES
from training.loop import compile_step, distribute_batches

RNG = np.random.default_rng(0)
SIZE = 20


@pytest.fixture(autouse=True)
def short_blur(monkeypatch):
    """Two of the seven averages that a blur of the tuned CIN generator is made of: the steps are tested, not they."""
    monkeypatch.setattr(models, "BLUR_SIDES", (3, 5))


def images(*batch):
    return RNG.standard_normal((*batch, SIZE, SIZE, 1)).astype(np.float32)


class FixedBatches:
    """Batches drawn from the iteration number, as the real ones are."""

    def __init__(self, make):
        self.make, self.batch_size = make, 4

    def __call__(self, iteration):
        return self.make(np.random.default_rng(iteration))


def pair_batch(rng):
    return {name: rng.standard_normal((4, SIZE, SIZE, 1)).astype(np.float32) for name in "xy"}


def unpaired_batch(rng):
    image = (4, 3, SIZE, SIZE, 1)
    batch = {name: rng.standard_normal(image).astype(np.float32) for name in ("x", "y", "noise")}
    task = rng.integers(0, 2, (4, 3, 1)).astype(np.int32)
    return {**batch, "task": task, "epsilon": rng.random((4, 3, 1, 1, 1)).astype(np.float32)}


def small_cgan(optimizer=lambda: keras.optimizers.SGD(0.1), average_decay=0.9, dropout=0.0, seed=1):
    keras.utils.set_random_seed(seed)

    def build():
        image = keras.Input((None, None, 1))
        z = keras.layers.Conv2D(4, 3, padding="same", activation="tanh")(image)
        z = keras.layers.Dropout(dropout)(z)
        return keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(z))

    return gans.ConditionalGAN(
        {"generator": build(), "discriminator": models.patch_discriminator((4, 8), normalize=False)},
        {"generator": optimizer(), "discriminator": optimizer()},
        build(),
        average_decay,
        7,
        weights={"psnr": 0.005, "ssim": 0.1, "adversarial": 0.1},
    )


def small_cin_gan(optimizer=lambda: keras.optimizers.SGD(0.01)):
    keras.utils.set_random_seed(1)
    return gans.CINGAN(
        {"generator": models.tuned_cin_generator(2), "critic": models.patch_critic(2, (4, 8))},
        {"generator": optimizer(), "critic": optimizer()},
        models.tuned_cin_generator(2),
        0.9,
        7,
        num_tasks=2,
        weights={"spectrum": 1.0, "noise": 1.0, "wasserstein": 1.0},
        n_critic=2,
        margin=2,
    )


BUILDERS = {"cgan": (small_cgan, pair_batch), "cin_gan": (small_cin_gan, unpaired_batch)}


def run(gan, make_batch, start, stop, strategy=None):
    """Train some iterations; returns (weights of both networks and the released copy, last losses)."""
    strategy = strategy or tf.distribute.get_strategy()
    step = compile_step(strategy, gan)
    data = iter(distribute_batches(strategy, FixedBatches(make_batch), start, stop))
    for iteration in range(start, stop):
        values = step(tf.constant(iteration, tf.int64), next(data))
    values = {name: float(value) for name, value in values.items()}
    assert np.isfinite(list(values.values())).all()
    names = [*gan.networks, "released"]
    return [np.asarray(v) for name in names for v in gan.variables()[name]], values


def test_cgan_step_is_gradient_descent_on_the_whole_objective():
    """The shared forward passes give the gradients that autodiff of the two objectives gives."""
    gan, reference = small_cgan(), small_cgan()
    batch = {name: tf.constant(value) for name, value in pair_batch(RNG).items()}
    gan.train_step(batch)
    with tf.GradientTape(persistent=True) as tape:
        restored = reference.generator(batch["x"])
        logits = reference.discriminator([batch["x"], restored])
        objective = 0.005 * losses.psnr_loss(restored, batch["y"]) + 0.1 * losses.ssim_loss(restored, batch["y"])
        objective += 0.1 * losses.adversarial_loss(logits)
        real_logits = reference.discriminator([batch["x"], batch["y"]])
        restored_logits = reference.discriminator([batch["x"], tf.stop_gradient(restored)])
        discriminator_loss = losses.discriminator_loss(real_logits, restored_logits)
    for network, trained, loss in (
        (reference.generator, gan.generator, objective),
        (reference.discriminator, gan.discriminator, discriminator_loss),
    ):
        gradients = tape.gradient(loss, network.trainable_variables)
        for before, gradient, after in zip(
            network.trainable_variables, gradients, trained.trainable_variables, strict=True
        ):
            assert np.allclose(before - 0.1 * gradient, after, atol=1e-5)


def test_gradient_norms_name_the_dead_term():
    watched = tf.constant(images(2))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(watched)
        terms = {"alive": tf.reduce_mean(tf.reduce_sum(watched, axis=(1, 2, 3))), "dead": tf.reduce_sum(watched * 0.0)}
    gradient, norms = gans.gradients_of_terms(tape, terms, {"alive": 3.0, "dead": 1.0}, watched, 1.0)
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


def test_released_copy_without_averaging_is_the_generator():
    gan = small_cgan(average_decay=None)
    weights, _ = run(gan, pair_batch, 0, 2)
    count = len(gan.generator.weights)
    assert all(np.array_equal(a, b) for a, b in zip(weights[:count], weights[-count:], strict=True))


def test_dropout_masks_follow_from_the_iteration():
    gan = small_cgan(dropout=0.5)
    x = images(1)

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


def test_cin_gan_trains_generator_and_critic_of_drawn_tasks_only():
    """Embedding rows of a task that is not drawn stay as they were under SGD."""
    gan = small_cin_gan()
    table = next(layer for layer in gan.generator.layers if isinstance(layer, keras.layers.Embedding)).embeddings
    before = table.numpy()
    batch = unpaired_batch(RNG)
    batch["task"] = np.ones_like(batch["task"])
    gan.train_step({name: tf.constant(value) for name, value in batch.items()})
    after = table.numpy()
    assert np.array_equal(before[0], after[0]) and not np.array_equal(before[1], after[1])


@pytest.mark.parametrize("name", list(BUILDERS))
def test_resume_through_a_checkpoint_is_exact_to_the_bit(name, tmp_path):
    from training.run_folder import RunFolder

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


@pytest.mark.parametrize("recipe", ["paper", "tuned"])
def test_rates_are_constant_but_for_tuned_cin_gan(recipe):
    """Its rates reach 0 after the planned updates: 5 of the generator, n_critic times as many of the critic."""
    flags = [f"--recipe={recipe}", "--num_iters=5", "--n_critic=3"]
    cin_args = train_CIN_GAN.make_parser().parse_args(flags)
    cin_gan = gans.build_cin_gan(cin_args, RECIPES[recipe], 2, None)
    cgan = gans.build_cgan(train_cGAN.make_parser().parse_args(flags[:2]), RECIPES[recipe], None)
    for optimizer, updates, anneals in (
        (cgan.optimizers["generator"], 5, False),
        (cin_gan.optimizers["generator"], 5, recipe == "tuned"),
        (cin_gan.optimizers["critic"], 15, recipe == "tuned"),
    ):
        rates = []
        for update in (0, updates - 1, updates):
            optimizer.iterations.assign(update)
            rates.append(float(optimizer.learning_rate))
        assert rates[0] > 0 and ((rates[1] > 0 and rates[2] == 0) if anneals else rates[0] == rates[1] == rates[2])


def test_without_an_adversarial_term_there_is_no_discriminator():
    """Recipe `tuned` trains and keeps a generator alone."""
    args = train_cGAN.make_parser().parse_args(["--recipe=tuned", "--num_iters=2"])
    keras.utils.set_random_seed(1)
    gan = gans.build_cgan(args, RECIPES["tuned"], None)
    assert set(gan.networks) == {"generator"} and set(gan.variables()) == {
        "generator",
        "released",
        "generator_optimizer",
    }
    values = gan.train_step({name: tf.constant(value) for name, value in pair_batch(RNG).items()})
    assert set(values) == {"psnr", "ssim", "gradient_psnr", "gradient_ssim"}
