"""OME-Zarr volumes: the same as whole planes, on a cluster whose worker dies, restarted, and never running code."""

import json
import os
import signal
import threading
import time

import keras
import numpy as np
import pytest
from small_generators import cin_generator, uneven_generator

import restore
from common.errors import InputError
from restoring import volumes
from restoring.apply import Applier
from restoring.generator_file import Metadata, load_generator, save_generator
from restoring.normalization import PercentileNormalization

zarr = pytest.importorskip("zarr", reason="requirements/large.txt is not installed")
distributed = pytest.importorskip("distributed", reason="requirements/large.txt is not installed")
RNG = np.random.default_rng(0)
SCALE = [{"type": "scale", "scale": [2.0, 0.5, 0.1, 0.1]}]


@pytest.fixture
def generator(tmp_path):
    """A generator that shows where a block ends: the mean of 5 x 5 pixels, zeros outside."""
    image = keras.Input((None, None, 1))
    layer = keras.layers.Conv2D(1, 5, padding="same", use_bias=False, kernel_initializer="ones")
    model = keras.Model(image, keras.layers.Rescaling(1 / 25)(layer(image)))
    metadata = Metadata("cGAN", "tuned", ["A"], PercentileNormalization({"A": (1.0, 0.0)}), (), 8)
    save_generator(model, tmp_path / "generator.h5", metadata)
    return tmp_path / "generator.h5"


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 64 pixels; workers run in threads of this process, so that they have them too."""
    monkeypatch.setattr(volumes, "BLOCK", 64)
    with distributed.LocalCluster(
        processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


def write_volume(path, values, version=2):
    """An OME-Zarr image (c, z, y, x) of format 0.4 or 0.5."""
    group = zarr.open_group(path, mode="w", zarr_format=version)
    axes = [{"name": "c", "type": "channel"}, *[{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]]
    scales = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": SCALE}], "version": "0.4"}
    ome = {"multiscales": [scales], "omero": {"channels": [{"label": "DAPI"}]}}
    group.attrs.update(ome if version == 2 else {"ome": {**ome, "version": "0.5"}})
    group.create_array("0", data=values, chunks=(1, 1, 50, 70))
    return path


def run(generator, source, output, *flags):
    words = [f"--generator_path={generator}", f"--input={source}", f"--output={output}", *flags]
    return restore.main(restore.make_parser().parse_args(words))


@pytest.mark.parametrize("version", [2, 3])
def test_blocks_equal_the_whole_plane_and_metadata_is_kept(tmp_path, generator, small_blocks, version):
    values = RNG.gamma(2, 100, (2, 2, 152, 200)).astype(np.uint16)
    source = write_volume(tmp_path / "in.zarr", values, version)
    flags = [f"--scheduler={small_blocks}", "--average=8", "--normalize=plane"]
    assert run(generator, source, tmp_path / "out.zarr", *flags) == 0
    group, attributes, dataset, _ = volumes.open_volume(tmp_path / "out.zarr")
    model, metadata = load_generator(generator)
    apply = Applier(model, metadata)
    whole = [[apply(plane, "A", average=8) for plane in stack] for stack in values]
    np.testing.assert_allclose(group[dataset][:], whole, rtol=1e-4, atol=1e-2)
    assert attributes["multiscales"][0]["datasets"][0]["coordinateTransformations"] == SCALE
    assert attributes["omero"]["channels"][0]["label"] == "DAPI" and group.metadata.zarr_format == version
    assert not (tmp_path / "out.zarr.partial").exists()


def test_maps_scores_and_intensities_are_those_of_the_same_file(tmp_path, small_blocks, capsys):
    values = RNG.gamma(2, 100, (2, 100, 80)).astype(np.float32)
    truth = 0.9 * values + 20
    calibration = tmp_path / "calibration.json"
    calibration.write_text(json.dumps({"floor": 0.01, "slope": 2.0}))
    for name, stack in (("x", values), ("y", truth)):
        np.save(tmp_path / f"{name}.npy", stack)
        write_volume(tmp_path / f"{name}.zarr", stack[None])
    flags = ["--task=A", "--uncertainty=4", f"--calibration={calibration}", "--check", "--overlap=16", "--verbose"]
    flags += [f"--cin_generator_path={cin_generator(tmp_path)}"]
    said = []
    for kind, more in (("npy", ["--axes=ZYX"]), ("zarr", [f"--scheduler={small_blocks}"])):
        files = [tmp_path / f"{name}.{kind}" for name in "xry"]
        more = [*more, f"--ground_truth={files[2]}"]
        assert run(uneven_generator(tmp_path), files[0], files[1], *flags, *more) == 0
        out = capsys.readouterr().out
        said.append([line for line in out.splitlines() if line.startswith(("  plane", "  input", "  output"))])
        said[-1].append(out[out.index("restored = ") :].splitlines()[0])
    assert sorted(said[0]) == sorted(said[1]) and len(said[0]) == 7
    for name in ("r", "r_uncertainty", "r_check"):
        group, _, dataset, _ = volumes.open_volume(tmp_path / f"{name}.zarr")
        np.testing.assert_allclose(group[dataset][0], np.load(tmp_path / f"{name}.npy"), rtol=1e-3, atol=1e-2)
    with pytest.raises(InputError, match=r"r_check\.zarr exists"):
        (tmp_path / "r.zarr").rename(tmp_path / "other.zarr")
        (tmp_path / "r_uncertainty.zarr").rename(tmp_path / "another.zarr")
        run(uneven_generator(tmp_path), tmp_path / "x.zarr", tmp_path / "r.zarr", *flags)


def test_a_ground_truth_of_another_shape_is_refused_before_a_block_is_restored(tmp_path, generator):
    for name, shape in (("in", (1, 1, 64, 64)), ("truth", (1, 2, 64, 64))):
        write_volume(tmp_path / f"{name}.zarr", np.ones(shape, np.uint16))
    with pytest.raises(InputError, match=r"truth.zarr: CZYX \(1, 2, 64, 64\), but the input is"):
        run(generator, tmp_path / "in.zarr", tmp_path / "out.zarr", f"--ground_truth={tmp_path / 'truth.zarr'}")
    with pytest.raises(InputError, match="that of a volume is a volume"):
        run(generator, tmp_path / "in.zarr", tmp_path / "out.zarr", f"--ground_truth={tmp_path / 'truth.tif'}")
    assert not list(tmp_path.glob("out*"))


def test_an_independent_reader_finds_axes_and_scale(tmp_path, generator, small_blocks):
    reader = pytest.importorskip("ome_zarr.reader", reason="ome-zarr is not installed")
    source = write_volume(tmp_path / "in.zarr", np.ones((1, 1, 64, 64), np.uint16))
    run(generator, source, tmp_path / "out.zarr", f"--scheduler={small_blocks}")
    from ome_zarr.io import parse_url

    node = next(iter(reader.Reader(parse_url(str(tmp_path / "out.zarr")))()))
    assert [axis["name"] for axis in node.metadata["axes"]] == ["c", "z", "y", "x"]
    assert node.metadata["coordinateTransformations"][0] == SCALE and node.data[0].shape == (1, 1, 64, 64)


def test_what_is_done_is_kept_and_the_rest_is_done(tmp_path, generator, small_blocks, monkeypatch):
    values = RNG.gamma(2, 100, (1, 2, 64, 128)).astype(np.float32)
    source = write_volume(tmp_path / "in.zarr", values)
    broken = values.copy()
    broken[0, 1, 5, 5] = np.nan
    zarr.open_group(source, mode="r+")["0"][:] = broken
    with pytest.raises(InputError, match=r"plane \(0, 1\), block at row 0, column 0: holds NaN"):
        run(generator, source, tmp_path / "out.zarr", f"--scheduler={small_blocks}")
    assert not (tmp_path / "out.zarr").exists()
    done = set(os.listdir(tmp_path / "out.zarr.partial/done"))
    assert done <= {"0_0_0_0", "0_0_0_64"}
    with pytest.raises(InputError, match="begun with other settings"):
        run(generator, source, tmp_path / "out.zarr", "--average=8")
    zarr.open_group(source, mode="r+")["0"][:] = values
    restored = []
    real = volumes.restore_block
    monkeypatch.setattr(volumes, "restore_block", lambda block, job: restored.append(block.name()) or real(block, job))
    volumes.plane_scales.cache_clear()
    assert run(generator, source, tmp_path / "out.zarr", f"--scheduler={small_blocks}") == 0
    assert not done & set(restored) and zarr.open_group(tmp_path / "out.zarr")["0"][:].all()


def test_pixels_between_the_sampled_ones_are_checked_too(tmp_path, generator, small_blocks, monkeypatch):
    """Percentiles are taken from every second row and column; the NaN lies in between, in the last block."""
    monkeypatch.setattr(volumes, "SAMPLED", 64 * 128 // 4)
    values = RNG.gamma(2, 100, (1, 1, 64, 128)).astype(np.float32)
    values[0, 0, 5, 99] = np.nan
    source = write_volume(tmp_path / "in.zarr", values)
    with pytest.raises(InputError, match=r"plane \(0, 0\), block at row 0, column 64: holds NaN"):
        run(generator, source, tmp_path / "out.zarr", f"--scheduler={small_blocks}", "--overlap=16")
    assert not (tmp_path / "out.zarr").exists()
    assert set(os.listdir(tmp_path / "out.zarr.partial/done")) <= {"0_0_0_0"}


def test_restored_blocks_that_are_not_finite_are_named(tmp_path, small_blocks):
    image = keras.Input((None, None, 1))
    infinite = keras.layers.Rescaling(1e30)(keras.layers.Rescaling(1e30)(image))
    details = Metadata("cGAN", "tuned", ["A"], PercentileNormalization({"A": (1.0, 0.0)}), (), 8)
    save_generator(keras.Model(image, infinite), tmp_path / "generator.h5", details)
    source = write_volume(tmp_path / "in.zarr", RNG.gamma(2, 100, (1, 1, 64, 64)).astype(np.float32))
    with pytest.raises(
        InputError, match=r"plane \(0, 0\), block at row 0, column 0: the generator's output is not finite"
    ):
        run(tmp_path / "generator.h5", source, tmp_path / "out.zarr", f"--scheduler={small_blocks}")
    assert not (tmp_path / "out.zarr").exists() and not os.listdir(tmp_path / "out.zarr.partial/done")


def test_the_process_of_this_machine_leaves_nothing_in_the_temporary_folder(
    tmp_path, generator, temporary_folder, monkeypatch
):
    """And what it restored is kept where its end takes longer than dask waits, as on a busy machine."""
    close = distributed.LocalCluster.close

    def close_late(cluster, timeout=None):
        close(cluster, timeout)
        raise TimeoutError

    monkeypatch.setattr(distributed.LocalCluster, "close", close_late)
    source = write_volume(tmp_path / "in.zarr", RNG.gamma(2, 100, (1, 1, 80, 80)).astype(np.uint16))
    assert run(generator, source, tmp_path / "out.zarr") == 0
    assert zarr.open_group(tmp_path / "out.zarr")["0"][:].all() and not list(temporary_folder.iterdir())


@pytest.mark.slow
def test_a_worker_that_is_killed_half_way_loses_nothing(tmp_path, generator):
    """Real processes and real blocks; one of two workers gets SIGKILL once a block is done."""
    values = RNG.gamma(2, 100, (1, 30, 80, 80)).astype(np.uint16)
    source = write_volume(tmp_path / "in.zarr", values)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with distributed.LocalCluster(**options) as cluster:

        def kill():
            done = tmp_path / "out.zarr.partial/done"
            while not done.is_dir() or not os.listdir(done):
                time.sleep(0.01)
            os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        assert run(generator, source, tmp_path / "out.zarr", f"--scheduler={cluster.scheduler_address}") == 0
        killer.join(5)
    assert not killer.is_alive() and zarr.open_group(tmp_path / "out.zarr")["0"][:].all(axis=(2, 3)).all()


def test_pixels_out_of_range_are_counted(tmp_path, generator, small_blocks, capsys):
    source = write_volume(tmp_path / "in.zarr", np.full((1, 1, 64, 64), 300, np.uint16))
    run(generator, source, tmp_path / "out.zarr", f"--scheduler={small_blocks}", "--dtype=uint8")
    assert "4096 pixels clipped" in capsys.readouterr().out
    assert zarr.open_group(tmp_path / "out.zarr")["0"].dtype == np.uint8


def spoil(path, part):
    """Write a part of a volume's metadata anew."""
    name, change = part
    text = json.loads((path / name).read_text())
    change(text)
    (path / name).write_text(json.dumps(text))


@pytest.mark.parametrize(
    "name, change, message",
    [
        (".zattrs", lambda attrs: attrs.pop("multiscales"), "no OME-Zarr image"),
        (".zattrs", lambda attrs: attrs["multiscales"][0]["axes"][-1].update(name="w"), "axes with y and x"),
        ("0/.zarray", lambda array: array.update(shape="x"), "no OME-Zarr image"),
        ("0/.zarray", lambda array: array.update(dtype="|b1", fill_value=False), "real numbers"),
        ("0/.zarray", lambda array: array.update(filters=[{"id": "pickle"}]), "pickle|no OME-Zarr"),
    ],
)
def test_broken_volumes_are_told(tmp_path, generator, name, change, message):
    source = write_volume(tmp_path / "in.zarr", np.ones((1, 1, 64, 64), np.uint16))
    spoil(source, (name, change))
    with pytest.raises(InputError, match=message):
        run(generator, source, tmp_path / "out.zarr")
    assert not list(tmp_path.glob("out*"))


def test_no_cluster_and_an_existing_output_are_told(tmp_path, generator):
    source = write_volume(tmp_path / "in.zarr", np.ones((1, 1, 64, 64), np.uint16))
    with pytest.raises(InputError, match="cannot be reached"):
        run(generator, source, tmp_path / "out.zarr", "--scheduler=nonsense://1")
    (tmp_path / "there.zarr").mkdir()
    with pytest.raises(InputError, match="exists"):
        run(generator, source, tmp_path / "there.zarr")


@pytest.mark.parametrize("axes", ["yxc", "xzy", "yx"])
def test_axes_come_in_any_order_and_can_be_given(axes, tmp_path, generator, small_blocks):
    values = RNG.gamma(2, 100, [{"y": 152, "x": 100}.get(axis, 2) for axis in axes]).astype(np.uint16)
    for name, written in (("right", axes), ("wrong", "abc"[: len(axes)])):
        group = zarr.open_group(tmp_path / name, mode="w", zarr_format=2)  # a folder that is not named .zarr
        scales = {"axes": [{"name": axis} for axis in written], "datasets": [{"path": "0"}], "version": "0.4"}
        group.attrs["multiscales"] = [scales]
        group.create_array("0", data=values)
    flags = [f"--scheduler={small_blocks}", "--normalize=plane"]
    run(generator, tmp_path / "right", tmp_path / "out.zarr", *flags)
    with pytest.raises(InputError, match="pass --axes"):
        run(generator, tmp_path / "wrong", tmp_path / "again.zarr")
    run(generator, tmp_path / "wrong", tmp_path / "again.zarr", f"--axes={axes}", *flags)
    apply = Applier(*load_generator(generator))
    planes = np.moveaxis(values, (axes.index("y"), axes.index("x")), (-2, -1)).reshape(-1, 152, 100)
    whole = [apply(plane, "A") for plane in planes]
    for name in ("out", "again"):
        group, attributes, dataset, letters = volumes.open_volume(tmp_path / f"{name}.zarr")
        found = np.moveaxis(group[dataset][:], (axes.index("y"), axes.index("x")), (-2, -1)).reshape(-1, 152, 100)
        np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-2)
        assert letters == axes.upper() and [a["name"] for a in attributes["multiscales"][0]["axes"]] == list(axes)


def test_volumes_of_early_versions_are_read(tmp_path):
    """Version 0.1 names no axes, 0.3 names them by words alone."""
    for axes in (None, ["c", "y", "x"]):
        path = tmp_path / f"{axes}.zarr"
        group = zarr.open_group(path, mode="w", zarr_format=2)
        version = {"version": "0.3", "axes": axes} if axes else {"version": "0.1"}
        group.attrs["multiscales"] = [{"datasets": [{"path": "0"}], **version}]
        group.create_array("0", data=np.ones((2, 40, 40), np.uint16) if axes else np.ones((1, 1, 1, 40, 40), np.uint16))
        assert volumes.open_volume(path).axes == ("CYX" if axes else "TCZYX")


def test_an_image_of_a_converted_file_is_chosen_by_its_scene(tmp_path, generator, small_blocks, capsys):
    """bioformats2raw puts every image of a file into a group of its own."""
    root = zarr.open_group(tmp_path / "in.zarr", mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    values = [RNG.gamma(2, 100, (1, 1, 64, 64)).astype(np.uint16) for _ in range(2)]
    for number, image in enumerate(values):
        write_volume(tmp_path / f"in.zarr/{number}", image)
    run(generator, tmp_path / "in.zarr", tmp_path / "first.zarr", f"--scheduler={small_blocks}")
    assert "holds 2 images; number 0 is read" in capsys.readouterr().out
    run(generator, tmp_path / "in.zarr", tmp_path / "second.zarr", f"--scheduler={small_blocks}", "--scene=1")
    apply = Applier(*load_generator(generator))
    for name, image in zip(("first", "second"), values, strict=True):
        found = zarr.open_group(tmp_path / f"{name}.zarr")["0"][0, 0]
        np.testing.assert_allclose(found, apply(image[0, 0], "A"), rtol=1e-4, atol=1e-2)
    with pytest.raises(InputError, match="--scene=2, but there are 2 images"):
        run(generator, tmp_path / "in.zarr", tmp_path / "third.zarr", "--scene=2")


def test_plates_and_wells_name_the_images_to_restore(tmp_path, generator, small_blocks):
    plate = zarr.open_group(tmp_path / "plate.zarr", mode="w", zarr_format=2)
    plate.attrs["plate"] = {"wells": [{"path": "A/1"}, {"path": "B/2"}]}
    plate.create_group("A/1").attrs["well"] = {"images": [{"path": "0"}, {"path": "1"}]}
    write_volume(tmp_path / "plate.zarr/A/1/0", RNG.gamma(2, 100, (1, 1, 64, 64)).astype(np.uint16))
    with pytest.raises(InputError, match=r"a plate of 2 wells; .* --input=.*plate\.zarr/A/1/0$"):
        run(generator, tmp_path / "plate.zarr", tmp_path / "out.zarr")
    with pytest.raises(InputError, match=r"a well; choose one of its 2 images: --input=.*/A/1/0, .*/A/1/1$"):
        run(generator, tmp_path / "plate.zarr/A/1", tmp_path / "out.zarr")
    (tmp_path / "my plates").mkdir()
    (tmp_path / "my plates/plate.zarr").symlink_to(tmp_path / "plate.zarr")
    with pytest.raises(InputError, match=r"--input='[^']*my plates/plate\.zarr/A/1/0'$"):
        run(generator, tmp_path / "my plates/plate.zarr", tmp_path / "out.zarr")
    assert run(generator, tmp_path / "plate.zarr/A/1/0", tmp_path / "out.zarr", f"--scheduler={small_blocks}") == 0


def test_a_volume_is_not_written_into_a_folder_named_like_an_image(tmp_path, generator):
    source = write_volume(tmp_path / "in.zarr", np.ones((1, 1, 64, 64), np.uint16))
    with pytest.raises(InputError, match=r"out\.tif: a volume is written as OME-Zarr; choose a name in \.zarr"):
        run(generator, source, tmp_path / "out.tif")
    assert not list(tmp_path.glob("out*"))
