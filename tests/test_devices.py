"""Choosing devices, with GPUs that are only pretended."""

import pytest
import tensorflow as tf

import train_cGAN
from devices import is_slow_on_cpu, start_tensorflow
from errors import InputError


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


def test_more_than_there_are_is_said(calls):
    with pytest.raises(InputError, match="2 GPUs are visible"):
        start_tensorflow(3)


def test_a_cpu_without_the_instructions_of_a_precision_is_known(tmp_path):
    for flags, slow in (("fpu avx2", ["bfloat16", "float16"]), ("fpu avx512_bf16 avx512f", ["float16"])):
        (tmp_path / "cpuinfo").write_text(f"model name: any\nflags\t\t: {flags}\nflags\t\t: {flags}\n")
        precisions = ("float32", "bfloat16", "float16")
        assert [p for p in precisions if is_slow_on_cpu(p, tmp_path / "cpuinfo")] == slow
    assert not is_slow_on_cpu("bfloat16", tmp_path / "missing")


def test_a_training_step_on_the_cpu_says_nothing(train, capfd):
    """TensorFlow's remapping of fused operations failed aloud on the gradient of a leaky ReLU."""
    train(train_cGAN, "--recipe=tuned")
    assert tf.config.optimizer.get_experimental_options()["remapping"] is False
    assert "meta_optimizer" not in capfd.readouterr().err
