"""Any scene through any microscope: physics by measure, units, ranges, and every kind of defect."""

from collections import Counter

import numpy as np
import pytest

from data import simulate
from simulation.any_defect import simulate_any
from simulation.random_microscopes import KINDS, Microscope, draw_microscope, mean_reading, read, record
from simulation.random_scenes import random_scene
from simulation.structures import STRUCTURES, random_field

SIZE = 64


@pytest.fixture(scope="module")
def pairs():
    return [simulate_any(0, index, SIZE) for index in range(200)]


def test_a_pair_depends_on_seed_and_index_alone(pairs):
    again = simulate_any(0, 17, SIZE)
    assert np.array_equal(again.x, pairs[17].x) and np.array_equal(again.y, pairs[17].y)
    assert again.microscope == pairs[17].microscope
    for seed, index in ((1, 17), (0, 18)):
        assert not np.array_equal(simulate_any(seed, index, SIZE).y, again.y)


def test_images_have_the_stated_shape_unit_and_range(pairs):
    bright = []
    for x, y, _ in pairs:
        assert x.shape == y.shape == (SIZE, SIZE) and x.dtype == y.dtype == np.float32
        assert np.isfinite(x).all() and np.isfinite(y).all() and y.min() >= 0 and y.max() < 120
        bright.append(np.percentile(y, 99.5))
    assert 0.7 < np.median(bright) < 1.2


@pytest.mark.parametrize("size", [32, 65, 90])
def test_any_size_will_do(size):
    for kind in KINDS:
        assert simulate_any(0, 1, size, kind).x.shape == (size, size)


def test_every_kind_occurs_and_the_rare_properties_too(pairs):
    counts = Counter(pair.microscope.kind for pair in pairs)
    assert {kind for kind in KINDS if counts[kind] > 0.5 * len(pairs) * KINDS[kind]} == set(KINDS)
    drawn = [pair.microscope for pair in pairs]
    assert {m.binning for m in drawn} == {1, 2, 3, 4} and {m.step for m in drawn} >= {1, 2, 8}
    for name in ("tail", "read_noise", "quantum", "row_noise"):
        assert 0 < sum(getattr(m, name) > 0 for m in drawn) < len(drawn), name
    assert any(np.isfinite(m.offset) for m in drawn) and any(np.isfinite(m.saturation) for m in drawn)
    assert any(any(m.defects) for m in drawn) and any(any(m.smoothing) for m in drawn)


def test_photons_span_three_decades():
    photons = [draw_microscope(np.random.default_rng([0, i]), SIZE, "noise").photons for i in range(300)]
    assert min(photons) < 2 and max(photons) > 500 and 20 < np.median(photons) < 50


@pytest.mark.parametrize("kind", ["noise", "axial", "coarse", "blur", "mild"])
def test_flux_is_kept(kind):
    """The mean of x is that of y within noise and edges, whatever was drawn; defective pixels left out."""
    ratios = []
    for index in range(40):
        rng = np.random.default_rng([5, index])
        microscope = draw_microscope(rng, SIZE, kind)._replace(defects=(0, 0, 0, 0), row_noise=0.0)
        scene = np.clip(0.5 + 0.1 * random_field(rng, SIZE, 4), 0, None)  # without structures that an edge cuts
        x, y = record(rng, scene, microscope._replace(saturation=np.inf))
        ratios.append(x.mean() / y.mean())
    assert np.median(ratios) == pytest.approx(1, abs=0.005)
    assert np.percentile(np.abs(np.array(ratios) - 1), 90) < 0.05


@pytest.mark.parametrize("phase", [0, 2])
def test_axial_defect_keeps_the_planes_at_its_stride_and_interpolates_between(phase):
    scene = random_scene(np.random.default_rng(3), SIZE)
    x, y = record(np.random.default_rng(0), scene, Microscope("axial", step=4, phase=phase))
    planes = np.arange(phase, SIZE - 4, 4)
    assert np.allclose(x[planes], y[planes])
    assert np.allclose(x[planes + 1], 0.75 * y[planes] + 0.25 * y[planes + 4])


def test_axial_blur_is_along_axis_0_with_the_stated_width():
    scene = np.zeros((SIZE, SIZE))
    scene[32, 32] = 1.0
    x, _ = record(np.random.default_rng(0), scene, Microscope("axial", axial_sigma=3.0))
    assert np.count_nonzero(x.sum(axis=0) > 1e-6) == 1
    assert np.sqrt(np.average((np.arange(SIZE) - 32) ** 2, weights=x[:, 32])) == pytest.approx(3, rel=0.02)
    assert all(draw_microscope(np.random.default_rng(i), SIZE, "coarse").axial_sigma == 0 for i in range(50))


@pytest.mark.parametrize("binning", [2, 3, 4])
def test_coarse_pixels_are_means_of_fine_ones(binning):
    scene = random_scene(np.random.default_rng(4), 48)
    x, _ = record(np.random.default_rng(0), scene, Microscope("coarse", binning=binning, order=0))
    blocks = scene.reshape(48 // binning, binning, 48 // binning, binning).mean(axis=(1, 3))
    assert np.allclose(x, np.kron(blocks, np.ones((binning, binning))))


@pytest.mark.parametrize(("photons", "read_noise", "excess"), [(5, 0, 1), (50, 3, 1), (200, 6, 1.8)])
def test_noise_has_the_variance_of_photons_read_noise_and_excess(photons, read_noise, excess):
    microscope = Microscope("noise", photons=photons, read_noise=read_noise, excess=excess)
    image = read(np.random.default_rng(0), np.full((400, 400), 0.6), microscope)
    assert image.mean() == pytest.approx(0.6, rel=0.01)
    assert image.var() * photons**2 == pytest.approx(excess * 0.6 * photons + read_noise**2, rel=0.02)


@pytest.mark.parametrize(("read_noise", "excess", "offset"), [(0, 1, 0), (3, 1, 0), (2, 1.5, 1.0), (6, 2, 4.0)])
def test_truth_of_a_clipping_camera_is_the_mean_of_many_exposures(read_noise, excess, offset):
    photons = np.array([0.0, 0.3, 2.0, 8.0, 30.0, 500.0])
    microscope = Microscope("noise", photons=1.0, read_noise=read_noise, excess=excess, offset=offset)
    many = read(np.random.default_rng(0), np.repeat(photons[:, None], 400_000, axis=1), microscope).mean(axis=1)
    assert mean_reading(photons, microscope) == pytest.approx(many, rel=0.01, abs=0.04)


def test_saturated_regions_are_in_both_images_and_hot_pixels_in_x_alone():
    scene = np.full((SIZE, SIZE), 0.2)
    scene[20:40, 20:40] = 3.0
    x, y = record(np.random.default_rng(0), scene, Microscope("mild", saturation=0.9, defects=(5, 0, 0, 0)))
    assert np.allclose(y[20:40, 20:40], 0.9) and np.allclose(y[:20], 0.2)
    assert 1 <= np.count_nonzero(x - y) <= 5 and (x - y).min() >= 0


def test_a_mild_microscope_hardly_changes_an_image():
    errors = [np.mean((pair.x - pair.y) ** 2) for pair in (simulate_any(2, i, SIZE, "mild") for i in range(40))]
    assert -10 * np.log10(np.median(errors)) > 35


@pytest.mark.parametrize("name", list(STRUCTURES))
def test_structures_of_every_scale_are_images_with_light(name):
    for scale in (2.5, 10, 60):
        image = STRUCTURES[name](np.random.default_rng(1), SIZE, scale)
        assert image.shape == (SIZE, SIZE) and np.isfinite(image).all() and image.min() >= 0 and image.max() > 0


@pytest.mark.parametrize("slope", [1.0, 2.0])
def test_random_fields_have_the_stated_spectrum(slope):
    fields = [random_field(np.random.default_rng(i), 128, 1e6, slope) for i in range(30)]
    power = np.mean([np.abs(np.fft.rfft(field, axis=0)[4:33, :]) ** 2 for field in fields], axis=(0, 2))
    fitted = np.polyfit(np.log(np.arange(4, 33)), np.log(power), 1)[0]
    assert fitted == pytest.approx(-2 * slope + 1, abs=0.35)  # summed over the other axis


def test_the_command_writes_sets_of_the_family(tmp_path):
    flags = [f"--output={tmp_path}", "--kind=axial", "--n=2", "--n_test=1", "--size=48", "--seed=5"]
    assert simulate.main(simulate.make_parser().parse_args(flags)) == 0
    x = np.load(tmp_path / "Axial_X_test.npy")
    assert x.dtype == np.float32 and np.array_equal(x[0], simulate_any(5, 2, 48, "axial").x)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_pair_that_shows_nothing_is_drawn_again():
    """Index 3594 of seed 0 was saturated everywhere."""
    x, y, _ = simulate_any(0, 3594)
    assert np.ptp(x) > 0 and np.ptp(y) > 0
