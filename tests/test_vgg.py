"""VGG16 filters: from a file, never by accident random, never a long wait."""

import hashlib
import socket
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from common.errors import InputError
from methods import vgg

REAL = Path(__file__).resolve().parents[2] / "shared" / "weights" / "vgg16_block1-3_notop.h5"


def kernel(network):
    return np.asarray(network.get_layer("block1_conv1").kernel)


def test_features_are_the_four_layers():
    network, description = vgg.load_vgg("random")
    shapes = [f.shape for f in network(np.zeros((1, 32, 32, 3), np.float32))]
    assert shapes == [(1, 32, 32, 64), (1, 16, 16, 128), (1, 8, 8, 256), (1, 8, 8, 256)]
    assert "random" in description and not network.trainable_variables


@pytest.mark.skipif(not REAL.is_file(), reason=f"needs {REAL.name} in ../shared/weights")
def test_real_filters_are_loaded():
    network, _ = vgg.load_vgg(str(REAL))
    assert kernel(network)[0, 0, 0, 0] == pytest.approx(0.42947057)


def test_filters_of_a_file_are_loaded(tmp_path):
    """A whole VGG16 file in Keras' own format, as its cache holds it."""
    source = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    source.save_weights(tmp_path / "vgg.weights.h5")
    from restoring.generator_file import save_keras

    save_keras(source, tmp_path / "vgg.h5")
    network, _ = vgg.load_vgg(str(tmp_path / "vgg.h5"))
    assert np.array_equal(kernel(network), np.asarray(source.get_layer("block1_conv1").kernel))


def test_a_file_without_the_layers_is_refused(tmp_path):
    from restoring.generator_file import save_keras

    image = keras.Input((8, 8, 3))
    save_keras(keras.Model(image, keras.layers.Conv2D(2, 3)(image)), tmp_path / "other.h5")
    with pytest.raises(InputError, match="block1_conv1"):
        vgg.load_vgg(str(tmp_path / "other.h5"))
    network = vgg._build()
    shallow = keras.Model(network.input, network.get_layer("block2_conv2").output)
    save_keras(shallow, tmp_path / "shallow.h5")
    with pytest.raises(InputError, match="block3_conv1"):
        vgg.load_vgg(str(tmp_path / "shallow.h5"))
    with pytest.raises(InputError, match="no such file"):
        vgg.load_vgg(str(tmp_path / "none.h5"))


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(vgg, "FILE_URL", "http://127.0.0.1:9/vgg16.h5")


def test_imagenet_without_internet_fails_fast_and_names_both_ways_out(offline):
    began = time.monotonic()
    with pytest.raises(InputError) as failure:
        vgg.load_vgg("imagenet")
    assert time.monotonic() - began < 30
    assert "--vgg_weights=PATH.h5" in str(failure.value) and "--vgg_weights=random" in str(failure.value)


def test_auto_falls_back_and_says_so(offline):
    _, description = vgg.load_vgg("auto")
    assert "random" in description and "could not be had" in description


def test_the_cache_is_used(monkeypatch, tmp_path, offline):
    """A file that Keras downloaded before is found; the network is not asked."""
    monkeypatch.setattr(vgg, "_load_file", lambda path: path)
    (tmp_path / "keras" / "models").mkdir(parents=True)
    cached = tmp_path / "keras" / "models" / vgg.FILE_NAME
    cached.write_bytes(b"weights")
    assert vgg.load_vgg("imagenet")[0] == cached


def test_a_wrong_download_is_not_kept(tmp_path):
    (tmp_path / "wrong.h5").write_bytes(b"not the weights")
    target = tmp_path / "cache" / "vgg.h5"
    with pytest.raises(OSError, match="hash does not match"):
        vgg._download((tmp_path / "wrong.h5").as_uri(), target, None)
    assert not list(target.parent.iterdir())


def test_a_right_download_is_kept(tmp_path, monkeypatch):
    (tmp_path / "right.h5").write_bytes(b"the weights")
    monkeypatch.setattr(vgg, "FILE_MD5", hashlib.md5(b"the weights").hexdigest())
    vgg._download((tmp_path / "right.h5").as_uri(), tmp_path / "cache/vgg.h5", None)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["vgg.h5"]
    assert (tmp_path / "cache/vgg.h5").read_bytes() == b"the weights"


HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + bytes(10000)


@pytest.mark.parametrize("answer, closes", [(b"", False), (HALF, False), (HALF, True)])
def test_a_server_that_never_answers_or_breaks_off_is_a_reason(answer, closes, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(vgg, "PATIENCE", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = []

        def serve():
            connection, _ = server.accept()
            taken.append(connection)  # kept open, or only until the half is sent
            connection.recv(10000)
            connection.sendall(answer)
            if closes:
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(OSError, match="got only" if closes else "no answer within 1 s"):
            vgg._download(f"http://127.0.0.1:{server.getsockname()[1]}/vgg16.h5", tmp_path / "vgg.h5", None)
        assert time.monotonic() - began < 10 and not list(tmp_path.iterdir())
        taken[0].close()
    assert not capsys.readouterr().out
