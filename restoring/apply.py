"""Applying a generator to raw images of any size: normalise, pad, tile, blend, undo. Any Keras backend."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.devices import start_tensorflow
from common.errors import InputError
from common.memory import by_strips, strips
from restoring.generator_file import Metadata, load_generator
from restoring.normalization import Scale
from restoring.sampling import rows_at, sampled_rows

if TYPE_CHECKING:
    import keras

STREAM_NOISE, STREAM_PHASE = 1234, 1235
TILE, OVERLAP = 512, 64  # pixels; larger images would fill the memory


class Applier:
    """A generator with its metadata, as a function from raw images to raw images.

    A cGAN's generator turns x into a restored image; a CIN generator turns clean y into a defective x.

    Args:
        model: called with its inputs and `training`; a keras.Model, or a function that runs one.
        seed: of the noise input, where there is one.
        network: the keras.Model that `model` runs, for those who look into it.
    """

    def __init__(self, model: Callable, metadata: Metadata, seed: int = 0, network: keras.Model | None = None):
        self.model, self.metadata, self.seed, self.network = model, metadata, seed, network
        self.makes_defects = metadata.makes_defects

    @classmethod
    def load(cls, path: str | Path, seed: int = 0, precision: str = "float32") -> Applier:
        """A saved generator. Runs on all visible devices, or on those that this process has chosen before.

        Args:
            path: generator.h5.
            seed: of the noise input, where there is one.
            precision: in which the network computes: "float32", "bfloat16" or "float16".

        Raises:
            InputError: as `load_generator`.
        """
        start_tensorflow(None)
        network, metadata = load_generator(path)
        network = in_precision(network, precision)
        return cls(lambda inputs, training: network.predict_on_batch(inputs), metadata, seed, network)

    def count_beyond(self, image: np.ndarray, scale: Scale) -> int:
        """Pixels of an (H, W) image in raw units that are too bright or dark for the network to look at.

        A tuned generator limits what it looks at (`models.tuned_generator`), and passes on the rest as it is.
        """
        layers = self.network.layers
        limit = next((i for i, layer in enumerate(layers) if getattr(layer, "max_value", None)), None)
        if limit is None:
            return 0
        lowest, count = -layers[limit - 1].offset, 0
        for rows in strips(image):
            seen = scale.normalize(image[rows])
            count += np.count_nonzero((seen < lowest) | (seen > lowest + layers[limit].max_value))
        return count

    def with_dropout(self) -> Applier | None:
        """The same loaded generator with its dropout on; None where it has none."""
        network = self.network
        if not any(getattr(layer, "rate", 0) for layer in network.layers):
            return None
        return Applier(lambda inputs, training: network(inputs, training=True), self.metadata, self.seed, network)

    def __call__(
        self,
        image: np.ndarray,
        task: str | None,
        draw: int = 0,
        tile: int | None = TILE,
        overlap: int = OVERLAP,
        average: int = 1,
    ) -> np.ndarray:
        """Apply the generator to one raw image.

        Args:
            image: (H, W) real numbers in raw units.
            task: name of the task; None only where the normalisation does not need it.
            draw: number of the noise draw.
            tile: side of the tiles in pixels; None restores the image at once.
            overlap: pixels that neighbouring tiles share.
            average: 1, or 8 for the mean over the flips and turns that the task allows.

        Returns:
            (H, W) float32 in raw units: of x for recipe `tuned` and for CIN, of the task's y for `paper`.
        """
        return self.with_scales(image, self.scales(image, task), task, draw, tile, overlap, average)

    def scales(self, image: np.ndarray | Scale, task: str | None) -> tuple[Scale, Scale]:
        """(Scale of what goes in, Scale of what comes out) of a whole raw image, or by percentiles taken before."""
        scales = self.metadata.normalization
        if self.makes_defects:
            return scales.y_scale(task, image), scales.x_scale(task, image)
        return scales.x_scale(task, image), scales.restored_scale(task, image)

    def with_scales(
        self,
        image: np.ndarray,
        scales: tuple[Scale, Scale],
        task: str | None,
        draw: int,
        tile: int | None,
        overlap: int,
        average: int,
    ) -> np.ndarray:
        """As calling it, with the scales of a larger image that `image` is a part of."""
        before, after = scales
        turns = symmetries(average, self.may_rotate(task))
        normalized = by_strips(before.normalize, image, np.empty(image.shape, np.float32))
        outputs = self.turned(normalized, turns, task, draw, tile, overlap)
        # Added up one by one: eight outputs of a large image need not be held at once.
        total = next(outputs)
        for output in outputs:
            total += output
            del output
        total /= len(turns)
        return by_strips(after.undo, total, total)

    def turned(
        self,
        normalized: np.ndarray,
        turns: list[tuple[Callable, Callable]],
        task: str | None,
        draw: int,
        tile: int | None,
        overlap: int,
    ) -> Iterator[np.ndarray]:
        """The outputs for an image turned in several ways, turned back, one after the other.

        Args:
            normalized: (H, W) float32 in network units.
            turns: of `symmetries`.
            task, draw, tile, overlap: as in calling it.

        Yields:
            (H, W) float32 in network units, one for each turn.
        """
        for apply, undo in turns:
            yield undo(self._tiled(apply(normalized), task, draw, tile, overlap))

    def may_rotate(self, task: str | None) -> bool:
        """Without a task that the generator knows, every task of it must allow quarter turns."""
        known = self.metadata.tasks
        return not set(self.metadata.no_rotate) & ({task} if task in known else set(known))

    def count_tiles(self, shape: tuple[int, int], tile: int | None, overlap: int) -> int:
        """In how many tiles an (H, W) image is restored."""
        multiple = self.metadata.size_multiple
        sizes = [size + 2 * self.metadata.margin for size in shape]
        sizes = [size + -size % multiple for size in sizes]
        if tile is None or max(sizes) <= tile:
            return 1
        tile, overlap = (max(size // multiple, 1) * multiple if size else 0 for size in (tile, overlap))
        return math.prod(len(tile_grid(size, tile, overlap, multiple)[0]) for size in sizes)

    def _tiled(self, image, task, draw, tile, overlap):
        # The padded image is cut at multiples: tiles then meet the network's strides where the whole image would.
        multiple, margin = self.metadata.size_multiple, self.metadata.margin
        places = [padded_places(size, margin, multiple) for size in image.shape]
        shape = tuple(map(len, places))
        noise = self._noise(shape, draw)

        def predict(*part):
            tile_places = [along[those] for along, those in zip(places, part, strict=True)]
            return self._predict(image[np.ix_(*tile_places)], None if noise is None else noise[part], task)

        if tile is None or max(shape) <= tile:
            output = predict(slice(None), slice(None))
        else:
            tile, overlap = (max(size // multiple, 1) * multiple if size else 0 for size in (tile, overlap))
            output = blend_tiles(shape, predict, tile, overlap, multiple)
        stride = self.metadata.strides.get(task)
        if stride:
            # After the tiles are blended, and before the border is cut off: planes lie on the same rows everywhere.
            phase = stride * np.random.default_rng([self.seed, STREAM_PHASE, draw]).random()
            recorded, positions = sampled_rows(len(output), stride, phase)
            output = rows_at(output[recorded], positions)
        return output[margin : margin + image.shape[0], margin : margin + image.shape[1]]

    def _noise(self, shape, draw):
        """(H, W, noise channels) or None: drawn for the whole image, so that no two tiles share it."""
        channels = self.metadata.noise_channels
        rng = np.random.default_rng([self.seed, STREAM_NOISE, draw, *shape])
        return rng.standard_normal((*shape, channels), np.float32) if channels else None

    def _predict(self, image, noise, task):
        inputs = [image[None, ..., None]]
        if self.makes_defects:
            inputs.append(np.array([[self.metadata.tasks.index(task)]], np.int32))
        if noise is not None:
            inputs.append(noise[None])
        output = self.model(inputs if len(inputs) > 1 else inputs[0], training=False)
        return np.asarray(output)[0, ..., 0].astype(np.float32)


def in_precision(model: keras.Model, precision: str) -> keras.Model:
    """A generator that computes in another precision; weights and the image that it gives stay float32.

    Args:
        model: keras.Model of built-in layers, in float32.
        precision: "float32", "bfloat16" or "float16".
    """
    if precision == "float32":
        return model
    import keras

    # What adds up the restored image stays as it is: 8 bits of mantissa are too few for intensities.
    kept = (keras.layers.InputLayer, keras.layers.Add, keras.layers.Average, keras.layers.Activation)

    def convert(layer):
        config = layer.get_config()
        if not isinstance(layer, kept) and layer is not model.layers[-1]:
            config["dtype"] = f"mixed_{precision}"
        return type(layer).from_config(config)

    converted = keras.models.clone_model(model, clone_function=convert)
    converted.set_weights(model.get_weights())
    return converted


def symmetries(average: int, rotate: bool) -> list[tuple[Callable, Callable]]:
    """(apply, undo) pairs of the symmetries to average over: one, the four flips, or all eight of the square.

    Args:
        average: 1 or 8.
        rotate: False leaves out those with a quarter turn.
    """
    if average == 1:
        return [(lambda image: image, lambda image: image)]
    return [_symmetry(turns, flip) for flip in (False, True) for turns in (range(4) if rotate else (0, 2))]


def _symmetry(turns, flip):
    def apply(image):
        turned = np.rot90(image, turns)
        return turned[:, ::-1] if flip else turned

    def undo(image):
        return np.rot90(image[:, ::-1] if flip else image, -turns)

    return apply, undo


def padded_places(size: int, margin: int, multiple: int) -> np.ndarray:
    """Which pixels of a side are taken so that it is reflected at both ends, and then at its end up to a multiple.

    Tiles are cut by these numbers, so that no padded copy of a large image is needed.
    """
    # A side shorter than its padding cannot be reflected at once; "symmetric" can, any number of times.
    reflected = np.pad(np.arange(size), margin, mode="symmetric")
    return np.pad(reflected, (0, -len(reflected) % multiple), mode="symmetric")


def tile_grid(size: int, tile: int, overlap: int, multiple: int) -> tuple[list[int], int]:
    """Where tiles along one axis start, and their length: as few as fit, equal, and no longer than they need to be.

    Args:
        size: pixels to cover, a multiple of `multiple`.
        tile: longest tile.
        overlap: pixels that neighbours share at least.
        multiple: starts and lengths are multiples of this.
    """
    if size <= tile:
        return [0], size
    count = -(-(size - overlap) // (tile - overlap))
    length = -(-(size + (count - 1) * overlap) // (count * multiple)) * multiple
    return [*range(0, size - length, length - overlap), size - length], length


def tile_weights(start: int, tile: int, size: int, overlap: int) -> np.ndarray:
    """Weights of one tile along one axis: 1 inside, a ramp to 0 over the overlap at edges inside the image.

    The outer quarter of an overlap weighs nothing: there the network saw the tile's edge, not the image.
    """
    length = min(tile, size)
    ramp = np.clip((np.arange(overlap) + 0.5 - overlap / 4) / (overlap / 2), 0, 1) if overlap else np.ones(0)
    weights = np.ones(length, np.float32)
    if start > 0:
        weights[:overlap] = ramp
    if start + length < size:
        weights[length - overlap :] = np.minimum(weights[length - overlap :], ramp[::-1])
    return weights


def blend_tiles(
    shape: tuple[int, int], function: Callable[[slice, slice], np.ndarray], tile: int, overlap: int, multiple: int
) -> np.ndarray:
    """Blend the results of overlapping tiles to one (H, W) image, without a seam.

    Args:
        shape: of the image.
        function: gives the (h, w) result of the tile at these rows and columns.
        tile, overlap, multiple: as for `tile_grid`.

    Raises:
        InputError: the overlap is not smaller than half a tile.
    """
    if not 0 <= overlap <= tile // 2:
        raise InputError(f"--overlap={overlap}: expected 0 to half of --tile={tile}")
    total, axes = np.zeros(shape, np.float32), []
    for size in total.shape:
        starts, length = tile_grid(size, tile, overlap, multiple)
        weights = [tile_weights(start, length, size, overlap) for start in starts]
        # Overlaps may be wider where the last tile is moved to the end: their weights are made to sum to 1.
        sums = np.zeros(size, np.float32)
        for start, weight in zip(starts, weights, strict=True):
            sums[start : start + length] += weight
        parts = [slice(start, start + length) for start in starts]
        axes.append([(part, weight / sums[part]) for part, weight in zip(parts, weights, strict=True)])
    for rows, row_weights in axes[0]:
        for columns, column_weights in axes[1]:
            total[rows, columns] += row_weights[:, None] * column_weights * function(rows, columns)
    return total
