"""Where the training of a restoring generator starts: random weights, or those of a generator trained before."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import InputError
from methods.rehearsal import SIMULATED, simulated_pairs
from recipes.recipe import CganPart
from restoring.generator_file import SHIPPED, load_generator, read_metadata

if TYPE_CHECKING:
    from methods.batches import Pairs
    from methods.method import Method

NONE = "none"  # of --init_from
# sha256 of the shipped generator with the same weights, when its network did not yet replace outliers.
SHIPPED_BEFORE = "1b81b509d348d0cbf3943effd4b7fbc6d4599d987ce7a324cf17ef9f1e5b3ef3"


@dataclass(frozen=True)
class Start:
    """A generator.h5 that a training starts from.

    Args:
        path: of the file.
        sha256: of its content, which a resumed run must agree in.
        rehearsal: share of simulated pairs in every batch.
    """

    path: Path
    sha256: str
    rehearsal: float

    def rehearsed(self, seed: int) -> tuple[str, float, Pairs]:
        """What fills the end of every batch, for `PairBatches`."""
        return SIMULATED, self.rehearsal, simulated_pairs(seed)

    def load_into(self, gan: Method, learned: float = 1.0) -> None:
        """Let a method train on from the weights; `learned` is the share of the trained ones in the released ones.

        Raises:
            InputError: the file holds another network.
        """
        start = load_generator(self.path)[0]
        if _layers(start) != _layers(gan.released):
            raise InputError(
                f"--init_from={self.path}: its network is not the one that is trained here; choose a generator.h5 of "
                f"this version and recipe, or --init_from={NONE}"
            )
        gan.start_from(start.get_weights(), learned)


def find_start(init_from: str | None, recipe: str, part: CganPart) -> Start | None:
    """What --init_from names: a file, NONE, or by default the shipped generator where the recipe starts from one.

    Args:
        init_from: value of the flag; None where it was not given.
        recipe: its name, for the messages.
        part: of the recipe.

    Returns:
        None for random weights.

    Raises:
        InputError: the recipe or the file does not fit.
    """
    if init_from == NONE or (init_from is None and part.fine_tuning is None):
        return None
    if part.fine_tuning is None:
        raise InputError(f"--init_from={init_from}: recipe {recipe} starts from random weights; leave the flag out")
    path = Path(init_from) if init_from else SHIPPED
    metadata = read_metadata(path)
    if metadata.makes_defects:
        raise InputError(f"--init_from={path}: it makes defects; choose the generator.h5 of train_cGAN.py")
    if metadata.normalization.kind != part.normalizing.kind:
        raise InputError(
            f"--init_from={path}: it was trained with recipe {metadata.recipe}, which normalises images another way "
            f"than recipe {recipe}; choose another file, or --init_from={NONE}"
        )
    return Start(path, hashlib.sha256(path.read_bytes()).hexdigest(), part.fine_tuning.rehearsal)


def _layers(network):
    """What a network computes from its first convolution on, layer by layer: kinds and numbers.

    Names and precision apart. What comes before it has no weights: earlier generators treat outliers in another way, or
    not at all.
    """
    apart = {"name", "dtype", "batch_shape", "kernel_initializer", "bias_initializer"}
    configs = ((type(layer).__name__, layer.get_config()) for layer in network.layers)
    layers = [(kind, {key: value for key, value in config.items() if key not in apart}) for kind, config in configs]
    first = next((index for index, (kind, _) in enumerate(layers) if kind == "Conv2D"), 0)
    return layers[first:]
