"""`python -m benchmarks isotropic`: volumes alike along all axes, stacks blurred along z alone, scores in order."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter1d
from small_generators import identity_generator, metadata
from small_stacks import blobs, blurred_stack, write_imagej

from benchmarks import isotropic
from common.errors import InputError
from restoring.generator_file import save_generator
from restoring.image_files import read_image
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


def test_a_cell_is_mean_and_deviation_and_says_where_volumes_are_missing():
    found = {"nuclei 0": [20.0, 0.5], "nuclei 1": [22.0, 0.7], "membranes 0": [18.0, 0.25]}
    assert isotropic.cell(found, "nuclei", [0, 1]) == "21.00 ± 1.41 / 0.600"
    assert isotropic.cell(found, "membranes", [0, 1]) == "18.00 / 0.250 (seed 0)"
    assert isotropic.cell(found, "filaments", [0, 1]) == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"picture": "a.png", "depth_ranges": 2}, "leave out --depth_ranges"),
        ({"minutes": 1, "side": 64}, "--side=64: IsotropicCARE is trained on patches of 64 pixels; use 69"),
    ],
)
def test_settings_that_cannot_be_measured_are_one_line(words, message, tmp_path):
    pytest.importorskip("csbdeep", reason="requirements/baselines.txt is not installed")
    with pytest.raises(InputError, match=message):
        isotropic.main(output=tmp_path / "out", **words)
    assert not (tmp_path / "out").exists()


def test_real_stacks_are_compared_as_interpolated_restored_and_trained_on(tmp_path, monkeypatch):
    """The generator gives its input back, and the training stands in: a volume without z's blur."""
    write_imagej(tmp_path / "a.tif", blurred_stack(blobs(41, 40)))
    save_generator(identity_generator(), tmp_path / "generator.h5", metadata())
    asked = []

    def trained(path, folder, minutes, *how):
        asked.append((path, folder.name, minutes, how))
        np.save(folder / "volume.npy", blobs(41, 40))
        return read_image(folder / "volume.npy", "ZYX")

    monkeypatch.setattr(isotropic, "trained", trained)
    sections = {}
    places = (f"{tmp_path}/a.tif", tmp_path / "generator.h5", tmp_path / "out")
    rows = list(isotropic.compare_real(*places, 3, sections, "--average=8"))
    assert [row[0] for row in rows] == ["a, interpolated", f"a, {tmp_path}/generator.h5", "a, isotropic.py"]
    assert asked == [(tmp_path / "a.tif", "0_a", 3, ("--average=8",))]
    before, same, after = (np.array(row[1:], float) for row in rows)
    np.testing.assert_allclose(before, same, atol=0.05)
    assert np.abs(after[:3]).max() < 0.2 < np.abs(before[:3]).max()
    assert [section.shape for section in sections["a"].values()] == [(41, 40)] * 3
    isotropic.draw(tmp_path / "a.png", sections, width=6)
    assert Image.open(tmp_path / "a.png").width == 660


@pytest.mark.slow
def test_csbdeep_trains_and_its_rows_lie_where_they_belong():
    """The last rows are most like the truth's at a shift of 0, not of some as csbdeep aligns them."""
    pytest.importorskip("csbdeep", reason="requirements/baselines.txt is not installed")
    truth, stack = isotropic.simulate("nuclei", 96, 80)
    volume = isotropic.isotropic_care(stack, 0.3, 1.0)
    assert volume.shape == truth.shape
    last = [np.corrcoef(volume[86:94].ravel(), truth[86 + shift : 94 + shift].ravel())[0, 1] for shift in (-2, 0, 2)]
    assert max(last) == last[1] > 0.8
