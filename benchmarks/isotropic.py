"""How well stacks become isotropic: simulated volumes of known truth, PSNR and SSIM of their XZ and YZ sections.

    python -m benchmarks isotropic --output=OUT                     methods that train nothing: minutes
    python -m benchmarks isotropic --output=OUT --minutes=3         and trainings of three minutes for each volume
    python -m benchmarks isotropic --output=OUT --minutes=3 --seeds=0,1,2       three volumes of each kind
    python -m benchmarks isotropic --output=OUT --minutes=3 --planes=192 --depth_ranges=3 --kinds=nuclei

Nuclei in tissue, filaments and membranes, each isotropic. The stack is the volume blurred along z (Gaussian, sigma 2.5
pixels), of which every 5th plane is recorded with 100 photons at bright structures and read noise of 1.6 electrons.
Compared: linear interpolation; Richardson-Lucy with the true blur (scikit-image, the best of 5 to 40 iterations by the
truth, which a user does not know); the shipped generator; with --minutes, isotropic.py, blind and with the true blur,
and csbdeep's IsotropicCARE with the true blur and one 30 % too narrow and too wide (see `isotropic_care`). A seed is
one volume and its noise; all trainings are done on the first, isotropic.py's blind one and IsotropicCARE's with the
true blur on the others too. With --depth_ranges, the blur grows evenly from 1 pixel at the first plane to 5 at the
last, and isotropic.py is trained with that flag and without. --real=A.tif,B.tif prints instead how much power stacks
have along z, compared with x: as interpolated, after the shipped generator or --generator's, and with --minutes after
isotropic.py. At the end, how far the generator moves point sources along z. Records are kept in OUT, by sizes and
minutes, and the same command goes on. --picture=FILE.png draws the middle XZ section of the first seed's volumes, as
all methods but IsotropicCARE show it, or of the real stacks.
"""

import contextlib
import io
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tifffile
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.spatial import cKDTree
from scipy.special import expit
from skimage.restoration import richardson_lucy

from benchmarks.measuring import Record, print_table
from common.devices import start_tensorflow
from common.errors import InputError
from common.metrics import fit_affine, mean_scores
from methods.care import has_csbdeep, load_csbdeep
from restoring.generator_file import SHIPPED
from restoring.image_files import read_image
from restoring.isotropic import IsotropicRestorer
from restoring.options import RestoreOptions
from restoring.sampling import rows_at
from restoring.stacks import find_voxels, plane_positions, stacks_of
from simulation.microscopes import READ_NOISE, expose
from simulation.scenes import smooth_noise
from training.commands import run_logged

SIGMA, STEP, PHOTONS = 2.5, 5, 100
GROWING = (1.0, 5.0)  # the blur at the first and last plane, where it grows
PIXEL = 0.2  # micrometres
CARE_PATCH = 64  # pixels
ROUNDS = (5, 10, 20, 40)  # of Richardson-Lucy
BANDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4)  # cycles a pixel
WRONG = {"30 % too narrow": 0.7, "30 % too wide": 1.3}


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


def simulate(kind, planes, side, seed=0, growing=False):
    """(truth (Z, Y, X), stack of every STEP-th plane) as float32, 1 at bright structures; of constant blur, or not."""
    rng = np.random.default_rng([list(VOLUMES).index(kind), seed])
    truth = gaussian_filter(VOLUMES[kind](rng, (planes, side, side)), 0.8)
    truth /= np.percentile(truth, 99.5)
    blurred = blurred_more(truth) if growing else gaussian_filter1d(truth, SIGMA, axis=0)
    blurred = blurred[::STEP]
    return truth.astype(np.float32), (expose(rng, blurred * PHOTONS) / PHOTONS).astype(np.float32)


def blurred_more(volume):
    """A (Z, Y, X) volume blurred along z by a Gaussian that grows with depth (GROWING, in pixels)."""
    rows = np.arange(len(volume))
    weights = np.exp(-((rows - rows[:, None]) ** 2) / (2 * np.linspace(*GROWING, len(rows))[:, None] ** 2))
    return np.tensordot(weights / weights.sum(axis=1, keepdims=True), volume, axes=1)


def score(volume, truth):
    """[PSNR, SSIM] in the affine metric of every 4th XZ and YZ section that shows something."""
    truth, found = truth[: len(volume)], []
    for axis in (1, 2):
        images, truths = (np.moveaxis(one, axis, 0)[::4] for one in (volume, truth))
        shown = np.percentile(truths, 99, axis=(1, 2)) > 0.1
        found.append(mean_scores(list(images[shown]), list(truths[shown])))
    return [float(np.mean([one[f"affine_{name}"] for one in found])) for name in ("psnr", "ssim")]


def blur_along_z(width=1.0):
    """The Gaussian of 21 rows by which light is smeared, or one `width` times as wide; its sum is 1."""
    along = np.exp(-(np.arange(-10, 11) ** 2) / (2 * (width * SIGMA) ** 2))
    return along / along.sum()


def deconvolve(volume, truth):
    """The best result of Richardson-Lucy with the true blur along z, over its numbers of iterations."""
    along, bright = blur_along_z()[:, None, None], np.maximum(volume, 1e-3)
    results = [richardson_lucy(bright, along, num_iter=rounds, clip=False) for rounds in ROUNDS]
    return max(results, key=lambda result: score(result, truth)[0])


def restored(generator, folder, average=1):
    """The stack of a folder, made isotropic with a generator."""
    restorer = IsotropicRestorer(RestoreOptions(generator, average=average, isotropic=True))
    return restorer.restore(read_image(folder / "stack.tif"), folder / "restored.tif")


def trained(path, folder, minutes, *how):
    """A stack's file as isotropic.py makes it, in a folder: blind, or with other flags."""
    output = folder / f"{path.stem}{''.join(how).replace('-', '_').replace('=', '_')}_trained.tif"
    if not output.is_file():
        words = [f"--input={path}", f"--output={output}", f"--minutes={minutes}", *how]
        run_logged(["isotropic.py", *words], output.with_suffix(".txt"))
    return read_image(output)


def isotropic_care(stack, minutes, width):
    """The stack as csbdeep's own IsotropicCARE restores it, trained on its planes, a blur `width` times as wide.

    As in csbdeep's example: 512 patches, a tenth of them set aside, blurred and sampled by csbdeep along x; its default
    network, loss and learning rate. One epoch ends after the minutes, so the last weights are used. The noise, which
    its example leaves out, is the true one: without it the network learns to bring back the noise of the planes.
    Batches of 8. csbdeep aligns the first and last row with the first and last plane and makes STEP rows of each plane,
    which stretches z; its rows are put back where they belong, so that the stretch does not count.
    """
    start_tensorflow(None)
    import keras

    load_csbdeep()
    from csbdeep.data import RawData, anisotropic_distortions, create_patches
    from csbdeep.models import Config, IsotropicCARE

    keras.utils.set_random_seed(0)
    began, iterations = 0.0, 0

    def begin(logs):
        nonlocal began
        began = time.monotonic()

    def end_of_batch(batch, logs):
        nonlocal iterations
        iterations += 1
        model.keras_model.stop_training = time.monotonic() - began > 60 * minutes

    with contextlib.redirect_stdout(io.StringIO()):
        blur, photons = blur_along_z(width).astype(np.float32), stack * PHOTONS
        distortions = anisotropic_distortions(STEP, blur, psf_axes="X", poisson_noise=True, gauss_sigma=READ_NOISE)
        raw = RawData.from_arrays([photons], [photons], axes="ZYX")
        sharp = create_patches(
            raw, (1, CARE_PATCH, CARE_PATCH), n_patches_per_image=512, transforms=[distortions], verbose=False
        )[:2]
        x, y = (np.moveaxis(patches[:, :, 0], 1, -1) for patches in sharp)  # (512, 64, 64, 1)
        model = IsotropicCARE(Config("YX", 1, 1, train_batch_size=8, train_steps_per_epoch=100000), basedir=None)
        model.prepare_for_training()
        model.callbacks.append(keras.callbacks.LambdaCallback(on_train_begin=begin, on_train_batch_end=end_of_batch))
        held = len(x) // 10
        model.train(x[held:], y[held:], validation_data=(x[:held], y[:held]), epochs=1)
        volume = model.predict(photons, "ZYX", STEP)
    print(f"IsotropicCARE: {iterations} iterations", file=sys.stderr, flush=True)
    return rows_at(volume, plane_positions(len(stack), STEP) * (len(volume) - 1) / (len(stack) - 1))


def measure(record, key, folder, truth, stack, generator, minutes, depth_ranges, whole):
    """Add the scores of the methods on one volume to the record.

    Args:
        depth_ranges: above 1, of those alone that know no blur.
        whole: with the trainings that take most of the time.
    """
    linear, path = rows_at(stack, plane_positions(len(stack), STEP)), folder / "stack.tif"

    def ours(*how):
        return lambda: score(trained(path, folder, minutes, *how).planes, truth)

    record.add("linear interpolation", key, lambda: score(linear, truth))
    record.add(name_of(generator), key, lambda: score(restored(generator, folder), truth))
    if minutes:
        record.add("isotropic.py", key, ours())
    if depth_ranges > 1:
        record.add(f"isotropic.py --depth_ranges={depth_ranges}", key, ours(f"--depth_ranges={depth_ranges}"))
        return
    record.add("Richardson-Lucy, true blur", key, lambda: score(deconvolve(linear, truth), truth))
    if minutes:
        record.add("IsotropicCARE, blur true", key, lambda: score(isotropic_care(stack, minutes, 1.0), truth))
    if minutes and whole:
        record.add("isotropic.py --psf, true blur", key, ours(f"--psf={SIGMA * PIXEL}"))
        for label, width in WRONG.items():
            one = partial(isotropic_care, stack, minutes, width)
            record.add(f"IsotropicCARE, blur {label}", key, lambda f=one: score(f(), truth))


def name_of(generator):
    """What a generator is called in tables."""
    return "shipped generator" if generator == SHIPPED else f"{generator}"


def cell(found, kind, seeds):
    """PSNR and SSIM of a method on the volumes of a kind: mean and standard deviation, and of which, if not of all."""
    done = [seed for seed in seeds if f"{kind} {seed}" in found]
    if not done:
        return ""
    scores = np.array([found[f"{kind} {seed}"] for seed in done])
    spread = f" ± {scores[:, 0].std(ddof=1):.2f}" if len(scores) > 1 else ""
    part = f" (seed {', '.join(map(str, done))})" if len(done) < len(seeds) else ""
    return f"{scores[:, 0].mean():.2f}{spread} / {scores[:, 1].mean():.3f}{part}"


def stretch(generator, rows=201, side=48):
    """How far a point every 20 rows moves along z, in pixels, at most: by its center of mass within 9 rows."""
    truth, places = np.zeros((rows, side, side)), np.arange(10, rows - 10, 20)
    for number, place in enumerate(places):
        row, column = (16 + 16 * (number // 2 % 2), 16 + 16 * (number % 2))
        truth[place, row, column] = 400
    blurred = gaussian_filter1d(gaussian_filter(truth, 1.2), SIGMA, axis=0)[::STEP]
    stack = (expose(np.random.default_rng(0), (0.03 + blurred) * PHOTONS) / PHOTONS).astype(np.float32)
    with TemporaryDirectory() as folder:
        write_stack(Path(folder) / "stack.tif", stack)
        volume = restored(generator, Path(folder))
    moved = []
    for number, place in enumerate(places):
        row, column = (16 + 16 * (number // 2 % 2), 16 + 16 * (number % 2))
        around = slice(place - 9, place + 10)
        profile = volume[around, row - 2 : row + 3, column - 2 : column + 3].sum(axis=(1, 2))
        profile = np.maximum(profile - np.median(profile), 0)
        moved.append(float(profile @ np.arange(-9, 10) / profile.sum()))
    return moved


def compare_real(paths, generator, output, minutes, sections, *how):
    """Rows of the table on real stacks: interpolated, restored untrained, and after training on each.

    Args:
        sections: dict, to which {stack: {method: its middle XZ section}} is added.
        how: flags of isotropic.py.
    """
    restorer = IsotropicRestorer(RestoreOptions(generator, isotropic=True))
    for number, path in enumerate(map(Path, paths.split(","))):
        source = read_image(path)
        stack, stride = stacks_of(source)[0], find_voxels(source).stride
        shown = sections.setdefault(path.stem, {})

        def row(label, volume, name=path.stem, shown=shown):
            shown[label] = volume[:, volume.shape[1] // 2]
            return [f"{name}, {label}", *map("{:+.2f}".format, spectra_along(volume))]

        yield row("interpolated", rows_at(stack, plane_positions(len(stack), stride)))
        with TemporaryDirectory() as folder:
            yield row(name_of(generator), restorer.restore(source, Path(folder) / "restored.tif"))
        if minutes:
            folder = output / f"{number}_{path.stem}"
            folder.mkdir(parents=True, exist_ok=True)
            yield row("isotropic.py", stacks_of(trained(path.resolve(), folder, minutes, *how))[0])


def sections_of(folder, truth, stack, generator, minutes):
    """{method: the middle XZ section of one simulated volume, in the truth's units}."""
    linear = rows_at(stack, plane_positions(len(stack), STEP))
    volumes = {
        "planes as recorded": stack.repeat(STEP, axis=0),
        "interpolated": linear,
        "Richardson-Lucy, true blur": deconvolve(linear, truth),
        name_of(generator): restored(generator, folder),
    }
    if minutes:
        volumes["isotropic.py"] = trained(folder / "stack.tif", folder, minutes).planes
    middle = truth.shape[1] // 2
    true = truth[: len(linear), middle]
    fitted = {label: fit_affine(volume[: len(true), middle], true) for label, volume in volumes.items()}
    return {**fitted, "truth": true}


def draw(path, sections, width):
    """Write a picture of {row: {method: (H, W) section}}, each row in the range of its last section."""
    heights = [max(section.shape[0] / section.shape[1] for section in row.values()) for row in sections.values()]
    columns = max(map(len, sections.values()))
    figure = Figure(figsize=(width, width / columns * sum(heights) + 0.4), dpi=110, layout="constrained")
    panels = figure.subplots(len(sections), columns, squeeze=False, height_ratios=heights)
    for line, (name, row) in zip(panels, sections.items(), strict=True):
        low, high = np.percentile(list(row.values())[-1], [0.5, 99.8])
        for axes, (label, section) in zip(line, row.items(), strict=True):
            axes.imshow(section, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            if name == next(iter(sections)):
                axes.set_title(label, fontsize=9)
        line[0].set_ylabel(name, fontsize=9)
    figure.savefig(path)


def write_stack(path, stack):
    """An ImageJ stack with its voxel sizes."""
    metadata = {"axes": "ZYX", "spacing": STEP * PIXEL, "unit": "um"}
    tifffile.imwrite(path, stack, imagej=True, resolution=(1 / PIXEL,) * 2, metadata=metadata)


def spectra_along(volume):
    """log10 of power along z over power along x of a (Z, Y, X) volume, at BANDS cycles a pixel: 0 is alike."""
    powers = []
    for axis in (0, 2):
        lines = np.moveaxis(volume, axis, -1)
        lines = lines - lines.mean(axis=-1, keepdims=True)
        power = np.mean(np.abs(np.fft.rfft(lines * np.hanning(lines.shape[-1]), axis=-1)) ** 2, axis=(0, 1))
        power /= lines.shape[-1]
        frequencies = np.fft.rfftfreq(lines.shape[-1])
        powers.append(np.interp(BANDS, frequencies, power))
    return [float(value) for value in np.log10(powers[0] / powers[1])]


def main(
    *,
    output: Path,
    minutes: float = 0.0,
    side: int = 128,
    planes: int = 96,
    kinds: str = ",".join(VOLUMES),
    seeds: str = "0",
    depth_ranges: int = 1,
    generator: Path = SHIPPED,
    real: str = "",
    picture: str = "",
):
    growing = depth_ranges > 1
    output /= f"{planes}x{side}_{minutes:g}min{'_growing' if growing else ''}"
    if generator != SHIPPED:
        output /= generator.stem
    if real:
        how = [f"--depth_ranges={depth_ranges}"] if growing else []
        head = ["log10 of power along z over x, at cycles a pixel", *map(str, BANDS)]
        sections = {}
        print_table(head, compare_real(real, generator, output, minutes, sections, *how))
        if picture:
            draw(picture, sections, width=8)
        return
    if picture and growing:
        raise InputError("--picture shows volumes of the same blur everywhere; leave out --depth_ranges")
    if minutes and not growing and not has_csbdeep():
        raise InputError("IsotropicCARE needs csbdeep; pip install -r requirements/baselines.txt")
    if minutes and side // STEP * STEP < CARE_PATCH:
        raise InputError(
            f"--side={side}: IsotropicCARE is trained on patches of {CARE_PATCH} pixels; use {CARE_PATCH + STEP}"
        )
    record, chosen, numbers = Record(output / "scores.json"), kinds.split(","), [int(seed) for seed in seeds.split(",")]
    shown = {}
    for seed in numbers:
        for kind in chosen:
            folder = output / f"{kind}_{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            truth, stack = simulate(kind, planes, side, seed, growing)
            shown.setdefault(kind, (folder, truth, stack))
            write_stack(folder / "stack.tif", stack)
            whole = seed == numbers[0]
            measure(record, f"{kind} {seed}", folder, truth, stack, generator, minutes, depth_ranges, whole)
    if picture:
        draw(picture, {kind: sections_of(*one, generator, minutes) for kind, one in shown.items()}, width=12)
    rows = [[label, *(cell(found, kind, numbers) for kind in chosen)] for label, found in record.results.items()]
    print_table(["PSNR dB / SSIM", *chosen], rows)
    moved = stretch(generator)
    print("pixels by which points at every 20th of 201 rows move:", " ".join(f"{one:+.2f}" for one in moved))
