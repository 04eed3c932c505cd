"""Training sets of one stack: planes and sections, unpaired, or pairs by a known point spread function."""

from itertools import pairwise

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter1d
from small_stacks import blobs, blurred_stack, write_imagej, write_zarr

from common.errors import InputError
from data import prepare_stack
from data.patches import depth_windows, most_depth_ranges
from data_utils import load_tasks
from restoring.normalization import white_noise
from restoring.stacks import section

STRIDE = 4


@pytest.fixture
def stack(tmp_path):
    """A stack of 17 planes, f = 4, in an ImageJ file; (folder, values)."""
    values = blurred_stack(blobs(65, 96), STRIDE)
    write_imagej(tmp_path / "stack.tif", values)
    return tmp_path, values


def run(folder, *flags, source="stack.tif"):
    words = [f"--input={folder / source}", "--name=Mine", f"--output={folder}/set", "--patch=32", *flags]
    return prepare_stack.main(prepare_stack.make_parser().parse_args(words))


def test_planes_are_y_and_sections_along_z_are_x_on_one_scale(stack, capsys):
    folder, values = stack
    assert run(folder) == 0
    said = capsys.readouterr().out
    assert "axes ZYX (from its metadata), 17 x 96 x 96, uint16; voxels 0.8 x 0.2 x 0.2 micrometres" in said
    assert "unpaired, from 1 stacks" in said and "--no_rotate=Mine" in said
    x, y = (np.load(folder / f"set/Mine_{kind}.npy") for kind in "XY")
    assert x.shape == y.shape and x.shape[1:] == (32, 32) and x.dtype == np.float32
    low, high = np.percentile(values, [2, 99.8])
    whole = np.stack([section(values, 1, i, STRIDE) for i in range(0, 96, prepare_stack.EVERY)])
    first = (whole[0, 16 - 16 : 32, :32] - low) / (high - low)  # 65 rows: two crops from row 0 on
    assert any(np.allclose(first, crop, atol=1e-4) for crop in x)
    assert any(np.allclose((values[0, :32, :32] - low) / (high - low), crop, atol=1e-4) for crop in y)
    assert any(np.allclose((values[1, :32, :32].T - low) / (high - low), crop, atol=1e-4) for crop in y)
    (task,), _ = load_tasks(folder / "set")
    assert task.name == "Mine" and task.stride == pytest.approx(STRIDE)


def test_a_psf_makes_pairs_that_are_blurred_along_axis_0_alone(stack):
    folder, _ = stack
    assert run(folder, "--psf=0.4") == 0
    x, y = (np.load(folder / f"set/Mine_{kind}.npy") for kind in "XY")
    blurred = gaussian_filter1d(y, 2.0, axis=1)[:, 8:-8]
    np.testing.assert_allclose(x[:, 8:-8].mean(axis=(1, 2)), y[:, 8:-8].mean(axis=(1, 2)), atol=0.1)
    assert np.mean((x[:, 8:-8] - blurred) ** 2) < 0.3 * np.mean((x[:, 8:-8] - y[:, 8:-8]) ** 2)
    kernel = np.exp(-(np.arange(-8, 9) ** 2) / 8)
    np.save(folder / "psf.npy", kernel)
    tifffile.imwrite(folder / "psf.tif", (kernel[:, None, None] * np.ones((1, 1, 1))).astype(np.float32))
    assert run(folder, f"--psf={folder}/psf.npy", "--name=One") == run(folder, "--psf=0.4", "--name=Two") == 0
    np.testing.assert_allclose(*(np.load(folder / f"set/{name}_X.npy") for name in ("One", "Two")), atol=2e-3)


def test_sections_of_a_plane_without_blur_and_noise_keep_every_taken_row():
    rng = np.random.default_rng(0)
    plane = np.arange(64, dtype=np.float32)[:, None] * np.ones(8, np.float32)
    made = prepare_stack.as_section(rng, plane, lambda image: image, 3.3, 0.0)
    np.testing.assert_allclose(made[10:-10], plane[10:-10], rtol=1e-5)


def test_the_noise_of_a_stack_is_measured_below_its_content():
    volume = blobs(9, 64)
    noisy = volume + np.random.default_rng(1).normal(0, 30, volume.shape)
    assert white_noise(noisy) == pytest.approx(30, rel=0.15)


def test_stacks_of_a_folder_become_one_task_and_background_is_left_out(stack):
    folder, values = stack
    (folder / "many").mkdir()
    for number, stack_of_it in enumerate((values, values)):
        stack_of_it = stack_of_it.copy()
        stack_of_it[:, :, 32:] = 100
        write_imagej(folder / f"many/{number}.tif", stack_of_it)
    assert run(folder, source="many") == 0
    y = np.load(folder / "set/Mine_Y.npy")
    assert len(y) and y.std(axis=(1, 2)).min() > 0.05


def test_depth_ranges_are_tasks_whose_sections_come_from_their_own_depth(tmp_path, capsys):
    """Bright at the top, dim at the bottom: x of each range are dimmer than those of the one above, y are the same."""
    volume = blobs(129, 96)
    write_imagej(tmp_path / "stack.tif", blurred_stack(volume * np.linspace(1, 0.4, 129)[:, None, None], STRIDE))
    assert run(tmp_path, "--depth_ranges=3") == 0
    said = capsys.readouterr().out
    assert "--no_rotate=Mine_1,Mine_2,Mine_3" in said and "Mine_2_X.npy, Mine_2_Y.npy" in said
    tasks, _ = load_tasks(tmp_path / "set")
    assert [(task.name, task.stride) for task in tasks] == [(f"Mine_{i}", STRIDE) for i in (1, 2, 3)]
    means = [np.load(tmp_path / f"set/Mine_{i}_X.npy").mean() for i in (1, 2, 3)]
    assert means[0] > 1.2 * means[1] > 1.44 * means[2]
    args = prepare_stack.make_parser().parse_args(
        ["--input=a", "--name=b", "--output=c", "--patch=32", "--depth_ranges=3"]
    )
    (_, first), (_, second), (_, third) = prepare_stack.cut_unpaired(volume[::STRIDE] / 1100, STRIDE, args, tmp_path)
    assert first is second is third


@pytest.mark.parametrize(
    ("rows", "count", "patch", "expected"),
    [(129, 1, 32, [(0, 129)]), (129, 3, 32, [(0, 43), (43, 86), (86, 129)]), (96, 2, 64, [(0, 64), (32, 96)])],
)
def test_depth_windows_share_the_rows_or_overlap(rows, count, patch, expected):
    assert [(seen.start, seen.stop) for seen in depth_windows(rows, count, patch)] == expected


@pytest.mark.parametrize(("rows", "patch"), [(96, 64), (95, 96), (256, 64), (81, 32), (1000, 32)])
def test_neighbouring_depth_windows_overlap_by_half_of_the_patch_at_most(rows, patch):
    for count in range(1, most_depth_ranges(rows, patch) + 1):
        seen = depth_windows(rows, count, patch)
        assert max([0, *(one.stop - two.start for one, two in pairwise(seen))]) <= patch / 2 + 1
        assert seen[0].start == 0 and seen[-1].stop == (rows if count > 1 else seen[0].stop)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--depth_ranges=4",), r"rows of a section are too few for 4 depth ranges of 32 rows; use --depth_ranges=3"),
        (("--depth_ranges=2", "--psf=0.4"), "is for unpaired images, without --psf"),
        (("--patch=96",), r"17 planes are 65 rows of a section, less than --patch=96; use --patch=64"),
        (("--patch=128",), "96 x 96 pixels are less than --patch=128"),
        (("--spacing=0.2,0.2,0.2",), "no further apart"),
        (("--name=a/b",), "letters, digits"),
        (("--psf=-1",), "expected a positive number"),
        (("--psf=none.npy",), "none.npy: no such file"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(flags, message, stack):
    with pytest.raises(InputError, match=message):
        run(stack[0], *flags)
    assert not (stack[0] / "set").exists()


def test_planes_that_are_noisy_themselves_are_noted(stack, capsys):
    folder, values = stack
    run(folder)
    assert "own noise" not in capsys.readouterr().out
    noisy = values + np.random.default_rng(0).normal(0, 100, values.shape)
    write_imagej(folder / "noisy.tif", np.clip(noisy, 0, None).astype(np.float32))
    run(folder, "--name=Noisy", source="noisy.tif")
    said = capsys.readouterr().out
    share = white_noise(noisy) / np.subtract(*np.percentile(noisy, [99.8, 2]))
    assert f"the planes' own noise is {100 * share:.0f} % of their range" in said


def test_layered_tissue_is_noted(tmp_path, capsys):
    layers = blobs(129, 96) * 0.1 + 1000 * (np.sin(np.arange(129) / 8) > 0)[:, None, None]
    write_imagej(tmp_path / "stack.tif", blurred_stack(layers, STRIDE))
    run(tmp_path)
    assert "times more along z than along x" in capsys.readouterr().out


@pytest.mark.parametrize("version", [2, 3])
def test_a_volume_gives_the_set_of_the_same_stack_as_a_file(version, stack, capsys):
    """The volume has another channel and another time, and stands in a folder."""
    pytest.importorskip("zarr", reason="requirements/large.txt is not installed")
    folder, values = stack
    whole = np.zeros((2, 2, *values.shape), values.dtype)
    whole[1, 0] = values
    (folder / "volumes").mkdir()
    write_zarr(folder / "volumes/a.zarr", whole, "TCZYX", version=version, labels=["DNA", "actin"])
    run(folder)
    chosen = ("--channel=DNA", "--time=1")
    run(folder, "--name=Same", *chosen, source="volumes/a.zarr")
    run(folder, "--name=Folder", *chosen, source="volumes")
    said = capsys.readouterr().out
    assert "a.zarr: axes ZYX (from its metadata), 17 x 96 x 96, uint16; voxels 0.8 x 0.2 x 0.2 micrometres" in said
    for name in ("Same", "Folder"):
        for kind in "XY":
            found, expected = (np.load(folder / f"set/{each}_{kind}.npy") for each in (name, "Mine"))
            np.testing.assert_array_equal(found, expected)
    with pytest.raises(InputError, match=r"a\.zarr: 4 stacks \(axes TCZYX\); choose one with --channel and --time"):
        run(folder, "--name=Another", source="volumes/a.zarr")
    with pytest.raises(InputError, match=r"--channel=GFP, but there are 2 \(DNA, actin\)"):
        run(folder, "--channel=GFP", "--name=Another", source="volumes/a.zarr")
    with pytest.raises(InputError, match=r"unpack to 0\.0 GB, more than --max_gb=1e-06"):
        run(folder, *chosen, "--max_gb=0.000001", "--name=Another", source="volumes/a.zarr")
