"""Write a page to look at a restored image: before and after under a slider, in one HTML file that works offline.

    python view.py RESTORED.tif --input=IMAGE.tif        restore.py --view writes it too

It lies beside the restored file, as RESTORED_view.html: zoom, pan, planes of a stack, flux, outliers and, where they
lie there, the maps of --uncertainty and --check. Of images too large for 20 MB it shows every 2nd, 3rd, ... pixel.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common.command_line import OneLineParser
from common.errors import InputError, run_script
from data_utils import factor_between
from restoring.image_files import enlarged, find_images, read_image
from restoring.options import MAPS, add_part_flags, part_of


def make_parser() -> OneLineParser:
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("restored", type=Path, help="file that restore.py wrote")
    add("--input", type=Path, required=True, help="the image that was restored")
    add_part_flags(add)
    return parser


def main(args: argparse.Namespace) -> int:
    """Write the page; returns the exit code."""
    from restoring.view import read_maps, write_view

    for path in (args.restored, args.input):
        if path.is_dir():
            raise InputError(f"{path}: a folder; name one image file (a page shows one)")
        find_images(path)
    restored, source = read_image(args.restored), read_image(args.input, args.axes, part_of(args))
    factor = factor_between(source.planes.shape, restored.planes.shape)
    source = enlarged(source, factor or 1)
    print(write_view(args.restored, source, restored.planes, read_maps(args.restored, MAPS)))
    return 0


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
