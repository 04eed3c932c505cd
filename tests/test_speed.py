"""`python -m benchmarks speed`: the arithmetic it counts, and the times that it reads of a profile."""

import pytest
import tensorflow as tf

from benchmarks import speed


def convolve(image, filters):
    with tf.GradientTape() as tape:
        tape.watch([image, filters])
        result = tf.reduce_sum(tf.nn.conv2d(image, filters, 1, "SAME"))
    return result, *tape.gradient(result, [image, filters])


def test_the_arithmetic_of_a_convolution_and_its_gradients_is_that_of_its_sums():
    """Two operations for each pixel, tap, input and output channel."""
    graph = tf.function(convolve).get_concrete_function(tf.zeros((2, 16, 16, 4)), tf.zeros((3, 3, 4, 8))).graph
    expected = pytest.approx(2 * 2 * 16 * 16 * 9 * 4 * 8 / 1e9)
    names = ("GFLOP Conv2D", "GFLOP Conv2DBackpropInput", "GFLOP Conv2DBackpropFilter")
    assert speed.gflop_of(graph) == dict.fromkeys(names, expected)


def test_a_profile_gives_the_seconds_of_each_operation(tmp_path):
    step = tf.function(convolve)
    images, filters = tf.ones((4, 64, 64, 16)), tf.ones((3, 3, 16, 16))
    step(images, filters)
    tf.profiler.experimental.start(str(tmp_path))
    step(images, filters)
    tf.profiler.experimental.stop()
    found = speed.seconds_by_operation(next(tmp_path.rglob("*.xplane.pb")))
    kinds = [kind for kind in found if "BackpropFilter" in kind]
    assert kinds and 0 < sum(found[kind] for kind in kinds) < sum(found.values()) < 5
