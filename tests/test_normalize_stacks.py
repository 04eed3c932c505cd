"""A stack is normalised as a whole: by default where a file has a Z or T axis, and per channel."""

import keras
import numpy as np
import pytest
from small_generators import metadata
from small_stacks import write_imagej

import restore
from restoring.generator_file import save_generator
from restoring.image_files import read_image

RNG = np.random.default_rng(0)
# (time, z, channel): brighter from plane to plane.
VALUES = (RNG.gamma(2, 100, (2, 3, 2, 32, 40)) + 500 * np.arange(12).reshape(2, 3, 2, 1, 1)).astype(np.float32)


@pytest.fixture
def generator(tmp_path):
    """Its output is 0, and so the restored image is what the normalisation takes for dark: the 2 percentile."""
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.Rescaling(0.0)(image))
    save_generator(model, tmp_path / "generator.h5", metadata())
    return tmp_path / "generator.h5"


def darkness(generator, source, *flags):
    """The restored image, one number for each plane."""
    target = source.with_name(f"r{source.suffix}")
    words = [f"--generator_path={generator}", f"--input={source}", f"--output={target}", "--overwrite", *flags]
    assert restore.main(restore.make_parser().parse_args(words)) == 0
    return read_image(target).planes.mean(axis=(1, 2))


def by_plane(values):
    return [np.percentile(plane, 2) for plane in values.reshape(-1, 32, 40)]


def test_planes_of_a_stack_share_the_percentiles_of_their_channel(generator, tmp_path):
    source = write_imagej(tmp_path / "x.tif", VALUES, axes="TZCYX")
    expected = [np.percentile(VALUES[:, :, channel], 2) for channel in (0, 1)] * 6
    np.testing.assert_allclose(darkness(generator, source), expected, rtol=1e-4)
    np.testing.assert_allclose(darkness(generator, source, "--normalize=plane"), by_plane(VALUES), rtol=1e-4)


def test_rows_of_an_array_are_images_of_their_own_unless_axes_or_the_flag_say_stack(generator, tmp_path):
    np.save(tmp_path / "x.npy", VALUES[0, :, 0])
    source, whole = tmp_path / "x.npy", [np.percentile(VALUES[0, :, 0], 2)] * 3
    np.testing.assert_allclose(darkness(generator, source), by_plane(VALUES[0, :, 0]), rtol=1e-4)
    np.testing.assert_allclose(darkness(generator, source, "--axes=ZYX"), whole, rtol=1e-4)
    np.testing.assert_allclose(darkness(generator, source, "--normalize=stack"), whole, rtol=1e-4)


def test_one_plane_of_a_stack_is_an_image_of_its_own(generator, tmp_path):
    source = write_imagej(tmp_path / "x.tif", VALUES, axes="TZCYX")
    found = darkness(generator, source, "--z=1", "--time=1", "--channel=0")
    np.testing.assert_allclose(found, by_plane(VALUES[1, 1, 0]), rtol=1e-4)


def test_the_uncertainty_and_the_image_use_the_same_percentiles(generator, tmp_path):
    source = write_imagej(tmp_path / "x.tif", VALUES[0], axes="ZCYX")
    found = darkness(generator, source, "--uncertainty=2")
    np.testing.assert_allclose(found, [np.percentile(VALUES[0, :, c], 2) for c in (0, 1)] * 3, rtol=1e-4)
    assert np.allclose(read_image(tmp_path / "r_uncertainty.tif").planes, 0)


def test_a_volume_is_normalised_as_the_same_stack_in_a_file(generator, tmp_path):
    zarr = pytest.importorskip("zarr", reason="requirements/large.txt is not installed")
    pytest.importorskip("distributed", reason="requirements/large.txt is not installed")
    from restoring import volumes

    group = zarr.open_group(tmp_path / "x.zarr", mode="w", zarr_format=2)
    scales = [{"type": "scale", "scale": [1.0] * 5}]
    axes = [{"name": name} for name in "tzcyx"]
    datasets = [{"path": "0", "coordinateTransformations": scales}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    group.create_array("0", data=VALUES)
    for normalize, expected in ((None, None), ("plane", by_plane(VALUES))):
        target = tmp_path / f"{normalize}.zarr"
        flags = [f"--normalize={normalize}"] if normalize else []
        words = [f"--generator_path={generator}", f"--input={tmp_path}/x.zarr", f"--output={target}", *flags]
        assert restore.main(restore.make_parser().parse_args(words)) == 0
        found = volumes.open_volume(target).group["0"][:].mean(axis=(-2, -1)).ravel()
        whole = [np.percentile(VALUES[:, :, channel], 2) for channel in (0, 1)] * 6
        np.testing.assert_allclose(found, expected or whole, rtol=1e-4)
