"""Sections along z lie where they are in space, and voxel sizes come from the file or the user."""

import numpy as np
import pytest
import tifffile
from small_stacks import blobs, blurred_stack, write_imagej

from common.errors import InputError
from restoring.image_files import read_image, write_image
from restoring.reading import Part
from restoring.sampling import rows_at
from restoring.stacks import anisotropy, find_voxels, plane_positions, section, stacks_of, with_stacks

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("planes", "stride", "rows"), [(35, 5, 171), (2, 3, 4), (41, 2.5, 101), (11, 0.3 / 0.1, 31)])
def test_rows_lie_one_pixel_apart_from_the_first_plane_to_the_last(planes, stride, rows):
    positions = plane_positions(planes, stride)
    np.testing.assert_allclose(positions, np.arange(rows) / stride, atol=1e-9)
    assert positions[-1] <= planes - 1 < (rows + 1e-6) / stride


@pytest.mark.parametrize("stride", [1.3, 2.5, 3, 5.17])
def test_a_point_source_stays_within_half_a_pixel_over_two_hundred_planes(stride):
    for plane in (1, 50, 99, 150, 198):
        stack = np.zeros((200, 3, 3), np.uint16)
        stack[plane, 1, 1] = 1000
        rows = section(stack, 1, 1, stride)[:, 1]
        there = np.sum(rows * np.arange(len(rows))) / rows.sum()
        assert abs(there - plane * stride) < 0.5


def test_a_straight_line_is_interpolated_exactly():
    stack = (3.0 * np.arange(6)[:, None, None] + np.arange(4)[None, :, None] + 10 * np.arange(5)).astype(np.float32)
    for axis, index in ((1, 2), (2, 3)):
        rows = section(stack, axis, index, 2.5)
        assert rows.dtype == np.float32
        expected = 3 * np.arange(13)[:, None] / 2.5 + np.take(stack[0], index, axis - 1)
        np.testing.assert_allclose(rows, expected, rtol=1e-6)


def test_planes_themselves_are_rows():
    image = RNG.random((4, 7)).astype(np.float32)
    np.testing.assert_array_equal(rows_at(image, np.arange(4)), image)
    np.testing.assert_array_equal(rows_at(image[:1], np.zeros(2)), image[[0, 0]])


def test_voxel_sizes_are_read_from_imagej_and_ome_in_any_unit(tmp_path):
    stack = np.zeros((3, 20, 24), np.uint16)
    write_imagej(tmp_path / "a.tif", stack, 300, 100, unit="nm")
    voxels = find_voxels(read_image(tmp_path / "a.tif"))
    assert voxels[:3] == pytest.approx((0.3, 0.1, 0.1)) and voxels.stride == pytest.approx(3)
    sizes = {"PhysicalSizeX": 100, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.1, "PhysicalSizeZ": 0.3}
    tifffile.imwrite(tmp_path / "b.ome.tif", stack, metadata={"axes": "ZYX", **sizes})
    image = read_image(tmp_path / "b.ome.tif")
    assert find_voxels(image)[:3] == pytest.approx((0.3, 0.1, 0.1))
    assert find_voxels(image).describe() == "voxels 0.3 x 0.1 x 0.1 micrometres (from its metadata), f = 3"
    assert find_voxels(image, (1, 0.5, 0.5)).describe() == "voxels 1 x 0.5 x 0.5 micrometres (as given), f = 2"


@pytest.mark.parametrize(
    ("axes", "shape", "spacing", "message"),
    [
        ("TYX", (3, 20, 24), (1, 0.2, 0.2), "axes TYX have no Z; name it, as in --axes=ZYX"),
        ("YX", (20, 24), (1, 0.2, 0.2), "one image of 20 x 24 pixels; expected a stack"),
        ("ZYX", (1, 20, 24), (1, 0.2, 0.2), "a stack of one plane"),
        ("ZYX", (3, 20, 24), None, "voxel sizes are not known; pass --spacing"),
        ("ZYX", (3, 20, 24), (1, 0.2, 0.3), "expected square pixels"),
        ("ZYX", (3, 20, 24), (0.2, 0.2, 0.2), "planes lie no further apart than pixels"),
    ],
)
def test_what_cannot_be_made_isotropic_is_an_error(axes, shape, spacing, message, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(shape))
    with pytest.raises(InputError, match=message):
        find_voxels(read_image(tmp_path / "x.npy", axes), spacing)


@pytest.mark.parametrize("axes", ["ZYX", "TZCYX", "CZYX", "YXZ", "ZTYX"])
def test_stacks_are_taken_from_any_order_of_axes_and_put_back(axes, tmp_path):
    sizes = dict(zip("TCZYX", (2, 3, 5, 20, 24), strict=True))
    values = RNG.integers(0, 999, [sizes[axis] for axis in axes]).astype(np.uint16)
    np.save(tmp_path / "x.npy", values)
    image = read_image(tmp_path / "x.npy", axes)
    stacks = stacks_of(image)
    assert stacks.shape[1:] == (5, 20, 24)
    others = [axis for axis in axes if axis not in "ZYX"]
    expected = np.transpose(values, [axes.index(axis) for axis in (*others, *"ZYX")]).reshape(stacks.shape)
    assert np.array_equal(stacks, expected)
    doubled = with_stacks(image, np.repeat(stacks, 2, axis=1), find_voxels(image, (0.4, 0.2, 0.2)))
    write_image(tmp_path / "r.npy", doubled, doubled.planes)
    assert np.array_equal(np.load(tmp_path / "r.npy"), np.repeat(values, 2, axis=axes.index("Z")))


def test_isotropic_voxel_sizes_are_written_as_imagej_and_ome(tmp_path):
    values = RNG.integers(0, 999, (2, 4, 3, 20, 24)).astype(np.uint16)
    write_imagej(tmp_path / "a.tif", values, axes="TZCYX", finterval=2.0, Labels=["a"] * 24)
    sizes = {"PhysicalSizeX": 0.2, "PhysicalSizeY": 0.2, "PhysicalSizeZ": 0.8, "Name": "field"}
    details = {"axes": "TZCYX", **sizes, "Channel": {"Name": ["DNA", "actin", "GFP"]}}
    tifffile.imwrite(tmp_path / "b.ome.tif", values, metadata=details)
    np.save(tmp_path / "c.npy", values)
    for name, axes, given in (("a.tif", None, None), ("b.ome.tif", None, None), ("c.npy", "TZCYX", (0.8, 0.2, 0.2))):
        image = read_image(tmp_path / name, axes)
        found = with_stacks(image, np.repeat(stacks_of(image), 4, axis=1), find_voxels(image, given))
        target = tmp_path / f"r_{name.replace('npy', 'ome.tif')}"
        write_image(target, found, found.planes)
        again = read_image(target)
        assert again.axes == "TZCYX" and again.shape == (2, 16, 3, 20, 24), name
        with pytest.raises(InputError, match=r"voxels 0\.2 x 0\.2 x 0\.2 micrometres \(from its metadata\)"):
            find_voxels(again)
    assert read_image(tmp_path / "r_b.ome.tif").channels == ["DNA", "actin", "GFP"]
    with tifffile.TiffFile(tmp_path / "r_a.tif") as file:
        assert file.imagej_metadata["finterval"] == 2.0 and "Labels" not in file.imagej_metadata


def test_the_spacing_that_is_given_is_written_into_imagejs_file(tmp_path):
    write_imagej(tmp_path / "a.tif", np.zeros((3, 20, 24), np.uint16), 1.0, 1.0)
    image = read_image(tmp_path / "a.tif", part=Part())
    found = with_stacks(image, stacks_of(image), find_voxels(image, (0.9, 0.3, 0.3)))
    write_image(tmp_path / "r.tif", found, found.planes)
    with pytest.raises(InputError, match=r"voxels 0\.3 x 0\.3 x 0\.3 micro"):
        find_voxels(read_image(tmp_path / "r.tif"))


def test_layered_tissue_is_recognised_and_content_alike_in_all_directions_is_not():
    volume = blobs(120, 96)
    assert 1 / 2 < anisotropy(blurred_stack(volume), 4) < 2
    layers = volume * 0.1 + 1000 * (np.sin(np.arange(120) / 8) > 0)[:, None, None]
    assert anisotropy(blurred_stack(layers), 4) > 10
