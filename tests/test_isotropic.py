"""restore.py --isotropic: sections along z are restored from both sides, and the file that is written is isotropic."""

import keras
import numpy as np
import pytest
import tifffile
from scipy.ndimage import convolve1d
from small_generators import identity_generator, metadata
from small_stacks import blobs, blurred_stack, write_imagej

import restore
from common.errors import InputError
from common.metrics import affine_metric
from restoring.generator_file import save_generator
from restoring.image_files import read_image
from restoring.sampling import rows_at
from restoring.stacks import plane_positions

RNG = np.random.default_rng(0)
STRIDE = 4


def mean_of_three(axis):
    """A generator that averages three neighbours along one axis of what it sees."""
    image = keras.Input((None, None, 1))
    size = (3, 1) if axis == 0 else (1, 3)
    layer = keras.layers.Conv2D(1, size, padding="same", use_bias=False, kernel_initializer="ones")
    return keras.Model(image, keras.layers.Rescaling(1 / 3)(layer(image)))


def run(folder, network, source, *flags, target="r.tif"):
    save_generator(network, folder / "generator.h5", metadata())
    words = [f"--generator_path={folder}/generator.h5", f"--input={folder / source}", f"--output={folder / target}"]
    return restore.main(restore.make_parser().parse_args([*words, "--isotropic", *flags]))


def interpolated(stack, stride=STRIDE):
    return rows_at(stack, plane_positions(len(stack), stride))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_hyperstack_is_interpolated_at_the_places_of_its_planes_and_keeps_what_it_is(dtype, tmp_path):
    values = RNG.integers(0, 200, (2, 5, 2, 24, 32)).astype(dtype)
    shown = {"mode": "composite", "Ranges": (0.0, 90.0, 5.0, 150.0)}
    write_imagej(tmp_path / "x.tif", values, axes="TZCYX", finterval=2.0, **shown)
    assert run(tmp_path, identity_generator(), "x.tif", f"--dtype={np.dtype(dtype)}") == 0
    with tifffile.TiffFile(tmp_path / "r.tif") as file:
        found, details = file.asarray(), file.imagej_metadata
        assert file.series[0].axes == "TZCYX" and found.dtype == dtype and found.shape == (2, 17, 2, 24, 32)
        assert details["spacing"] == pytest.approx(0.2) and details["unit"] == "um" and details["finterval"] == 2.0
        assert {name: details[name] for name in shown} == shown and details["channels"] == 2
        above, below = file.pages[0].tags["XResolution"].value
        assert below / above == pytest.approx(0.2)
    for time in (0, 1):
        for channel in (0, 1):
            expected = interpolated(values[time, :, channel])
            assert np.abs(found[time, :, channel] - expected).max() <= (0.51 if dtype != np.float32 else 0.01)


def test_an_independent_reader_finds_isotropic_voxels_and_the_channels(tmp_path):
    ome_types = pytest.importorskip("ome_types", reason="requirements/dev.txt is not installed")
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("XYZ", (200, 200, 800), strict=True)}
    sizes |= {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}
    details = {"axes": "CZYX", "Name": "field 3", **sizes, "Channel": {"Name": ["DNA", "actin"]}}
    tifffile.imwrite(tmp_path / "x.ome.tif", RNG.integers(0, 99, (2, 5, 24, 32)).astype(np.uint16), metadata=details)
    run(tmp_path, identity_generator(), "x.ome.tif", "--uncertainty=2", target="r.ome.tif")
    for name in ("r.ome.tif", "r.ome_disagreement.tif"):
        (image,) = ome_types.from_tiff(tmp_path / name).images
        pixels = image.pixels
        assert (pixels.size_c, pixels.size_z, pixels.size_y, pixels.size_x) == (2, 17, 24, 32)
        for axis in "xyz":
            assert getattr(pixels, f"physical_size_{axis}") == pytest.approx(0.2)
            assert getattr(pixels, f"physical_size_{axis}_unit").value == "µm"
        assert image.name == "field 3" and [channel.name for channel in pixels.channels] == ["DNA", "actin"]


@pytest.mark.parametrize("average", [1, 8])
def test_axis_0_of_what_the_generator_sees_is_z_from_both_sides(average, tmp_path):
    """This generator may be turned; here it must not."""
    stack = RNG.gamma(2, 100, (5, 24, 32)).astype(np.float32)
    np.save(tmp_path / "x.npy", stack)
    flags = ["--axes=ZYX", "--spacing=0.8,0.2,0.2", f"--average={average}"]
    run(tmp_path, mean_of_three(0), "x.npy", *flags, target="r.npy")
    expected = convolve1d(interpolated(stack), [1 / 3] * 3, axis=0)
    np.testing.assert_allclose(np.load(tmp_path / "r.npy")[1:-1], expected[1:-1], rtol=1e-3)


def test_the_result_is_the_mean_of_both_views_and_their_disagreement_is_half_their_distance(tmp_path, capsys):
    stack = RNG.gamma(2, 100, (5, 24, 32)).astype(np.float32)
    write_imagej(tmp_path / "x.tif", stack)
    run(tmp_path, mean_of_three(1), "x.tif", "--uncertainty=2")
    along_x, along_y = (convolve1d(interpolated(stack), [1 / 3] * 3, axis=axis)[:, 1:-1, 1:-1] for axis in (2, 1))
    found, apart = (read_image(tmp_path / f"{name}.tif").planes[:, 1:-1, 1:-1] for name in ("r", "r_disagreement"))
    np.testing.assert_allclose(found, (along_x + along_y) / 2, rtol=1e-3)
    np.testing.assert_allclose(apart, np.abs(along_x - along_y) / 2, rtol=1e-2, atol=0.1)
    said = capsys.readouterr().out
    assert "voxels 0.8 x 0.2 x 0.2 micrometres (from its metadata), f = 4: 5 planes become 17" in said
    assert "r_disagreement.tif: deviation of both views, not calibrated" in said


def test_the_shipped_generator_makes_a_stack_more_like_the_truth_than_interpolation(tmp_path):
    truth = blobs(65, 64)
    write_imagej(tmp_path / "x.tif", blurred_stack(truth, STRIDE))
    words = [f"--input={tmp_path}/x.tif", f"--output={tmp_path}/r.tif", "--isotropic"]
    assert restore.main(restore.make_parser().parse_args(words)) == 0
    before, after = (
        affine_metric(volume[:, 32], truth[:, 32])["psnr"]
        for volume in (interpolated(blurred_stack(truth, STRIDE)), read_image(tmp_path / "r.tif").planes)
    )
    assert after > before


def test_a_ground_truth_is_compared_with_the_interpolated_stack_and_the_restored_one(tmp_path, capsys):
    stack = blurred_stack(blobs(17, 32), STRIDE)
    write_imagej(tmp_path / "x.tif", stack)
    np.save(tmp_path / "y.npy", blobs(17, 32))
    run(tmp_path, identity_generator(), "x.tif", f"--ground_truth={tmp_path}/y.npy")
    first, second = (line.split()[2] for line in capsys.readouterr().out.splitlines() if " affine " in line)
    assert float(first) == pytest.approx(float(second), abs=0.02)


@pytest.mark.parametrize(
    ("source", "flags", "message"),
    [
        ("x.npy", (), r"axes QYX have no Z; name it, as in --axes=ZYX"),
        ("x.npy", ("--axes=ZYX",), "voxel sizes are not known; pass --spacing=Z,Y,X in micrometres"),
        ("x.tif", ("--spacing=0.2,0.2,0.2",), "planes lie no further apart than pixels"),
        ("x.tif", ("--uncertainty=3",), "has two views of a stack; pass --uncertainty=2"),
        ("x.tif", ("--check",), "--check cannot be combined with --isotropic"),
        ("x.tif", ("--z=1",), "--z cannot be combined with --isotropic"),
    ],
)
def test_what_cannot_be_made_isotropic_is_one_line_and_writes_nothing(source, flags, message, tmp_path):
    stack = RNG.integers(0, 200, (5, 24, 32)).astype(np.uint16)
    np.save(tmp_path / "x.npy", stack)
    write_imagej(tmp_path / "x.tif", stack)
    with pytest.raises(InputError, match=message):
        run(tmp_path, identity_generator(), source, *flags)
    assert not list(tmp_path.glob("*r.*")) or [path.name for path in tmp_path.glob("*r.*")] == ["generator.h5"]


def test_planes_beyond_what_the_shipped_generator_knows_are_noted(tmp_path, capsys):
    write_imagej(tmp_path / "x.tif", blurred_stack(blobs(37, 32), 12), spacing=2.4)
    words = [f"--input={tmp_path}/x.tif", f"--output={tmp_path}/r.tif", "--isotropic"]
    assert restore.main(restore.make_parser().parse_args(words)) == 0
    assert "planes lie 12 pixels apart, and the shipped generator was trained with 8 at most" in capsys.readouterr().out


def test_a_long_restoration_is_announced(tmp_path, monkeypatch, capsys):
    from restoring import isotropic

    monkeypatch.setattr(isotropic, "LONG", 0)
    write_imagej(tmp_path / "x.tif", blurred_stack(blobs(17, 32)))
    run(tmp_path, identity_generator(), "x.tif")
    assert "note: this takes about 0 minutes" in capsys.readouterr().out
