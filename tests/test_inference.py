"""Generators on images of any size: units, tiles without seams, symmetries, noise."""

from itertools import pairwise

import keras
import numpy as np
import pytest
from small_generators import PAPER, identity_generator, local_mean_generator, metadata

import models
from restoring import apply as inference

RNG = np.random.default_rng(0)


def test_tuned_returns_the_units_of_x():
    image = RNG.gamma(2, 100, (40, 48))
    apply = inference.Applier(identity_generator(), metadata())
    assert np.allclose(apply(image, None), image, rtol=1e-4, atol=1e-2)


def test_paper_returns_the_units_of_y():
    """Network units of x are (x - 100) / 50; y's are undone with offset 1000 and span 400."""
    image = RNG.uniform(50, 150, (16, 16))
    apply = inference.Applier(identity_generator(), metadata(PAPER))
    assert np.allclose(apply(image, "A"), (image - 100) / 50 * 400 + 1000, rtol=1e-4)


def test_cin_generator_goes_from_y_to_x_with_noise_of_its_own():
    model = models.tuned_cin_generator(1)
    apply = inference.Applier(model, metadata(PAPER, "CIN-GAN", noise_channels=1), seed=1)
    clean = RNG.uniform(600, 1400, (16, 24))
    first, again, other = apply(clean, "A"), apply(clean, "A"), apply(clean, "A", draw=1)
    assert first.shape == clean.shape and np.array_equal(first, again) and not np.allclose(first, other)
    inputs = [((clean - 1000) / 400)[None, ..., None], np.zeros((1, 1), np.int32)]
    assert abs(first.mean() - (np.asarray(inputs[0]).mean() * 50 + 100)) < 100


@pytest.mark.parametrize("shape", [(200, 200), (300, 130), (70, 333), (129, 64)])
def test_tiles_blend_without_a_seam(shape):
    """A local network gives the same image in tiles as at once, zeros at inner tile borders notwithstanding."""
    image = RNG.gamma(2, 100, shape)
    apply = inference.Applier(local_mean_generator(), metadata())
    whole, tiled = apply(image, None), apply(image, None, tile=64, overlap=24)
    assert np.abs(whole - tiled).max() < 1e-3 * np.ptp(whole)


@pytest.mark.parametrize(("shape", "margin"), [((33, 7), 0), ((33, 7), 5), ((3, 50), 10)])
def test_tiles_are_taken_from_the_image_as_from_a_padded_copy(shape, margin):
    image = RNG.random(shape)
    padded = np.pad(image, margin, mode="symmetric")
    padded = np.pad(padded, [(0, -side % 8) for side in padded.shape], mode="symmetric")
    assert np.array_equal(image[np.ix_(*(inference.padded_places(side, margin, 8) for side in shape))], padded)


@pytest.mark.parametrize("size", [64, 72, 104, 128, 136, 1000])
@pytest.mark.parametrize("overlap", [0, 16, 32])
def test_tiles_cover_every_pixel_and_are_no_longer_than_they_need_to_be(size, overlap):
    starts, length = inference.tile_grid(size, 64, overlap, 8)
    assert starts[0] == 0 and starts[-1] + length == size and length <= 64
    assert all(number % 8 == 0 for number in (*starts, length))
    assert all(b - a <= length - overlap for a, b in pairwise(starts))
    assert len(starts) * length - (len(starts) - 1) * overlap < size + 8 * len(starts)
    image = RNG.random((size, 72)).astype(np.float32)
    blended = inference.blend_tiles(image.shape, lambda *part: 2 * image[part], 64, overlap, 8)
    assert np.allclose(blended, 2 * image, rtol=1e-5)


def test_symmetries_undo_themselves():
    image = RNG.random((5, 7))
    for rotate, count in ((True, 8), (False, 4)):
        pairs = inference.symmetries(8, rotate)
        assert len({apply(image).tobytes() for apply, _ in pairs}) == len(pairs) == count
        assert all(np.array_equal(undo(apply(image)), image) for apply, undo in pairs)


def test_a_task_with_a_direction_is_not_turned_in_averaging():
    shapes = []

    def model(inputs, training):
        shapes.append(inputs.shape[1:3])
        return inputs

    image = RNG.random((16, 24))
    inference.Applier(model, metadata(no_rotate=["A"]))(image, "A", average=8)
    assert set(shapes) == {(16, 24)} and len(shapes) == 4
    inference.Applier(model, metadata())(image, "A", average=8)
    assert (24, 16) in shapes


def test_noise_does_not_repeat_from_tile_to_tile():
    """Drawn once for the whole image: a network that sees one pixel at a time gives the same with and without tiles."""
    image, task, noise = keras.Input((None, None, 1)), keras.Input((1,), dtype="int32"), keras.Input((None, None, 1))
    model = keras.Model([image, task, noise], keras.layers.Add()([image, noise]))
    apply = inference.Applier(model, metadata(PAPER, "CIN-GAN", noise_channels=1))
    clean = np.full((128, 160), 1000.0)
    whole, tiled = (apply(clean, "A", tile=tile, overlap=0) for tile in (None, 64))
    assert np.allclose(whole, tiled, atol=1e-3)
    assert abs(np.corrcoef(tiled[:64, :64].ravel(), tiled[64:, :64].ravel())[0, 1]) < 0.1
