"""What one outlier does to a restored image: hot pixels, beads and lines, 5 to 60,000 spans high.

    python -m benchmarks outliers generators/any_defect.h5 [another.h5 ...]

On four simulated images of 512 x 512 (and 128 x 128, where an outlier of 100 pixels moves the percentiles): restored
with the outlier minus restored without it. Span: of the image without it, its 2 to 99.8 percentile. Reach: the largest
distance in pixels from the outlier's edge at which more than 2 % of the span changes. Peak: how high the outlier is
above the image afterwards, as a share of what it was. The worst of the images. First normalised by the percentiles of
the image without the outlier; the last column by those of the image with it, as restore.py does.
"""

from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt

from benchmarks.measuring import print_table
from restoring.apply import OVERLAP, TILE, Applier
from restoring.normalization import percentile_scale
from simulation.any_defect import simulate_any

HEIGHTS = (5, 20, 100, 1000, 60_000)  # spans
SHAPES = {"pixel": (1, 1), "3 x 3": (3, 3), "bead, 10 x 10": (10, 10), "line, 1 x 100": (1, 100)}
CHANGED, IMAGES, SEED = 0.02, 4, 1  # share of the span; images, and their seed: not one of the training's


def measure(apply, x, plain, shape, height, same_percentiles=False):
    """(pixels changed by more than 2 % of the span, reach, most beyond 3 pixels in spans, share of the peak kept)."""
    span, middle = percentile_scale(x).span, len(x) // 2
    where = np.zeros(x.shape, bool)
    where[tuple(slice(middle - side // 2, middle - side // 2 + side) for side in shape)] = True
    image = x + where * height * span
    scales = apply.scales(x if same_percentiles else image, None)
    restored = apply.with_scales(image, scales, None, 0, TILE, OVERLAP, 1)
    change, distance = np.abs(restored - plain) / span, distance_transform_edt(~where)
    beyond = (change > CHANGED) & ~where
    peak = np.mean((restored - plain)[where]) / (height * span)
    return int(beyond.sum()), float(distance[beyond].max(initial=0)), float(change[distance > 3].max()), float(peak)


def main(*generators: str):
    for path in generators:
        apply = Applier.load(Path(path))
        for size in (512, 128):
            images = [simulate_any(SEED, index, size, "noise", 50.0).x for index in range(IMAGES)]
            pairs, rows = [(x, apply(x, None)) for x in images], []
            for name, shape in SHAPES.items():
                for height in HEIGHTS:
                    found = [measure(apply, *pair, shape, height, same_percentiles=True) for pair in pairs]
                    own = max(measure(apply, *pair, shape, height)[2] for pair in pairs)
                    pixels, reach, far, _ = np.max(found, axis=0)
                    worst = max((one[3] for one in found), key=lambda peak: abs(peak - 1))
                    shares = f"{100 * far:.1f} %", f"{worst:.3f}", f"{100 * own:.1f} %"
                    rows.append([name, height, f"{pixels:.0f}", f"{reach:.1f}", *shares])
            print(f"\n{path}, {size} x {size} pixels")
            head = ["outlier", "spans", "pixels changed", "reach", "beyond 3 pixels", "peak kept", "own percentiles"]
            print_table(head, rows)
