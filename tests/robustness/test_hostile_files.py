"""Broken and hostile files end in a finite result or in one error line, and nothing else happens.

`make test` runs a quarter, `make test-robustness` all. A file that ends the process fails its test by pytest-xdist.
"""

import faulthandler
import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tifffile
from hostile_files import IMAGE, MARKER, RNG, fuzz_cases, npy_cases, path_cases, tiff_cases
from hostile_generators import OTHER_KINDS, generator_cases
from keras import layers

import data_utils
import models
import restore
from common.errors import run_script
from restoring.generator_file import Metadata, save_generator
from restoring.normalization import PercentileNormalization

MEMORY, SECONDS = 1.2e9, 60  # bytes on top of TensorFlow's own 0.8 GB; per case
CASES = [case for cases in (npy_cases, tiff_cases, generator_cases, path_cases, fuzz_cases) for case in cases()]
# Every fourth is for `make test`.
MARKED = [pytest.param(case, marks=pytest.mark.slow) if number % 4 else case for number, case in enumerate(CASES)]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder of good files, and of generators that only Keras can make."""
    folder = tmp_path_factory.mktemp("good")
    np.save(folder / "good.npy", IMAGE)
    tifffile.imwrite(folder / "good.tif", IMAGE[None], imagej=True, metadata={"axes": "ZYX", "spacing": 2.0})
    keras.utils.set_random_seed(0)
    metadata = Metadata("cGAN", "tuned", ["A"], PercentileNormalization({"A": (1.0, 0.0)}), [], 4)
    save_generator(models.tuned_generator((4, 4, 4)), folder / "good.h5", metadata)
    gray, rgb, fixed = (keras.Input(shape) for shape in ((None, None, 1), (None, None, 3), (64, 64, 1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # Whoever builds a Lambda runs it, here; what counts is who loads it.
        outputs = (
            layers.Lambda(lambda x: os.system(f"touch {MARKER}") or x)(gray),
            layers.Conv2D(1, 3, padding="same")(rgb),
            layers.Conv2D(1, 3, padding="same")(fixed),
            layers.GlobalAveragePooling2D()(gray),
        )
        for name, image, output in zip(OTHER_KINDS, (gray, rgb, fixed, gray), outputs, strict=True):
            save_generator(keras.Model(image, output), folder / f"{name}.h5", metadata)
    return folder


def prepare(case, folder, good):
    """Write the case's files; gives what reads them."""
    case.write(folder / case.source, good)
    if case.source == "A_X.npy":
        np.save(folder / "A_Y.npy", RNG.gamma(2.0, 200.0, (12, 32, 32)).astype(np.float32))
        return lambda: len(data_utils.load_tasks(folder)[0]) - 1
    generator = folder / case.source
    if case.source == "generator.h5":
        np.save(folder / "image.npy", IMAGE)
    else:
        generator = good / "good.h5"
    source = "image.npy" if case.source == "generator.h5" else case.source
    words = [f"--generator_path={generator}", f"--input={folder / source}", f"--output={folder / case.output}"]
    return lambda: restore.main(restore.make_parser().parse_args([*words, *case.flags]))


def contents(folder):
    """{path: (size, time of change)} of everything in a folder."""
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*") if not path.is_dir()}


def memory(kind):
    """VmHWM (peak) or VmRSS (present) bytes of this process."""
    return int(re.search(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)) * 1024


@pytest.mark.parametrize("case", MARKED, ids=lambda case: case.name)
def test_a_file_ends_in_a_result_or_one_error_line_and_nothing_else(case, good, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "files"
    folder.mkdir()
    monkeypatch.chdir(folder)
    read, before = prepare(case, folder, good), contents(folder)
    Path("/proc/self/clear_refs").write_text("5")  # The peak starts anew.
    held = memory("VmRSS")
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    with pytest.raises(SystemExit) as end:
        run_script(lambda _: read(), None)
    faulthandler.cancel_dump_traceback_later()
    added, said = memory("VmHWM") - held, "".join(capfd.readouterr())
    ending = {0: "result", 2: "error"}[end.value.code]
    assert case.expected in (ending, "either"), said
    assert len(re.findall("^error: .", said, re.MULTILINE)) == (ending == "error") and "Traceback" not in said, said
    touched = {path for path, state in contents(folder).items() if before.get(path) != state}
    if ending == "result" and case.source != "A_X.npy":
        assert np.isfinite((np.load if case.output.endswith(".npy") else tifffile.imread)(folder / case.output)).all()
        touched.remove(folder / case.output)
    assert not touched and not (folder / MARKER).exists()
    assert added < MEMORY, f"{added / 1e9:.1f} GB"
