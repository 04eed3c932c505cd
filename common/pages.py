"""Self-contained HTML pages: texts escaped, pictures inside."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np


def render(template: Path, **fields: object) -> str:
    """A page from its template, which may include files of this folder; texts in the fields are escaped, Markup not."""
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters["embed"] = embed
    environment.filters["png"] = png
    return environment.from_string(template.read_text(encoding="utf-8")).render(fields)


def to_gray(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """An (H, W) image as uint8, 0 at `low` and 255 at `high`."""
    return np.round(255 * np.clip((image - low) / ((high - low) or 1.0), 0, 1)).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    """An (H, W) image of gray values or an (H, W, 4) one of red, green, blue and opacity, uint8, as a PNG's bytes."""
    return _png(image)


def tint_png(opacity: np.ndarray, color: tuple[int, int, int]) -> bytes:
    """A color laid over an image, as the bytes of a PNG; `opacity` is (H, W) uint8, 0 where nothing is to be seen."""
    return _png(opacity, palette=bytes(color) * 256, transparency=bytes(range(256)))


def _png(values, palette=None, **options):
    from PIL import Image

    buffer, image = io.BytesIO(), Image.fromarray(values)
    if palette:
        image.putpalette(palette)
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def embed(png: bytes) -> str:
    """Bytes of a PNG as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
