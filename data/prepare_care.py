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
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.command_line import OneLineParser, integer, names
from common.errors import InputError, run_script
from common.files import written_whole
from common.progress import progress_bar
from data.downloads import CHUNK, FAILURES, file_digest, open_url

DOI = "10.17617/3.FDFZOF"
SERVER = "https://edmond.mpg.de"
SAMPLES = 64  # samples in memory at once
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)  # what reading a damaged zip file raises


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
    url, size, kind, checksum = find_remote_file(name, server)
    part = folder / f"{name}.part"
    have = part.stat().st_size if part.is_file() else 0
    if have < size:
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        try:
            with open_url(request) as answer:
                # A server that ignores the range sends the whole file, status 200.
                have = have if answer.status == 206 else 0
                with open(part, "ab" if have else "wb") as file:
                    _copy(answer, file, f"downloading {name}", size, have)
        except FAILURES as failure:
            raise InputError(f"downloading {name} broke off ({failure}); run again to go on from there") from failure
    check_file(part, size, kind, checksum)
    part.rename(target)
    return target


def _copy(source, target, description, total, initial=0):
    with progress_bar(total=total, initial=initial, desc=description, unit="B", unit_scale=True) as bar:
        while block := source.read(CHUNK):
            target.write(block)
            bar.update(len(block))


def check_file(path, size, kind, checksum):
    """Raise InputError unless the file has this size and checksum (MD5, SHA-1, SHA-256 or SHA-512)."""
    if path.stat().st_size < size:
        raise InputError(f"{path} has {path.stat().st_size} of {size} bytes; run again to go on from there")
    digest = file_digest(path, kind.replace("-", "").lower())
    if path.stat().st_size != size or digest != checksum:
        path.unlink()
        raise InputError(f"{path} arrived damaged ({kind} or size differs) and was removed; run again")


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
                        _copy(tar.extractfile(entry), file, f"unpacking {archive.name}", entry.size)
                    return target
    except (tarfile.TarError, EOFError, OSError) as failure:
        raise InputError(f"{archive}: damaged, or no .tar.gz ({failure}); download it again") from failure
    raise InputError(f"{archive} holds no {member}; expected one of CARE's training archives, or its data_label.npz")


class Member(NamedTuple):
    """An array in an open zip file: its name there; the file's path."""

    archive: zipfile.ZipFile
    name: str
    path: Path


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


def open_zip(path):
    """A zip file (an .npz is one), open. Raises InputError."""
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as failure:
        raise InputError(f"{path}: damaged, or no zip file ({failure})") from failure


def only_array(archive, path):
    """Name of the one .npy in a zip file. Nothing is unpacked under the names in it."""
    # A Mac adds a hidden __MACOSX/._NAME.npy, which is no array.
    found = [name for name in archive.namelist() if name.endswith(".npy") and not name.startswith("__MACOSX/")]
    if len(found) != 1:
        raise InputError(f"{path} holds {len(found)} .npy files; expected one array")
    if Path(found[0]).is_absolute() or ".." in Path(found[0]).parts:
        raise InputError(f"{path} holds {found[0]!r}, which leads out of its folder; expected a plain file name")
    return found[0]


def check_axes(archive, path):
    """Raise InputError where an .npz says that its axes are not CARE's."""
    if "axes.npy" in archive.namelist():
        axes = str(np.lib.format.read_array(archive.open("axes.npy"), allow_pickle=False))
        if axes != "SCYX":
            raise InputError(f"{path}: axes {axes}; expected SCYX")


def open_member(member):
    """Open an array in a zip file for streaming.

    Returns:
        (file at the first value, shape SCYX, dtype). Arrays (N, H, W) and (N, H, W, 1) have one channel.
    """
    path, key = member.path, member.name.removesuffix(".npy")
    try:
        file = member.archive.open(member.name)
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = read_header[version](file)
    except (KeyError, ValueError, RuntimeError, *DAMAGE) as failure:
        raise InputError(
            f"{path}: no readable array {key!r} ({failure}); expected CARE's keys X and Y, or one array"
        ) from failure
    if len(shape) == 3 or shape[3:] == (1,):
        shape = (shape[0], 1, *shape[1:3])
    if fortran or dtype.kind not in "uif" or len(shape) != 4 or min(shape) < 1:
        raise InputError(f"{path}: {key} is {dtype} {shape}; expected real numbers, SCYX, (N, H, W) or (N, H, W, 1)")
    size, stored = math.prod(shape) * dtype.itemsize, member.archive.getinfo(member.name).file_size
    if stored < size:
        raise InputError(f"{path}: {key} is cut short, {stored} of {size} bytes; download it again")
    return file, shape, dtype


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


def copy_samples(member, start, stop, array, description):
    """Copy samples start to stop - 1 of an array in a zip file to `array`, one image per channel."""
    file, shape, dtype = open_member(member)
    sample_bytes = math.prod(shape[1:]) * dtype.itemsize
    with file, progress_bar(total=stop - start, desc=description, unit="sample") as bar:
        try:
            file.seek(start * sample_bytes, 1)
            for first in range(start, stop, SAMPLES):
                count = min(SAMPLES, stop - first)
                images = np.frombuffer(file.read(count * sample_bytes), dtype).reshape(count * shape[1], *shape[2:])
                row = (first - start) * shape[1]
                array[row : row + len(images)] = images[: len(array) - row]
                bar.update(count)
        except (ValueError, *DAMAGE) as failure:
            raise InputError(f"{member.path}: {member.name} is damaged ({failure}); download it again") from failure


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
