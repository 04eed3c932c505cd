"""Fine-tuning starts from a generator's weights, and every batch of it holds simulated pairs."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest

import models
import train_cGAN
from common.errors import InputError
from data_utils import load_tasks
from methods.batches import PairBatches, Sampling
from methods.rehearsal import SIMULATED, simulated_pairs
from recipes import RECIPES
from restoring.generator_file import SHIPPED, Metadata, save_generator
from restoring.normalization import FixedNormalization, PercentileNormalization, one_scale
from training import run as launch
from training.options import CGANOptions
from training.run_folder import RunFolder
from training.start import SHIPPED_BEFORE, find_start

TUNED = RECIPES["tuned"].cgan


def save(path, network, script="cGAN", recipe="tuned", normalization=None):
    normalization = normalization or PercentileNormalization({"A": (1.0, 0.0)})
    save_generator(network, path, Metadata(script, recipe, ["A"], normalization, [], 4))
    return str(path)


def test_the_generator_and_its_average_start_from_the_file_to_the_bit(tmp_path):
    keras.utils.set_random_seed(5)
    network = models.tuned_generator()
    start = find_start(save(tmp_path / "colleague.h5", network), "tuned", TUNED)
    gan = TUNED.started().build(0, 3, None)
    start.load_into(gan)
    for made in (gan.generator, gan.released):
        assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), made.get_weights(), strict=True))
    assert start.path == tmp_path / "colleague.h5" and len(start.sha256) == 64


@pytest.mark.parametrize("earlier", [{"limited": False}, {"local": False}])
def test_a_generator_of_before_outliers_were_replaced_is_a_start_all_the_same(tmp_path, earlier):
    network = models.tuned_generator(**earlier)
    gan = TUNED.started().build(0, 3, None)
    find_start(save(tmp_path / "earlier.h5", network), "tuned", TUNED).load_into(gan)
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), gan.generator.get_weights(), strict=True))


@pytest.mark.parametrize("version, changes", [(2, {"limited": False}), (3, {"local": False}), (4, {}), (5, {})])
def test_a_resumed_run_goes_on_with_the_network_that_it_was_begun_with(tmp_path, monkeypatch, version, changes):
    monkeypatch.setattr(launch, "version_of", lambda run: version)
    options = CGANOptions.read(train_cGAN.make_parser().parse_args(["--recipe=tuned", "--resume"]), batch_size=8)
    part, start = train_cGAN.choose_start(options, TUNED, launch.RunFolder(tmp_path, 1))
    network, expected = part.generator(), models.tuned_generator(**changes)
    assert [type(layer) for layer in network.layers] == [type(layer) for layer in expected.layers]
    shipped_now = find_start(None, "tuned", TUNED).sha256
    assert (start and start.sha256) == {2: None, 3: SHIPPED_BEFORE, 4: shipped_now, 5: shipped_now}[version]
    if start:
        start.load_into(part.build(0, 3, None))


def test_the_shipped_generator_is_the_default_and_none_is_random():
    assert find_start(None, "tuned", TUNED).path == SHIPPED
    assert find_start("none", "tuned", TUNED) is None
    for recipe in ("paper", "any_defect"):
        assert find_start(None, recipe, RECIPES[recipe].cgan) is None


@pytest.mark.parametrize(
    "network, saved, message",
    [
        (lambda: models.tuned_generator((4, 4, 4)), {}, "its network is not the one that is trained here"),
        (lambda: models.tuned_generator(skips=False), {}, "its network is not the one that is trained here"),
        (lambda: models.tuned_generator((4, 4)), {"script": "CIN-GAN"}, "it makes defects"),
        (
            lambda: models.tuned_generator((4, 4)),
            {"recipe": "paper", "normalization": FixedNormalization({"A": ((0, 1), (0, 1))})},
            "it was trained with recipe paper",
        ),
    ],
)
def test_another_network_or_recipe_is_refused(tmp_path, network, saved, message):
    path = save(tmp_path / "other.h5", network(), **saved)
    with pytest.raises(InputError, match=f"--init_from={path}: {message}"):
        find_start(path, "tuned", TUNED).load_into(TUNED.started().build(0, 3, None))


def test_recipe_paper_takes_no_start(tmp_path):
    with pytest.raises(InputError, match="recipe paper starts from random weights"):
        find_start(str(tmp_path / "any.h5"), "paper", RECIPES["paper"].cgan)


def record_rows(batches, iterations):
    """(task, row) of the real pairs that a number of batches draw."""
    rows, patches = [], batches.real.patches

    def recorded(name, row, cut):
        rows.append((name, int(row)))
        return patches(name, row, cut)

    batches.real.patches = recorded
    for iteration in range(iterations):
        assert batches(iteration)["x"].shape == (batches.batch_size, 32, 32, 1)
    return rows


def test_the_end_of_every_batch_is_simulated_as_asked_and_the_rest_are_the_real_pairs_in_turn(pair_folder):
    tasks = load_tasks(pair_folder, images_limit=4)[0]
    sampling = Sampling(8, (32, 32), 3, [SIMULATED], mirror=True)
    rehearsed = PairBatches(tasks, one_scale(tasks), sampling, rehearsed=(SIMULATED, 0.25, simulated_pairs(3)))
    real = PairBatches(tasks, one_scale(tasks), sampling._replace(batch_size=6))
    drawn = [record_rows(batches, 3) for batches in (rehearsed, real)]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 18
    assert not np.array_equal(rehearsed(0)["x"][6:], rehearsed(1)["x"][6:])
    again = PairBatches(tasks, one_scale(tasks), sampling, rehearsed=(SIMULATED, 0.25, simulated_pairs(3)))
    assert all(np.array_equal(a, b) for a, b in zip(again(2).values(), rehearsed(2).values(), strict=True))


def test_a_share_of_nothing_changes_no_batch(pair_folder):
    tasks = load_tasks(pair_folder, images_limit=4)[0]
    sampling = Sampling(8, (32, 32), 3, [], mirror=True)
    plain, none = (
        PairBatches(tasks, one_scale(tasks), sampling),
        PairBatches(tasks, one_scale(tasks), sampling, rehearsed=None),
    )
    assert all(np.array_equal(a, b) for a, b in zip(plain(1).values(), none(1).values(), strict=True))


@pytest.mark.parametrize(
    "pairs, unpaired, share", [(1, 0, 1 / 4), (3, 0, 1 / 2), (10, 0, 10 / 13), (0, 10, 1 / 2), (3, 30, 12 / 15)]
)
def test_the_share_of_the_trained_weights_grows_with_the_images(pairs, unpaired, share):
    counts = replace(TUNED.fine_tuning, start_counts=3, unpaired_counts=0.3)
    assert counts.learned(pairs, unpaired) == pytest.approx(share)


def test_a_training_says_the_share_by_the_pixels_of_its_pairs(pair_folder, train, capsys):
    """8 pairs of 32 x 32 pixels are half of one of 128 x 128."""
    train(train_cGAN, "--recipe=tuned", "--images_limit=8")
    said = capsys.readouterr().out
    assert "Speckle: 8 training pairs" in said
    assert "is the mean of the trained one (14 %) and the start" in said


def test_a_run_of_version_3_goes_on_with_the_trained_weights_alone(train, capsys):
    run = train(train_cGAN, "--recipe=tuned")
    checkpoint = run / "checkpoints" / "000002.npz"
    with np.load(checkpoint) as stored:
        arrays = dict(stored)
    state = json.loads(str(arrays["state"]))
    state |= {"version": 3, "init_from_sha256": SHIPPED_BEFORE}
    np.savez(checkpoint, **{**arrays, "state": json.dumps(state)})
    capsys.readouterr()
    for _ in range(2):  # the second time from a checkpoint that the first has written
        train(train_cGAN, "--recipe=tuned", "--resume", "--num_iters=3")
        assert "is the mean of" not in capsys.readouterr().out
        assert RunFolder(run).read_state()["version"] == 3


def test_of_a_stack_the_trained_weights_alone_are_released_unless_the_run_was_begun_before(pair_folder, train, capsys):
    for task in load_tasks(pair_folder)[0]:
        (pair_folder / f"{task.name}_stack.json").write_text('{"stride": 4.0}')
    run = train(train_cGAN, "--recipe=tuned")
    said = capsys.readouterr().out
    assert "is the trained one" in said and "is the mean of" not in said
    checkpoint = run / "checkpoints" / "000002.npz"
    with np.load(checkpoint) as stored:
        arrays = dict(stored)
    state = json.loads(str(arrays["state"])) | {"version": 4}
    np.savez(checkpoint, **{**arrays, "state": json.dumps(state)})
    train(train_cGAN, "--recipe=tuned", "--resume", "--num_iters=3")
    assert "is the mean of" in capsys.readouterr().out


def test_fine_tuning_has_its_own_rate():
    part = replace(TUNED, fine_tuning=replace(TUNED.fine_tuning, rate=3e-5))
    assert part.started().adam.rate == 3e-5 and part.started().terms == TUNED.terms
