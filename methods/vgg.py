"""VGG16 up to block3_conv3, the feature network of the content and style losses, and where its filters come from."""

from __future__ import annotations

import hashlib
import http.client
import os
import threading
import time
import urllib.request
from pathlib import Path

import keras
import numpy as np

from common.errors import InputError

CONTENT_LAYER = "block3_conv3"
STYLE_LAYERS = ("block1_conv1", "block2_conv1", "block3_conv1")
FILE_NAME = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
FILE_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{FILE_NAME}"
FILE_MD5 = "6d6bbae143d832006294945121d1f1fc"
CONNECT_SECONDS = 20
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
            return _load_file(_imagenet_file(time_limit=CONNECT_SECONDS)), "ImageNet filters"
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
    if cached.is_file():
        return cached
    failure = _download(FILE_URL, cached, time_limit)
    if failure:
        raise InputError(
            f"--vgg_weights=imagenet: VGG16's ImageNet filters could not be downloaded ({failure}). "
            + HOW_TO_GO_ON.format(name=FILE_NAME)
        )
    return cached


def _download(url, target, time_limit):
    """Download in a daemon thread, so that a name server that never answers cannot hold the run. Returns a reason."""
    outcome, connected = {"failure": "no answer"}, threading.Event()

    def fetch():
        outcome["failure"] = _fetch(url, target, connected)
        connected.set()

    began, thread = time.monotonic(), threading.Thread(target=fetch, daemon=True)
    thread.start()
    connected.wait(CONNECT_SECONDS)
    if connected.is_set():
        thread.join(None if time_limit is None else max(time_limit - (time.monotonic() - began), 0))
    return outcome["failure"] if not thread.is_alive() else f"no answer within {CONNECT_SECONDS} s"


def _fetch(url, target, connected):
    """Download, verify, rename into place; sets `connected` at the first answer. Returns a reason, None for success."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as answer:
            connected.set()
            content = answer.read()
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != FILE_MD5:
            raise OSError("what came is not the expected file: its MD5 differs")
        part.write_bytes(content)
        os.replace(part, target)
    except (OSError, http.client.HTTPException) as failure:
        part.unlink(missing_ok=True)
        return str(failure)
    return None
