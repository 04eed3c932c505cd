"""How a command restores images, the same for every one of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.command_line import axes, integer, positive
from restoring.apply import OVERLAP, TILE
from restoring.reading import Part

MAPS = ("uncertainty", "check", "disagreement")


@dataclass(frozen=True)
class RestoreOptions:
    """What restore.py is asked for.

    Args:
        generator: generator.h5.
        task: name, or None where the generator restores all tasks alike.
        tile, overlap, average: as for `apply.Applier`.
        dtype: of the result: "float32", "uint8" or "uint16".
        precision, seed: as for `apply.Applier.load`.
        verbose: whether a line is printed for every plane of a stack.
        normalize: "stack" where the planes of a stack share their percentiles, "plane" where each has its own; None: by
            the axes, a stack where there is a Z or T.
        view: whether a page to look at the result is written beside it.
        uncertainty: passes of which a map of the uncertainty is made, or None.
        calibration: what calibrate.py wrote, or None.
        check: whether a map is made of where the input contradicts the restored image.
        cin_generator: CIN-GAN's generator.h5, for the check.
        isotropic: whether stacks are made isotropic.
        spacing: micrometres along z, y and x, in place of the files', for isotropic stacks.
        disagreement: whether a map is made of how far the two views of isotropic stacks are apart.
    """

    generator: Path
    task: str | None = None
    tile: int = TILE
    overlap: int = OVERLAP
    average: int = 1
    dtype: str = "float32"
    precision: str = "float32"
    seed: int = 0
    verbose: bool = False
    normalize: str | None = None
    view: bool = False
    uncertainty: int | None = None
    calibration: Path | None = None
    check: bool = False
    cin_generator: Path | None = None
    isotropic: bool = False
    spacing: tuple[float, float, float] | None = None
    disagreement: bool = False

    @property
    def maps(self) -> list[str]:
        """Kinds of the maps that are written beside a restored image, of MAPS."""
        return [kind for kind in MAPS if getattr(self, kind)]


def add_part_flags(add: Callable, planes: bool = True) -> None:
    """The flags that say what of an image file is read.

    Args:
        add: a parser's add_argument.
        planes: whether one plane of a stack may be chosen.
    """
    add("--axes", type=axes, metavar="ZYX", help="a letter per dimension of the files, if the printed axes are wrong")
    add("--scene", type=integer(0), metavar="N", help="image of a file of several, from 0 (default: the first)")
    add(
        "--channel",
        metavar="NAME",
        help="channel of a file of several, by its name or its number from 0 (default: all)",
    )
    add("--time", type=integer(0), metavar="N", help="time point of a series, from 0 (default: all)")
    if planes:
        add("--z", type=integer(0), metavar="N", help="plane of a stack, from 0 (default: all)")
    add("--max_gb", type=positive, help="GB an image may unpack to (default: an eighth of this machine's memory)")


def spacing(text: str) -> tuple[float, float, float]:
    """Micrometres between planes, rows and columns, as Z,Y,X."""
    sizes = text.split(",")
    if len(sizes) != 3:
        raise argparse.ArgumentTypeError(f"expected three numbers of micrometres as Z,Y,X, received {text!r}")
    return tuple(positive(size, " of micrometres") for size in sizes)


def part_of(args: argparse.Namespace) -> Part:
    """What of each file is read, from parsed arguments."""
    return Part(args.scene, args.channel, args.time, getattr(args, "z", None), args.max_gb)
