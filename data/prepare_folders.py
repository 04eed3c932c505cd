"""Make a pair set for training from two folders of image files: NAME_X.npy and NAME_Y.npy.

    python data/prepare_folders.py --x_dir=short_exposure --y_dir=long_exposure --name=Nuclei --output=my_data
    python train_cGAN.py --recipe=tuned --data_dir=my_data
    python data/prepare_folders.py --x_dir=images --pattern=_low,_high --name=Nuclei --output=my_data
    python data/prepare_folders.py --x_dir=images --x_channel=DAPI --y_channel=GFP --name=Stain --output=my_data
    python data/prepare_folders.py --x_dir=frames --project=mean --name=Frames --output=my_data
    python data/prepare_folders.py --x_dir=bad --y_dir=clean --unpaired --name=Nuclei --output=my_data
    python data/prepare_folders.py --x_dir=short --y_dir=long --test_files=1 --more_x=bad --more_y=clean \\
        --name=Nuclei --output=my_data

Files are paired by name (suffixes may differ); all formats of restore.py, stacks too: every plane is an image. Of
several channels, --channel chooses one. With --pattern, names pair that are equal but for two words: f0_low.tif and
f0_high.tif, in one folder or in two. With --x_channel and --y_channel x and y are channels, of the same files where
there is no --y_dir. With --project y is the mean or the maximum of its stack, the partner of every plane of x. x of a
coarser camera, 2, 3 or 4 times smaller than y, is kept as it is. Images are cut into patches without overlap; those
whose y is empty background are left out: patches whose 99.8 percentile does not stand out of the set's background (its
2 percentile) by a tenth of the set's range. With --unpaired the two folders show different fields: file names do not
matter, each side is sifted by itself, and as many patches of either are kept.

--test_files=N holds the last N pairs of files, by name, for evaluation (NAME_X_test.npy, NAME_Y_test.npy), so that no
field is on both sides. --more_x and --more_y add images without partners behind the pairs; what is printed says with
which flags the training scripts find them.
"""

import argparse
from pathlib import Path

import numpy as np

from common.command_line import OneLineParser, integer
from common.errors import InputError, run_script
from common.files import check_folder, written_whole
from data.patches import cut, not_empty
from data_utils import factor_between
from restoring.image_files import find_images, image_name, note_skipped, read_image
from restoring.options import add_part_flags, part_of


def make_parser():
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--x_dir", type=Path, required=True, help="folder of defective images, or one file")
    add("--y_dir", type=Path, help="folder of their clean partners of the same names, or file")
    help_text = "words in the names of x and y, as _low,_high or ,_clean: names that are equal but for them pair"
    add("--pattern", type=pattern, metavar="X,Y", help=help_text)
    add("--x_channel", metavar="NAME", help="channel of x, by its name or its number from 0 (default: --channel)")
    add("--y_channel", metavar="NAME", help="channel of y, likewise")
    add("--project", choices=["max", "mean"], help="y is the maximum or the mean of its stack (Z, T or unnamed axis)")
    add("--unpaired", action="store_true", help="x and y show different fields: for CIN-GAN, not for pairs")
    add(
        "--test_files",
        type=integer(1),
        metavar="N",
        help="pairs of files that are held for evaluation, the last by name",
    )
    add("--more_x", type=Path, help="defective images without partners, for CIN-GAN; needs --more_y and --test_files")
    add("--more_y", type=Path, help="clean images without partners")
    add("--name", required=True, help="name of the task: letters, digits and underscores")
    add("--output", type=Path, required=True, help="folder to write to")
    add("--patch", type=integer(32), default=128, help="height and width of the patches in pixels (default: 128)")
    add_part_flags(add)
    add("--keep_empty", action="store_true", help="keep patches of empty background")
    return parser


def pattern(text):
    """The words in the names of x and of y, two of which one may be empty."""
    words = text.split(",")
    if len(words) != 2 or words[0] == words[1]:
        raise argparse.ArgumentTypeError(f"expected two words as _low,_high, received {text!r}")
    return words


def pair_files(x_dir, y_dir, words=("", "")):
    """[(x path, y path)] of equal names without suffix, by name. Raises InputError where one has no partner.

    Args:
        x_dir, y_dir: folders or files.
        words: in the names of x and of y, which are equal but for them.
    """
    x_files, y_files = find_images(x_dir), find_images(y_dir)
    for folder in dict.fromkeys((x_dir, y_dir)):
        note_skipped(folder)
    if x_dir.is_file() and y_dir.is_file():
        return [(x_files[0], y_files[0])]
    x_names, partners = {}, {}
    for paths, found, word, other in ((x_files, x_names, *words), (y_files, partners, *reversed(words))):
        for path in paths:
            name = image_name(path)
            # Where one word is part of the other, as in ",_clean", the longer one decides.
            if word in name and (word == other or word not in other or other not in name):
                found[path] = name.replace(word, "", 1)
    for folder, found, word in zip((x_dir, y_dir), (x_names, partners), words, strict=True):
        if not found:
            raise InputError(f"{folder}: --pattern={','.join(words)}: no file has the word {word!r}")
    partners = {name: path for path, name in partners.items()}
    lonely = [path.name for path, name in x_names.items() if name not in partners]
    if lonely:
        raise InputError(
            f"{y_dir}: no partner of {', '.join(lonely[:3])} ({len(lonely)} have none); files pair by name"
        )
    unused = set(partners) - set(x_names.values())
    if unused:
        print(f"note: {len(unused)} files of {y_dir} have no partner in {x_dir} and are left out")
    return [(path, partners[name]) for path, name in x_names.items()]


def read(path, args, side):
    """The (N, H, W) images of a file, which is described in a line; with --project those of y become one.

    Args:
        side: "x" or "y".

    Raises:
        InputError: several channels, which are tasks of their own, or no stack to project.
    """
    part = part_of(args)
    channel = {"x": args.x_channel, "y": args.y_channel}[side]
    file = read_image(path, args.axes, part._replace(channel=part.channel if channel is None else channel))
    print(f"{path}: {file.describe()}")
    sizes = dict(zip(file.axes, file.shape, strict=True))
    if sizes.get("C", 1) > 1:
        names = f" ({', '.join(file.channels)})" if file.channels else ""
        raise InputError(
            f"{path}: {sizes['C']} channels{names} would become one task; choose one with --channel, "
            "or a pair with --x_channel and --y_channel"
        )
    if side == "x" or not args.project:
        return file.planes
    stacked = [axis for axis, size in sizes.items() if axis not in "YXS" and size > 1]
    if len(stacked) != 1 or file.axes.count("Q") > 1:
        raise InputError(
            f"{path}: --project needs a file with one axis beside Y and X, received {file.axes}; "
            "choose with --time or --z, or name them with --axes"
        )
    project = {"max": np.max, "mean": lambda planes, **how: planes.mean(dtype=np.float64, **how).astype(np.float32)}
    return project[args.project](file.planes, axis=0, keepdims=True)


def cut_pair(x_path, y_path, args):
    """Patches of all planes of a pair of files. Raises InputError where they do not fit."""
    x, y, patch = read(x_path, args, "x"), read(y_path, args, "y"), args.patch
    if args.project:
        y = np.broadcast_to(y, (len(x), *y.shape[1:]))
    factor = factor_between(x.shape, y.shape)
    if factor is None:
        raise InputError(
            f"{x_path} is {x.shape}, but {y_path} is {y.shape}; expected the same planes and pixels, or 2, 3 or 4 "
            "times fewer pixels in x on both sides"
        )
    if patch % factor:
        best = f"--patch={patch // factor * factor}"
        raise InputError(f"--patch={patch}: {x_path} is {factor} times smaller than its y; pass {best}, a multiple")
    if min(y.shape[1:]) < patch:
        raise InputError(f"{y_path}: {y.shape[1]} x {y.shape[2]} pixels are less than --patch={patch}")
    # y's patches start where a pixel of x does.
    sides = (x, patch // factor, 1), (y, patch, factor)
    return [np.concatenate([cut(plane, side, step) for plane in planes]) for planes, side, step in sides]


def cut_alone(folder, side, args, patch):
    """Patches of all planes of all files of a folder of x or y, in the files' order."""
    parts = []
    for path in find_images(folder):
        planes = read(path, args, side)
        if min(planes.shape[1:]) < patch:
            height, width = planes.shape[1:]
            raise InputError(f"{path}: {height} x {width} pixels are less than patches of {patch}")
        parts += [cut(plane, patch) for plane in planes]
    return np.concatenate(parts)


def make_pairs(files, args):
    """(x, y, number of empty patches left out): patches of the same fields, (N, patch, patch) each."""
    x, y = (np.concatenate(parts) for parts in zip(*(cut_pair(*pair, args) for pair in files), strict=True))
    kept = np.ones(len(y), bool) if args.keep_empty else not_empty(y)
    return x[kept], y[kept], np.count_nonzero(~kept)


def make_unpaired(folders, args, patches):
    """(x, y, number of empty patches left out): as many of either, of different fields, with patches' two sides.

    They are spread evenly over the patches that show something.
    """
    sides = [cut_alone(folder, side, args, patch) for side, folder, patch in zip("xy", folders, patches, strict=True)]
    shown = sides if args.keep_empty else [side[not_empty(side)] for side in sides]
    count = min(map(len, shown))
    x, y = (side[np.linspace(0, len(side) - 1, count).astype(int)] for side in shown)
    return x, y, sum(map(len, sides)) - sum(map(len, shown))


def make_pair_set(args):
    """({"": (x, y)[, "_test": (x, y)]}, what they are in words)."""
    files = pair_files(args.x_dir, args.y_dir, args.pattern or ("", ""))
    held = args.test_files or 0
    if held >= len(files):
        raise InputError(f"--test_files={held} leaves nothing to train on of {len(files)} pairs of files")
    x, y, empty = make_pairs(files[: len(files) - held], args)
    arrays, pairs = {"": (x, y)}, len(y)
    words = f"{pairs} pairs from {len(files) - held} files{left_out(empty)}"
    if not held and pairs > len(files):
        words += "\nnote: without --test_files, patches of the same file are trained on and evaluated"
    if held:
        *arrays["_test"], empty = make_pairs(files[-held:], args)
        words += f"\n{len(arrays['_test'][0])} pairs for evaluation from {held} files{left_out(empty)}"
    if args.more_x:
        *more, empty = make_unpaired((args.more_x, args.more_y), args, (x.shape[-1], y.shape[-1]))
        # Twice, because behind the pairs the odd rows give x and the even rows y (data_utils): none is lost.
        arrays[""] = [np.concatenate([a, np.repeat(b, 2, axis=0)]) for a, b in zip((x, y), more, strict=True)]
        words += f"\n{len(more[0])} images of each kind without partners behind the pairs{left_out(empty)}"
        words += f"\ntrain both GANs with --images_limit={pairs} --unpaired_limit=-1 (with several tasks, the smallest;"
        words += " rows behind the pairs are not pairs)"
    return arrays, words


def make_unpaired_set(args):
    """As `make_pair_set`, of different fields."""
    x, y, empty = make_unpaired((args.x_dir, args.y_dir), args, (args.patch, args.patch))
    return {"": (x, y)}, f"{len(y)} images of each kind from {len(find_images(args.x_dir))} files{left_out(empty)}"


def left_out(empty):
    """The words for patches that were left out."""
    return f"; {empty} of empty background left out" if empty else ""


def check(args):
    """Raise InputError where the arguments do not go together."""
    if not args.name.replace("_", "").isalnum():
        raise InputError(f"--name={args.name}: expected letters, digits and underscores")
    if args.y_dir is None and not (args.pattern or args.project or args.y_channel not in (None, args.x_channel)):
        raise InputError(
            "--y_dir is missing; without it, --pattern, --project, or --x_channel and --y_channel say what y is"
        )
    if args.unpaired and (args.test_files or args.more_x or args.more_y or args.pattern):
        raise InputError("--unpaired cannot be combined with --test_files, --more_x, --more_y or --pattern")
    if args.unpaired and args.y_dir is None:
        raise InputError("--unpaired needs --y_dir: x and y show different fields")
    if bool(args.more_x) != bool(args.more_y):
        raise InputError("--more_x and --more_y go together: CIN-GAN needs defective and clean images")
    if args.more_x and not args.test_files:
        raise InputError("--more_x needs --test_files: without test files the training shuffles pairs and others")
    check_folder(args.output)
    for path in (args.output / f"{args.name}_{kind}.npy" for kind in ("X", "Y", "X_test", "Y_test")):
        if path.exists():
            raise InputError(f"{path} exists; choose another --output or --name")


def main(args):
    """Write the pair set; returns the exit code."""
    check(args)
    args.y_dir = args.y_dir or args.x_dir
    arrays, words = (make_unpaired_set if args.unpaired else make_pair_set)(args)
    for suffix, sides in arrays.items():
        for kind, patches in zip("XY", sides, strict=True):
            with written_whole(args.output / f"{args.name}_{kind}{suffix}.npy") as beside:
                np.save(beside, patches)
    print(f"{args.output / args.name}_X.npy, {args.name}_Y.npy: {words}")
    return 0


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
