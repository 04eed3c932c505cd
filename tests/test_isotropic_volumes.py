"""restore.py --isotropic on OME-Zarr: equal to the same stack as a file, in slabs, restarted, and within its memory."""

import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from small_generators import identity_generator, metadata, uneven_generator
from small_stacks import blobs, blurred_stack, write_imagej, write_zarr

import restore
from common.errors import InputError
from restoring import isotropic, isotropic_volumes, volumes
from restoring.generator_file import save_generator
from restoring.image_files import read_image
from restoring.isotropic import IsotropicRestorer
from restoring.options import RestoreOptions
from restoring.zarr_files import scales_of

zarr = pytest.importorskip("zarr", reason="requirements/large.txt is not installed")
distributed = pytest.importorskip("distributed", reason="requirements/large.txt is not installed")
RNG = np.random.default_rng(0)
ROOT = Path(__file__).resolve().parents[1]
STRIDE = 4


@pytest.fixture
def workers(monkeypatch):
    """Slabs of 8 sections; workers run in threads of this process, so that they have them too."""
    monkeypatch.setattr(isotropic_volumes, "SECTIONS", (8, 8))
    with distributed.LocalCluster(
        processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        yield f"--scheduler={cluster.scheduler_address}"


def run(generator, source, output, *flags):
    words = [f"--generator_path={generator}", f"--input={source}", f"--output={output}", "--isotropic", *flags]
    return restore.main(restore.make_parser().parse_args(words))


def image_of(path):
    """The array, and the multiscales attribute."""
    group, attributes, dataset, _ = volumes.open_volume(path)
    return group[dataset], attributes


@pytest.mark.parametrize("flags", [(), ("--average=8", "--tile=64", "--overlap=16")])
@pytest.mark.parametrize("version", [2, 3])
def test_the_result_and_its_maps_are_those_of_the_same_stack_as_a_file(version, flags, tmp_path, workers, capsys):
    """Two channels of unlike brightness at two times; sections are tiled with the second flags."""
    values = RNG.gamma(2, [[[[[50]]], [[[400]]]]], (2, 2, 6, 20, 90)).astype(np.uint16)
    write_imagej(tmp_path / "x.tif", np.moveaxis(values, 1, 2), axes="TZCYX")
    write_zarr(tmp_path / "x.zarr", values, "TCZYX", version=version, chunks=(1, 1, 2, 16, 64), labels=["DNA", "actin"])
    generator = uneven_generator(tmp_path)
    for kind, more in (("tif", ()), ("zarr", (workers,))):
        assert run(generator, tmp_path / f"x.{kind}", tmp_path / f"r.{kind}", "--uncertainty=2", *flags, *more) == 0
    for name in ("r", "r_disagreement"):
        array, attributes = image_of(tmp_path / f"{name}.zarr")
        file = read_image(tmp_path / f"{name}.tif")
        expected = np.moveaxis(file.planes.reshape(file.shape), 1, 2)
        assert array.shape == (2, 2, 21, 20, 90) and array.dtype == np.float32
        np.testing.assert_allclose(array[:], expected, rtol=1e-5, atol=1e-2)
        (scales,) = attributes["multiscales"]
        assert scales["datasets"][0]["coordinateTransformations"][0]["scale"] == [1, 1, 0.2, 0.2, 0.2]
        assert [axis["name"] for axis in scales["axes"]] == list("tczyx")
        assert array.metadata.zarr_format == version
    channels = image_of(tmp_path / "r.zarr")[1]["omero"]["channels"]
    assert [channel["label"] for channel in channels] == ["DNA", "actin"]
    assert not (tmp_path / "r.zarr.partial").exists()
    said = capsys.readouterr().out
    assert said.count("voxels 0.8 x 0.2 x 0.2 micrometres (from its metadata), f = 4: 6 planes become 21") == 2
    assert "x.zarr: axes TCZYX (from its metadata), shape (2, 2, 6, 20, 90), uint16; 0 slabs are done" in said
    assert said.count("(medians of 64 sections)") == 2


def test_an_independent_reader_finds_isotropic_voxels_and_the_channels(tmp_path, workers):
    reader = pytest.importorskip("ome_zarr.reader", reason="ome-zarr is not installed")
    from ome_zarr.io import parse_url

    values = RNG.integers(0, 99, (2, 5, 24, 32)).astype(np.uint16)
    source = write_zarr(tmp_path / "x.zarr", values, "CZYX", labels=["DNA", "actin"])
    run(saved(tmp_path), source, tmp_path / "r.zarr", workers)
    node = next(iter(reader.Reader(parse_url(str(tmp_path / "r.zarr")))()))
    assert [axis["name"] for axis in node.metadata["axes"]] == list("czyx") and node.data[0].shape == (2, 17, 24, 32)
    assert node.metadata["coordinateTransformations"][0] == [{"type": "scale", "scale": [1.0, 0.2, 0.2, 0.2]}]
    assert node.metadata["channel_names"] == ["DNA", "actin"]


@pytest.mark.parametrize("axes", ["YXZ", "XZY", "ZXY"])
def test_axes_come_in_any_order(axes, tmp_path, workers):
    stack = blurred_stack(blobs(17, 32), STRIDE)[:, :, :20]
    write_imagej(tmp_path / "x.tif", stack)
    write_zarr(tmp_path / "x.zarr", stack.transpose(["ZYX".index(axis) for axis in axes]), axes)
    generator = uneven_generator(tmp_path)
    run(generator, tmp_path / "x.tif", tmp_path / "r.tif")
    run(generator, tmp_path / "x.zarr", tmp_path / "r.zarr", workers)
    found = image_of(tmp_path / "r.zarr")[0][:].transpose([axes.index(axis) for axis in "ZYX"])
    np.testing.assert_allclose(found, read_image(tmp_path / "r.tif").planes, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize(
    ("sizes", "unit", "flags", "scale", "written"),
    [
        ((800, 200, 200), "nanometer", (), [200, 200, 200], "nanometer"),
        ((800, 200, 200), "nanometer", ("--axes=ZYX",), [200, 200, 200], "nanometer"),
        ((4, 1, 1), None, (), [1, 1, 1], None),
        ((1, 1, 1), None, ("--spacing=1.2,0.3,0.3",), [0.3, 0.3, 0.3], "micrometer"),
    ],
)
def test_voxel_sizes_are_in_the_units_of_the_axes_or_as_given(sizes, unit, flags, scale, written, tmp_path, workers):
    write_zarr(tmp_path / "x.zarr", RNG.poisson(99, (5, 12, 12)).astype(np.float32), sizes=sizes, unit=unit)
    run(saved(tmp_path), tmp_path / "x.zarr", tmp_path / "r.zarr", "--dtype=uint16", workers, *flags)
    array, attributes = image_of(tmp_path / "r.zarr")
    (scales,) = attributes["multiscales"]
    assert scales["datasets"][0]["coordinateTransformations"][0]["scale"] == pytest.approx(scale)
    assert [axis.get("unit") for axis in scales["axes"]] == [written] * 3
    assert array.shape == (17, 12, 12) and array.dtype == np.uint16


def test_a_scale_of_all_resolutions_is_heeded_and_kept(tmp_path, workers):
    source = write_zarr(tmp_path / "x.zarr", RNG.poisson(99, (5, 12, 12)).astype(np.uint16), sizes=(2, 1, 1))
    group = zarr.open_group(source, mode="r+")
    (scales,) = group.attrs["multiscales"]
    scales["coordinateTransformations"] = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]
    group.attrs["multiscales"] = [scales]
    run(saved(tmp_path), source, tmp_path / "r.zarr", workers)
    array, attributes = image_of(tmp_path / "r.zarr")
    assert array.shape[0] == 17
    np.testing.assert_allclose(np.prod(scales_of(volumes.open_volume(tmp_path / "r.zarr")), axis=0), [0.5] * 3)
    assert attributes["multiscales"][0]["coordinateTransformations"] == scales["coordinateTransformations"]
    run(saved(tmp_path), source, tmp_path / "given.zarr", "--spacing=3,1,1", workers)
    np.testing.assert_allclose(np.prod(scales_of(volumes.open_volume(tmp_path / "given.zarr")), axis=0), [1] * 3)


def saved(folder):
    save_generator(identity_generator(), folder / "generator.h5", metadata())
    return folder / "generator.h5"


def test_scores_are_those_of_the_same_stack_as_a_file(tmp_path, workers, capsys):
    truth = blobs(17, 24)
    stack = blurred_stack(truth, STRIDE)
    write_imagej(tmp_path / "x.tif", stack)
    write_imagej(tmp_path / "y.tif", truth, spacing=0.2)
    for name, values in (("x", stack), ("y", truth)):
        write_zarr(tmp_path / f"{name}.zarr", values)
    for kind, flags in (("tif", ()), ("zarr", (workers,))):
        flags = [f"--ground_truth={tmp_path}/y.{kind}", *flags]
        run(uneven_generator(tmp_path), tmp_path / f"x.{kind}", tmp_path / f"r.{kind}", *flags)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("  input", "  output"))]
    assert len(lines) == 4 and lines[:2] == lines[2:]
    with pytest.raises(InputError, match=r"x.zarr: ZYX \(5, 24, 24\), but the output is ZYX \(17, 24, 24\)"):
        run(saved(tmp_path), tmp_path / "x.zarr", tmp_path / "s.zarr", f"--ground_truth={tmp_path}/x.zarr")


@pytest.mark.parametrize("mark", ["Y_0_1_z_8", "X_0_1_z_8"])
def test_a_run_that_stops_goes_on_and_averages_nothing_twice(mark, tmp_path, workers, monkeypatch):
    """A slab, of XZ or of YZ sections, is written but not yet marked: it is restored again."""
    source = write_zarr(tmp_path / "x.zarr", RNG.gamma(2, 100, (1, 2, 5, 20, 24)).astype(np.float32), "TCZYX")
    generator = uneven_generator(tmp_path)
    run(generator, source, tmp_path / "whole.zarr", workers)
    write, marked, stops = isotropic_volumes.write_text, [], [mark]

    def write_text(path, text):
        if path.name in stops:
            raise RuntimeError("stopped")
        marked.append(path.name)
        write(path, text)

    monkeypatch.setattr(isotropic_volumes, "write_text", write_text)
    with pytest.raises(InputError, match=r"a block failed \(stopped\); finished blocks are kept"):
        run(generator, source, tmp_path / "r.zarr", workers)
    assert not (tmp_path / "r.zarr").exists()
    # Also where planes are as many pixels apart: the sizes themselves are written.
    for spacing in ("0.6,0.2,0.2", f"{0.4 * STRIDE},0.4,0.4"):
        with pytest.raises(InputError, match="begun with other settings"):
            run(generator, source, tmp_path / "r.zarr", f"--spacing={spacing}", workers)
    stops.clear()
    begun = tmp_path / "r.zarr.partial/settings.json"
    begun.write_text(begun.read_text().replace('"stride":', '"factor":'))  # as earlier versions wrote it
    assert run(generator, source, tmp_path / "r.zarr", workers) == 0
    assert len(marked) == len(set(marked)) == 12
    np.testing.assert_array_equal(image_of(tmp_path / "r.zarr")[0][:], image_of(tmp_path / "whole.zarr")[0][:])


@pytest.mark.slow
@pytest.mark.parametrize("mark", ["Y_z_0", "X_z_0"])
def test_a_run_that_is_killed_goes_on(mark, tmp_path):
    """A real command and its real worker; SIGKILL in either pass."""
    stack = blurred_stack(blobs(21, 200), STRIDE)
    write_imagej(tmp_path / "x.tif", stack)
    write_zarr(tmp_path / "x.zarr", stack)
    generator = uneven_generator(tmp_path)
    flags = [f"--generator_path={generator}", f"--input={tmp_path}/x.zarr", f"--output={tmp_path}/r.zarr"]
    command = [sys.executable, str(ROOT / "restore.py"), *flags, "--isotropic"]
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    until = time.monotonic() + 300
    while not (tmp_path / f"r.zarr.partial/done/{mark}").exists() and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run(generator, tmp_path / "x.tif", tmp_path / "r.tif")
    assert run(generator, tmp_path / "x.zarr", tmp_path / "r.zarr") == 0
    found = image_of(tmp_path / "r.zarr")[0][:]
    np.testing.assert_allclose(found, read_image(tmp_path / "r.tif").planes, rtol=1e-5, atol=1e-2)


@pytest.mark.slow
def test_a_volume_larger_than_the_memory_it_takes(tmp_path, workers, monkeypatch):
    """The result has 41 MB, and Python and NumPy hold less than half of it; in memory it would be 87."""
    for module in (isotropic_volumes, volumes):
        monkeypatch.setattr(module, "SAMPLED", 2**18)
    source = write_zarr(tmp_path / "x.zarr", RNG.poisson(99, (101, 160, 160)).astype(np.uint16), chunks=(1, 160, 160))
    small = write_zarr(tmp_path / "warm.zarr", RNG.poisson(99, (5, 40, 40)).astype(np.uint16))
    for path, output in ((small, "warm_r.zarr"), (source, "r.zarr")):  # The first call imports and compiles.
        tracemalloc.start()
        try:
            assert run(saved(tmp_path), path, tmp_path / output, "--uncertainty=2", workers) == 0
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert image_of(tmp_path / "r.zarr")[0].nbytes > 41e6
    assert peak < 41e6 / 2


@pytest.mark.parametrize(
    ("pixels", "count", "sections"),
    [(64 * 512, 512, 64), (500 * 500, 512, 64), (1000 * 1000, 512, 32), (2000 * 4000, 512, 8), (100, 20, 20)],
)
def test_a_slab_holds_64_sections_or_what_128_megabytes_hold(pixels, count, sections):
    assert isotropic_volumes.sections_at_once(pixels, count) == sections


def test_no_two_slabs_share_a_chunk(tmp_path):
    for shape in ((5, 150, 70), (2, 9, 300)):
        job = volumes.VolumeJob(*[""] * 5, "ZYX", *[None] * 6, False)._replace(slabs=(8, 64))
        for axis in "YX":
            slabs = isotropic_volumes.slabs_of((None,), axis, job, shape)
            assert [slab.start for slab in slabs[1:]] == [slab.stop for slab in slabs[:-1]]
            assert slabs[0].start == 0 and slabs[-1].stop == shape["ZYX".index(axis)]
            assert all(slab.start % job.slabs["YX".index(axis)] == 0 for slab in slabs)


@pytest.mark.parametrize(
    ("axes", "sizes", "unit", "flags", "message"),
    [
        ("CYX", (0.8, 0.2, 0.2), "micrometer", (), r"axes CYX have no Z"),
        ("ZYX", (1, 1, 1), None, (), r"voxel sizes are not known; pass --spacing=Z,Y,X in micrometres"),
        ("ZYX", (0.8, 0.2, 0.2), "parsec", (), r"voxel sizes are not known; pass --spacing"),
        ("ZYX", (0.2, 0.2, 0.2), "micrometer", (), "planes lie no further apart than pixels"),
        ("ZYX", (0.8, 0.2, 0.3), "micrometer", (), "expected square pixels"),
        ("ZYX", ("x", 0.2, 0.3), "micrometer", (), "its scale cannot be read"),
        ("ZYX", ([1], 0.2, 0.3), "micrometer", (), "its scale cannot be read"),
        ("ZYX", (0.8, 0.2, 0.2), "micrometer", ("--channel=0",), "--channel is for image files, not for volumes"),
        ("ZYX", (0.8, 0.2, 0.2), "micrometer", ("--uncertainty=3",), "pass --uncertainty=2"),
        ("ZYX", (0.8, 0.2, 0.2), "micrometer", ("--view",), "--view cannot be combined with --isotropic"),
    ],
)
def test_what_cannot_be_made_isotropic_is_one_line_and_writes_nothing(axes, sizes, unit, flags, message, tmp_path):
    write_zarr(tmp_path / "x.zarr", np.ones((5, 24, 32), np.uint16), axes, sizes, unit)
    with pytest.raises(InputError, match=message):
        run(saved(tmp_path), tmp_path / "x.zarr", tmp_path / "r.zarr", *flags)
    assert not list(tmp_path.glob("r*"))


def test_values_that_are_not_finite_are_named_by_their_slab(tmp_path, workers):
    values = RNG.gamma(2, 100, (5, 24, 32)).astype(np.float32)
    values[3, 9, 20] = np.inf
    source = write_zarr(tmp_path / "x.zarr", values)
    with pytest.raises(InputError, match=r"block at row 0, column 0: holds NaN or infinite|XZ sections 8 to 15"):
        run(saved(tmp_path), source, tmp_path / "r.zarr", workers)


def test_layers_far_planes_and_time_are_noted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(isotropic, "LONG", 0)
    monkeypatch.setattr(isotropic_volumes, "SHIPPED", saved(tmp_path))
    layers = blobs(9, 96) + 5000 * (np.arange(9) % 2)[:, None, None]
    write_zarr(tmp_path / "x.zarr", layers.astype(np.float32), sizes=(2.4, 0.2, 0.2))
    assert run(saved(tmp_path), tmp_path / "x.zarr", tmp_path / "r.zarr") == 0
    said = capsys.readouterr().out
    assert "planes lie 12 pixels apart, and the shipped generator was trained with 8 at most" in said
    assert re.search("its content varies .* along z than along x", said) and "note: this takes about 0 minutes" in said


def test_the_middle_of_a_large_volume_stands_for_it(monkeypatch):
    monkeypatch.setattr(isotropic_volumes, "SAMPLED", 5 * 8 * 8)
    values = np.arange(2 * 5 * 20 * 30).reshape(2, 5, 20, 30)
    found = isotropic_volumes.middle_of(values, "CZYX")
    np.testing.assert_array_equal(found, values[0, :, 6:14, 11:19])
    assert isotropic_volumes.middle_of(values[:, :, :4, :9], "CZYX").shape == (5, 4, 9)


def test_interpolated_planes_are_those_of_a_file(tmp_path):
    values = RNG.random((2, 4, 6, 7)).astype(np.float32)
    file = read_image(write_imagej(tmp_path / "x.tif", np.moveaxis(values, 0, 1), axes="ZCYX"))
    array = image_of(write_zarr(tmp_path / "x.zarr", values, "CZYX"))[0]
    restorer = IsotropicRestorer(RestoreOptions(saved(tmp_path), isotropic=True))
    found = np.stack(isotropic_volumes.Interpolated(array, "CZYX", 4))
    expected = restorer.seen(file).reshape(13, 2, 6, 7)
    np.testing.assert_allclose(found, np.moveaxis(expected, 1, 0).reshape(-1, 6, 7), rtol=1e-6)
