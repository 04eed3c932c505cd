"""Pictures and scores: what the log and the sample grids are made of."""

import re

import numpy as np
import pytest
from matplotlib.image import imread
from PIL import Image

from animations import make_animations
from common.devices import CHATTER
from common.errors import InputError
from illustrations import make_illustrations
from training import plots
from training.evaluation import noise_level
from training.plots import save_before_after, save_loss_curves, save_sample_grid
from training.report import compare, save_latest

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("sigma", [1.0, 20.0])
def test_noise_level_is_the_deviation_of_white_noise(sigma):
    rows, columns = np.mgrid[:200, :200]
    smooth = 300 * np.sin(rows / 30) * np.cos(columns / 30)
    assert noise_level(smooth + RNG.normal(0, sigma, smooth.shape)) == pytest.approx(sigma, rel=0.05)


def test_sample_grid_is_gray_and_complete(tmp_path):
    images = [("x", RNG.random((16, 16)) * 100), ("restored", RNG.random((16, 16))), ("y", RNG.random((16, 16)))]
    picture = save_sample_grid(tmp_path / "grid.png", [("A", images), ("B", images)], "iteration 1")
    assert np.array_equal(picture[..., 0], picture[..., 2]), "colours on intensities"
    assert imread(tmp_path / "grid.png").shape[:2] == picture.shape[:2]


def test_loss_curves_and_strips_are_written(tmp_path):
    rows = [
        {"iteration": i, "seconds": i, "pixel": 1 / i, "affine_psnr_A": 20 + i, "gradient_pixel": 1} for i in (1, 2)
    ]
    save_loss_curves(tmp_path / "losses.png", rows)
    y = RNG.random((16, 20))
    save_before_after(tmp_path / "strip.png", [("A", [("input", y * 7), ("restored", y + 1)], y)])
    assert imread(tmp_path / "losses.png").std() > 0 and imread(tmp_path / "strip.png").std() > 0


def test_each_loss_has_axes_of_its_own_and_the_scores_share_one(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: drawn.append(figure))
    rows = [{"iteration": i, "seconds": i, "psnr": -20.0 - i, "ssim": 0.3 / i} for i in (1, 2, 3)]
    save_loss_curves(tmp_path / "losses.png", [{**row, "affine_psnr_A": 20, "affine_psnr_B": 21} for row in rows])
    first, second, scores = drawn[0].axes
    assert [axes.get_ylabel() for axes in drawn[0].axes] == ["loss psnr", "loss ssim", "PSNR (affine), dB"]
    assert first.get_ylim()[1] - first.get_ylim()[0] < 3 and second.get_ylim()[1] < 0.4, "progress is seen"
    assert len(scores.lines) == 2


@pytest.fixture
def evaluated(tmp_path):
    """A run folder with the samples of three evaluations of a task of 24 x 20 pixels, and its images."""
    y = RNG.random((24, 20)) * 1000
    images = {"x": y / 9 + RNG.normal(0, 30, y.shape), "restored": y / 9, "y": y}
    for iteration in (5, 10, 100000):
        save_sample_grid(tmp_path / f"run/samples/{iteration:06d}.png", [("A", list(images.items()))], f"{iteration}")
    save_latest(tmp_path / "run/samples/latest.npz", {}, {}, [("A", list(images.items()))])
    return tmp_path / "run", images


def test_restored_and_truth_are_compared_in_one_gray_range(evaluated):
    (_, before), (_, after), (_, beside) = compare(evaluated[1])
    assert np.array_equal(after, beside), "a restored image that is the truth on another scale must look like it"
    assert not np.array_equal(before, beside) and beside.min() == 0 and beside.max() == 255


def test_a_wipe_goes_from_input_to_restored(evaluated):
    (_, before), (_, after), _ = images = compare(evaluated[1])
    assert np.array_equal(make_animations.wipe(before, after, 0), before)
    assert np.array_equal(make_animations.wipe(before, after, 1), after)
    middle = make_animations.wipe(before, after, 0.5)
    assert np.array_equal(middle[:, :10], after[:, :10]) and np.array_equal(middle[:, 11:], before[:, 11:])
    frames, _ = make_animations.wipe_frames({"A": images})
    zoom = frames[0].shape[1] // before.shape[1]
    top = frames[0][make_animations.TITLE :][: before.shape[0] * zoom]
    assert np.array_equal(top[::zoom, ::zoom], before)
    last = frames[make_animations.STEPS][make_animations.TITLE :][: after.shape[0] * zoom]
    assert np.array_equal(last[::zoom, ::zoom], after)


def test_animations_are_gray_small_and_complete(evaluated, tmp_path):
    args = make_animations.make_parser().parse_args([str(evaluated[0]), f"--output={tmp_path}"])
    assert make_animations.main(args) == 0
    for name, count in (("wipe", 2 * make_animations.STEPS), ("progress", 3)):
        path = tmp_path / f"{name}.gif"
        with Image.open(path) as gif:
            assert gif.n_frames == count and gif.info["loop"] == 0 and path.stat().st_size <= make_animations.LARGEST
            red, green, blue = np.moveaxis(np.asarray(gif.convert("RGB")), -1, 0)
            assert np.array_equal(red, green) and np.array_equal(red, blue)


def test_noise_is_scaled_down_until_it_is_small(tmp_path):
    frames = list(RNG.integers(0, 256, (3, 500, 800), np.uint8))
    make_animations.save_gif(tmp_path / "noise.gif", frames, [100] * 3)
    assert (tmp_path / "noise.gif").stat().st_size <= make_animations.LARGEST


def test_a_folder_without_samples_is_told(tmp_path):
    args = make_animations.make_parser().parse_args([str(tmp_path), f"--output={tmp_path / 'out'}"])
    with pytest.raises(InputError, match="evaluated"):
        make_animations.main(args)
    assert not (tmp_path / "out").exists()


def test_illustrations_are_small_and_say_what_the_code_does(tmp_path):
    assert make_illustrations.main(make_illustrations.make_parser().parse_args([f"--output={tmp_path}"])) == 0
    for name in ("pipeline", "cin_layer", "losses", "networks"):
        drawn, shipped = (folder / f"{name}.svg" for folder in (tmp_path, make_illustrations.FOLDER))
        assert drawn.stat().st_size < 200_000
        texts = [
            re.search("<dc:description>(.*?)</dc:description>", p.read_text(), re.DOTALL) for p in (drawn, shipped)
        ]
        assert texts[0][1] == texts[1][1], f"{name}.svg is stale: run illustrations/make_illustrations.py"


@pytest.mark.parametrize(
    ("line", "chatter"),
    [
        ("I0000 00:00:1795433437.068810    2277 port.cc:153] oneDNN custom operations are on.", True),
        ("WARNING: All log messages before absl::InitializeLog() is called are written to STDERR", True),
        ("E0000 00:00:17.1 2360 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)", True),
        ("E0000 00:00:17.1 2360 allocator.cc:1] out of memory", False),
        ("Traceback (most recent call last):", False),
    ],
)
def test_only_known_chatter_is_held_back(line, chatter):
    assert bool(CHATTER.match(line)) == chatter


def test_the_spectrum_of_white_noise_is_its_variance_and_that_of_a_wave_a_peak():
    frequency, powers = zip(*(plots.radial_spectrum(RNG.normal(7, 3, (256, 200))) for _ in range(20)), strict=True)
    frequency, power = frequency[0], np.mean(powers, axis=0)
    assert frequency[0] == pytest.approx(1 / 200) and frequency[-1] <= 0.5 and len(power) == len(frequency) == 99
    assert power.mean() == pytest.approx(9, rel=0.05) and power[5:].max() < 2 * power[5:].min()
    frequency, power = plots.radial_spectrum(np.sin(2 * np.pi * np.arange(128) / 8) * np.ones((128, 1)))
    assert frequency[np.argmax(power)] == pytest.approx(1 / 8)
