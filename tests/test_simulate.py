"""The simulator: physics by measure, the same images for the same seed, and the shipped sample."""

from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError
from data import simulate
from simulation import microscopes
from simulation.pairs import TASKS, simulate_pair

SAMPLE = Path(__file__).resolve().parents[1] / "data"


@pytest.mark.parametrize("task", TASKS)
def test_the_shipped_sample_is_what_the_simulator_makes(task):
    for suffix, index in (("", 0), ("", 39), ("_test", 9)):
        x, y = simulate_pair(task, 0, index + (40 if suffix else 0))
        stored = [np.load(SAMPLE / f"{task}_{kind}{suffix}.npy", mmap_mode="r") for kind in "XY"]
        assert stored[0].shape == stored[1].shape == ((10 if suffix else 40), 128, 128)
        # Libraries may round a count differently; nothing more.
        assert np.abs(stored[0][index].astype(int) - x).max() <= 1
        assert np.abs(stored[1][index].astype(int) - y).max() <= 1


def test_the_sample_is_small():
    assert sum(path.stat().st_size for path in SAMPLE.glob("*.npy")) < 10e6


@pytest.mark.parametrize("photons", [5.0, 50.0])
def test_camera_noise_has_the_stated_variance(photons):
    """Electrons: variance = photons (shot noise) + read noise squared."""
    electrons = microscopes.expose(np.random.default_rng(0), np.full((400, 400), photons))
    assert electrons.mean() == pytest.approx(photons, rel=0.01)
    assert electrons.var() == pytest.approx(photons + microscopes.READ_NOISE**2, rel=0.02)


def test_axial_defect_blurs_axis_0_only_and_keeps_every_kth_plane():
    rng = np.random.default_rng(0)
    scene = np.zeros((128, 128))
    scene[64, 64] = 1.0
    x = microscopes.axial_blur(rng, scene, 1e9)
    rows, columns = x.sum(axis=1), x.sum(axis=0)
    assert np.count_nonzero(columns > columns.max() / 100) == 1
    spread = np.sqrt(np.average((np.arange(128) - 64) ** 2, weights=np.clip(rows, 0, None)))
    interpolation = (microscopes.AXIAL_STEP**2 - 1) / 6  # variance that linear interpolation adds
    assert spread == pytest.approx(np.sqrt(microscopes.AXIAL_SIGMA**2 + interpolation), rel=0.05)
    planes = np.arange(0, 124, microscopes.AXIAL_STEP)
    assert np.allclose(x[planes + 2], (x[planes] + x[planes + microscopes.AXIAL_STEP]) / 2)


def test_coarse_camera_keeps_brightness_and_place():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:96, :96]
    scene = np.exp(-((rows - 40) ** 2 + (columns - 57) ** 2) / (2 * 6**2))
    x = microscopes.coarse_camera(rng, scene, 1e8) / 1e8
    assert x.sum() == pytest.approx(scene.sum(), rel=0.01)
    center = [np.average(axis, weights=np.clip(x, 1e-3, None) - 1e-3) for axis in (rows, columns)]
    assert center == pytest.approx([40, 57], abs=0.2)


def test_main_writes_sets_of_any_size_and_never_overwrites(tmp_path):
    flags = [f"--output={tmp_path}", "--n=2", "--n_test=1", "--size=50", "--seed=5"]
    assert simulate.main(simulate.make_parser().parse_args(flags)) == 0
    assert np.load(tmp_path / "Layers_X.npy").shape == (2, 50, 50)
    again, _ = simulate_pair("Layers", 5, 2, 50)
    assert np.array_equal(np.load(tmp_path / "Layers_X_test.npy")[0], again)
    assert len(list(tmp_path.iterdir())) == 12
    with pytest.raises(InputError, match="exists"):
        simulate.main(simulate.make_parser().parse_args(flags))
