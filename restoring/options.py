"""How a command restores images, the same for every one of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from restoring.apply import OVERLAP, TILE

MAPS = ("uncertainty", "check")


@dataclass(frozen=True)
class RestoreOptions:
    """What restore.py is asked for.

    Args:
        generator: generator.h5.
        task: name, or None where the generator restores all tasks alike.
        tile, overlap, average: as for `apply.Applier`.
        dtype: of the result: "float32", "uint8" or "uint16".
        precision, seed: as for `apply.Applier.load`.
        uncertainty: passes of which a map of the uncertainty is made, or None.
        calibration: what calibrate.py wrote, or None.
        check: whether a map is made of where the input contradicts the restored image.
        cin_generator: CIN-GAN's generator.h5, for the check.
    """

    generator: Path
    task: str | None = None
    tile: int = TILE
    overlap: int = OVERLAP
    average: int = 1
    dtype: str = "float32"
    precision: str = "float32"
    seed: int = 0
    uncertainty: int | None = None
    calibration: Path | None = None
    check: bool = False
    cin_generator: Path | None = None

    @property
    def maps(self) -> list[str]:
        """Kinds of the maps that are written beside a restored image, of MAPS."""
        return [kind for kind in MAPS if getattr(self, kind)]
