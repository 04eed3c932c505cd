"""Write report.html of a run folder anew: one self-contained page on how a training went and what to do next.

python run_report.py Microscopy_cGAN_results        every training writes it at its end too
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common.command_line import OneLineParser
from common.errors import run_script
from training.report import write_report


def make_parser() -> OneLineParser:
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    parser.add_argument("run_folder", type=Path, help="results folder of a training")
    return parser


def main(args: argparse.Namespace) -> int:
    """Write the report; returns the exit code."""
    print(write_report(args.run_folder))
    return 0


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
