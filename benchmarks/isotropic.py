"""How well stacks become isotropic: simulated volumes of known truth, PSNR and SSIM of their XZ and YZ sections.

    python -m benchmarks isotropic --output=OUT                     methods that train nothing: minutes
    python -m benchmarks isotropic --output=OUT --minutes=10        and trainings of ten minutes for each volume
    python -m benchmarks isotropic --output=OUT --minutes=10 --side=256 --planes=96

Nuclei in tissue, filaments and membranes, each isotropic. The stack is the volume blurred along z (Gaussian, sigma 2.5
pixels), of which every 5th plane is recorded with 100 photons at bright structures and read noise of 1.6 electrons.
Compared: linear interpolation; Richardson-Lucy with the true blur (scikit-image, the best of 5 to 40 iterations by the
truth, which a user does not know); the shipped generator; with --minutes, train_cGAN.py on pairs that
prepare_stack.py --psf makes with the true sigma and one 30 % too narrow and too wide (IsotropicCARE's way, with our
network), and CIN-GAN with train_cGAN.py, which know nothing of the blur. Records are kept in OUT, and the same command
goes on.
"""

from functools import partial
from pathlib import Path

import numpy as np
import tifffile
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.spatial import cKDTree
from scipy.special import expit
from skimage.restoration import richardson_lucy

from benchmarks.measuring import Record, print_table, train_once
from common.metrics import mean_scores
from restoring.generator_file import SHIPPED
from restoring.image_files import read_image
from restoring.isotropic import IsotropicRestorer
from restoring.options import RestoreOptions
from restoring.sampling import rows_at
from restoring.stacks import plane_positions
from simulation.microscopes import expose
from simulation.scenes import smooth_noise
from tables.trainings import run_logged

SIGMA, STEP, PHOTONS = 2.5, 5, 100
PIXEL = 0.2  # micrometres
ROUNDS = (5, 10, 20, 40)  # of Richardson-Lucy
WIDTHS = {"true": 1.0, "30 % too narrow": 0.7, "30 % too wide": 1.3}


def centers(rng, shape, spacing):
    """Points of a jittered grid, (N, 3), that reaches beyond a volume of a shape."""
    steps = [np.arange(-spacing / 2, size + spacing, spacing) for size in shape]
    points = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return points + rng.uniform(-0.35, 0.35, points.shape) * spacing


def distances(points, shape):
    """For each voxel, how far its nearest and second nearest points are, and the nearest one's number; pixels."""
    voxels = np.stack(np.indices(shape), axis=-1).reshape(-1, 3)
    far, which = cKDTree(points).query(voxels, k=2)
    return far[:, 0].reshape(shape), far[:, 1].reshape(shape), which[:, 0].reshape(shape)


def nuclei(rng, shape):
    points = centers(rng, shape, 22.0)
    near, _, which = distances(points, shape)
    radius, bright = rng.uniform(6, 10, len(points)), rng.uniform(0.35, 1, len(points))
    texture = np.clip(1 + 0.3 * smooth_noise(rng, shape, 1.5), 0.2, 2)
    return 0.03 + bright[which] * expit((radius[which] - near) / 0.7) * texture


def membranes(rng, shape):
    near, second, _ = distances(centers(rng, shape, 24.0), shape)
    return 0.03 + np.exp(-((second - near) ** 2) / (2 * 1.5**2)) * np.clip(1 + 0.2 * smooth_noise(rng, shape, 6), 0, 2)


def filaments(rng, shape):
    volume = np.zeros(shape)
    for _ in range(int(np.prod(shape) / 5000)):
        heading = rng.standard_normal(3) + np.cumsum(rng.standard_normal((160, 3)) * 0.08, axis=0)
        steps = heading / np.linalg.norm(heading, axis=1, keepdims=True)
        path = np.round(rng.uniform(-20, np.array(shape) + 20) + np.cumsum(steps, axis=0)).astype(int)
        inside = ((path >= 0) & (path < shape)).all(axis=1)
        np.add.at(volume, tuple(path[inside].T), rng.uniform(0.4, 1))
    return volume


VOLUMES = {"nuclei": nuclei, "filaments": filaments, "membranes": membranes}


def simulate(kind, planes, side):
    """(truth (Z, Y, X), stack of every STEP-th plane) as float32, 1 at bright structures."""
    rng = np.random.default_rng(list(VOLUMES).index(kind))
    truth = gaussian_filter(VOLUMES[kind](rng, (planes, side, side)), 0.8)
    truth /= np.percentile(truth, 99.5)
    blurred = gaussian_filter1d(truth, SIGMA, axis=0)[::STEP]
    return truth.astype(np.float32), (expose(rng, blurred * PHOTONS) / PHOTONS).astype(np.float32)


def score(volume, truth):
    """[PSNR, SSIM] in the affine metric of every 4th XZ and YZ section that shows something."""
    truth, found = truth[: len(volume)], []
    for axis in (1, 2):
        images, truths = (np.moveaxis(one, axis, 0)[::4] for one in (volume, truth))
        shown = np.percentile(truths, 99, axis=(1, 2)) > 0.1
        found.append(mean_scores(list(images[shown]), list(truths[shown])))
    return [float(np.mean([one[f"affine_{name}"] for one in found])) for name in ("psnr", "ssim")]


def deconvolve(volume, truth):
    """The best score of Richardson-Lucy with the true blur along z, over its numbers of iterations."""
    along = np.exp(-(np.arange(-10, 11) ** 2) / (2 * SIGMA**2))[:, None, None]
    bright = np.maximum(volume, 1e-3)
    results = [richardson_lucy(bright, along / along.sum(), num_iter=rounds, clip=False) for rounds in ROUNDS]
    return max((score(result, truth) for result in results), key=lambda found: found[0])


def restored(generator, folder, average=1):
    """The stack of a folder, made isotropic with a generator."""
    restorer = IsotropicRestorer(RestoreOptions(generator, average=average, isotropic=True))
    return restorer.restore(read_image(folder / "stack.tif"), folder / "restored.tif")


def train(folder, minutes, width=None):
    """The generator trained for so many minutes on the stack of a folder: on pairs of a known blur, or blind."""
    place = folder / (f"psf_{width}" if width else "blind")
    if not (place / "set").is_dir():
        psf = [f"--psf={SIGMA * PIXEL * width}"] if width else []
        words = [f"--input={folder / 'stack.tif'}", "--name=Stack", f"--output={place / 'set'}", "--patch=64", *psf]
        run_logged(["data/prepare_stack.py", *words], place / "log.txt")
    shared = ["--recipe=tuned", f"--data_dir={place / 'set'}", "--no_rotate=Stack", "--num_gpu=0"]
    long = ["--num_iters=100000", f"--max_seconds={60 * minutes * (1 if width else 0.7)}"]
    if width:
        run = train_once(["train_cGAN.py", *shared, *long], place, "Microscopy_cGAN_results")
        return run / "generator.h5"
    words = ["train_CIN_GAN.py", *shared, "--num_iters=100000", f"--max_seconds={60 * minutes * 0.3}"]
    cin = train_once(words, place / "cin", "CIN-GAN_results") / "generator.h5"
    words = ["train_cGAN.py", *shared, *long, "--cin_augment=True", "--alpha=1", f"--cin_generator_path={cin}"]
    return train_once(words, place, "Microscopy_cGAN_results_CIN_augm") / "generator.h5"


def measure(record, kind, folder, truth, stack, generator, minutes):
    """Add the scores of every method on one volume to the record."""
    linear = rows_at(stack, plane_positions(len(stack), STEP))
    record.add("linear interpolation", kind, lambda: score(linear, truth))
    record.add("Richardson-Lucy, true blur", kind, lambda: deconvolve(linear, truth))
    record.add("shipped generator", kind, lambda: score(restored(generator, folder), truth))
    record.add("shipped generator, --average=8", kind, lambda: score(restored(generator, folder, 8), truth))
    if minutes:
        for label, width in WIDTHS.items():
            trained = partial(train, folder, minutes, width)
            record.add(f"trained on pairs, blur {label}", kind, lambda t=trained: score(restored(t(), folder), truth))
        record.add("trained blind", kind, lambda: score(restored(train(folder, minutes), folder), truth))


def main(
    *,
    output: Path,
    minutes: float = 0.0,
    side: int = 128,
    planes: int = 96,
    kinds: str = ",".join(VOLUMES),
    generator: Path = SHIPPED,
):
    record, chosen = Record(output / "scores.json"), kinds.split(",")
    for kind in chosen:
        folder = output / kind
        folder.mkdir(parents=True, exist_ok=True)
        truth, stack = simulate(kind, planes, side)
        metadata = {"axes": "ZYX", "spacing": STEP * PIXEL, "unit": "um"}
        tifffile.imwrite(folder / "stack.tif", stack, imagej=True, resolution=(1 / PIXEL,) * 2, metadata=metadata)
        measure(record, kind, folder, truth, stack, generator, minutes)
    rows = [
        [label, *("{:.2f} / {:.3f}".format(*found[kind]) if kind in found else "" for kind in chosen)]
        for label, found in record.results.items()
    ]
    print_table(["PSNR dB / SSIM", *chosen], rows)
