"""The flags that the training scripts share, and when any flag of any command has no effect. No TensorFlow here."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from common.command_line import Arguments, OneLineParser, integer, names, seconds
from data_utils import EVAL_LIMIT
from methods import BASELINES
from methods.baseline import Baseline
from recipes import RECIPES
from recipes.recipe import Recipe
from restoring.reading import is_volume

if TYPE_CHECKING:
    from restoring.generator_file import Metadata


class Idle(NamedTuple):
    """Flags without effect.

    Args:
        flags: their names, separated by blanks.
        when: called with the arguments, and with a generator's metadata where the command reads a generator.
        because: the reason, as a sentence; {recipe} stands for the argument's value.
    """

    flags: str
    when: Callable[..., bool]
    because: str


def _scales_alike(args: Arguments, metadata: Metadata) -> bool:
    """Whether a generator's normalisation is the same for all its tasks."""
    return metadata.normalization.kind != "fixed"


def _turns_alike(args: Arguments, metadata: Metadata) -> bool:
    """Whether the means over flips and turns are the same for all its tasks, too."""
    return _scales_alike(args, metadata) and not set(metadata.no_rotate) & set(metadata.tasks)


def _restores_alike(args: Arguments, metadata: Metadata) -> bool:
    """Whether restore.py does the same for all tasks of a generator."""
    turns = args.average == 8 or args.uncertainty
    return not args.check and (_turns_alike if turns else _scales_alike)(args, metadata)


def named_with(things: Mapping[str, object], property_name: str) -> str:
    """Names of the things that have a property, as a text with commas."""
    return ", ".join(name for name, thing in things.items() if getattr(thing, property_name))


def _of_the_recipe(part):
    """Rules of a training script; `part` is the name of what it trains, a field of `Recipe`."""

    def trained(args):
        return getattr(RECIPES[args.recipe], part)

    return (
        Idle(
            "no_rotate rotate",
            lambda args: trained(args).augmentation.turns != "undirected",
            "recipe {recipe} turns images as published, whatever the task",
        ),
        Idle("vgg_weights", lambda args: not trained(args).needs_vgg, "recipe {recipe} has no content loss"),
    )


def _only(flags, property_name, because):
    """A rule of train_baseline.py: flags act for the methods that have a property."""
    names = named_with(BASELINES, property_name)
    return Idle(flags, lambda args: not getattr(BASELINES[args.method], property_name), f"only {names} {because}")


# {command: when its flags have no effect}. Every other flag acts always, or as soon as what it limits or permits comes.
IDLE = {
    "train_CIN_GAN": _of_the_recipe("cin_gan"),
    "train_cGAN": (
        *_of_the_recipe("cgan"),
        Idle(
            "alpha cin_generator_path unpaired_limit",
            lambda args: not args.cin_augment,
            "pairs are generated with --cin_augment=True alone",
        ),
        Idle(
            "cin_generator_path unpaired_limit",
            lambda args: args.cin_augment and args.alpha == 0,
            "--alpha=0 leaves out all generated pairs",
        ),
    ),
    "train_baseline": (
        _only("no_rotate rotate", "turns", "turns images by 90 degrees"),
        _only("unpaired_limit", "unpaired", "is trained on unpaired images"),
        _only("n_critic", "has_critic", "has a critic"),
        _only("vgg_weights", "needs_vgg", "has a content loss"),
    ),
    "a training on the CPU": (
        Idle("deterministic", lambda args: args.deterministic, "a CPU gives the same result every time"),
    ),
    "restore": (
        Idle("task", _restores_alike, "this generator restores all tasks alike"),
        Idle("seed", lambda args, metadata: not metadata.noise_channels, "this generator draws no noise"),
        Idle("scheduler", lambda args, metadata: not is_volume(args.input), "it is for OME-Zarr volumes"),
        Idle("recursive", lambda args, metadata: not args.input.is_dir(), "--input is a file"),
        Idle(
            "normalize",
            lambda args, metadata: not _scales_alike(args, metadata),
            "this generator normalises by the ranges of its training images",
        ),
        Idle("normalize", lambda args, metadata: args.isotropic, "--isotropic normalises every stack as a whole"),
        Idle("spacing", lambda args, metadata: not args.isotropic, "it belongs to --isotropic"),
        Idle("calibration", lambda args, metadata: not args.uncertainty, "it belongs to --uncertainty=N"),
        Idle("cin_generator_path", lambda args, metadata: not args.check, "it belongs to --check"),
    ),
    "reproduce_tables": (
        Idle(
            "num_iters seconds seeds batch_size unpaired_limit no_rotate rotate vgg_weights num_gpu",
            lambda args: args.runs,
            "--runs trains nothing",
        ),
    ),
    "evaluate": (Idle("task", _scales_alike, "this generator restores all tasks alike"),),
    "calibrate": (Idle("task", _turns_alike, "this generator restores and turns all tasks alike"),),
    "export": (
        Idle(
            "sample task name author license",
            lambda args, metadata: args.format != "bioimageio",
            "it is for --format=bioimageio",
        ),
        Idle(
            "task",
            lambda args, metadata: args.format == "bioimageio" and _scales_alike(args, metadata),
            "this generator normalises all tasks alike",
        ),
    ),
}


def idle(command: str, args: Arguments, *metadata: Metadata) -> dict[str, str]:
    """{flag: why it has no effect} of those that the command line names; `command` is a key of IDLE."""
    rules = IDLE.get(command, ())
    found = {flag: rule.because for rule in rules if rule.when(args, *metadata) for flag in rule.flags.split()}
    return {flag: because.format(**vars(args)) for flag, because in found.items() if flag in args.named}


def tell_idle(command: str, args: Arguments, *metadata: Metadata) -> None:
    """Print a note for each flag that the command line names in vain."""
    for flag, because in idle(command, args, *metadata).items():
        print(f"note: --{flag} has no effect: {because}")


def acting(command: str, parser: OneLineParser, flags: list[str]) -> list[str]:
    """Those of a training command's flags, each as --name=value, that have an effect; for commands made by programs."""
    without = idle(command, parser.parse_args(flags))
    return [flag for flag in flags if flag.split("=")[0].removeprefix("--") not in without]


def recipe_parser(usage: str) -> OneLineParser:
    """A parser with the flags of the two published scripts; `usage` is the script's docstring."""
    parser = training_parser(usage, RECIPES)
    help_text = "; ".join(f"{name}: {recipe.summary}" for name, recipe in RECIPES.items())
    parser.add_argument("--recipe", choices=list(RECIPES), default="paper", help=help_text)
    return parser


def training_parser(usage: str, methods: Mapping[str, Recipe | Baseline]) -> OneLineParser:
    """A parser with the flags of every training script.

    Args:
        usage: the script's docstring.
        methods: {name: recipe or baseline with a batch_size}.
    """
    parser = OneLineParser(usage)
    _add_length_and_data(parser.add_argument, methods)
    _add_run(parser.add_argument)
    return parser


def _add_length_and_data(add, methods):
    size = ", ".join(f"{name}: {method.batch_size}" for name, method in methods.items())
    add("--batch_size", type=integer(1), help=f"images per iteration over all devices (default: {size})")
    add("--num_iters", type=integer(1), default=3000, help="iterations: generator updates (default: 3000)")
    add("--max_seconds", type=seconds, help="stop cleanly after this many seconds, if that comes first")
    add("--num_gpu", type=integer(0), help="GPUs to use; 0 is the CPU (default: all)")
    add("--images_limit", type=integer(1, (-1,)), default=-1, help="real pairs per task; -1 is all (default)")
    add("--unpaired_limit", type=integer(0, (-1,)), default=0, help="unpaired images after the pairs; -1 is all")
    add("--eval_limit", type=integer(1), help=f"images held for evaluation ({EVAL_LIMIT}, or a fifth where few)")
    add("--dir", type=Path, default=Path("."), help="folder in which the results folder appears (default: here)")
    add("--data_dir", type=Path, help="folder of NAME_X.npy and NAME_Y.npy (default: here if it has any, else data/)")
    add("--tasks", type=names, help="tasks to train on, as NAME1,NAME2 (default: every pair set found, by name)")
    add("--no_rotate", type=names, default=[], help="tasks never turned by 90 degrees, whatever was measured")
    add("--rotate", type=names, default=[], help="tasks turned by 90 degrees, whatever was measured")


def _add_run(add):
    kinds = ["float32", "bfloat16", "float16"]
    add("--precision", choices=kinds, default="float32", help="of the networks (default: float32)")
    add("--vgg_weights", default="imagenet", metavar="imagenet|auto|random|PATH.h5", help="filters of content losses")
    add(
        "--seed",
        type=integer(0, maximum=2**32 - 1),
        default=42,
        help="of the split, the batches and the networks (default: 42)",
    )
    add("--save_every", type=integer(1), default=500, help="iterations between checkpoints (default: 500)")
    add("--keep_checkpoints", type=integer(1, (-1,)), default=2, help="last checkpoints kept (default: 2); -1 is all")
    add("--eval_every", type=integer(1), default=500, help="iterations between evaluations (default: 500)")
    choices = ["stop", "rollback"]
    add("--on_divergence", choices=choices, default="stop", help="rollback: to the last checkpoint, with other batches")
    add("--deterministic", action="store_true", help="same result every time on a GPU too (slower), as on a CPU")
    add("--resume", action="store_true", help="go on from the last checkpoint of the results folder")
    add("--overwrite", action="store_true", help="start anew; an earlier results folder is renamed, not deleted")


def given(args: argparse.Namespace, parser: argparse.ArgumentParser) -> list[str]:
    """Names of the parsed arguments that are not the parser's defaults, sorted; ask before `complete`."""
    return sorted(name for name, value in vars(args).items() if value != parser.get_default(name))


def complete(args: argparse.Namespace) -> argparse.Namespace:
    """Fill in what depends on the recipe."""
    recipe = RECIPES[args.recipe]
    args.batch_size = args.batch_size or recipe.batch_size
    return args
