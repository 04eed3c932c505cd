"""Pictures and scores: what the log and the sample grids are made of."""

import numpy as np
import pytest
from matplotlib.image import imread

from devices import CHATTER
from evaluation import noise_level
from plots import save_before_after, save_loss_curves, save_sample_grid

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
