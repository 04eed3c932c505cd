"""VGG16 up to block3_conv3, the feature network of the content and style losses, and where its filters come from."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

import keras
import numpy as np

from common.errors import InputError

CONTENT_LAYER = "block3_conv3"
STYLE_LAYERS = ("block1_conv1", "block2_conv1", "block3_conv1")
FILE_NAME = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
FILE_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{FILE_NAME}"
FILE_MD5 = "6d6bbae143d832006294945121d1f1fc"
PATIENCE = 20  # seconds without a byte after which a download is given up
HOW_TO_GO_ON = (
    "Either copy the file {name} (or any VGG16 .h5 with block1 to block3) to this machine and pass "
    "--vgg_weights=PATH.h5, or pass --vgg_weights=random to train with random filters."
)


def load_vgg(source: str) -> tuple[keras.Model, str]:
    """Load the frozen feature network.

    Args:
        source: "imagenet" (from Keras' cache, else downloaded), "auto" (imagenet where it can be had within 20 s,
            else random), "random", or the path of a VGG16 .h5 file.

    Returns:
        (network, description). The network maps (batch, h, w, 3) to the list of features
        [block1_conv1, block2_conv1, block3_conv1, block3_conv3].

    Raises:
        InputError: the filters cannot be had or read; says what to do instead.
    """
    if source == "random":
        return _build(), "random filters"
    if source == "auto":
        try:
            return _load_file(_imagenet_file(time_limit=PATIENCE)), "ImageNet filters"
        except InputError:
            return _build(), "random filters, because ImageNet's could not be had within 20 s"
    if source == "imagenet":
        return _load_file(_imagenet_file(time_limit=None)), "ImageNet filters"
    return _load_file(Path(source)), f"filters of {source}"


def _build():
    vgg = keras.applications.VGG16(include_top=False, weights=None, input_shape=(None, None, 3))
    outputs = [vgg.get_layer(name).output for name in (*STYLE_LAYERS, CONTENT_LAYER)]
    network = keras.Model(vgg.input, outputs, name="vgg16_features")
    network.trainable = False
    return network


def _load_file(path):
    if not path.is_file():
        raise InputError(f"--vgg_weights={path}: no such file. " + HOW_TO_GO_ON.format(name=FILE_NAME))
    network = _build()
    kernels = {name: network.get_layer(name).kernel for name in (*STYLE_LAYERS, CONTENT_LAYER)}
    before = {name: np.array(kernel) for name, kernel in kernels.items()}
    try:
        network.load_weights(str(path), by_name=True)
    except (OSError, ValueError, KeyError) as failure:
        raise InputError(f"--vgg_weights={path}: not a VGG16 weight file ({failure})") from failure
    # load_weights(by_name=True) passes over layers that it does not find without a word.
    missing = [name for name, kernel in kernels.items() if np.array_equal(before[name], np.array(kernel))]
    if missing:
        raise InputError(f"--vgg_weights={path}: holds no layer named {missing[0]}; expected VGG16 in Keras' format")
    return network


def _imagenet_file(time_limit):
    """Path of Keras' own VGG16 file in Keras' cache, downloaded there first if it is missing."""
    keras_home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    cached = Path(keras_home) / "models" / FILE_NAME
    if not cached.is_file():
        try:
            _download(FILE_URL, cached, time_limit)
        except OSError as failure:
            raise InputError(
                f"--vgg_weights=imagenet: VGG16's ImageNet filters could not be downloaded ({failure}). "
                + HOW_TO_GO_ON.format(name=FILE_NAME)
            ) from failure
    return cached


def _download(url, target, time_limit):
    """Download and verify a file by Keras' get_file, then rename it into place.

    get_file waits for ever, so that it runs in a daemon thread, and is left alone where nothing comes for PATIENCE, as
    from a name server that never answers, or after `time_limit` seconds (None: no limit). Raises OSError.
    """
    failures = []
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".", ignore_cleanup_errors=True) as folder:
        part = Path(folder, target.name)

        def fetch():
            keras.config.disable_interactive_logging()  # in this thread: no progress bar once it is left alone
            try:
                keras.utils.get_file(part.name, url, cache_dir=folder, cache_subdir="", file_hash=FILE_MD5)
            except Exception as failure:  # get_file raises nothing more special
                failures.append(failure)

        thread, arrived = threading.Thread(target=fetch, daemon=True), 0
        thread.start()
        began = latest = time.monotonic()
        while thread.is_alive():
            thread.join(0.1)
            now, size = time.monotonic(), part.stat().st_size if part.is_file() else 0
            arrived, latest = (size, now) if size > arrived else (arrived, latest)
            if now - latest > PATIENCE:
                raise OSError(f"no answer within {PATIENCE} s")
            if time_limit is not None and now - began > time_limit:
                raise OSError(f"not finished within {time_limit} s")
        if failures:
            raise OSError(str(failures[0])) from failures[0]
        os.replace(part, target)
