"""generators/any_defect.h5 is what its card says, and restores what it has never seen."""

import hashlib

import numpy as np
import pytest

import models
import restore
from benchmarks.outliers import SHAPES, measure
from common.metrics import mean_scores
from data_utils import SCRIPT_DIR
from restoring.apply import Applier
from restoring.generator_file import SHIPPED, read_metadata
from restoring.normalization import Scale
from simulation.any_defect import simulate_any


@pytest.fixture(scope="module")
def apply():
    return Applier.load(SHIPPED)


def test_the_file_is_that_of_its_card():
    card = SHIPPED.with_name("README.md").read_text()
    assert hashlib.sha256(SHIPPED.read_bytes()).hexdigest() in card
    assert SHIPPED.stat().st_size < 3e6
    metadata = read_metadata(SHIPPED)
    assert (metadata.recipe, metadata.needs_task, metadata.no_rotate) == ("any_defect", False, metadata.tasks)


@pytest.mark.parametrize("task, decibels", [("Layers", 2), ("Nuclei", 9), ("Tubules", 0.5)])
def test_the_shipped_sample_gains_without_any_training(apply, task, decibels):
    x, y = (list(np.load(SCRIPT_DIR / f"data/{task}_{kind}_test.npy")) for kind in "XY")
    before = mean_scores([image.astype(np.float32) for image in x], y)["affine_psnr"]
    assert mean_scores([apply(image, None) for image in x], y)["affine_psnr"] > before + decibels


def test_its_network_is_that_of_recipe_tuned(apply):
    trained, new = apply.network, models.tuned_generator()
    assert [type(layer) for layer in trained.layers] == [type(layer) for layer in new.layers]
    new.set_weights(trained.get_weights())
    x = np.random.default_rng(4).random((1, 32, 32, 1), np.float32)
    x[0, 9, 9] = 50
    np.testing.assert_allclose(trained(x), new(x), rtol=1e-5, atol=1e-5)


def test_restoring_without_a_generator_says_which_one_it_takes(tmp_path, capsys):
    x = np.load(SCRIPT_DIR / "data/Nuclei_X_test.npy")[:1]
    np.save(tmp_path / "x.npy", x)
    args = restore.make_parser().parse_args([f"--input={tmp_path}/x.npy", f"--output={tmp_path}/r.npy"])
    assert restore.main(args) == 0
    assert "with the shipped generator, generators/any_defect.h5" in capsys.readouterr().out
    assert np.load(tmp_path / "r.npy").shape == x.shape


@pytest.mark.parametrize("shape", SHAPES)
def test_where_it_hides_nothing_an_outlier_changes_nothing_3_pixels_away_and_keeps_its_height(apply, shape):
    x = simulate_any(1, 3, 512, "noise", 50.0).x
    plain = apply(x, None)
    low, high = (measure(apply, x, plain, SHAPES[shape], height) for height in (5, 60_000))
    assert low[:2] == high[:2] and high[1] <= 3 and low[2] == pytest.approx(high[2], abs=0.001) and high[2] < 0.02
    assert low[3] == pytest.approx(1, abs=0.05) and high[3] == pytest.approx(1, abs=0.001)


# As docs/trust.md says: the worst of its four images.
@pytest.mark.parametrize(
    "shape, reach, most",
    [("pixel", 1, 0.005), ("3 x 3", 1, 0.007), ("bead, 10 x 10", 5.1, 0.035), ("line, 1 x 100", 7.1, 0.025)],
)
def test_the_reach_of_an_outlier_is_that_of_the_page(apply, shape, reach, most):
    found = []
    for index in range(4):
        x = simulate_any(1, index, 512, "noise", 50.0).x
        found.append(measure(apply, x, apply(x, None), SHAPES[shape], 60_000, same_percentiles=True))
    _, reaches, beyond, _ = np.max(found, axis=0)
    assert reaches <= reach and beyond <= most


def test_noise_without_a_signal_stays_without_structure(apply):
    """Of pure noise hardly anything is left, and nothing that looks like structure: no local mean moves."""
    x = 100 + 10 * np.random.default_rng(2).standard_normal((256, 256))
    restored = apply(x.astype(np.float32), None)
    assert restored.std() < 0.2 * x.std() and abs(restored.mean() - x.mean()) < 0.1 * x.std()


def test_pixels_beyond_what_the_network_looks_at_are_counted(apply):
    x = np.random.default_rng(3).random((64, 64), np.float32)
    assert apply.count_beyond(x, Scale(0.0, 1.0)) == 0
    x[3, 4], x[5, 6:9], x[7, 8] = 60, 2.9, -1.5
    assert apply.count_beyond(x, Scale(0.0, 1.0)) == 5
    assert Applier(None, apply.metadata, 0, models.paper_generator()).count_beyond(x, Scale(0.0, 1.0)) == 0
