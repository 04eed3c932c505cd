"""Files that other programs write: their pixels are read as they are meant, and what is left out is said."""

import numpy as np
import pytest
import tifffile

from common.errors import InputError
from restoring import reading
from restoring.image_files import find_images, read_image, write_image
from restoring.reading import Part

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 200, (6, 20, 24)).astype(np.uint8)


def write_set(folder, stacks, names):
    """A multi-file OME-TIFF: names[image][plane] of stacks[image][plane]; every file describes all images."""
    images, uuids = "", {}
    for number, (stack, files) in enumerate(zip(stacks, names, strict=True)):
        planes = ""
        for z, name in enumerate(files):
            uuid = uuids.setdefault(name, f"urn:uuid:{len(uuids):032}")
            ifd = files[:z].count(name)
            planes += (
                f'<TiffData FirstZ="{z}" IFD="{ifd}" PlaneCount="1"><UUID FileName="{name}">{uuid}</UUID></TiffData>'
            )
        images += (
            f'<Image ID="Image:{number}"><Pixels ID="Pixels:{number}" DimensionOrder="XYZCT" Type="uint8" SizeX="24" '
            f'SizeY="20" SizeZ="{len(stack)}" SizeC="1" SizeT="1" PhysicalSizeX="0.1"><Channel ID="Channel:{number}:0"'
            f' SamplesPerPixel="1"/>{planes}</Pixels></Image>'
        )
    for name, uuid in uuids.items():
        head = f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}">{images}</OME>'
        with tifffile.TiffWriter(folder / name) as file:
            for plane in (
                p for s, n in zip(stacks, names, strict=True) for p, at in zip(s, n, strict=True) if at == name
            ):
                file.write(plane, description=head, metadata=None)
                head = None
    return [folder / name for name in uuids]


def test_an_image_over_several_files_is_read_once(tmp_path, capsys):
    files = write_set(tmp_path, [STACK], [[f"f{z}.ome.tif" for z in range(6)]])
    assert find_images(tmp_path) == files[:1]
    image = read_image(files[0])
    assert image.axes == "ZYX" and np.array_equal(image.planes, STACK)
    assert "one of 6 files of one image; all of them are read" in capsys.readouterr().out
    write_image(tmp_path / "r.ome.tif", image, image.planes)
    assert np.array_equal(tifffile.imread(tmp_path / "r.ome.tif"), STACK)


def test_planes_whose_file_is_missing_are_named_and_not_made_up(tmp_path, capsys):
    files = write_set(tmp_path, [STACK], [[f"f{z}.ome.tif" for z in range(6)]])
    for file in files[:2]:
        file.unlink()
    image = read_image(files[3])
    assert image.axes == "QYX" and np.array_equal(image.planes, STACK[2:])
    said = capsys.readouterr()
    assert "2 of 6 planes are missing (f0.ome.tif, f1.ome.tif)" in said.out and not said.err
    for file in (files[2], *files[4:]):
        file.unlink()
    image = read_image(files[3])
    assert image.axes == "YX" and np.array_equal(image.planes, STACK[3:4])


def test_a_file_that_describes_other_positions_too_gives_its_own(tmp_path):
    files = write_set(tmp_path, [STACK[:2], STACK[2:4]], [["p0.ome.tif"] * 2, ["p1.ome.tif"] * 2])
    assert find_images(tmp_path) == files
    for number, file in enumerate(files):
        assert np.array_equal(read_image(file).planes, STACK[2 * number : 2 * number + 2])
    assert np.array_equal(read_image(files[1], part=Part(scene=0)).planes, STACK[:2])


def test_a_renamed_file_is_no_part_of_the_one_that_has_its_old_name(tmp_path):
    (file,) = write_set(tmp_path, [STACK], [["old.ome.tif"] * 6])
    file.rename(tmp_path / "new.ome.tif")
    (tmp_path / "sub").mkdir()
    (other,) = write_set(tmp_path / "sub", [STACK[::-1]], [["old.ome.tif"] * 6])
    other.write_bytes(other.read_bytes().replace(b"urn:uuid:0", b"urn:uuid:1"))
    other.rename(tmp_path / "old.ome.tif")
    assert find_images(tmp_path) == [tmp_path / "new.ome.tif", tmp_path / "old.ome.tif"]
    assert np.array_equal(read_image(tmp_path / "new.ome.tif").planes, STACK)


def test_values_before_a_colour_table_are_intensities(tmp_path, capsys):
    fire = RNG.integers(0, 2**16, (3, 256)).astype(np.uint16)
    rising = np.arange(256, dtype=np.uint16) * np.array([[0], [256], [10]], np.uint16)
    for name, table, options in (("imagej", fire, {"imagej": True}), ("plain", rising, {})):
        tifffile.imwrite(tmp_path / f"{name}.tif", STACK[0], photometric="palette", colormap=table, **options)
        assert np.array_equal(read_image(tmp_path / f"{name}.tif").planes[0], STACK[0])
        assert "has a colour table; the values before it are read as intensities" in capsys.readouterr().out
    tifffile.imwrite(tmp_path / "picture.tif", STACK[0], photometric="palette", colormap=fire)
    with pytest.raises(InputError, match="palette colours"):
        read_image(tmp_path / "picture.tif")


@pytest.mark.parametrize("count", [3, 4])
def test_a_stack_of_three_or_four_planes_is_no_colour_image(count, tmp_path, capsys):
    """As tifffile.imwrite writes it when nobody names axes; other programs' files need --axes."""
    with pytest.warns(DeprecationWarning):
        tifffile.imwrite(tmp_path / "x.tif", STACK[:count])
        tifffile.imwrite(tmp_path / "y.tif", STACK[:count], metadata=None)
    image = read_image(tmp_path / "x.tif")
    assert image.axes == "QYX" and np.array_equal(image.planes, STACK[:count])
    assert f"its {count} planes are marked as colours, and read as a stack" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"a colour image .* --axes=CYX"):
        read_image(tmp_path / "y.tif")
    image = read_image(tmp_path / "y.tif", "ZYX")
    assert image.axes == "ZYX" and np.array_equal(image.planes, STACK[:count])
    write_image(tmp_path / "r.tif", image, image.planes)
    assert np.array_equal(read_image(tmp_path / "r.tif").planes, STACK[:count])


@pytest.mark.parametrize("shape, axes", [((20, 24, 3), "YXC"), ((5, 20, 24, 2), "ZYXC"), ((2, 5, 20, 24, 4), "TZYXC")])
def test_the_advice_for_an_array_with_channels_can_be_followed(shape, axes, tmp_path):
    np.save(tmp_path / "x.npy", RNG.random(shape))
    with pytest.raises(InputError, match=f"--axes={axes}$"):
        read_image(tmp_path / "x.npy")
    assert read_image(tmp_path / "x.npy", axes).planes.shape[1:] == (20, 24)


@pytest.mark.parametrize("kind", [{}, {"imagej": True}, {"ome": True}])
def test_an_image_with_white_as_zero_is_shown_as_before(kind, tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", STACK[0], photometric="miniswhite", **kind)
    image = read_image(tmp_path / "x.tif")
    write_image(tmp_path / "r.tif", image, image.planes)
    with tifffile.TiffFile(tmp_path / "r.tif") as file:
        assert file.pages[0].photometric == tifffile.PHOTOMETRIC.MINISWHITE
        assert np.array_equal(file.asarray(), STACK[0])


def test_of_a_pyramid_one_resolution_is_written_and_this_is_said(tmp_path, capsys):
    with tifffile.TiffWriter(tmp_path / "x.ome.tif") as file:
        file.write(STACK[0], subifds=1)
        file.write(STACK[0, ::2, ::2], subfiletype=1)
    image = read_image(tmp_path / "x.ome.tif")
    assert "holds 2 resolutions; the full one is read, and it alone is written" in capsys.readouterr().out
    assert np.array_equal(image.planes, STACK[:1])


def test_a_sparse_slide_is_no_bomb(tmp_path):
    slide = np.zeros((12000, 12000), np.uint16)
    slide[5000:5010, 5000:5010] = 700
    tifffile.imwrite(tmp_path / "slide.tif", slide, compression="zlib", rowsperstrip=1000)
    assert read_image(tmp_path / "slide.tif", part=Part(max_gb=0.3)).planes[0, 5005, 5005] == 700


def test_what_may_be_read_follows_the_memory_and_a_flag(tmp_path, monkeypatch):
    for name in ("x.tif", "x.npy", "x.png"):
        if name.endswith("npy"):
            np.save(tmp_path / name, np.zeros((500, 1000), np.uint8))
        elif name.endswith("tif"):
            tifffile.imwrite(tmp_path / name, np.zeros((500, 1000), np.uint8))
        else:
            from PIL import Image

            Image.fromarray(np.zeros((500, 1000), np.uint8)).save(tmp_path / name)
        monkeypatch.setattr(reading, "machine_bytes", lambda: 3.9e6)
        with pytest.raises(InputError, match=r"more than an eighth of the memory of this machine; pass --max_gb=0\.1 "):
            read_image(tmp_path / name)
        assert read_image(tmp_path / name, part=Part(max_gb=0.1)).planes.shape == (1, 500, 1000)
        monkeypatch.setattr(reading, "machine_bytes", lambda: 4.1e6)
        assert read_image(tmp_path / name).planes.shape == (1, 500, 1000)


def test_a_missing_codec_names_the_file_to_install(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "x.tif", STACK[0])

    def refuse(*args, **named):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", refuse)
    with pytest.raises(InputError, match=r"pip install -r requirements/microscopes\.txt"):
        read_image(tmp_path / "x.tif")


def ome_channels(path):
    axes = {"axes": "TCZYX", "Channel": {"Name": ["DAPI", "GFP"]}, "PhysicalSizeZ": 0.3}
    values = RNG.integers(0, 99, (2, 2, 3, 20, 24)).astype(np.uint16)
    tifffile.imwrite(path, values, metadata=axes)
    return values


def test_channel_time_and_z_choose_what_is_read(tmp_path):
    values = ome_channels(tmp_path / "x.ome.tif")
    image = read_image(tmp_path / "x.ome.tif", part=Part(channel="GFP", time=1))
    assert image.axes == "ZYX" and np.array_equal(image.planes, values[1, 1])
    write_image(tmp_path / "r.ome.tif", image, image.planes)
    with tifffile.TiffFile(tmp_path / "r.ome.tif") as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        assert file.series[0].axes == "ZYX" and pixels["Channel"]["Name"] == "GFP" and pixels["PhysicalSizeZ"] == 0.3
    image = read_image(tmp_path / "x.ome.tif", part=Part(channel="0", time=0, z=2))
    assert image.axes == "YX" and np.array_equal(image.planes[0], values[0, 0, 2])
    np.save(tmp_path / "x.npy", values)
    assert np.array_equal(read_image(tmp_path / "x.npy", "TCZYX", Part(z=1)).planes, values[:, :, 1].reshape(4, 20, 24))


@pytest.mark.parametrize(
    "part, message",
    [
        (Part(channel="RFP"), r"--channel=RFP, but there are 2 \(DAPI, GFP\), counted from 0"),
        (Part(time=2), "--time=2, but there are 2, counted from 0"),
        (Part(scene=1), "--scene=1, but there are 1 scenes, counted from 0"),
    ],
)
def test_what_is_not_there_cannot_be_chosen(part, message, tmp_path):
    ome_channels(tmp_path / "x.ome.tif")
    with pytest.raises(InputError, match=message):
        read_image(tmp_path / "x.ome.tif", part=part)
