"""Convert CARE's own training archives to the published pair sets (Weigert et al. 2018, doi 10.1038/s41592-018-0216-7).

    python data/prepare_care.py --output=DIR                          download all three and convert (several GB)
    python data/prepare_care.py --output=DIR --tasks=Retina --n_images=2000
    python data/prepare_care.py --output=DIR --tasks=Retina --input=Isotropic_Retina.tar.gz
    python data/prepare_care.py --output=DIR --input=FOLDER           the original repository's shortened arrays

Writes NAME_{X,Y}.npy and NAME_{X,Y}_test.npy, (N, 128, 128) float32, for Drosophila (denoising), Retina (axial
inpainting) and Synthetic_tubulin_tubules (super-resolution). Samples keep their order; the last --n_test images are
the test files. A Retina sample has two channels, two images of one field: they go to the same side.
The archives are CC0, from Edmond, doi 10.17617/3.FDFZOF. --input takes an archive or its data_label.npz; or, from the
data folder of the original repository (github.com/arazd/MicroscopyGAN), the zip files of one array each, as in
Drosophila_X_shortened.npy.zip: the folder, or one of a task's two files.
"""

import json
import math
import shutil
import tarfile
import urllib.parse
import urllib.request
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.command_line import OneLineParser, integer, names
from common.errors import InputError, run_script
from common.files import written_whole
from data.downloads import FAILURES, copy, download_file, open_url
from data.zipped_arrays import Member, copy_samples, only_array, open_member, open_zip

DOI = "10.17617/3.FDFZOF"
SERVER = "https://edmond.mpg.de"


class Source(NamedTuple):
    """Where a task's arrays are: archive in the data set, path of the .npz in the archive."""

    archive: str
    member: str


SOURCES = {
    "Drosophila": Source("Isotropic_Drosophila.tar.gz", "train_data/data_label.npz"),
    "Retina": Source("Isotropic_Retina.tar.gz", "train_data/data_label.npz"),
    "Synthetic_tubulin_tubules": Source(
        "Synthetic_tubulin_granules.tar.gz", "train_data/channel_tubules/data_label.npz"
    ),
}


def find_remote_file(name, server=SERVER):
    """Look up a file of the data set through the Dataverse API.

    Returns:
        (url, size in bytes, checksum type, checksum).

    Raises:
        InputError: no answer, or no such file; names the DOI and --input.
    """
    query = urllib.parse.urlencode({"persistentId": f"doi:{DOI}"})
    try:
        with open_url(f"{server}/api/datasets/:persistentId/versions/:latest/files?{query}") as answer:
            files = [entry["dataFile"] for entry in json.load(answer)["data"]]
    except (*FAILURES, KeyError, TypeError) as failure:
        raise _unreachable(name, failure) from failure
    for file in files:
        if file["filename"] == name:
            checksum = file.get("checksum", {"type": "MD5", "value": file.get("md5")})
            url = f"{server}/api/access/datafile/{file['id']}"
            return url, int(file["filesize"]), checksum["type"], checksum["value"]
    raise InputError(f"doi {DOI} holds no file {name}; download it by hand and pass it with --input")


def _unreachable(name, failure):
    return InputError(
        f"{name} could not be downloaded ({failure}); get it from https://doi.org/{DOI} on a machine with internet "
        f"and pass it with --input={name}"
    )


def download(name, folder, server=SERVER):
    """Download an archive of the data set, going on where a broken download stopped, and check it.

    Returns:
        Its path in `folder`.
    """
    target = folder / name
    if target.is_file():
        return target
    url, *expected = find_remote_file(name, server)
    download_file(url, target, *expected)
    return target


def unpack_npz(archive, member, folder):
    """Stream data_label.npz out of a .tar.gz into `folder`; an .npz is used as it is.

    Raises:
        InputError: the archive is damaged or holds no such member.
    """
    if zipfile.is_zipfile(archive):
        return archive
    target = folder / f"{archive.name.removesuffix('.tar.gz')}_{Path(member).parent.name}.npz"
    if target.is_file():
        return target
    try:
        with tarfile.open(archive, "r|*") as tar:
            for entry in tar:
                if entry.isfile() and entry.name.endswith(member):
                    with written_whole(target) as beside, open(beside, "wb") as file:
                        copy(tar.extractfile(entry), file, f"unpacking {archive.name}", entry.size)
                    return target
    except (tarfile.TarError, EOFError, OSError) as failure:
        raise InputError(f"{archive}: damaged, or no .tar.gz ({failure}); download it again") from failure
    raise InputError(f"{archive} holds no {member}; expected one of CARE's training archives, or its data_label.npz")


def find_members(given, name, folder, stack):
    """{"X": Member, "Y": Member} of a task; `stack` keeps their archives open, `folder` is for what is unpacked.

    `given` is CARE's archive or its data_label.npz; or of the original repository the folder with its shortened
    arrays, or one of the task's two zip files there.
    """
    if given.is_dir() or given.match(f"{name}_[XY]*.zip"):
        paths = shortened_paths(given, name)
        archives = {key: stack.enter_context(open_zip(path)) for key, path in paths.items()}
        return {key: Member(archives[key], only_array(archives[key], path), path) for key, path in paths.items()}
    npz = unpack_npz(given, SOURCES[name].member, folder)
    archive = stack.enter_context(open_zip(npz))
    check_axes(archive, npz)
    return {key: Member(archive, f"{key}.npy", npz) for key in "XY"}


def shortened_paths(given, name):
    """{"X": path, "Y": path} of the zip files of a task, from their folder or one of the two."""
    if given.is_dir():
        found = sorted(given.glob(f"{name}_X*.zip"))
        if len(found) != 1:
            raise InputError(f"{given} holds {len(found)} files {name}_X*.zip; expected one, or name it with --input")
        given = found[0]
    rest = given.name[len(f"{name}_X") :]
    paths = {key: given.with_name(f"{name}_{key}{rest}") for key in "XY"}
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        raise InputError(f"{missing[0]}: no such file; {name} needs the zip files of both its x and its y")
    return paths


def check_axes(archive, path):
    """Raise InputError where an .npz says that its axes are not CARE's."""
    if "axes.npy" in archive.namelist():
        axes = str(np.lib.format.read_array(archive.open("axes.npy"), allow_pickle=False))
        if axes != "SCYX":
            raise InputError(f"{path}: axes {axes}; expected SCYX")


def convert(members, name, output, n_images, n_test):
    """Write the four .npy files of a task, streaming.

    Args:
        members: {"X": Member, "Y": Member}.
        name: of the task.
        output: folder.
        n_images: training images, from the first samples; -1 for all.
        n_test: test images, from the last samples.
    """
    path, shape, shape_y = members["X"].path, *(open_member(members[key])[1] for key in "XY")
    if shape != shape_y:
        raise InputError(f"{path}: X has shape {shape}, Y {shape_y}; they must agree")
    parts = plan_split(path, *shape[:2], n_images, n_test)
    needed = 2 * sum(count for *_, count in parts.values()) * math.prod(shape[2:]) * 4
    free = shutil.disk_usage(output).free
    if needed > free:
        raise InputError(f"{path}: its arrays need {needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free in {output}")
    with ExitStack() as stack:
        for key, member in members.items():
            for suffix, (start, stop, count) in parts.items():
                beside = stack.enter_context(written_whole(output / f"{name}_{key}{suffix}.npy"))
                array = np.lib.format.open_memmap(beside, mode="w+", dtype=np.float32, shape=(count, *shape[2:]))
                copy_samples(member, start, stop, array, f"{name}_{key}{suffix}")
                array.flush()
    print(f"{name}: {parts[''][2]} training and {n_test} test images of {shape[2]} x {shape[3]}")


def plan_split(path, samples, channels, n_images, n_test):
    """{file suffix: (first sample, last sample + 1, images)}: training from the start, test from the end."""
    test = -(-n_test // channels)
    train = samples - test if n_images < 0 else min(-(-n_images // channels), samples - test)
    if train < 1:
        raise InputError(
            f"{path}: {samples} samples cannot give {n_test} test images and any for training; lower --n_test"
        )
    images = train * channels if n_images < 0 else min(n_images, train * channels)
    return {"": (0, train, images), "_test": (samples - test, samples, n_test)}


def make_parser():
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder of the .npy files; downloads are kept there too")
    add("--tasks", type=names, default=list(SOURCES), help=f"of {','.join(SOURCES)} (default: all)")
    add("--input", type=Path, help="instead of a download, for one task; or the folder of the original's zip files")
    add("--n_images", type=integer(1, (-1,)), default=-1, help="training images per task; -1 is all (default)")
    add("--n_test", type=integer(1), default=100, help="test images per task (default: 100)")
    return parser


def main(args):
    """Download and convert; returns the exit code."""
    unknown = [name for name in args.tasks if name not in SOURCES]
    if unknown:
        raise InputError(f"--tasks={','.join(unknown)}: expected some of {', '.join(SOURCES)}")
    if args.input and not args.input.exists():
        raise InputError(f"--input={args.input}: no such file or folder")
    if args.input and args.input.is_file() and len(args.tasks) != 1:
        raise InputError(f"--input is for one task; say which with --tasks, one of {', '.join(SOURCES)}")
    for name in args.tasks:
        existing = sorted(args.output.glob(f"{name}_[XY]*.npy"))
        if existing:
            raise InputError(f"{existing[0]} exists; choose another --output")
    args.output.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(args.output).free
    print(f"{free / 1e9:.0f} GB are free in {args.output}; all three data sets need about 20 GB")
    for name in args.tasks:
        given = args.input or download(SOURCES[name].archive, args.output)
        with ExitStack() as stack:
            members = find_members(given, name, args.output, stack)
            convert(members, name, args.output, args.n_images, args.n_test)
    return 0


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
