"""restore.py: files that keep shape and metadata, scores, every mistake in one line."""

import keras
import numpy as np
import pytest
import tifffile
from small_generators import PAPER, cin_generator, identity_generator, local_mean_generator, metadata

import models
import restore
from common.errors import InputError
from restoring import apply as inference
from restoring.generator_file import Metadata, save_generator
from restoring.image_files import find_images, read_image, write_image
from restoring.normalization import FixedNormalization

RNG = np.random.default_rng(0)


@pytest.fixture
def generator(tmp_path):
    save_generator(identity_generator(), tmp_path / "generator.h5", metadata())
    return tmp_path / "generator.h5"


def run(generator, *flags):
    return restore.main(restore.make_parser().parse_args([f"--generator_path={generator}", *map(str, flags)]))


@pytest.mark.parametrize("shape", [(33, 47), (3, 33, 47), (2, 40, 40, 1)])
def test_npy_keeps_its_shape(shape, generator, tmp_path):
    stack = RNG.gamma(2, 100, shape).astype(np.float32)
    np.save(tmp_path / "x.npy", stack)
    assert run(generator, f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'r.npy'}") == 0
    restored = np.load(tmp_path / "r.npy")
    assert restored.dtype == np.float32 and np.allclose(restored, stack, rtol=1e-3, atol=0.1)


def test_imagej_stack_keeps_axes_and_pixel_size(generator, tmp_path):
    stack = RNG.integers(0, 4000, (2, 3, 32, 40)).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "x.tif",
        stack,
        imagej=True,
        resolution=(12.5, 12.5),
        metadata={"axes": "TZYX", "spacing": 0.3, "unit": "um"},
    )
    assert run(generator, f"--input={tmp_path / 'x.tif'}", f"--output={tmp_path / 'r.tif'}", "--dtype=uint16") == 0
    with tifffile.TiffFile(tmp_path / "r.tif") as file:
        assert file.series[0].axes == "TZYX" and file.imagej_metadata["spacing"] == 0.3
        assert file.imagej_metadata["unit"] == "um" and file.pages[0].tags["XResolution"].value == (25, 2)
        assert np.abs(file.asarray().astype(float) - stack).max() <= 1


@pytest.fixture
def ome_tiff(tmp_path):
    """A TCZYX OME-TIFF with pixel sizes, time, names, colours and wavelengths; (path, values)."""
    stack = RNG.integers(0, 4000, (2, 2, 3, 32, 40)).astype(np.uint16)
    channels = {
        "Name": ["actin", "DNA"],
        "Color": [-16776961, 65535],
        "EmissionWavelength": [520.0, 461.0],
        "EmissionWavelengthUnit": ["nm"] * 2,
    }
    sizes = {f"PhysicalSize{axis}": size for axis, size in (("X", 0.1), ("Y", 0.2), ("Z", 0.3))}
    sizes |= {f"PhysicalSize{axis}Unit": "µm" for axis in "XYZ"} | {"TimeIncrement": 1.5, "TimeIncrementUnit": "min"}
    details = {"axes": "TCZYX", "Name": "field 3", **sizes, "Channel": channels}
    tifffile.imwrite(tmp_path / "x.ome.tif", stack, metadata=details)
    return tmp_path / "x.ome.tif", stack


def test_ome_tiff_keeps_axes_pixel_sizes_and_channels(generator, ome_tiff, tmp_path, capsys):
    path, stack = ome_tiff
    assert run(generator, f"--input={path}", f"--output={tmp_path / 'r.ome.tif'}") == 0
    assert f"{path}: axes TCZYX (from its metadata), 2 x 2 x 3 x 32 x 40, uint16" in capsys.readouterr().out
    with tifffile.TiffFile(tmp_path / "r.ome.tif") as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        assert file.series[0].axes == "TCZYX" and file.series[0].dtype == np.float32
        assert [pixels[f"PhysicalSize{axis}"] for axis in "XYZ"] == [0.1, 0.2, 0.3]
        assert [channel["Name"] for channel in pixels["Channel"]] == ["actin", "DNA"]
        np.testing.assert_allclose(file.asarray(), stack, rtol=1e-3, atol=0.5)


def test_an_independent_reader_finds_the_same_ome_metadata(generator, ome_tiff, tmp_path):
    """ome-types validates the XML against OME's schema and knows nothing of tifffile."""
    ome_types = pytest.importorskip("ome_types", reason="requirements/dev.txt is not installed")
    path, _ = ome_tiff
    run(generator, f"--input={path}", f"--output={tmp_path / 'r.ome.tif'}", "--dtype=uint16")
    (before,), (after,) = (ome_types.from_tiff(file).images for file in (path, tmp_path / "r.ome.tif"))
    kept = "size_x size_y size_z size_c size_t dimension_order type physical_size_x physical_size_y physical_size_z "
    kept += "physical_size_x_unit physical_size_z_unit time_increment time_increment_unit"
    for name in kept.split():
        assert getattr(after.pixels, name) == getattr(before.pixels, name) is not None, name
    assert after.name == before.name == "field 3"
    assert (after.pixels.size_t, after.pixels.size_c, after.pixels.size_z) == (2, 2, 3)
    for name in "name color emission_wavelength emission_wavelength_unit".split():
        found = [[getattr(channel, name) for channel in image.pixels.channels] for image in (before, after)]
        assert found[0] == found[1] and None not in found[0], name


def write_axes(path, stack, axes):
    """An array whose axes are in another order than ZYX."""
    turned = np.transpose(stack, ["ZYX".index(letter) for letter in axes])
    if path.suffix == ".npy":
        np.save(path, turned)
    else:
        tifffile.imwrite(path, turned, photometric="minisblack", metadata={"axes": axes})
    return turned


@pytest.mark.parametrize("suffix, guess", [(".npy", "guessed from its shape"), (".tif", "from its metadata")])
@pytest.mark.parametrize("axes", ["ZYX", "YXZ", "XZY"])
def test_axes_that_are_given_say_what_an_image_is(suffix, guess, axes, tmp_path, capsys):
    """A generator that averages along x: only right where x is known; the file keeps the order of its axes."""
    image = keras.Input((None, None, 1))
    mean = keras.layers.Conv2D(1, (1, 3), padding="same", use_bias=False, kernel_initializer="ones")(image)
    save_generator(keras.Model(image, keras.layers.Rescaling(1 / 3)(mean)), tmp_path / "generator.h5", metadata())
    stack = RNG.gamma(2, 100, (5, 32, 40)).astype(np.float32)
    source, target = tmp_path / f"x{suffix}", tmp_path / f"r{suffix}"
    turned = write_axes(source, stack, axes)
    flags = [f"--input={source}", f"--output={target}"]
    if axes == "ZYX":
        run(tmp_path / "generator.h5", *flags)
        assert f"({guess})" in capsys.readouterr().out
    run(tmp_path / "generator.h5", *flags, f"--axes={axes.lower()}", "--overwrite")
    size = " x ".join(map(str, turned.shape))
    assert f"{source}: axes {axes} (as given), {size}, float32" in capsys.readouterr().out
    found = read_image(target, axes)
    assert found.shape == turned.shape
    expected = (stack[:, :, :-2] + stack[:, :, 1:-1] + stack[:, :, 2:]) / 3
    np.testing.assert_allclose(found.planes[:, :, 1:-1], expected, rtol=1e-3, atol=0.5)
    assert suffix == ".npy" or tifffile.TiffFile(target).series[0].axes == axes


def test_axes_of_an_array_are_written_into_a_tiff(generator, tmp_path):
    np.save(tmp_path / "x.npy", RNG.random((2, 3, 32, 40)))
    run(generator, f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'r.tif'}", "--axes=TCYX")
    assert tifffile.TiffFile(tmp_path / "r.tif").series[0].axes == "TCYX"


@pytest.mark.parametrize(
    "axes, message",
    [("ZYX", "names 3 dimensions"), ("ZZYX", "different"), ("TCZY", "Y and X among"), ("4YX", "letters")],
)
def test_axes_that_cannot_be_are_told(axes, message, generator, tmp_path, capsys):
    np.save(tmp_path / "x.npy", RNG.random((2, 3, 32, 40)))
    with pytest.raises((InputError, SystemExit)) as failure:
        run(generator, f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'r.npy'}", f"--axes={axes}")
    assert message in str(failure.value) + capsys.readouterr().err
    assert not (tmp_path / "r.npy").exists()


def test_plain_tiff_keeps_its_resolution(generator, tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", RNG.random((32, 32)).astype(np.float32), resolution=(300, 300))
    source = read_image(tmp_path / "x.tif")
    write_image(tmp_path / "r.tif", source, source.planes)
    with tifffile.TiffFile(tmp_path / "r.tif") as file:
        assert file.pages[0].tags["XResolution"].value == (300, 1) and file.asarray().shape == (32, 32)


def test_folder_to_folder_with_scores(generator, tmp_path, capsys):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", RNG.random((16, 16)) * 100)
        tifffile.imwrite(tmp_path / name / "b.tif", (RNG.random((16, 16)) * 100).astype(np.float32))
    folders = [f"--input={tmp_path / 'x'}", f"--output={tmp_path / 'r'}", f"--ground_truth={tmp_path / 'y'}"]
    assert run(generator, *folders) == 0
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["a.npy", "b.tif"]
    output = capsys.readouterr().out
    assert output.count("input ") == output.count("output ") == 2 and "affine" in output and "paper" in output


def test_clipping_is_counted(generator, tmp_path, capsys):
    image = np.linspace(-10, 300, 32 * 32).reshape(32, 32)
    np.save(tmp_path / "x.npy", image)
    run(generator, f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'r.npy'}", "--dtype=uint8")
    clipped = int(((image.round() < 0) | (image.round() > 255)).sum())
    assert f"{clipped} of 1024 pixels clipped" in capsys.readouterr().out
    assert np.load(tmp_path / "r.npy").dtype == np.uint8


def mistakes(folder):
    np.save(folder / "x.npy", RNG.random((16, 16)))
    np.save(folder / "nan.npy", np.full((16, 16), np.nan))
    (folder / "bad.tif").write_bytes(b"II*\0" + bytes(20))
    tifffile.imwrite(folder / "rgb.tif", np.zeros((16, 16, 3), np.uint8), photometric="rgb")
    (folder / "there.npy").write_bytes(b"mine")
    return {
        "task": (["--task=B", "--input=x.npy", "--output=r.npy"], "knows A"),
        "missing": (["--input=none.npy", "--output=r.npy"], "no such file or folder"),
        "nan": (["--input=nan.npy", "--output=r.npy"], "NaN"),
        "damaged": (["--input=bad.tif", "--output=r.tif"], "cannot be read as TIFF"),
        "colour": (["--input=rgb.tif", "--output=r.tif"], "colour image"),
        "itself": (["--input=x.npy", "--output=x.npy", "--overwrite"], "would overwrite the input"),
        "exists": (["--input=x.npy", "--output=there.npy"], "exists"),
        "suffix": (["--input=x.npy", "--output=r.jpg"], "expected a name in .npy"),
        "passes": (["--input=x.npy", "--output=r.npy", "--uncertainty=9"], "there are 8 passes"),
        "truth": (["--input=x.npy", "--output=r.npy", "--ground_truth=."], "would overwrite the input"),
        "overlap": (["--input=x.npy", "--output=r.npy", "--tile=64", "--overlap=40"], "at most half"),
    }


@pytest.mark.parametrize("mistake", "task missing nan damaged colour itself exists overlap suffix passes truth".split())
def test_mistakes_are_named_and_nothing_is_touched(mistake, generator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags, message = mistakes(tmp_path)[mistake]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=message):
        run(generator, *flags)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("tile", [64, 65, 100, 127])
def test_the_default_overlap_follows_the_tile(tile, tmp_path):
    """Half of a small tile at most; tiles of the network's multiples then still fit."""
    save_generator(local_mean_generator(), tmp_path / "generator.h5", metadata())
    np.save(tmp_path / "x.npy", RNG.gamma(2, 100, (150, 140)).astype(np.float32))
    source = f"--input={tmp_path / 'x.npy'}"
    assert run(tmp_path / "generator.h5", source, f"--output={tmp_path / 'tiles.npy'}", f"--tile={tile}") == 0
    assert run(tmp_path / "generator.h5", source, f"--output={tmp_path / 'whole.npy'}") == 0
    tiled, whole = np.load(tmp_path / "tiles.npy"), np.load(tmp_path / "whole.npy")
    np.testing.assert_allclose(tiled, whole, rtol=1e-4, atol=0.01)


@pytest.mark.parametrize("names", [("a.npy", "a_check.npy"), ("a.npy", "A.npy"), ("B_check.npy", "b.npy")])
def test_two_outputs_under_one_name_are_told_before_anything_is_written(names, generator, tmp_path):
    (tmp_path / "x").mkdir()
    for name in names:
        np.save(tmp_path / "x" / name, RNG.random((16, 16)))
    if len(list((tmp_path / "x").iterdir())) < 2:
        pytest.skip("this file system does not tell a from A")
    flags = [f"--input={tmp_path / 'x'}", f"--output={tmp_path / 'r'}", "--check"]
    flags.append(f"--cin_generator_path={cin_generator(tmp_path)}")
    with pytest.raises(InputError, match=r"would both write .*; rename one of them"):
        run(generator, *flags, "--task=A")
    assert not (tmp_path / "r").exists()


def test_fixed_normalisation_needs_the_task(tmp_path):
    two = FixedNormalization({"A": ((0, 1), (0, 1)), "B": ((0, 1), (0, 1))})
    details = Metadata("cGAN", "paper", ["A", "B"], two, [], 4)
    save_generator(identity_generator(), tmp_path / "generator.h5", details)
    np.save(tmp_path / "x.npy", RNG.random((16, 16)))
    with pytest.raises(InputError, match="needs --task, one of A, B"):
        run(tmp_path / "generator.h5", f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'r.npy'}")


def test_a_cin_gan_of_one_task_is_no_restorer(tmp_path):
    save_generator(models.tuned_cin_generator(1), tmp_path / "cin.h5", metadata(PAPER, "CIN-GAN", noise_channels=1))
    np.save(tmp_path / "x.npy", RNG.gamma(2, 100, (32, 32)))
    flags = [f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'r.npy'}"]
    with pytest.raises(InputError, match=r"makes clean images defective and cannot restore; .* --task, one of A"):
        run(tmp_path / "cin.h5", *flags)
    assert not (tmp_path / "r.npy").exists()
    assert run(tmp_path / "cin.h5", *flags, "--task=A") == 0


@pytest.mark.parametrize("build", [models.tuned_generator, models.paper_generator])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_gives_nearly_the_same_image_in_float32(build, precision):
    model = build()
    image = RNG.standard_normal((1, 16, 16, 1)).astype(np.float32)
    expected = model.predict(image, verbose=0)
    lower = inference.in_precision(model, precision).predict(image, verbose=0)
    assert lower.dtype == np.float32 and not np.array_equal(lower, expected)
    assert np.abs(lower - expected).max() < 0.03 * np.ptp(expected)


def test_png_is_read_and_written_in_whole_numbers_only(tmp_path, generator):
    from PIL import Image

    image = RNG.integers(0, 60000, (40, 48)).astype(np.uint16)
    Image.fromarray(image).save(tmp_path / "x.png")
    assert run(generator, f"--input={tmp_path}/x.png", f"--output={tmp_path}/r.png", "--dtype=uint16") == 0
    assert np.abs(read_image(tmp_path / "r.png").planes[0].astype(float) - image).max() <= 1
    with pytest.raises(InputError, match="PNG cannot hold float32"):
        run(generator, f"--input={tmp_path}/x.png", f"--output={tmp_path}/s.png")
    assert run(generator, f"--input={tmp_path}/x.png", f"--output={tmp_path}/s.tif") == 0


def test_defects_are_not_averaged(tmp_path):
    model = models.tuned_cin_generator(1)
    save_generator(model, tmp_path / "cin.h5", metadata(PAPER, "CIN-GAN", noise_channels=1))
    with pytest.raises(InputError, match="less noise than one"):
        run(tmp_path / "cin.h5", "--task=A", "--average=8", "--input=x.npy", "--output=r.npy")


def test_one_image_finds_its_partner_in_a_folder(generator, tmp_path, capsys):
    (tmp_path / "y").mkdir()
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", RNG.random((16, 16)) * 100)
        np.save(tmp_path / "y" / f"{name}.npy", np.load(tmp_path / f"{name}.npy"))
    flags = (f"--output={tmp_path / 'r'}", f"--ground_truth={tmp_path / 'y'}")
    run(generator, f"--input={tmp_path / 'b.npy'}", *flags)
    assert "paper inf dB / 1.000" in capsys.readouterr().out
    np.save(tmp_path / "c.npy", RNG.random((16, 16)))
    with pytest.raises(InputError, match=r"c\.npy is missing"):
        run(generator, f"--input={tmp_path / 'c.npy'}", *flags)


def test_hidden_files_are_no_images(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((16, 16)))
    (tmp_path / "._a.tif").write_bytes(b"resource fork")
    (tmp_path / "folder.tif").mkdir()
    assert find_images(tmp_path) == [tmp_path / "a.npy"]
