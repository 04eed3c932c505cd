"""Memory that restoring an image takes beyond what the network does: bytes a pixel that NumPy allocates."""

import tracemalloc

import numpy as np
import pytest
import tifffile
from small_generators import identity_generator, metadata

import restore
from common import memory
from common.memory import strips
from common.metrics import Moments, intensities
from restoring.generator_file import save_generator
from restoring.image_files import to_dtype

RNG = np.random.default_rng(0)


@pytest.fixture
def allocated(tmp_path, monkeypatch):
    """Run restore.py on a uint16 image of 1024 x 2000 pixels, in tiles; gives the most bytes a pixel at once."""
    monkeypatch.setattr(memory, "STRIP", 2**13)
    save_generator(identity_generator(), tmp_path / "generator.h5", metadata(margin=16))
    for name, shape in (("warm", (300, 300)), ("x", (1024, 2000))):
        tifffile.imwrite(tmp_path / f"{name}.tif", RNG.poisson(200, shape).astype(np.uint16))

    def run(*flags):
        for name in ("warm", "x"):  # The first call imports and compiles.
            files = [f"--input={tmp_path / f'{name}.tif'}", f"--output={tmp_path / f'{name}_restored.tif'}"]
            args = [f"--generator_path={tmp_path / 'generator.h5'}", *files, "--tile=128", "--overlap=16", *flags]
            tracemalloc.start()
            try:
                assert restore.main(restore.make_parser().parse_args(args)) == 0
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        return peak / (1024 * 2000)

    return run


@pytest.mark.parametrize(("flags", "most"), [((), 16), (("--dtype=uint16",), 16), (("--average=8",), 20)])
def test_a_restoration_takes_few_bytes_a_pixel(flags, most, allocated):
    """The input's 2, and 4 each of the normalised, the blended and the restored image; averaged, 4 of the sum more."""
    assert allocated(*flags) < most


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (100, 33), (5, 10**6)])
def test_strips_cover_every_row_once(shape, monkeypatch):
    monkeypatch.setattr(memory, "STRIP", 100)
    rows = [row for part in strips(np.broadcast_to(0, shape)) for row in range(shape[0])[part]]
    assert rows == list(range(shape[0]))


def test_strips_change_no_number(monkeypatch):
    image = RNG.normal(200, 90, (3, 41, 30)).astype(np.float32)
    monkeypatch.setattr(memory, "STRIP", 100)
    values, clipped = to_dtype(image, "uint8")
    assert np.array_equal(values, np.clip(np.round(image), 0, 255).astype(np.uint8))
    assert clipped == np.sum((np.round(image) < 0) | (np.round(image) > 255)) > 0
    x = RNG.poisson(200, (41, 30)).astype(np.uint16)
    slope, offset = np.polyfit(x.ravel(), image[0].ravel().astype(float), 1)
    assert intensities(image[0], x) == pytest.approx((slope, offset, image[0].mean(dtype=float) / x.mean()), rel=1e-9)
    parts = [Moments.of(image[0][part], x[part]) for part in np.split(np.arange(41), [7, 20])]
    assert Moments.merged(parts) == pytest.approx(Moments.of(image[0], x), rel=1e-9)
    assert Moments.merged(parts).variance == pytest.approx(x.var(), rel=1e-9)
