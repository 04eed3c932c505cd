"""A page to look at a restored image: before and after under a slider, maps to lay over them, in one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, gcd
from pathlib import Path

import numpy as np
import scipy.ndimage

from common.errors import InputError
from common.files import write_text
from common.metrics import intensities
from common.pages import embed, png, render, tint_png, to_gray
from restoring.image_files import ImageFile, read_image
from restoring.normalization import percentile_scale
from restoring.options import MAPS
from restoring.outputs import beside, view_path
from restoring.trust import CONTRADICTED

TEMPLATE = Path(__file__).resolve().with_name("view.html")
LARGEST = 20e6  # bytes of a page
TEXT_OF_A_BYTE = 4 / 3  # base64
SHOWN = (0.5, 99.8)  # percentiles that become black and white
SMALLEST = 512  # pixels of the longer side: of a larger image pixels are left out first, of a smaller one planes
# Brightness beyond which a generator keeps pixels as they are, in percentile spans of x (models.tuned_generator).
OUTLIERS = (-1.0, 2.0)
MOST_CIRCLES = 300  # in a plane
FLUX_BLOCK, FLUX_FULL = 16, 0.1  # pixels; share of the gray range
ORANGE, MAGENTA, RED, BLUE = (255, 140, 0), (255, 0, 255), (255, 40, 40), (60, 120, 255)
# Of the gray range an uncertainty has to be to hide the image under it.
UNCERTAIN_FULL = 0.25


def read_maps(target: Path, kinds: list[str]) -> dict[str, np.ndarray]:
    """{kind: (N, H, W)} of those maps of a restored file that lie beside it."""
    paths = {kind: beside(target, kind) for kind in kinds if kind in MAPS}
    return {kind: read_image(path).planes for kind, path in paths.items() if path.is_file()}


def write_view(target: Path, source: ImageFile, planes: np.ndarray, maps: Mapping[str, np.ndarray]) -> Path:
    """Write the page on a restored file beside it, below 20 MB: of larger images every 2nd, 3rd, ... pixel.

    Args:
        target: the restored file.
        source: the image that was restored, of the restored one's size.
        planes: the restored one, (N, H, W).
        maps: of `read_maps`.

    Returns:
        The page's path.

    Raises:
        InputError: source, restored image and maps do not fit each other.
    """
    for name, images in {"--input": source.planes, **maps}.items():
        if images.shape != planes.shape:
            raise InputError(f"{target}: {planes.shape} planes and pixels, but {name} has {images.shape}")
    channels = dict(zip(source.axes, source.shape, strict=True)).get("C", 1)
    pixel_step, plane_step = choose_steps(planes.shape, 2 + len(maps), channels)
    while True:
        page = _page(target, source, planes, maps, pixel_step, plane_step)
        if len(page) <= LARGEST or max(planes.shape[1:]) / pixel_step < 2:
            break
        pixel_step += 1  # Noise of many gray values is compressed less than estimated.
    write_text(view_path(target), page)
    return view_path(target)


def choose_steps(shape: tuple[int, int, int], layers: int, channels: int = 1) -> tuple[int, int]:
    """Every how many pixels and planes are shown, so that (N, H, W) images in some layers fill the page at most."""
    count, height, width = shape
    pixels, planes = 1, 1
    # A gray value takes about a byte in a PNG.
    while ceil(count / planes) * ceil(height / pixels) * ceil(width / pixels) * layers * TEXT_OF_A_BYTE > 0.9 * LARGEST:
        if max(height, width) / (pixels + 1) >= SMALLEST or planes >= count:
            pixels += 1
        else:
            planes += 1
            while gcd(planes, channels) > 1:  # Else whole channels would be left out.
                planes += 1
    return pixels, planes


def _page(target, source, planes, maps, pixel_step, plane_step):
    shown = range(0, len(planes), plane_step)
    part = slice(None, None, pixel_step)
    lines = {i: intensities(planes[i], source.planes[i]) for i in shown}
    x, remark = _in_units_of(source.planes, lines)
    ranges = _gray_ranges(source, {i: (x(i)[part, part], planes[i][part, part]) for i in shown})
    records = []
    for i in shown:
        low, high = ranges[i]
        before, after = x(i), np.asarray(planes[i], np.float32)
        images = {
            "before": png(to_gray(before[part, part], low, high)),
            "after": png(to_gray(after[part, part], low, high)),
            "flux": png(_flux(before, after, high - low)),
            **{kind: _overlay(kind, values[i][part, part], high - low) for kind, values in maps.items()},
        }
        circles, count = find_outliers(np.asarray(source.planes[i], np.float32))
        gain, offset, flux = lines[i]
        records.append(
            {
                "label": _label(source, i),
                "facts": f"black to white: {low:.4g} to {high:.4g}; restored = {gain:.3g} * x + {offset:.3g}, "
                f"flux {flux:.3f} of x's",
                "count": f"{count}, far brighter or darker than the rest of x; recipe tuned keeps them as they are",
                "outliers": circles,
                "images": {name: embed(picture) for name, picture in images.items()},
            }
        )
    height, width = planes.shape[1:]
    return render(
        TEMPLATE,
        title=f"{source.path.name} → {target.name}",
        width=width,
        height=height,
        planes=records,
        layers=_layers(maps, height, width),
        remarks=[*remark, *_remarks_on_steps(planes.shape, pixel_step, plane_step)],
    )


def _in_units_of(planes, lines):
    """(function from a plane's index to x as it is shown, remarks): other units than x's are put on one range."""
    gain = np.median([gain for gain, _, _ in lines.values()])
    if 0.5 <= gain <= 2 or gain <= 0:
        return (lambda i: np.asarray(planes[i], np.float32)), []
    words = "The restored image has other units than x: x is shown after the straight line that fits them best."
    return (lambda i: np.asarray(planes[i], np.float32) * np.float32(lines[i][0]) + np.float32(lines[i][1])), [words]


def _gray_ranges(source, pairs):
    """{plane: (black, white)}, one range for before and after in all planes of a channel."""
    channel_of = {i: _index(source, i).get("C", 0) for i in pairs}
    ranges = {}
    for channel in set(channel_of.values()):
        ends = [np.percentile(image, SHOWN) for i in pairs if channel_of[i] == channel for image in pairs[i]]
        ranges[channel] = float(min(low for low, _ in ends)), float(max(high for _, high in ends))
    return {i: ranges[channel] for i, channel in channel_of.items()}


def _index(source, plane):
    """{axis: index} of a plane along all axes but Y and X."""
    others = [(axis, size) for axis, size in zip(source.axes, source.shape, strict=True) if axis not in "YX"]
    indices = np.unravel_index(plane, [size for _, size in others]) if others else ()
    return {axis: int(i) for (axis, _), i in zip(others, indices, strict=True)}


def _label(source, plane):
    """Which plane it is, counted from 0 as --z, --time and --channel count."""
    index = {axis: i for axis, i in _index(source, plane).items() if axis != "S"}
    named = dict(enumerate(source.channels)) if source.channels else {}
    words = [f"channel {named.get(i, i)}" if axis == "C" else f"{axis} {i}" for axis, i in index.items()]
    return ", ".join(words).replace("Q ", "") or "0"


def _overlay(kind, values, span):
    if kind == "uncertainty":
        opacity, color = np.asarray(values) / (UNCERTAIN_FULL * span or 1.0), ORANGE
    else:
        deviations = np.abs(values)
        opacity, color = np.where(deviations > CONTRADICTED, deviations / (2 * CONTRADICTED), 0), MAGENTA
    # 32 degrees are as good to the eye as 256, and take half the bytes.
    return tint_png((np.round(31 * np.clip(opacity, 0, 1)) * 8).astype(np.uint8), color)


def _flux(before, after, span):
    """Red where blocks of the restored image are brighter than x's, blue where dimmer, one pixel a block."""
    difference = (_block_means(after) - _block_means(before)) / (span or 1.0)
    color = np.where(difference[..., None] > 0, RED, BLUE)
    opacity = 255 * np.clip(np.abs(difference) / FLUX_FULL, 0, 1)
    return np.concatenate([color, opacity[..., None]], axis=-1).round().astype(np.uint8)


def _block_means(image):
    """Means of blocks of an (H, W) image; those at the bottom and right edges are of fewer pixels."""
    sums, counts = image.astype(np.float64), np.ones(image.shape)
    for axis in (0, 1):
        starts = np.arange(0, image.shape[axis], FLUX_BLOCK)
        sums, counts = (np.add.reduceat(values, starts, axis=axis) for values in (sums, counts))
    return sums / counts


def find_outliers(x: np.ndarray) -> tuple[list[tuple[float, float, float]], int]:
    """([(column, row, radius)] of the largest outliers of an (H, W) image in pixels, how many there are).

    Outliers are connected pixels beyond what a generator of recipe `tuned` looks at.
    """
    seen = percentile_scale(x).normalize(x)
    labels, count = scipy.ndimage.label((seen < OUTLIERS[0]) | (seen > OUTLIERS[1]), np.ones((3, 3)))
    circles = []
    for rows, columns in scipy.ndimage.find_objects(labels):
        sides = rows.stop - rows.start, columns.stop - columns.start
        middle = (columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2
        circles.append((*middle, round(float(np.hypot(*sides)) / 2 + 3, 1)))
    return sorted(circles, key=lambda circle: -circle[2])[:MOST_CIRCLES], count


def _layers(maps, height, width):
    """{name: its style and what its colours mean} of what can be laid over the image."""
    blocks = [ceil(size / FLUX_BLOCK) * FLUX_BLOCK for size in (height, width)]
    meanings = {
        "flux": f"means over {FLUX_BLOCK} x {FLUX_BLOCK} pixels; red: brighter than x, blue: dimmer, full colour at "
        f"{100 * FLUX_FULL:.0f} % of the gray range",
        "uncertainty": f"orange, full colour at {100 * UNCERTAIN_FULL:.0f} % of the gray range",
        "check": f"magenta where the input contradicts the restored image, by more than {CONTRADICTED:g} deviations",
    }
    styles = {"flux": f"width: {100 * blocks[1] / width:.4f}%; height: {100 * blocks[0] / height:.4f}%"}
    return {
        name: {"meaning": meaning, "style": styles.get(name, "")}
        for name, meaning in meanings.items()
        if name == "flux" or name in maps
    }


def _remarks_on_steps(shape, pixel_step, plane_step):
    def every(step, word):
        ordinal = {2: "2nd", 3: "3rd"}.get(step, f"{step}th")
        return f"every {ordinal} {word}"

    words = [every(pixel_step, "pixel")] * (pixel_step > 1) + [every(plane_step, "plane")] * (plane_step > 1)
    if words:
        size = " x ".join(map(str, shape))
        yield f"To keep this page below 20 MB, it shows {' and '.join(words)} of {size}. Measure in the files."
