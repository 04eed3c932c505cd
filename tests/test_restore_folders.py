"""restore.py on folders of many files: what fails is listed, what is there is skipped, what is odd is said."""

import errno

import keras
import numpy as np
import pytest
import tifffile
from PIL import Image
from small_generators import PAPER, identity_generator, metadata

import restore
from common import progress
from common.errors import InputError
from restoring.generator_file import Metadata, save_generator
from restoring.image_files import read_image, read_pairs
from restoring.normalization import PercentileNormalization

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path):
    """A generator that gives its input back, and a folder of three images."""
    save_generator(identity_generator(), tmp_path / "generator.h5", metadata())
    (tmp_path / "x").mkdir()
    for name in "abc":
        tifffile.imwrite(tmp_path / f"x/{name}.tif", RNG.gamma(2, 100, (24, 32)).astype(np.uint16))
    return tmp_path


def run(folder, *flags, source="x", output="r"):
    words = [f"--generator_path={folder}/generator.h5", f"--input={folder / source}", f"--output={folder / output}"]
    return restore.main(restore.make_parser().parse_args([*words, *flags]))


def test_a_bad_file_does_not_stop_the_rest_and_is_listed_at_the_end(folder, capsys):
    (folder / "x/b.tif").write_bytes(b"II*\0" + bytes(20))
    (folder / "x/notes.txt").write_text("x")
    (folder / "x/thumbs.db").write_text("x")
    assert run(folder) == 1
    said = capsys.readouterr()
    assert sorted(path.name for path in (folder / "r").iterdir()) == ["a.tif", "c.tif"]
    first, second = said.err.strip().splitlines()
    assert first == "error: 1 of 3 files were not restored:" and "b.tif: cannot be read as TIFF" in second
    assert "skipped 2 files that are not images (.db, .txt)" in said.out


def test_files_that_are_restored_already_are_skipped(folder, capsys):
    assert run(folder, source="x/b.tif") == 0
    before = (folder / "r/b.tif").read_bytes()
    with pytest.raises(InputError, match="or pass --overwrite or --skip_existing"):
        run(folder)
    (folder / "r/b.tif").write_bytes(b"mine")
    assert run(folder, "--skip_existing") == 0
    assert "1 of 3 files are restored already and are skipped" in capsys.readouterr().out
    assert (folder / "r/b.tif").read_bytes() == b"mine" != before
    assert len(list((folder / "r").iterdir())) == 3
    assert run(folder, "--skip_existing") == 0 and "3 of 3 files" in capsys.readouterr().out


def test_folders_in_a_folder_are_restored_on_demand(folder):
    (folder / "x/day 1/cells").mkdir(parents=True)
    (folder / "x/a.tif").rename(folder / "x/day 1/cells/a.tif")
    (folder / "y/day 1/cells").mkdir(parents=True)
    for name in ("day 1/cells/a", "b", "c"):
        np.save(folder / f"y/{name}.npy", tifffile.imread(folder / f"x/{name}.tif"))
    assert run(folder) == 0 and len(list((folder / "r").rglob("*.*"))) == 2
    assert run(folder, "--recursive", f"--ground_truth={folder / 'y'}", output="all") == 0
    found = sorted(str(path.relative_to(folder / "all")) for path in (folder / "all").rglob("*.tif"))
    assert found == ["b.tif", "c.tif", "day 1/cells/a.tif"]


def test_clean_images_are_found_by_name_without_suffixes(folder, capsys):
    (folder / "y").mkdir()
    for name in "abc":
        values = tifffile.imread(folder / f"x/{name}.tif")
        (folder / f"x/{name}.tif").rename(folder / f"x/{name}.ome.tif")
        tifffile.imwrite(folder / f"y/{name}.tif", values)
    assert run(folder, f"--ground_truth={folder / 'y'}") == 0
    assert capsys.readouterr().out.count("output ") == 3
    x, y = read_pairs(folder / "x", folder / "y")
    assert all(map(np.array_equal, x, y)) and len(x) == 3
    np.save(folder / "y/a.npy", values)
    with pytest.raises(InputError, match=r"a\.npy and a\.tif both are partners of a\.ome\.tif"):
        run(folder, f"--ground_truth={folder / 'y'}", output="again")


def test_pairs_of_several_channels_are_refused(tmp_path):
    for kind in "xy":
        tifffile.imwrite(tmp_path / f"{kind}.ome.tif", np.zeros((2, 24, 32), np.uint8), metadata={"axes": "CYX"})
    with pytest.raises(InputError, match="2 channels; save the channel of the task as a file of its own"):
        read_pairs(tmp_path / "x.ome.tif", tmp_path / "y.ome.tif")


@pytest.mark.parametrize(
    ("tasks", "fixed", "said"),
    [
        (["A", "B"], ["A"], "without --task, and some of its tasks must not be turned"),
        (["A"], ["A"], "what this generator restores must not be turned"),
    ],
)
def test_a_mean_of_four_flips_says_why(tasks, fixed, said, tmp_path, capsys):
    np.save(tmp_path / "x.npy", RNG.random((24, 32), np.float32))
    normalization = PercentileNormalization(dict.fromkeys(tasks, (1.0, 0.0)))
    save_generator(identity_generator(), tmp_path / "g.h5", Metadata("cGAN", "tuned", tasks, normalization, fixed, 8))
    words = [f"--generator_path={tmp_path}/g.h5", f"--input={tmp_path}/x.npy", f"--output={tmp_path}/r.npy"]
    assert restore.main(restore.make_parser().parse_args([*words, "--average=8"])) == 0
    assert f"note: averaging over the four flips alone: {said}" in capsys.readouterr().out


def test_png_files_of_a_folder_become_tiff(folder):
    (folder / "png").mkdir()
    image = RNG.integers(0, 60000, (24, 32)).astype(np.uint16)
    Image.fromarray(image).save(folder / "png/a.png")
    assert run(folder, source="png") == 0
    np.testing.assert_allclose(tifffile.imread(folder / "r/a.tif"), image, rtol=1e-3, atol=1)
    assert run(folder, "--dtype=uint16", source="png", output="whole") == 0 and (folder / "whole/a.png").is_file()


@pytest.mark.parametrize(
    "failure, reason",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("49152 requested and 0 written"), r"49152 requested and 0 written; is the disk full\?"),
    ],
)
def test_a_full_disk_ends_everything_and_names_the_file(failure, reason, folder, monkeypatch):
    def refuse(*args, **named):
        raise failure

    monkeypatch.setattr(tifffile, "imwrite", refuse)
    with pytest.raises(InputError, match=rf"r/a\.tif: cannot be written \({reason}\)$"):
        run(folder)
    assert not list((folder / "r").iterdir())


def test_a_stack_has_one_line_and_its_planes_on_demand(folder, capsys):
    tifffile.imwrite(folder / "x/a.tif", RNG.gamma(2, 100, (4, 24, 32)).astype(np.uint16), photometric="minisblack")
    run(folder, source="x/a.tif")
    (line,) = capsys.readouterr().out.strip().splitlines()
    assert "a.tif: axes QYX" in line and "-> " in line and "flux 1.000 of x's (medians of 4 planes)" in line
    run(folder, "--verbose", source="x/a.tif", output="again")
    assert capsys.readouterr().out.count("\n  plane ") == 4


@pytest.mark.parametrize(
    "gain, normalization, warned",
    [
        (1.3, {}, "plane 0 has 1.30 of x's flux\n"),
        (-1.0, {}, "and is inverted\n"),
        (1.05, {}, None),
        (1.3, {"normalization": PAPER}, None),
    ],
)
def test_lost_intensities_are_a_warning(gain, normalization, warned, folder, capsys):
    """Twice the background in x, so that a gain of the network units changes the flux; y's units have no flux of x."""
    image = keras.Input((None, None, 1))
    save_generator(
        keras.Model(image, keras.layers.Rescaling(gain)(image)), folder / "generator.h5", metadata(**normalization)
    )
    x = RNG.gamma(0.5, 100, (24, 32)).astype(np.float32)
    np.save(folder / "x.npy", x - np.percentile(x, 2))
    run(folder, "--task=A", source="x.npy", output="r.npy")
    said = capsys.readouterr().out
    assert ("warning: " in said) == bool(warned) and (warned or "") in said


def test_a_bar_in_a_log_file_shares_no_line_with_a_result(capsys):
    with progress.progress_bar(total=3, leave=False, mininterval=0, delay=0) as bar:
        for _ in range(3):
            bar.update()
    print("result")
    said = capsys.readouterr()
    assert "\r" not in said.err and said.err.endswith("\n") and "3/3" in said.err


def test_a_large_image_moves_the_bar_with_every_tile(folder, monkeypatch):
    moves = []

    class Bar:
        def __init__(self, total, **named):
            moves.append(total)

        def __enter__(self):
            return self

        def __exit__(self, *failure):
            pass

        def update(self):
            moves.append(1)

    monkeypatch.setattr(progress, "progress_bar", Bar)
    np.save(folder / "x.npy", RNG.gamma(2, 100, (200, 150)))
    run(folder, "--tile=64", "--average=8", source="x.npy", output="r.npy")
    total, *rest = moves
    assert total == len(rest) and total >= 8 * 12
    assert read_image(folder / "r.npy").planes.shape == (1, 200, 150)
