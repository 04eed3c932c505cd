"""Choosing devices, with GPUs that are only pretended."""

import keras
import pytest
import tensorflow as tf

import train_cGAN
from common import devices
from common.devices import is_slow_on_cpu, start_tensorflow
from common.errors import InputError
from training import run as launch
from training.options import CGANOptions
from training.run_folder import RunFolder


@pytest.fixture
def calls(monkeypatch):
    """Two pretended GPUs; what is done to them, in order."""
    noted = []
    real = tf.zeros
    for known in ("list_physical_devices", "get_visible_devices"):
        monkeypatch.setattr(tf.config, known, lambda kind: ["GPU:0", "GPU:1"])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda gpus, kind: noted.append(("visible", *gpus)))
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: noted.append(("growth", gpu)))
    monkeypatch.setattr(tf, "zeros", lambda shape: noted.append(("operation",)) or real(shape))
    return noted


def test_memory_growth_is_set_before_the_first_operation(calls):
    """Afterwards TensorFlow refuses it."""
    assert start_tensorflow(1)[1] == "1 GPU"
    assert calls == [("visible", "GPU:0"), ("growth", "GPU:0"), ("operation",)]


def test_a_method_that_uses_one_gpu_takes_one_of_all(calls):
    assert start_tensorflow(None, most=1)[1] == "1 GPU" and calls[0] == ("visible", "GPU:0")


@pytest.mark.parametrize(
    ("visible", "most", "devices", "reason"),
    [
        (2, None, "2 GPUs", "2 are visible"),
        (1, None, "1 GPU", "1 is visible"),
        (0, None, "the CPU", "0 are visible"),
        (2, 1, "1 GPU", "this method uses 1 at most"),
    ],
)
def test_of_more_gpus_than_there_are_those_are_used_and_it_is_said(
    visible, most, devices, reason, calls, monkeypatch, capsys
):
    gpus = [f"GPU:{i}" for i in range(visible)]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda names: names)
    strategy, described = start_tensorflow(3, most)
    assert described == devices and calls[0] == ("visible", *gpus[:most])
    assert strategy == gpus or visible < 2 or most == 1
    assert capsys.readouterr().out == f"note: --num_gpu=3, but {reason}; using {devices}\n"


def test_a_batch_that_cannot_be_split_over_the_devices_is_an_error(train, monkeypatch):
    """Of three GPUs two are there; a batch of 3 is refused, of 2 is not."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice())
    monkeypatch.setattr(launch, "start_tensorflow", lambda *received, **named: (strategy, "2 GPUs"))
    with pytest.raises(InputError, match="--batch_size=3 cannot be split over 2 devices"):
        train(train_cGAN, "--recipe=tuned", "--num_gpu=3", "--batch_size=3")


def test_a_cpu_without_the_instructions_of_a_precision_is_known(tmp_path):
    for flags, slow in (("fpu avx2", ["bfloat16", "float16"]), ("fpu avx512_bf16 avx512f", ["float16"])):
        (tmp_path / "cpuinfo").write_text(f"model name: any\nflags\t\t: {flags}\nflags\t\t: {flags}\n")
        precisions = ("float32", "bfloat16", "float16")
        assert [p for p in precisions if is_slow_on_cpu(p, tmp_path / "cpuinfo")] == slow
    assert not is_slow_on_cpu("bfloat16", tmp_path / "missing")


@pytest.mark.parametrize(("flags", "left"), [([], 1000), (["--resume"], 400)])
def test_the_hours_on_a_cpu_are_those_of_what_is_left(flags, left, tmp_path, monkeypatch, capsys):
    """400 of 1000 iterations of 2 images, at 10 s an image."""
    run = RunFolder(tmp_path)
    run.create(resume=False, overwrite=False)
    (run / "checkpoints" / "000600.npz").touch()
    monkeypatch.setattr(launch, "estimate_seconds", lambda gflop, images, pixels: 10.0 * images)
    args = train_cGAN.make_parser().parse_args(["--num_gpu=0", "--num_iters=1000", "--batch_size=2", *flags])
    launch.start_devices(CGANOptions.read(args), run, "recipe paper", (32, 32), 1.0)
    assert f"note: {left} iterations will take about {left / 180:.1f} hours" in capsys.readouterr().out


def test_the_estimate_goes_by_the_rate_of_a_matrix_product_in_the_precision_that_is_set(monkeypatch):
    """A product of 2048 x 2048 in a second is 17.2 GFLOP/s; 0.6 of it makes 1,030.8 GFLOP in 100 s."""
    kinds, clock = [], iter([10.0, 13.0])
    product = tf.linalg.matmul
    monkeypatch.setattr(tf.linalg, "matmul", lambda a, b: kinds.append(a.dtype) or product(a[:2, :2], b[:2, :2]))
    monkeypatch.setattr(devices.time, "perf_counter", lambda: next(clock))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        seconds = devices.estimate_seconds(0.6 * 2 * 2048**3 / 1e9, 400, 64 * 64)
    finally:
        keras.config.set_dtype_policy(before)
    assert set(kinds) == {tf.bfloat16} and seconds == pytest.approx(100)


def test_a_training_step_on_the_cpu_says_nothing(train, capfd):
    """TensorFlow's remapping of fused operations failed aloud on the gradient of a leaky ReLU."""
    train(train_cGAN, "--recipe=tuned")
    assert tf.config.optimizer.get_experimental_options()["remapping"] is False
    assert "meta_optimizer" not in capfd.readouterr().err
