"""Files of Zeiss, Nikon, Leica and Olympus: the right pixels, axes, sizes and names; what to do without a package."""

import sys
from pathlib import Path

import microscope_files
import numpy as np
import pytest
import tifffile

from common.errors import InputError
from restoring.image_files import find_images, read_image, write_image
from restoring.microscope_formats import READERS
from restoring.reading import Part

RNG = np.random.default_rng(0)
VALUES = RNG.integers(0, 4000, (2, 3, 2, 20, 24)).astype(np.uint16)
REAL = Path(__file__).resolve().parents[2] / "shared/data/sources"
SIZES = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "PhysicalSizeZ": 0.3}


def needs(suffix):
    package = READERS[suffix][0].split(".")[0]
    return pytest.importorskip(package, reason="requirements/microscopes.txt is not installed")


def check_ome(tmp_path, image, names, sizes=SIZES):
    """Written as OME-TIFF, an image keeps its axes, voxel sizes and channel names."""
    write_image(tmp_path / "r.ome.tif", image, image.planes)
    with tifffile.TiffFile(tmp_path / "r.ome.tif") as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        assert file.series[0].axes == image.axes and np.array_equal(
            file.asarray().reshape(image.planes.shape), image.planes
        )
    channels = pixels["Channel"] if isinstance(pixels["Channel"], list) else [pixels["Channel"]]
    assert [channel.get("Name") for channel in channels] == names
    assert {name: pixels[name] for name in sizes} == pytest.approx(sizes)


def test_czi(tmp_path, capsys):
    needs(".czi")
    microscope_files.write_czi(tmp_path / "x.czi", VALUES, scenes=2)
    image = read_image(tmp_path / "x.czi")
    assert "holds 2 scenes; number 0 is read" in capsys.readouterr().out
    assert image.axes == "TZCYX" and np.array_equal(image.planes, VALUES.reshape(-1, 20, 24))
    check_ome(tmp_path, image, ["DAPI", "GFP"])
    image = read_image(tmp_path / "x.czi", part=Part(scene=1, channel="GFP", time=1))
    assert image.axes == "ZYX" and np.array_equal(image.planes, VALUES[1, :, 1] + 1)
    check_ome(tmp_path, image, ["GFP"])


def test_the_real_czi_file(tmp_path):
    """Mean intensities of its two scenes and two planes, as czifile 2019.7.2 and later read them."""
    path = REAL / "NEUBIAS+training-resources/image_data/xyz__multiple_images.czi"
    if not path.is_file():
        pytest.skip("the collections of micrographs are not here")
    needs(".czi")
    image = read_image(path, part=Part(scene=0))
    assert image.axes == "ZYX" and image.shape == (2, 251, 251)
    np.testing.assert_allclose(image.planes.mean(axis=(1, 2)), [13716.46405613, 13344.14948969])
    check_ome(tmp_path, image, ["ChA"], {"PhysicalSizeX": 0.195644376, "PhysicalSizeZ": 0.3})
    assert read_image(path, part=Part(scene=1, z=1)).planes.mean() == pytest.approx(12146.0066824)


def test_nd2(tmp_path):
    needs(".nd2")
    microscope_files.write_nd2(tmp_path / "x.nd2", VALUES)
    image = read_image(tmp_path / "x.nd2")
    assert image.axes == "ZCYX" and np.array_equal(image.planes, VALUES[0].reshape(-1, 20, 24))
    check_ome(tmp_path, image, ["DAPI", "GFP"])
    image = read_image(tmp_path / "x.nd2", part=Part(scene=1, z=2, channel="DAPI"))
    assert image.axes == "YX" and np.array_equal(image.planes[0], VALUES[1, 2, 0])
    check_ome(tmp_path, image, ["DAPI"], {"PhysicalSizeX": 0.1})
    microscope_files.write_nd2(tmp_path / "y.nd2", VALUES, named=False)
    assert np.array_equal(read_image(tmp_path / "y.nd2", part=Part(scene=0)).planes, VALUES[0].reshape(-1, 20, 24))


def test_lif(tmp_path):
    needs(".lif")
    microscope_files.write_lif(tmp_path / "x.lif", list(VALUES))
    image = read_image(tmp_path / "x.lif")
    assert image.axes == "ZCYX" and np.array_equal(image.planes, VALUES[0].reshape(-1, 20, 24))
    check_ome(tmp_path, image, ["Blue", "Green"])
    image = read_image(tmp_path / "x.lif", part=Part(scene=1, channel="1"))
    assert image.axes == "ZYX" and np.array_equal(image.planes, VALUES[1, :, 1])


def test_oif(tmp_path):
    needs(".oif")
    microscope_files.write_oif(tmp_path / "x.oif", VALUES[0].swapaxes(0, 1))
    image = read_image(tmp_path / "x.oif")
    assert image.axes == "CZYX" and np.array_equal(image.planes, VALUES[0].swapaxes(0, 1).reshape(-1, 20, 24))
    check_ome(tmp_path, image, [None, None])
    assert np.array_equal(read_image(tmp_path / "x.oif", part=Part(channel="1", z=0)).planes[0], VALUES[0, 0, 1])
    assert find_images(tmp_path, recursive=True) == [tmp_path / "r.ome.tif", tmp_path / "x.oif"]


@pytest.mark.parametrize("suffix", READERS)
def test_a_missing_package_names_what_to_install_and_what_converts(suffix, tmp_path, monkeypatch):
    (tmp_path / f"x{suffix}").write_bytes(bytes(100))
    for package in (READERS[suffix][0], READERS[suffix][0].split(".")[0]):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"needs .*; pip install -r requirements/microscopes\.txt, or convert .* Fiji"):
        read_image(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("suffix", READERS)
def test_a_broken_file_is_one_error(suffix, tmp_path):
    needs(suffix)
    (tmp_path / f"x{suffix}").write_bytes(bytes(range(100)) * 30)
    with pytest.raises(InputError, match=f"cannot be read as {suffix[1:].upper()}"):
        read_image(tmp_path / f"x{suffix}")


def test_what_may_be_read_of_a_large_file_counts_the_chosen_part_alone(tmp_path):
    needs(".czi")
    microscope_files.write_czi(tmp_path / "x.czi", VALUES)
    with pytest.raises(InputError, match=r"--max_gb=5e-06"):
        read_image(tmp_path / "x.czi", part=Part(max_gb=5e-6))
    assert len(read_image(tmp_path / "x.czi", part=Part(max_gb=5e-6, time=0, channel="0")).planes) == 3


def test_an_unknown_format_names_the_program_that_converts(tmp_path):
    (tmp_path / "x.vsi").write_bytes(b"x")
    with pytest.raises(InputError, match=r"Fiji \(Plugins > Bio-Formats\) converts other formats to OME-TIFF"):
        find_images(tmp_path / "x.vsi")


def test_slides_and_big_tiff_become_ome_tiff_with_their_pixel_size(tmp_path):
    image = RNG.integers(0, 200, (64, 80)).astype(np.uint8)
    text = "Aperio Image Library v10\r\n80x64 |AppMag = 20|MPP = 0.4990"
    tifffile.imwrite(tmp_path / "x.svs", image, tile=(64, 64), description=text, metadata=None)
    tifffile.imwrite(tmp_path / "x.btf", image, bigtiff=True, resolution=(40000, 40000), resolutionunit="CENTIMETER")
    for suffix, size in ((".svs", 0.499), (".btf", 0.25)):
        found = read_image(tmp_path / f"x{suffix}")
        assert np.array_equal(found.planes[0], image)
        check_ome(tmp_path, found, [None], {"PhysicalSizeX": size, "PhysicalSizeY": size})
