"""x of a coarser camera, 2, 3 or 4 times smaller than y: enlarged on entry, in training and in use."""

import json

import numpy as np
import pytest
import tifffile
from small_generators import PAPER, identity_generator, metadata

import restore
import train_cGAN
from common.errors import InputError
from data import prepare_folders
from data_utils import enlarge, factors_of, load_tasks
from restoring.generator_file import Metadata, read_metadata, save_generator
from restoring.image_files import read_pairs
from restoring.normalization import PercentileNormalization

RNG = np.random.default_rng(0)


def binned(image, factor):
    """Mean of factor x factor pixels over the last two axes: the image of a camera with larger pixels."""
    *first, height, width = image.shape
    return image.reshape(*first, height // factor, factor, width // factor, factor).mean((-3, -1))


def wave(height, width, period):
    rows, columns = np.mgrid[:height, :width] + 0.5
    return 200 + 100 * np.cos(2 * np.pi * rows / period) * np.sin(2 * np.pi * columns / period)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_enlarging_undoes_a_coarser_camera_without_a_shift(factor):
    fine = wave(48 * factor, 60 * factor, 24 * factor)
    large = enlarge(binned(fine, factor), factor)
    assert large.shape == fine.shape and large.dtype == np.float32
    inner = (slice(4 * factor, -4 * factor),) * 2
    # Binning itself takes (sin(a) / a) squared of a wave, a = pi / 24.
    loss = np.sinc(1 / 24) ** 2
    assert np.abs((large - 200) / loss - (fine - 200))[inner].max() < 0.3
    assert large.mean() == pytest.approx(fine.mean(), rel=1e-3)


@pytest.fixture
def small_x(tmp_path):
    """Makes a pair set of 10 pairs, y 48 x 96, x so many times smaller; gives its folder."""

    def make(factor, name="A", suffix="", n=10):
        y = np.stack([wave(48, 96, 20 + i) for i in range(n)]) + RNG.normal(0, 5, (n, 48, 96))
        np.save(tmp_path / f"{name}_Y{suffix}.npy", y.astype(np.float32))
        np.save(tmp_path / f"{name}_X{suffix}.npy", binned(y, factor).astype(np.uint16))
        return tmp_path

    return make


@pytest.mark.parametrize("factor", [2, 3])
def test_a_smaller_x_trains_at_ys_size(small_x, factor):
    folder = small_x(factor)
    small_x(1, "Same")
    (task, same), notices = load_tasks(folder)
    assert task.shape == task.train_y.shape == (48, 96) and task.test_x.shape == (48, 96)
    stored = np.load(folder / "A_X.npy")
    for i, row in enumerate(task.train_x.rows):
        assert np.array_equal(task.train_x[i], enlarge(stored[row], factor))
        assert task.train_x[i] is task.train_x[i], "enlarged once"
    assert factors_of([task, same]) == {"A": factor}
    small = f"{48 // factor} x {96 // factor}"
    assert notices == [f"A: x of {small} pixels is enlarged to y's 48 x 96 (cubic splines), here and in use"]


def test_other_sizes_and_test_files_of_another_size_are_refused(small_x):
    folder = small_x(2)
    small_x(3, suffix="_test", n=2)
    with pytest.raises(InputError, match=r"A_X_test.npy has images of \(16, 32\), A_X.npy of \(24, 48\)"):
        load_tasks(folder)
    for side in (slice(None, 20), slice(None, 47)):
        np.save(folder / "A_X.npy", np.load(folder / "A_Y.npy")[:, :, side])
        with pytest.raises(InputError, match="2, 3 or 4 times smaller on both sides"):
            load_tasks(folder)


def test_the_factor_is_in_the_metadata_and_files_without_one_are_as_before():
    plain, coarse = metadata(), metadata(factors={"A": 2})
    assert "factors" not in json.loads(plain.to_json()) and plain.factor(None) == plain.factor("A") == 1
    assert json.loads(coarse.to_json())["factors"] == {"A": 2} and coarse.factor(None) == coarse.factor("A") == 2
    assert not coarse.needs_task
    both = PercentileNormalization({"A": (1, 0), "B": (1, 0)})
    assert Metadata("cGAN", "tuned", ["A", "B"], both, [], 8, factors={"A": 2}).needs_task
    for damaged in ({"A": 9}, {"B": 2}):
        with pytest.raises(InputError, match="factors"):
            metadata(factors=damaged).check()


@pytest.fixture
def generator(tmp_path):
    save_generator(identity_generator(), tmp_path / "generator.h5", metadata(factors={"A": 2}))
    return tmp_path / "generator.h5"


def run(generator, *flags):
    return restore.main(restore.make_parser().parse_args([f"--generator_path={generator}", *map(str, flags)]))


def test_restored_at_twice_the_size_with_half_the_pixel_size(generator, tmp_path, capsys):
    fine = wave(64, 80, 30)[None].repeat(3, 0).astype(np.float32)
    coarse = binned(fine, 2).astype(np.float32)
    sizes = {"PhysicalSizeX": 0.2, "PhysicalSizeY": 0.3, "PhysicalSizeXUnit": "µm", "PhysicalSizeZ": 1.0}
    tifffile.imwrite(tmp_path / "x.ome.tif", coarse, ome=True, metadata={"axes": "ZYX", **sizes})
    np.save(tmp_path / "y.npy", fine)
    target = tmp_path / "r.ome.tif"
    flags = f"--input={tmp_path / 'x.ome.tif'}", f"--output={target}", f"--ground_truth={tmp_path / 'y.npy'}"
    assert run(generator, *flags, "--uncertainty=4") == 0
    said = capsys.readouterr().out
    assert "enlarged 2 times" in said and "axes ZYX" in said and "3 x 64 x 80" in said and "flux 1.0" in said
    assert float(said.split("output affine ")[1].split(" dB")[0]) > 35
    with tifffile.TiffFile(target) as file:
        assert np.allclose(file.asarray(), [enlarge(plane, 2) for plane in coarse], atol=0.05)
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeY"], pixels["PhysicalSizeZ"]) == (0.1, 0.15, 1.0)
    assert tifffile.imread(tmp_path / "r.ome_uncertainty.tif").shape == fine.shape


def test_the_resolution_of_imagejs_tiffs_is_corrected(generator, tmp_path):
    coarse = binned(wave(64, 80, 30), 2).astype(np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", coarse, imagej=True, resolution=(12.5, 12.5), metadata={"unit": "um"})
    run(generator, f"--input={tmp_path / 'x.tif'}", f"--output={tmp_path / 'r.tif'}", "--dtype=uint16")
    with tifffile.TiffFile(tmp_path / "r.tif") as file:
        above, below = file.pages[0].tags["XResolution"].value
        assert above / below == 25 and file.pages[0].shape == (64, 80) and file.imagej_metadata["unit"] == "um"


def test_volumes_of_a_coarser_camera_are_an_error(generator, tmp_path):
    with pytest.raises(InputError, match="enlarges its images"):
        run(generator, f"--input={tmp_path / 'v.zarr'}", f"--output={tmp_path / 'r.zarr'}")


def test_pairs_of_evaluate_and_calibrate_may_differ_in_size(tmp_path):
    fine = RNG.random((2, 32, 32)).astype(np.float32)
    np.save(tmp_path / "y.npy", fine)
    np.save(tmp_path / "x.npy", binned(fine, 4))
    x, y = read_pairs(tmp_path / "x.npy", tmp_path / "y.npy")
    assert x[0].shape == y[0].shape == (32, 32)
    np.save(tmp_path / "x.npy", fine[:, :20, :20])
    with pytest.raises(InputError, match="sizes differ"):
        read_pairs(tmp_path / "x.npy", tmp_path / "y.npy")


@pytest.mark.parametrize("sides", [(35, 50), (33, 65)])
def test_prepared_patches_of_x_lie_on_those_of_y(tmp_path, sides):
    height, width = sides
    x = RNG.integers(0, 1000, (height, width)).astype(np.uint16)
    for kind, image in (("x", x), ("y", x.repeat(3, 0).repeat(3, 1))):
        (tmp_path / kind).mkdir()
        tifffile.imwrite(tmp_path / kind / "a.tif", image)
    words = [f"--x_dir={tmp_path}/x", f"--y_dir={tmp_path}/y", f"--output={tmp_path}/set"]
    prepare_folders.main(prepare_folders.make_parser().parse_args([*words, "--name=A", "--patch=48"]))
    x, y = (np.load(tmp_path / f"set/A_{kind}.npy") for kind in "XY")
    assert x.shape[1:] == (16, 16) and np.array_equal(x.repeat(3, 1).repeat(3, 2), y)
    with pytest.raises(InputError, match="pass --patch=30, a multiple"):
        prepare_folders.main(prepare_folders.make_parser().parse_args([*words, "--name=B", "--patch=32"]))


def test_trained_on_small_x_and_used_on_small_images(train, pair_folder, tmp_path):
    for task in ("Layers", "Speckle"):
        x = np.load(pair_folder / f"{task}_X.npy")
        np.save(pair_folder / f"{task}_X.npy", binned(x, 2).astype(np.uint16))
    folder = train(train_cGAN, "--recipe=tuned", "--init_from=none")
    assert read_metadata(folder / "generator.h5").factors == {"Layers": 2, "Speckle": 2}
    np.save(tmp_path / "x.npy", np.load(pair_folder / "Speckle_X.npy"))
    run(folder / "generator.h5", f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'r.npy'}")
    assert np.load(tmp_path / "r.npy").shape == np.load(pair_folder / "Speckle_Y.npy").shape


def test_a_package_for_other_tools_says_that_images_are_enlarged_before(generator, tmp_path, capsys):
    import export
    from restoring.model_zoo import Package, documentation

    package = Package(generator, tmp_path, "A", "Name of it", "A", "MIT")
    assert "zoom(x, 2, order=3" in documentation(package, metadata(factors={"A": 2}))
    assert "zoom" not in documentation(package, metadata()) + documentation(package, metadata(PAPER))
    words = [f"--generator_path={generator}", "--format=saved_model", f"--output={tmp_path / 'saved'}"]
    assert export.main(export.make_parser().parse_args(words)) == 0
    assert "A that were enlarged 2 times: scipy.ndimage.zoom(x, 2" in capsys.readouterr().out
