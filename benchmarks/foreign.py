"""What the shipped generator does to what it was not made for: other kinds of images, good images, images of nothing.

    python -m benchmarks foreign generators/any_defect.h5 [IMAGE.tif ...]

The images are scikit-image's photograph, cell in transmitted light and stained section (gray), and those that are named
(one plane, 512 x 512 pixels at most). Each is exposed with 10 and 100 photons at its brightest pixel and read noise 1,
and restored in all flips; the last column is the image itself restored, against itself. Nothing: Gaussian noise, and an
empty background of 1, 5 and 50 photons; what is left of its deviation.
"""

from pathlib import Path

import numpy as np

from benchmarks.measuring import print_table
from common.metrics import affine_metric
from restoring.apply import Applier
from restoring.image_files import read_image

PHOTONS, READ_NOISE, SIDE = (10, 100), 1.0, 512


def main(generator: str, *images: str):
    from skimage import data

    apply, rng = Applier.load(Path(generator)), np.random.default_rng(0)
    kinds = {"photograph": data.camera(), "cell in transmitted light": data.cell()}
    kinds["stained section, gray"] = data.immunohistochemistry().mean(axis=-1)
    kinds |= {Path(path).stem: read_image(path).planes[0] for path in images}
    rows = []
    for name, image in kinds.items():
        y = np.asarray(image, np.float32)[:SIDE, :SIDE]
        itself = affine_metric(apply(y, None, average=8), y)["psnr"]
        for photons in PHOTONS:
            x = rng.poisson(y / y.max() * photons) + rng.normal(0, READ_NOISE, y.shape)
            restored = apply(x.astype(np.float32), None, average=8)
            scores = [f"{affine_metric(z, y)['psnr']:.2f}" for z in (x, restored)]
            rows.append([name, photons, *scores, f"{restored.mean() / x.mean():.3f}", f"{itself:.1f}"])
    print_table(["image", "photons", "input, dB", "restored, dB", "flux", "good image against itself, dB"], rows)
    print()
    nothing = {"Gaussian noise": rng.standard_normal((SIDE, SIDE))}
    nothing |= {f"background, {photons} photons": rng.poisson(photons, (SIDE, SIDE)) for photons in (1, 5, 50)}
    left = {name: apply(x.astype(np.float32), None, average=8).std() / x.std() for name, x in nothing.items()}
    print_table(["nothing but", "deviation left"], [[name, f"{100 * share:.1f} %"] for name, share in left.items()])
