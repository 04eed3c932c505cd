"""Divergence: noticed, named, nothing of it saved, and mended by other batches where that is asked for."""

import csv

import numpy as np
import pytest

import models
import train_cGAN
from methods import batches
from restoring.generator_file import load_generator
from training import run as launch
from training.loop import COLLAPSED, DivergenceError, check_losses

FLAGS = ["--recipe=tuned", "--init_from=none", "--num_iters=6", "--eval_every=2", "--save_every=2"]


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    """The loop is tested, not the machine."""
    generator = models.tuned_generator
    monkeypatch.setattr(models, "tuned_generator", lambda: generator((4, 4, 4)))


@pytest.fixture
def poisoned(monkeypatch):
    """Batches of the run's own seed hold a NaN from iteration 3 on; those of other seeds too, if `always`."""

    def poison(always):
        make = batches.PairBatches.__call__

        def call(self, iteration):
            batch = make(self, iteration)
            if iteration >= 3 and (always or self.seed == 42):
                batch["x"][0, 0, 0, 0] = np.nan
            return batch

        monkeypatch.setattr(batches.PairBatches, "__call__", call)

    return poison


def test_stop_names_the_loss_and_keeps_the_last_good_state(train, poisoned, tmp_path):
    poisoned(always=True)
    with pytest.raises(DivergenceError, match=r"was nan at iteration 4 .* iteration 2 is kept: go on with --resume"):
        train(train_cGAN, *FLAGS)
    run = tmp_path / "run" / "Microscopy_cGAN_results"
    assert [path.name for path in run.glob("checkpoints/*.npz")] == ["000002.npz"]
    model, _ = load_generator(run / "generator.h5")
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_rollback_goes_on_with_other_batches(train, poisoned, capsys):
    poisoned(always=False)
    run = train(train_cGAN, *FLAGS, "--on_divergence=rollback")
    assert "back at iteration 2, with other batches (rollback 1)" in capsys.readouterr().out
    with open(run / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["iteration"] for row in rows] == ["2", "4", "6"] and np.isfinite(float(rows[-1]["psnr"]))


def test_rollback_before_the_first_save_and_its_end(train, poisoned, capsys, monkeypatch):
    monkeypatch.setattr(launch, "MOST_ROLLBACKS", 1)
    poisoned(always=True)
    with pytest.raises(DivergenceError):
        train(train_cGAN, "--recipe=tuned", "--init_from=none", "--num_iters=5", "--on_divergence=rollback")
    assert capsys.readouterr().out.count("back at iteration 0") == 1


def test_a_collapsed_discriminator_is_named():
    check_losses({"discriminator": 2 * COLLAPSED, "critic": 0.0}, 10)
    with pytest.raises(DivergenceError, match=r"discriminator has collapsed .* by iteration 10"):
        check_losses({"discriminator": COLLAPSED / 2}, 10)
