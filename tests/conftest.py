"""Shared fixtures: small pair sets and a quiet TensorFlow with two logical CPUs."""

import shutil
import tempfile
import zlib

import numpy as np
import pytest

from common.devices import quiet_libraries, start_tensorflow


def pytest_configure():
    # Two logical CPUs for the mirrored tests; they must be set before TensorFlow's first operation.
    with quiet_libraries():
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    start_tensorflow(0)


@pytest.fixture(autouse=True)
def own_random_numbers(request, monkeypatch):
    """A test's random numbers follow from its name, not from the tests that its process happened to run before."""
    if hasattr(request.module, "RNG"):
        monkeypatch.setattr(request.module, "RNG", np.random.default_rng(zlib.crc32(request.node.name.encode())))


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path_factory, monkeypatch):
    """The temporary folder of a test and of its processes is pytest's: what is killed cannot tidy up after itself."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def pair_folder(tmp_path):
    """A folder with two tasks of 12 pairs, 32 x 32: Speckle (noisy, x and y share a scale) and Layers (x dimmer)."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32]
    for task, gain, offset in (("Speckle", 1.0, 0.0), ("Layers", 0.2, 30.0)):
        phase = rng.uniform(0, 6, (12, 1, 1))
        y = 500 + 400 * np.sin(rows / 4 + phase) * np.cos(columns / 5 - phase)
        x = gain * y + offset + rng.normal(0, 40 * gain, y.shape)
        np.save(folder / f"{task}_X.npy", x.round().clip(0).astype(np.uint16))
        np.save(folder / f"{task}_Y.npy", y.round().astype(np.uint16))
    return folder


@pytest.fixture
def train(tmp_path, pair_folder):
    """Run a training script's main for two iterations on the small pair sets; returns its results folder."""

    def run(script, *flags, folder="run"):
        common = [f"--data_dir={pair_folder}", f"--dir={tmp_path / folder}", "--num_gpu=0", "--batch_size=2"]
        common.append("--eval_every=500")  # at the end alone, which is fast
        args = script.make_parser().parse_args([*common, "--num_iters=2", "--vgg_weights=random", *flags])
        assert script.main(args) == 0
        return next(path for path in (tmp_path / folder).iterdir() if path.name.endswith(("results", "augm")))

    return run


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium of the system, with a log of what it asks for."""
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.skip("Debian's chromium and chromium-driver are not installed")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in "headless no-sandbox disable-gpu no-first-run disable-background-networking disable-sync".split():
        options.add_argument(f"--{flag}")
    options.add_argument("--disable-component-update")
    options.add_argument("--disable-dev-shm-usage")  # a container's /dev/shm is small
    options.add_argument("--window-size=1000,900")
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    yield driver
    driver.quit()
