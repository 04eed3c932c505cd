"""Simulate pair sets of three microscope defects, deterministic by seed.

    python data/simulate.py --output=DIR                      the shipped sample: 40 + 10 pairs a task
    python data/simulate.py --output=DIR --n=2000 --size=256  a larger set

Nuclei   denoising           tissue of textured nuclei; x is a short exposure (a few photons a pixel)
Layers   axial inpainting    layered tissue cut along the optical axis (axis 0); x is blurred along it, every k-th
                             plane is taken, the planes between are interpolated
Tubules  super-resolution    a network of filaments; x is a wide-field image on a camera of coarse pixels

Lengths are in pixels of 0.1 micrometres unless stated. y is the sharp, noise-free image; x is what the camera read.
Both are uint16 camera counts, each on a scale of its own: offsets and gains below.
"""

from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import numpy as np
import scipy  # its parts are loaded where they are used: --help is to answer at once

from common.command_line import OneLineParser, integer
from common.errors import InputError, run_script
from common.files import written_whole
from common.progress import progress_bar

TASKS = ("Nuclei", "Layers", "Tubules")
X_OFFSET, X_GAIN = 100.0, 2.0  # counts; counts per photoelectron
Y_OFFSET = 100.0  # counts
Y_COUNTS = 4000.0  # counts above the offset of the brightest structures in y
READ_NOISE = 1.6  # electrons, root mean square
PHOTONS = {"Nuclei": 12.0, "Layers": 120.0, "Tubules": 60.0}  # at the brightest structures of x
AXIAL_SIGMA, AXIAL_STEP = 2.5, 4  # pixels; planes
WIDEFIELD_SIGMA, BINNING = 1.8, 3  # pixels; fine pixels a camera pixel


def smooth_noise(rng, shape, sigma):
    """Gaussian random field of unit deviation with correlation length sigma pixels."""
    field = scipy.ndimage.gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return field / field.std()


def nuclei_scene(rng, size):
    """Elliptical nuclei of 2 to 3 micrometres with chromatin texture and nucleoli; values 0 to about 1."""
    rows, columns = np.mgrid[:size, :size].astype(float)
    scene = 0.03 + 0.02 * np.clip(smooth_noise(rng, (size, size), 20), -1, 2)
    spacing = rng.uniform(24, 34)
    for center in jittered_grid(rng, size, spacing):
        radius = rng.uniform(0.30, 0.46) * spacing
        angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.65, 1.0)
        dy, dx = rows - center[0], columns - center[1]
        u, v = dy * np.cos(angle) + dx * np.sin(angle), (dx * np.cos(angle) - dy * np.sin(angle)) / ratio
        inside = scipy.special.expit((radius - np.hypot(u, v)) / 0.7)
        texture = np.clip(1 + 0.35 * smooth_noise(rng, (size, size), 1.6), 0.2, 2)
        for _ in range(rng.integers(1, 4)):
            spot = center + rng.uniform(-0.5, 0.5, 2) * radius
            texture *= 1 - 0.7 * np.exp(-((rows - spot[0]) ** 2 + (columns - spot[1]) ** 2) / (2 * 2.0**2))
        scene = np.maximum(scene, rng.uniform(0.35, 1.0) * inside * texture)
    return scipy.ndimage.gaussian_filter(scene, 0.8)


def jittered_grid(rng, size, spacing):
    """Points of a grid, each moved by up to 0.3 of the spacing; a tenth is left out."""
    steps = np.arange(-spacing / 2, size + spacing, spacing)
    points = np.array([(row, column) for row in steps for column in steps])
    points = points + rng.uniform(-0.3, 0.3, points.shape) * spacing
    return points[rng.random(len(points)) > 0.1]


def layers_scene(rng, size):
    """Retina-like tissue: bands of cells and of fibres, wavy, across axis 0; values 0 to about 1."""
    rows, columns = np.mgrid[:size, :size].astype(float)
    depth = rows + 6 * smooth_noise(rng, (1, size), 25) + rng.uniform(0, 60)
    scene = np.full((size, size), 0.04)
    edges = np.cumsum(rng.uniform(12, 30, size // 10 + 8))
    for index, (start, stop) in enumerate(pairwise(edges)):
        band = scipy.special.expit(depth - start) - scipy.special.expit(depth - stop)
        if index % 2:
            scene += band * 0.16 * np.clip(1 + 0.7 * smooth_noise(rng, (size, size), (0.9, 4)), 0, 3)
        else:
            scene += band * 0.9 * cells(rng, rows, columns, spacing=rng.uniform(9, 15))
    return scipy.ndimage.gaussian_filter(scene, 0.6)


def cells(rng, rows, columns, spacing):
    """Packed round cell bodies of differing brightness; values 0 to 1."""
    centers = jittered_grid(rng, rows.shape[0], spacing)
    values = np.zeros(rows.shape)
    for (row, column), peak in zip(centers, rng.uniform(0.3, 1.0, len(centers)), strict=True):
        window = tuple(slice(max(int(c - spacing), 0), max(int(c + spacing) + 1, 0)) for c in (row, column))
        distance = np.hypot(rows[window] - row, columns[window] - column)
        values[window] = np.maximum(values[window], peak * scipy.special.expit((0.4 * spacing - distance) / 0.6))
    return values


def tubules_scene(rng, size):
    """Filaments of 25 nanometres as persistent random walks on a four times finer grid; values 0 to about 1."""
    fine = 4
    canvas = np.zeros((size * fine, size * fine))
    for _ in range(int(rng.uniform(10, 26) * (size / 128) ** 2) + 1):
        length = int(rng.uniform(0.5, 1.6) * 128 * fine)
        turns = rng.standard_normal(length) * 0.02 + rng.normal(0, 0.001)
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(turns)
        start = rng.uniform(-0.1, 1.1, 2)[:, None] * size * fine
        path = np.round(start + np.cumsum([np.sin(heading), np.cos(heading)], axis=1)).astype(int)
        inside = ((path >= 0) & (path < size * fine)).all(axis=0)
        np.add.at(canvas, tuple(path[:, inside]), rng.uniform(0.5, 1.0))
    scene = canvas.reshape(size, fine, size, fine).sum(axis=(1, 3))
    scene = scipy.ndimage.gaussian_filter(scene, 0.8)
    return scene / np.percentile(scene, 99.5) + 0.02 + 0.01 * np.clip(smooth_noise(rng, (size, size), 16), -1, 2)


def expose(rng, photons, read_noise=READ_NOISE):
    """Photoelectrons read from a camera: Poisson shot noise of the expected photons, Gaussian read noise."""
    return rng.poisson(np.maximum(photons, 0)) + rng.normal(0, read_noise, photons.shape)


def counts(electrons, offset, gain):
    """Camera counts, uint16."""
    return np.clip(np.round(offset + gain * electrons), 0, 65535).astype(np.uint16)


def few_photons(rng, scene, photons):
    """Denoising: a short exposure of the sharp scene."""
    return expose(rng, scene * photons)


def axial_blur(rng, scene, photons):
    """Axial inpainting: blur along axis 0, every AXIAL_STEP-th plane exposed, linear interpolation between."""
    size = scene.shape[0]
    taken = np.arange(0, size + AXIAL_STEP, AXIAL_STEP)
    blurred = scipy.ndimage.gaussian_filter1d(scene, AXIAL_SIGMA, axis=0, mode="nearest")
    planes = expose(rng, blurred[np.minimum(taken, size - 1)] * photons)
    position = np.arange(size) / AXIAL_STEP
    below = position.astype(int)
    share = (position - below)[:, None]
    return planes[below] * (1 - share) + planes[below + 1] * share


def coarse_camera(rng, scene, photons):
    """Super-resolution: wide-field blur, BINNING x BINNING fine pixels a camera pixel, cubic interpolation back."""
    size = scene.shape[0]
    padded = np.pad(scene, [(0, -size % BINNING)] * 2, mode="reflect")
    blurred = scipy.ndimage.gaussian_filter(padded, WIDEFIELD_SIGMA)
    coarse = len(padded) // BINNING
    binned = blurred.reshape(coarse, BINNING, coarse, BINNING).mean(axis=(1, 3))
    electrons = expose(rng, binned * photons)
    return scipy.ndimage.zoom(electrons, BINNING, order=3, mode="grid-mirror", grid_mode=True)[:size, :size]


SCENES = {"Nuclei": nuclei_scene, "Layers": layers_scene, "Tubules": tubules_scene}
DEFECTS = {"Nuclei": few_photons, "Layers": axial_blur, "Tubules": coarse_camera}


def simulate_pair(task, seed, index, size=128, photons=None):
    """One pair of a task; a pure function of its arguments.

    Args:
        task: "Nuclei", "Layers" or "Tubules".
        seed, index: of the random numbers.
        size: height and width in pixels.
        photons: expected photons at the brightest structures of x; None for the task's own.

    Returns:
        (x, y), each (size, size) uint16.
    """
    rng = np.random.default_rng([seed, TASKS.index(task), index])
    scene = SCENES[task](rng, size)
    x = counts(DEFECTS[task](rng, scene, photons or PHOTONS[task]), X_OFFSET, X_GAIN)
    return x, counts(scene * Y_COUNTS, Y_OFFSET, 1.0)


def write_task(folder, task, args, bar):
    """Write the four .npy files of a task; test images are simulated after the training images."""
    with ExitStack() as stack:
        arrays = {}
        for suffix, count in (("", args.n), ("_test", args.n_test)):
            for kind in "XY":
                beside = stack.enter_context(written_whole(folder / f"{task}_{kind}{suffix}.npy"))
                shape = (count, args.size, args.size)
                arrays[kind, suffix] = np.lib.format.open_memmap(beside, mode="w+", dtype=np.uint16, shape=shape)
        for index in range(args.n + args.n_test):
            suffix, row = ("", index) if index < args.n else ("_test", index - args.n)
            pair = simulate_pair(task, args.seed, index, args.size, args.photons)
            arrays["X", suffix][row], arrays["Y", suffix][row] = pair
            bar.update()
        for array in arrays.values():
            array.flush()


def make_parser():
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder to write to; must not hold pair sets yet")
    parser.add_argument("--n", type=integer(1), default=40, help="training pairs a task (default: 40)")
    parser.add_argument("--n_test", type=integer(1), default=10, help="test pairs a task (default: 10)")
    parser.add_argument("--size", type=integer(32), default=128, help="height and width in pixels (default: 128)")
    parser.add_argument("--photons", type=float, help="photons at the brightest structures of x (default: per task)")
    parser.add_argument("--seed", type=integer(0), default=0, help="(default: 0)")
    return parser


def main(args):
    """Write all tasks; returns the exit code."""
    existing = sorted(args.output.glob("*_[XY]*.npy")) if args.output.is_dir() else []
    if existing:
        raise InputError(f"{existing[0]} exists; choose another --output")
    if args.photons is not None and not 0 < args.photons < 1e6:
        raise InputError(f"--photons={args.photons}: expected a positive number below a million")
    with progress_bar(total=len(TASKS) * (args.n + args.n_test), desc="simulating", unit="pair") as bar:
        for task in TASKS:
            write_task(args.output, task, args, bar)
    return 0


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
