"""Export a generator for other tools: a BioImage Model Zoo package, ONNX, or a TensorFlow SavedModel.

    python export.py --generator_path=Microscopy_cGAN_results/generator.h5 --format=bioimageio \\
        --sample=IMAGE.tif --name="Denoising of nuclei" --author="A. Name" --output=package.zip
    python export.py --generator_path=... --format=onnx --output=generator.onnx
    python export.py --generator_path=... --format=saved_model --output=saved_model

The package holds Keras HDF5 and ONNX weights, test input and output, axes, normalisation, a cover and the citation; its
own command line checks it: `bioimageio test package.zip`. ONNX and SavedModel are the bare network, (batch, height,
width, 1): see docs/restoring.md. Recipe `tuned`, per-image percentiles: the zoo has no step back to x's
units, so a package's output is in units of x's percentiles, (x - p2) / (p99.8 - p2). Recipe `paper`: in y's units.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common.command_line import OneLineParser
from common.errors import InputError, run_script
from restoring.exporting import export_onnx, export_saved_model
from restoring.generator_file import Metadata, read_metadata
from restoring.image_files import find_images
from restoring.model_zoo import ENLARGING, Package, export_bioimageio
from training.options import tell_idle

SUFFIXES = {"bioimageio": ".zip", "onnx": ".onnx", "saved_model": ""}


def make_parser() -> argparse.ArgumentParser:
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    add = parser.add_argument
    add("--generator_path", type=Path, required=True, help="generator.h5 of train_cGAN.py or train_baseline.py")
    add("--format", choices=list(SUFFIXES), required=True)
    add("--output", type=Path, required=True, help="file (.zip, .onnx) or folder (saved_model) to write")
    add("--sample", type=Path, help="bioimageio: a typical defective image, for test, cover and check")
    add("--task", help="bioimageio, recipe paper: the defect type whose normalisation is exported")
    add("--name", default="MicroscopyGAN restoration", help="bioimageio: 5 to 128 letters, digits, spaces")
    add("--author", default="MicroscopyGAN user", help="bioimageio: who trained it")
    add("--license", default="CC-BY-4.0", help="bioimageio: SPDX identifier (default: CC-BY-4.0)")
    return parser


def main(args: argparse.Namespace) -> int:
    """Export with parsed arguments; returns the exit code."""
    metadata = read_metadata(args.generator_path)
    check(args, metadata)
    tell_idle("export", args, metadata)
    if args.format == "bioimageio":
        package = Package(args.generator_path, args.sample, args.task, args.name, args.author, args.license)
        export_bioimageio(package, args.output)
    else:
        export = export_onnx if args.format == "onnx" else export_saved_model
        export(args.generator_path, args.output)
    for name, factor in metadata.factors.items():
        print(f"note: it takes images of {name} that were enlarged {factor} times: {ENLARGING.format(factor)}")
    print(f"{args.generator_path} -> {args.output}")
    return 0


def check(args: argparse.Namespace, metadata: Metadata) -> None:
    """Raise InputError where arguments and generator do not fit."""
    if metadata.makes_defects:
        raise InputError(f"{args.generator_path} makes defects; export is for generators that restore")
    if args.output.suffix.lower() != SUFFIXES[args.format]:
        wanted = SUFFIXES[args.format] or "no suffix: a folder"
        raise InputError(f"--output={args.output}: expected {wanted} for --format={args.format}")
    if args.output.exists():
        raise InputError(f"{args.output} exists; choose another --output")
    if args.format != "bioimageio":
        return
    if args.sample is None:
        raise InputError("--format=bioimageio needs --sample=IMAGE, a typical defective image")
    find_images(args.sample)
    if metadata.needs_task and args.task is None:
        raise InputError(f"--format=bioimageio needs --task, one of {', '.join(metadata.tasks)}")
    if args.task is not None and args.task not in metadata.tasks:
        raise InputError(f"--task={args.task}: {args.generator_path} knows {', '.join(metadata.tasks)}")


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
