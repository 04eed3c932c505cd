"""CARE, DeblurGAN and CycleGAN: an oracle for each rule of theirs, exact resume, and their script."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import baselines
import losses
import models
import train_baseline
from baseline_batches import CycleBatches, GridPatchBatches
from batches import Sampling
from data_utils import load_tasks
from errors import InputError
from generator_files import read_metadata
from normalization import FixedNormalization, OwnPercentileNormalization, Scale
from training import compile_step

RNG = np.random.default_rng(0)
HAS_CSBDEEP = train_baseline.importable("csbdeep")
needs_csbdeep = pytest.mark.skipif(not HAS_CSBDEEP, reason="csbdeep is not installed (requirements-baselines.txt)")


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
    return baselines.CycleGAN(networks, optimizers, make_generator(), None, 7, patch=(16, 16))


def small_deblurgan(critic_rate=0.1, optimizer=keras.optimizers.SGD):
    keras.utils.set_random_seed(1)
    networks = {"generator": small_generator(), "critic": models.patch_critic(1, (4, 8))}
    optimizers = {"generator": optimizer(0.01), "critic": optimizer(critic_rate)}
    # A stand-in for VGG16: the content loss is then the pixels' own squared difference.
    features = lambda images, training: [images]  # noqa: E731
    return baselines.DeblurGAN(networks, optimizers, small_generator(), None, 7, features, n_critic=2)


def cycle_batch(rng, size=2):
    x, y = (rng.uniform(-1, 1, (size, 16, 16, 1)).astype(np.float32) for _ in "xy")
    slot = rng.integers(-1, baselines.POOL_SIZE, (size, 2)).astype(np.int32)
    return {"x": x, "y": y, "slot": slot, "swap": (slot >= 0) & (rng.random((size, 2)) < 0.5)}


def deblur_batch(rng):
    x, y = (rng.uniform(-1, 1, (2, 16, 16, 1)).astype(np.float32) for _ in "xy")
    return {"x": x, "y": y, "epsilon": rng.random((2, 2, 1, 1, 1), np.float32)}


def tensors(batch):
    return {name: tf.constant(value) for name, value in batch.items()}


def test_least_squares_loss_is_the_mean_squared_distance():
    assert float(losses.least_squares_loss(tf.constant([0.0, 3.0]), 1.0)) == pytest.approx((1 + 4) / 2)


def test_pool_gives_what_the_published_pool_gives():
    """CycleBatches plans, from_pool carries out; a list with the authors' rules says what must come out."""
    size, batch_size = 5, 2
    task = fake_task()
    batches = CycleBatches(task, identity(task), Sampling(batch_size, (16, 16), 3, ["Coded"], False), size)
    variable, reference = tf.Variable(tf.zeros((size, 16, 16, 1))), []
    swapped = 0
    for iteration in range(20):
        plan, new = batches(iteration), images(batch_size)
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


def test_cycle_and_identity_terms_of_known_generators():
    """G adds 0.5 and F adds 0.25: a cycle is off by 0.75 both ways, the identities by 0.5 and 0.25."""
    gan = small_cyclegan(lambda: shift_generator(0.5))
    gan.reverse.set_weights(shift_generator(0.25).get_weights())
    x, y = tf.constant(images(2)), tf.constant(images(2))
    terms = gan._generator_terms(x, y, gan.reverse(y), gan.generator(x))
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
    rate = baselines.HalfThenLinear(2e-4, 100)
    assert [float(rate(step)) for step in (0, 50, 75, 100)] == pytest.approx([2e-4, 2e-4, 1e-4, 0.0])


def fake_task(count=6):
    """x and y of row i are i everywhere, but for a pixel that tells them apart."""

    class Rows(list):
        shape = (16, 16)

    def rows(mark):
        values = [np.full((16, 16), i, np.float32) for i in range(count)]
        for value in values:
            value[0, 0] = mark
        return Rows(values)

    from data_utils import Task

    x, y = rows(-1), rows(-2)
    return Task("Coded", x, y, x, y, x, y)


def identity(task):
    return FixedNormalization({task.name: (Scale(0, 1), Scale(0, 1))})


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
    for image, normalized in zip((x, y), OwnPercentileNormalization(["A"]).normalize_pair("A", x, y), strict=True):
        low, high = np.percentile(image, [2, 99.8])
        assert np.allclose(normalized, (image - low) / (high - low), atol=1e-5)


@needs_csbdeep
def test_care_trains_as_csbdeep_trains():
    """Three steps on the same batches give the weights that csbdeep's own `train` gives."""
    import argparse

    from recipes import BASELINES

    csbdeep = baselines.load_csbdeep()
    keras.utils.set_random_seed(3)
    ours = baselines.build_care(argparse.Namespace(augment=False, seed=3), BASELINES["care"], None, None)
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
    import argparse

    from recipes import BASELINES

    care = baselines.build_care(argparse.Namespace(augment=True, seed=3), BASELINES["care"], None, None)
    kernels = [layer.kernel.shape for layer in care.generator.layers if isinstance(layer, keras.layers.Conv2D)]
    assert kernels[0] == (5, 5, 1, 32) and max(shape[-1] for shape in kernels) == 128
    assert float(care.optimizers["generator"].learning_rate) == pytest.approx(4e-4) and care.average_decay == 0.995


def test_generators_are_the_published_ones():
    """Both are the paper's body of nine blocks; DeblurGAN adds its input to the tanh, CycleGAN does not."""
    deblur, cycle = baselines.deblur_generator(), baselines.cycle_generator()
    assert deblur.count_params() == cycle.count_params() == 11_376_129
    x = images(1)
    for model, expected in ((deblur, x + 0.9), (cycle, 0.9)):
        last = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)][-1]
        last.set_weights([np.zeros(last.kernel.shape), np.full(1, np.arctanh(0.9))])
        assert np.allclose(model(x), expected, atol=1e-5)


METHODS = {"cyclegan": (small_cyclegan, cycle_batch), "deblurgan": (small_deblurgan, deblur_batch)}


@pytest.mark.parametrize("name", list(METHODS))
def test_resume_is_exact_to_the_bit(name, tmp_path):
    """Pools and all optimizers are in the checkpoint."""
    from run_folder import RunFolder

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


@pytest.fixture
def quick_networks(monkeypatch):
    """One convolution for the residual body, two for the judges: the script is tested, not the machine."""
    judge, critic = models.patch_discriminator, models.patch_critic

    def body(image, *args, **kwargs):
        return keras.layers.Conv2D(1, 3, padding="same", activation="tanh")(image)

    monkeypatch.setattr(models, "resnet", body)
    monkeypatch.setattr(models, "patch_discriminator", lambda conditional: judge((4, 8), True, conditional))
    monkeypatch.setattr(models, "patch_critic", lambda num_tasks: critic(num_tasks, (4, 8)))


@pytest.mark.parametrize("method", ["deblurgan", "cyclegan", pytest.param("care", marks=needs_csbdeep)])
def test_script_leaves_a_run_folder_per_task_that_restore_takes(method, train, quick_networks, pair_folder, tmp_path):
    import restore

    flags = ["--n_critic=1"] if method == "deblurgan" else ["--augment"] if method == "care" else []
    run = train(train_baseline, f"--method={method}", *flags)
    for task in ("Layers", "Speckle"):
        files = "args.json log.csv generator.h5 samples/000002.png checkpoints/000002.npz".split()
        assert all((run / task / file).is_file() for file in files)
        assert read_metadata(run / task / "generator.h5").tasks == [task]
    target = tmp_path / "restored.npy"
    flags = [f"--generator_path={run / 'Speckle' / 'generator.h5'}", f"--output={target}"]
    assert restore.main(restore.make_parser().parse_args([*flags, f"--input={pair_folder / 'Speckle_X.npy'}"])) == 0
    restored = np.load(target)
    assert restored.shape == (12, 32, 32) and np.isfinite(restored).all()


def test_script_goes_on_with_unfinished_tasks(train, quick_networks):
    """The first task is finished, the second was killed at its start: --resume trains the second only."""
    run = train(train_baseline, "--method=cyclegan", "--tasks=Layers")
    before = (run / "Layers" / "checkpoints" / "000002.npz").stat().st_mtime_ns
    (run / "Speckle" / "samples").mkdir(parents=True)  # killed before its first checkpoint
    train(train_baseline, "--method=cyclegan", "--resume", "--tasks=Layers,Speckle")
    assert (run / "Speckle" / "generator.h5").is_file()
    assert (run / "Layers" / "checkpoints" / "000002.npz").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method=cyclegan", "--augment"], "--augment"),
        (["--method=cyclegan", "--num_gpu=2"], "one GPU"),
        (["--method=deblurgan", "--resume"], "no checkpoint"),
    ],
)
def test_mistakes_are_told(flags, message, pair_folder, tmp_path):
    args = [f"--data_dir={pair_folder}", f"--dir={tmp_path}", *flags]
    with pytest.raises(InputError, match=message):
        train_baseline.main(train_baseline.make_parser().parse_args(args))


def test_care_without_csbdeep_names_the_requirements(pair_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(train_baseline, "importable", lambda name: False)
    args = ["--method=care", f"--data_dir={pair_folder}", f"--dir={tmp_path / 'o'}"]
    with pytest.raises(InputError, match=r"requirements-baselines\.txt"):
        train_baseline.main(train_baseline.make_parser().parse_args(args))
    assert not (tmp_path / "o").exists()


def test_unpaired_limits_reach_cyclegan(pair_folder):
    task = load_tasks(pair_folder, ["Speckle"], images_limit=2, unpaired_limit=3)[0][0]
    assert len(task.unpaired_x) == len(task.unpaired_y) == 5
    assert not {tuple(task.unpaired_x.rows[2:])} & {tuple(task.unpaired_y.rows[2:])}
