"""Pair sets from folders of image files."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from common.errors import InputError
from data import prepare_folders
from data.patches import cut
from data_utils import load_tasks

RNG = np.random.default_rng(0)


@pytest.fixture
def folders(tmp_path):
    """Two files a side: a stack and a single image, TIFF and PNG mixed; the right half of each is empty."""
    for kind in "xy":
        (tmp_path / kind).mkdir()
    for name, planes in (("stack", 2), ("single", 1)):
        y = np.full((planes, 64, 128), 100, np.uint16)
        y[:, :, :64] += RNG.integers(0, 1000, (planes, 64, 64)).astype(np.uint16)
        x = y // 2 + 50
        tifffile.imwrite(tmp_path / f"y/{name}.tif", y)
        if planes == 1:
            Image.fromarray(x[0]).save(tmp_path / f"x/{name}.png")
        else:
            tifffile.imwrite(tmp_path / f"x/{name}.tif", x)
    return tmp_path


def run(folder, *flags):
    words = [
        f"--x_dir={folder}/x",
        f"--y_dir={folder}/y",
        "--name=Mine",
        f"--output={folder}/set",
        "--patch=32",
        *flags,
    ]
    return prepare_folders.main(prepare_folders.make_parser().parse_args(words))


def test_patches_of_both_sides_belong_together_and_empty_ones_are_left_out(folders, capsys):
    assert run(folders) == 0
    x, y = (np.load(folders / f"set/Mine_{kind}.npy") for kind in "XY")
    assert x.shape == (12, 32, 32) and x.dtype == np.uint16 and np.array_equal(x, y // 2 + 50)
    assert "12 pairs from 2 files; 12 of empty background left out" in capsys.readouterr().out
    (task,), _ = load_tasks(folders / "set")
    assert task.name == "Mine"


def test_empty_patches_can_be_kept(folders):
    run(folders, "--keep_empty")
    assert len(np.load(folders / "set/Mine_X.npy")) == 24


def test_axes_are_printed_and_can_be_given(tmp_path, capsys):
    y = RNG.integers(0, 1000, (2, 32, 64)).astype(np.uint16)
    for kind, image in (("x", y // 2), ("y", y)):
        (tmp_path / kind).mkdir()
        np.save(tmp_path / kind / "a.npy", np.moveaxis(image, 0, -1))
    with pytest.raises(InputError, match="--axes=YXC"):
        run(tmp_path)
    assert run(tmp_path, "--axes=YXZ") == 0
    assert "axes YXZ (as given), 32 x 64 x 2, uint16" in capsys.readouterr().out
    first = np.load(tmp_path / "set/Mine_Y.npy")[0]
    assert np.array_equal(first, y[0, :, :32])


def test_two_channels_do_not_become_one_task(tmp_path, capsys):
    values = RNG.integers(0, 1000, (2, 32, 64)).astype(np.uint16)
    for kind in "xy":
        (tmp_path / kind).mkdir()
        channels = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
        tifffile.imwrite(tmp_path / kind / "a.ome.tif", values, metadata=channels)
    with pytest.raises(InputError, match=r"2 channels \(DAPI, GFP\) would become one task; choose one with --channel"):
        run(tmp_path)
    assert run(tmp_path, "--channel=GFP", "--keep_empty") == 0
    assert np.array_equal(np.load(tmp_path / "set/Mine_Y.npy")[0], values[1, :, :32])


def spoil_partner(folder):
    (folder / "y/single.tif").unlink()


def spoil_shape(folder):
    tifffile.imwrite(folder / "y/single.tif", np.zeros((64, 64), np.uint16))


def spoil_colour(folder):
    Image.new("RGB", (128, 64)).save(folder / "x/single.png")


def spoil_png(folder):
    (folder / "x/single.png").write_bytes((folder / "x/single.png").read_bytes()[:60])


@pytest.mark.parametrize(
    "spoil, flags, message",
    [
        (spoil_partner, (), "no partner of single.png"),
        (spoil_shape, (), "expected the same planes"),
        (spoil_colour, (), "a colour image"),
        (spoil_png, (), "cannot be read as PNG"),
        (None, ("--patch=256",), "less than --patch=256"),
        (None, ("--name=a/b",), "letters, digits"),
    ],
)
def test_mistakes_are_told_and_write_nothing(folders, spoil, flags, message):
    if spoil:
        spoil(folders)
    with pytest.raises(InputError, match=message):
        run(folders, *flags)
    assert not (folders / "set").exists()


def test_unpaired_sides_are_cut_and_sifted_by_themselves(folders, capsys):
    """File names differ; y has one file less, so that as many patches of x are kept, spread over all of its own."""
    (folders / "y/stack.tif").rename(folders / "y/other.tif")
    (folders / "y/single.tif").unlink()
    assert run(folders, "--unpaired") == 0
    x, y = (np.load(folders / f"set/Mine_{kind}.npy") for kind in "XY")
    assert x.shape == y.shape == (8, 32, 32)
    assert "8 images of each kind from 2 files; 20 of empty background left out" in capsys.readouterr().out
    assert x.min() >= 100 and y.std(axis=(1, 2)).min() > 100


def add_more(folder):
    """Unpaired images beside the pairs: one x file of 8 patches, two y files of 4 each."""
    for kind, count in (("x", 1), ("y", 2)):
        (folder / f"more_{kind}").mkdir()
        for number in range(count):
            image = RNG.integers(2000, 3000, (64, 128 // count)).astype(np.uint16)
            tifffile.imwrite(folder / f"more_{kind}/{number}.tif", image)
    return [f"--more_x={folder}/more_x", f"--more_y={folder}/more_y"]


def test_patches_of_one_file_on_both_sides_are_noted(folders, capsys):
    note = "note: without --test_files, patches of the same file are trained on and evaluated"
    assert run(folders) == 0 and note in capsys.readouterr().out
    assert run(folders, "--test_files=1", "--name=Held") == 0 and note not in capsys.readouterr().out


def test_an_output_that_is_a_file_is_told_before_images_are_read(folders, capsys):
    (folders / "file").touch()
    for output in ("file", "file/set"):
        with pytest.raises(InputError, match="file is a file; name a folder to write to"):
            run(folders, f"--output={folders}/{output}")
    assert not capsys.readouterr().out


def test_the_last_files_are_held_and_the_training_finds_every_image_without_partner(folders, capsys):
    assert run(folders, "--test_files=1", *add_more(folders)) == 0
    said = capsys.readouterr().out
    assert "4 pairs from 1 files" in said and "8 pairs for evaluation from 1 files" in said
    assert "--images_limit=4 --unpaired_limit=-1" in said
    (task,), _ = load_tasks(folders / "set", images_limit=4, unpaired_limit=-1)
    x, y = (np.stack([images[i] for i in range(len(images))]) for images in (task.train_x, task.train_y))
    assert np.array_equal(x, y // 2 + 50) and len(task.test_x) == 8
    for kind, images in (("x", task.unpaired_x), ("y", task.unpaired_y)):
        used = {images[i].tobytes() for i in range(4, len(images))}
        files = [np.float32(tifffile.imread(path)) for path in sorted(folders.glob(f"more_{kind}/*.tif"))]
        assert used == {patch.tobytes() for file in files for patch in cut(file, 32)}


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--test_files=2",), "leaves nothing to train on"),
        (("--unpaired", "--test_files=1"), "cannot be combined"),
        (("--test_files=1", "--more_x=x"), "go together"),
        (("--more_x=x", "--more_y=y"), "needs --test_files"),
    ],
)
def test_flags_that_do_not_go_together_are_told_and_write_nothing(folders, flags, message):
    with pytest.raises(InputError, match=message):
        run(folders, *flags)
    assert not (folders / "set").exists()


@pytest.mark.parametrize("words", ["_low,_high", ",_high", "_low,_low_high"])
def test_files_of_one_folder_pair_by_the_words_in_their_names(words, tmp_path, capsys):
    images = RNG.integers(0, 1000, (2, 2, 64, 64)).astype(np.uint16)
    for number, (x, y) in enumerate(images):
        for word, image in zip(words.split(","), (x, y), strict=True):
            tifffile.imwrite(tmp_path / f"f{number}{word}.tif", image)
    flags = [f"--x_dir={tmp_path}", f"--pattern={words}", "--name=Mine", f"--output={tmp_path}/set", "--patch=64"]
    assert prepare_folders.main(prepare_folders.make_parser().parse_args(flags)) == 0
    for kind, expected in zip("XY", (images[:, 0], images[:, 1]), strict=True):
        assert np.array_equal(np.load(tmp_path / f"set/Mine_{kind}.npy"), expected)
    assert "2 pairs from 2 files" in capsys.readouterr().out


def run_on_one(folder, *flags):
    """Run on the files of one folder without --y_dir; gives X and Y."""
    words = [f"--x_dir={folder}", "--name=Mine", f"--output={folder}/set", "--patch=64", "--keep_empty", *flags]
    assert prepare_folders.main(prepare_folders.make_parser().parse_args(words)) == 0
    return [np.load(folder / f"set/Mine_{kind}.npy") for kind in "XY"]


def test_two_channels_of_a_file_are_a_pair(tmp_path):
    values = RNG.integers(0, 1000, (3, 2, 64, 64)).astype(np.uint16)
    channels = {"axes": "ZCYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", values, metadata=channels)
    x, y = run_on_one(tmp_path, "--x_channel=GFP", "--y_channel=0")
    assert np.array_equal(x, values[:, 1]) and np.array_equal(y, values[:, 0])


@pytest.mark.parametrize("how", ["mean", "max"])
def test_a_projection_is_the_partner_of_every_plane(how, tmp_path):
    frames = RNG.integers(0, 1000, (5, 64, 64)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", frames, imagej=True, metadata={"axes": "TYX"})
    x, y = run_on_one(tmp_path, f"--project={how}")
    expected = frames.max(axis=0) if how == "max" else frames.mean(axis=0).astype(np.float32)
    assert np.array_equal(x, frames) and y.dtype == expected.dtype
    assert np.array_equal(y, np.broadcast_to(expected, y.shape)) and len(y) == 5


def test_one_image_pairs_with_the_projection_of_a_stack(tmp_path):
    stack = RNG.integers(0, 1000, (5, 64, 64)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a_x.tif", stack[2])
    tifffile.imwrite(tmp_path / "a_y.tif", stack)
    x, y = run_on_one(tmp_path, "--pattern=_x,_y", "--project=max")
    assert np.array_equal(x[0], stack[2]) and np.array_equal(y[0], stack.max(axis=0)) and len(x) == len(y) == 1


@pytest.mark.parametrize(
    "flags, message",
    [
        ((), "--y_dir is missing"),
        (("--x_channel=0",), "--y_dir is missing"),
        (("--x_channel=1", "--y_channel=1"), "--y_dir is missing"),
        (("--pattern=_a,_b",), "no file has the word '_a'"),
        (("--pattern=in,le",), "no partner of single.tif"),
        (("--project=max",), "--project needs a file with one axis"),
        (("--unpaired", "--project=max"), "--unpaired needs --y_dir"),
    ],
)
def test_one_folder_without_a_rule_for_y_is_an_error(flags, message, folders):
    with pytest.raises(InputError, match=message):
        run_on_one(folders / "y", *flags)
    assert not (folders / "y/set").exists()
