"""Make two collections of pair sets of real micrographs, those that the README measures with, from public images.

    python data/prepare_micrographs.py --output=micrographs                    download 59 MB and make them
    python data/prepare_micrographs.py --output=micrographs --input=sources    the same from a local copy

Writes NAME_{X,Y}.npy and NAME_{X,Y}_test.npy, (N, 128, 128), to OUTPUT/real (Noise, Axial, Tubules) and OUTPUT/second
(Noise2, Axial2, Tubules2: other microscopes, other defects). OUTPUT/README.md says what they show, where the images
come from, and under which licences.

Every image is pinned, by commit below and by SHA-256 in micrographs.sha256, where the finished arrays stand too.
Downloads are kept in OUTPUT/sources, and the same command goes on where it was stopped. --input is a folder of the same
layout, OWNER+REPOSITORY/PATH.
"""

import hashlib
import urllib.parse
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter, gaussian_filter1d, zoom

from common.command_line import OneLineParser
from common.errors import InputError, run_script
from common.files import write_text, written_whole
from common.progress import progress_bar
from data.downloads import FAILURES, file_digest, open_url
from data.patches import cut

HERE = Path(__file__).resolve().parent
SERVER = "https://raw.githubusercontent.com"
COMMITS = {
    "NEUBIAS+training-resources": "8bbaa51d4df0edb61b36bf6a437c695bae1fe3ef",
    "haesleinhuepf+BioImageAnalysisNotebooks": "3766d2f6056aa0058241b80a66c234977e833762",
    "Danielement321+FM2S": "afc05d8d80255817b17ad159d83ae850ba431a93",
    "ND-HowardGroup+Instant-Image-Denoising": "c885aee8adb62bcd2d5c3862273d4ea0f68b3068",
}
TABLE = HERE / "micrographs.sha256"  # of the images and of the arrays, at their paths below --output
LARGEST = 1 << 24  # bytes; no image has more

NEUBIAS = "NEUBIAS+training-resources/image_data/"
NOTEBOOKS = "haesleinhuepf+BioImageAnalysisNotebooks/data/"
FMD = "Danielement321+FM2S/data/FMD_testset/"
HAGEN = "ND-HowardGroup+Instant-Image-Denoising/Plugins/Model_validation/Out_of_distribution_structures/"
HAGEN += "GigadB_dataset_sample_images/"

SIZE = 128  # pixels, height and width of a tile
Y_COUNTS = 1000  # counts of the value 1 in y where x is simulated
TRAIN, TEST = 80, 32  # pairs at most of a task whose x is simulated; `real` trains on all it has
FMD_FIELDS = """Confocal_BPAE_B Confocal_BPAE_G Confocal_BPAE_R Confocal_FISH Confocal_MICE TwoPhoton_BPAE_B
TwoPhoton_BPAE_G TwoPhoton_BPAE_R TwoPhoton_MICE WideField_BPAE_B WideField_BPAE_G WideField_BPAE_R""".split()
HAGEN_FIELDS = """actin-20x-noise1 actin-60x-noise1 membrane mito-20x-noise1 mito-60x-noise1 mito-60x-noise2
nucleus""".split()


class Microscope(NamedTuple):
    """A simulated microscope: blur in pixels, sampling, photons at the value 1, and its camera.

    Args:
        sigma: of the blur; of axial views along axis 0.
        step: every step-th plane is taken; or the side of a camera pixel, in pixels.
        photons: expected at the value 1.
        read_noise: electrons, root mean square.
        offset: counts; the camera counts electrons.
        lateral: sigma of the blur of axial views along both axes, before that along axis 0.
    """

    sigma: float
    step: int
    photons: float
    read_noise: float
    offset: float
    lateral: float = 0.0


AXIAL = Microscope(sigma=3.0, step=5, photons=150, read_noise=2.0, offset=10, lateral=0.7)
TUBULES = Microscope(sigma=2.0, step=4, photons=80, read_noise=2.0, offset=10)
AXIAL2 = Microscope(sigma=2.2, step=4, photons=60, read_noise=3.0, offset=100, lateral=0.9)
TUBULES2 = Microscope(sigma=1.5, step=4, photons=200, read_noise=3.0, offset=100)


def expose(rng, image, microscope):
    """Camera counts of an image: shot noise, read noise and offset."""
    electrons = rng.poisson(np.clip(image, 0, None) * microscope.photons)
    return electrons + rng.normal(0, microscope.read_noise, image.shape) + microscope.offset


def axial_view(rng, image, microscope):
    """An (H, W) image as an axial section: blurred along axis 0, few planes exposed, linear between them."""
    blurred = gaussian_filter1d(gaussian_filter(image, microscope.lateral), microscope.sigma, axis=0)
    rows = np.arange(len(image))
    planes = rows[microscope.step // 2 :: microscope.step]
    exposed = expose(rng, blurred[planes], microscope)
    return np.stack([np.interp(rows, planes, column) for column in exposed.T], axis=1)


def coarse_camera(rng, image, microscope):
    """An (H, W) image by a wide-field microscope with a camera of large pixels, cubic interpolation back."""
    height, width = (size // microscope.step for size in image.shape)
    blurred = gaussian_filter(image, microscope.sigma)
    binned = blurred.reshape(height, microscope.step, width, microscope.step).mean(axis=(1, 3))
    return zoom(expose(rng, binned, microscope), microscope.step, order=3)


def spoiled(rng, images, defect, microscope):
    """[(x, y)] of images whose values are 0 to 1.2, in counts."""
    return [(defect(rng, image, microscope), image * Y_COUNTS) for image in images]


def unit(image, low):
    """float32 from 0 at the percentile `low` to 1 at the 99.9th, clipped to 0 to 1.2."""
    image = image.astype(np.float32)
    bottom, top = np.percentile(image, low), np.percentile(image, 99.9)
    return np.clip((image - bottom) / (top - bottom), 0, 1.2)


def tiles(image):
    """Tiles of an (H, W) image from its top left corner, (N, SIZE, SIZE), row by row."""
    whole = [size - size % SIZE for size in image.shape]
    return cut(image[: whole[0], : whole[1]], SIZE)


def shuffled(rng, items, most=None):
    """At most so many of a list's items, in random order."""
    return [items[i] for i in rng.permutation(len(items))[:most]]


def make_real(load):
    """Collection `real`: {task: (training pairs, test pairs)}, lists of (x, y), each (SIZE, SIZE).

    Args:
        load: gives the image of a source's path.
    """
    rng = np.random.default_rng(0)
    axial = [
        load(f"{NEUBIAS}xy_12bit__saturated_plant.tif"),
        # Without this limit its hot pixels would set the range.
        np.minimum(load(f"{NEUBIAS}xyc_16bit__membranes_nuclei_hot_pixel.tif")[0], 150),
        load(f"{NOTEBOOKS}maize_clsm.tif"),
        load(f"{NEUBIAS}xy_calibrated_16bit__nuclear_protein_control.tif"),
        load(f"{NOTEBOOKS}BPAE_nuclei.tif"),
        load(f"{NEUBIAS}xyc_16bit__hela-cells.tif")[..., 2],
        load(f"{NOTEBOOKS}membrane2d.tif"),
    ]
    tubules = [
        load(f"{NEUBIAS}xyc_8bit__dapi_tublin.tif")[1],
        *load(f"{NEUBIAS}xyc_16bit__cell_dna_mts_actin.tif")[1:],
        load(f"{NOTEBOOKS}BPAE_actin.tif"),
        load(f"{NOTEBOOKS}BPAE_mito.tif"),
        load(f"{NEUBIAS}xy_16bit__bacteria_cords_thin.tif"),
    ]
    return {
        "Noise": make_noise(rng, load),
        "Axial": make_spoiled(rng, axial, axial_view, AXIAL),
        "Tubules": make_spoiled(rng, tubules, coarse_camera, TUBULES),
    }


def make_noise(rng, load):
    """Pairs of one exposure and the average of many; the lowest quarter of every field is for the test.

    The four exposures that a field has take turns.
    """
    train, test = [], []
    for field in FMD_FIELDS:
        y = tiles(load(f"{FMD}gt/{field}_1.png"))
        exposures = [tiles(load(f"{FMD}raw/{field}_{number}.png")) for number in (1, 2, 3, 4)]
        pairs = [(exposures[i % 4][i], image) for i, image in enumerate(y)]
        train += pairs[: len(pairs) * 3 // 4]
        test += pairs[len(pairs) * 3 // 4 :]
    return shuffled(rng, train), test


def make_spoiled(rng, images, defect, microscope):
    """Pairs of the images' tiles that show something; the last quarter of every image's is for the test."""
    train, test = [], []
    for image in images:
        shown = [tile for tile in tiles(unit(image, low=1)) if tile.std() > 0.08 and (tile > 0.2).mean() > 0.05]
        pairs = spoiled(rng, shown, defect, microscope)
        held = max(1, round(len(pairs) / 4)) if len(pairs) > 1 else 0
        train += pairs[: len(pairs) - held]
        test += pairs[len(pairs) - held :]
    return shuffled(rng, train), shuffled(rng, test, TEST)


def make_second(load):
    """Collection `second`, as `make_real`."""
    rng = np.random.default_rng(7)
    train, test, clean, clean_test = [], [], [], []
    for field in HAGEN_FIELDS:
        x, y = (tiles(load(f"{HAGEN}{kind}_snr_images/{field}-{kind}snr-sample.png")) for kind in ("low", "high"))
        x, y = x.astype(np.float32), y.astype(np.float32)
        shown = [i for i, tile in enumerate(y) if structure(tile) > 16 and (tile > 250).mean() < 0.01]
        first, last = [i for i in shown if i < len(y) * 3 // 4], [i for i in shown if i >= len(y) * 3 // 4]
        train += [(x[i] * 10, y[i] * 10) for i in shuffled(rng, first, 12)]
        test += [(x[i] * 10, y[i] * 10) for i in shuffled(rng, last, 4)]
        clean += [unit(y[i], low=0.5) for i in shuffled(rng, first, 10)]
        clean_test += [unit(y[i], low=0.5) for i in shuffled(rng, last, 4)]
    tasks = {"Noise2": (shuffled(rng, train), test)}
    others = [load(f"{NEUBIAS}xy_{name}.tif") for name in ("16bit__rat_hippocampal_neuron", "8bit__em_mitochondria_er")]
    for image in (*others, load(f"{NEUBIAS}xyc_16bit__nup_nuclei.tif")[0]):
        shown = [tile for tile in tiles(unit(image, low=0.5)) if structure(tile) > 0.08]
        held = max(1, len(shown) // 4)
        clean += shown[:-held]
        clean_test += shown[-held:]
    for task, defect, microscope in (("Axial2", axial_view, AXIAL2), ("Tubules2", coarse_camera, TUBULES2)):
        # The second task gets the first one's images in another order.
        clean, clean_test = shuffled(rng, clean, TRAIN), shuffled(rng, clean_test, TEST)
        tasks[task] = tuple(spoiled(rng, side, defect, microscope) for side in (clean, clean_test))
    return tasks


def structure(tile):
    """Standard deviation of what is left of a tile without its noise."""
    return gaussian_filter(tile, 2).std()


COLLECTIONS = {"real": make_real, "second": make_second}


def read_table():
    """{path below --output: SHA-256} of images and arrays."""
    return {name: digest for digest, name in (line.split() for line in TABLE.read_text().splitlines())}


def load_image(folder, name):
    """The array of a source, a TIFF or an 8-bit PNG; of PNG colours, which are palettes of one hue, the largest."""
    path = folder / name
    if path.suffix == ".tif":
        return tifffile.imread(path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).max(axis=-1)


def find_missing(folder, checksums):
    """Names of the sources that a folder lacks. Raises InputError where one is another file than it should be."""
    missing = []
    for name, checksum in checksums.items():
        if not (folder / name).is_file():
            missing.append(name)
        elif file_digest(folder / name, "sha256") != checksum:
            what = f"{folder / name} is not the pinned file (its SHA-256 differs)"
            raise InputError(f"{what}; remove it, then download it again or {by_hand([name])}")
    return missing


def by_hand(names):
    """What to do without a download, in words."""
    folders = [folder for folder in COMMITS if any(name.startswith(folder) for name in names)]
    pages = (f"https://github.com/{folder.replace('+', '/')}/tree/{COMMITS[folder][:12]}" for folder in folders)
    return (
        f"fetch by hand what data/{TABLE.name} lists from {', '.join(pages)} to FOLDER/OWNER+REPOSITORY/PATH "
        "and pass --input=FOLDER"
    )


def download(names, folder, checksums):
    """Download sources to a folder, each written whole. Raises InputError at the first that fails."""
    # No bar before the first file has come: without internet there is one line.
    with progress_bar(total=len(names), desc="downloading", unit="file", delay=0.1) as bar:
        for done, name in enumerate(names):
            repository, path = name.split("/", 1)
            parts = (SERVER, repository.replace("+", "/"), COMMITS[repository], urllib.parse.quote(path))
            try:
                with open_url("/".join(parts)) as answer:
                    content = answer.read(LARGEST)
            except FAILURES as failure:
                what = f"{name} could not be downloaded ({failure})"
                raise InputError(f"{what}; run again with internet, or {by_hand(names[done:])}") from failure
            if hashlib.sha256(content).hexdigest() != checksums[name]:
                raise InputError(
                    f"{name} arrived damaged or changed (its SHA-256 differs); run again to download it anew"
                )
            with written_whole(folder / name) as beside:
                beside.write_bytes(content)
            bar.update()


def find_sources(args, checksums):
    """The folder of the sources, complete: --input, or downloads."""
    if args.input:
        if missing := find_missing(args.input, checksums):
            raise InputError(f"{args.input / missing[0]}: no such file, {len(missing)} in all; {by_hand(missing)}")
        return args.input
    folder = args.output / "sources"
    download(find_missing(folder, checksums), folder, checksums)
    return folder


def to_counts(images):
    """(N, H, W) as uint8 where it is that, else rounded to uint16."""
    images = np.stack(images)
    return images if images.dtype == np.uint8 else np.clip(np.round(images), 0, 65535).astype(np.uint16)


def make_arrays(load):
    """{path below --output: array} of both collections."""
    arrays = {}
    for collection, make in COLLECTIONS.items():
        for task, parts in make(load).items():
            print(f"{collection}/{task}: {len(parts[0])} training and {len(parts[1])} test pairs")
            for suffix, pairs in zip(("", "_test"), parts, strict=True):
                for kind, images in zip("XY", zip(*pairs, strict=True), strict=True):
                    arrays[f"{collection}/{task}_{kind}{suffix}.npy"] = to_counts(images)
    return arrays


def make_parser():
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder of the collections; downloads are kept there too")
    add("--input", type=Path, help="folder of a local copy of the images, in place of a download")
    add("--overwrite", action="store_true", help="replace the arrays and README.md that are there")
    return parser


def main(args):
    """Write both collections; returns the exit code."""
    table = read_table()
    checksums = {name.removeprefix("sources/"): table[name] for name in table if name.startswith("sources/")}
    written = ["README.md", *(name for name in table if not name.startswith("sources/"))]
    existing = [args.output / name for name in written if (args.output / name).exists()]
    if existing and not args.overwrite:
        raise InputError(f"{existing[0]} exists; choose another --output, or replace it with --overwrite")
    arrays = make_arrays(partial(load_image, find_sources(args, checksums)))
    with ExitStack() as stack:  # all of them or none
        for name, array in arrays.items():
            np.save(stack.enter_context(written_whole(args.output / name)), array)
    write_text(args.output / "README.md", (HERE / "micrographs.md").read_text(encoding="utf-8"))
    print(f"{args.output / 'README.md'} says what they show, where the images come from, and their licences")
    other = [name for name in arrays if file_digest(args.output / name, "sha256") != table[name]]
    if other:
        versions = f"numpy {np.__version__}, scipy {scipy.__version__}"
        print(f"note: {', '.join(other)} differ in bits from the arrays that the README measures with ({versions})")
    return 0


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
