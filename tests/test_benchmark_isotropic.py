"""`python -m benchmarks isotropic`: volumes alike along all axes, stacks blurred along z alone, scores in order."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from small_generators import identity_generator, metadata
from small_stacks import blobs

from benchmarks import isotropic
from restoring.generator_file import save_generator
from restoring.sampling import rows_at
from restoring.stacks import anisotropy, plane_positions


@pytest.fixture(scope="module", params=list(isotropic.VOLUMES))
def simulated(request):
    return isotropic.simulate(request.param, 46, 48)


def test_a_volume_is_alike_along_all_axes_and_its_stack_is_every_fifth_plane(simulated):
    truth, stack = simulated
    assert truth.shape == (46, 48, 48) and stack.shape == (10, 48, 48)
    assert 0.5 < anisotropy(truth, 1.0) < 2
    assert abs(stack.mean() / truth.mean() - 1) < 0.05
    fine = [np.mean(np.diff(truth, axis=axis) ** 2) for axis in (0, 1, 2)]
    assert max(fine) < 2 * min(fine)


def test_less_blur_scores_higher_and_richardson_lucy_gains(simulated):
    truth, stack = simulated
    linear = rows_at(stack, plane_positions(len(stack), isotropic.STEP))
    assert len(linear) == 46
    best = isotropic.score((linear + truth) / 2, truth)
    before = isotropic.score(linear, truth)
    assert best[0] > before[0] + 3 and best[1] > before[1]
    assert isotropic.score(isotropic.deconvolve(linear, truth), truth)[0] > before[0] - 1


def test_a_volume_alike_along_z_and_x_has_equal_power_and_a_blurred_one_less():
    volume = blobs(64, 64)
    assert np.abs(isotropic.spectra_along(volume)[:3]).max() < 0.2
    assert max(isotropic.spectra_along(gaussian_filter1d(volume, 3, axis=0))[1:3]) < -1


def test_points_stay_where_they_are_and_a_stretch_is_found(tmp_path, monkeypatch):
    save_generator(identity_generator(), tmp_path / "generator.h5", metadata())
    assert np.abs(isotropic.stretch(tmp_path / "generator.h5")).max() < 0.5
    plain = isotropic.restored

    def stretched(*received):
        volume = plain(*received)
        return rows_at(volume, np.minimum(np.arange(len(volume)) / 1.02, len(volume) - 1))

    monkeypatch.setattr(isotropic, "restored", stretched)
    assert isotropic.stretch(tmp_path / "generator.h5")[-1] == pytest.approx(0.02 * 190, abs=0.6)


def test_a_blur_that_grows_leaves_the_first_rows_sharp_and_keeps_what_is_even():
    rows = np.zeros((61, 1, 1))
    rows[[10, 50]] = 1
    blurred = isotropic.blurred_more(rows)[:, 0, 0]
    expected = [1 / np.sqrt(2 * np.pi * (1 + 4 * at / 60) ** 2) for at in (10, 50)]
    np.testing.assert_allclose(blurred[[10, 50]], expected, rtol=0.02)
    np.testing.assert_allclose(isotropic.blurred_more(np.ones((61, 2, 2))), 1)
