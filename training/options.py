"""The flags of the training scripts as frozen dataclasses, and when any flag of any command has no effect.

A field carries its flag's default, help and parser, and whether a resumed run must agree in it. A function takes the
group of flags that it needs. No TensorFlow here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from common.command_line import (
    Arguments,
    OneLineParser,
    add_flags,
    boolean,
    flag,
    integer,
    names,
    read_flags,
    seconds,
    share,
)
from data_utils import EVAL_LIMIT
from methods import BASELINES
from methods.baseline import Baseline
from recipes import RECIPES
from recipes.recipe import Recipe
from restoring.reading import is_volume

if TYPE_CHECKING:
    from restoring.generator_file import Metadata


def named_with(things: Mapping[str, object], property_name: str) -> str:
    """Names of the things that have a property, as a text with commas."""
    return ", ".join(name for name, thing in things.items() if getattr(thing, property_name))


# A training that ends by --max_seconds may have any --num_iters.
MOST_BETWEEN_EVALUATIONS = 500


@dataclass(frozen=True)
class LengthOptions:
    """How long a training goes on, and what happens on the way; in iterations, but for `max_seconds`."""

    batch_size: int = flag(None, "images per iteration over all devices (default: {sizes})", integer(1), fixed=True)
    num_iters: int = flag(3000, "iterations: generator updates (default: 3000)", integer(1))
    max_seconds: float | None = flag(None, "stop cleanly after this many seconds, if that comes first", seconds)
    save_every: int = flag(500, "iterations between checkpoints (default: 500)", integer(1))
    eval_every: int | None = flag(
        None,
        "iterations between evaluations (default: a fiftieth of --num_iters, more with many test images)",
        integer(1),
    )

    def evaluation_interval(self, images: int) -> int:
        """Iterations between evaluations of so many test images.

        By default the curves get a point every 2 % of a training, or as often as ten times more images are trained on
        than evaluated: a hundred test images would otherwise take longer than a short training itself.
        """
        often = max(math.ceil(self.num_iters / 50), math.ceil(10 * images / self.batch_size))
        return self.eval_every or min(often, MOST_BETWEEN_EVALUATIONS)


@dataclass(frozen=True)
class DeviceOptions:
    """Where a training computes, and how exactly."""

    num_gpu: int | None = flag(None, "GPUs to use; 0 is the CPU (default: all)", integer(0))
    precision: str = flag(
        "float32", "of the networks (default: float32)", choices=["float32", "bfloat16", "float16"], fixed=True
    )
    deterministic: bool = flag(False, "same result every time on a GPU (slower)")


@dataclass(frozen=True)
class DataOptions:
    """Which images a training sees, and which of them it turns."""

    images_limit: int = flag(-1, "real pairs per task; -1 is all (default)", integer(1, (-1,)), fixed=True)
    unpaired_limit: int = flag(0, "unpaired images after the pairs; -1 is all", integer(0, (-1,)), fixed=True)
    eval_limit: int | None = flag(
        None, f"images held for evaluation ({EVAL_LIMIT}, or a fifth where few)", integer(1), fixed=True
    )
    data_dir: Path | None = flag(
        None, "folder of NAME_X.npy and NAME_Y.npy (default: here if it has any, else data/)", Path
    )
    tasks: list[str] | None = flag(
        None, "tasks to train on, as NAME1,NAME2 (default: every pair set found, by name)", names
    )
    no_rotate: list[str] = flag([], "tasks never turned by 90 degrees, whatever was measured", names, fixed=True)
    rotate: list[str] = flag([], "tasks turned by 90 degrees, whatever was measured", names)


@dataclass(frozen=True)
class RunOptions:
    """Where the results appear, and how a run begins, goes on and recovers."""

    dir: Path = flag(Path("."), "folder in which the results folder appears (default: here)", Path)
    seed: int = flag(
        42, "of the split, the batches and the networks (default: 42)", integer(0, maximum=2**32 - 1), fixed=True
    )
    vgg_weights: str = flag(
        "imagenet", "filters of content losses", str, metavar="imagenet|auto|random|PATH.h5", fixed=True
    )
    keep_checkpoints: int = flag(2, "last checkpoints kept (default: 2); -1 is all", integer(1, (-1,)))
    on_divergence: str = flag(
        "stop", "rollback: to the last checkpoint, with other batches", choices=["stop", "rollback"]
    )
    resume: bool = flag(False, "go on from the last checkpoint of the results folder")
    overwrite: bool = flag(False, "start anew; an earlier results folder is renamed, not deleted")


@dataclass(frozen=True)
class TrainingOptions:
    """What every training script is asked for; a subclass adds the flags of its own script as fields.

    Args:
        named: the flags that the command line names, their defaults' values among them.
        not_default: names of those whose value on the command line is not the default, sorted.
    """

    command: ClassVar[str]
    methods: ClassVar[Mapping[str, Recipe | Baseline]]

    length: LengthOptions = field(default_factory=LengthOptions)
    devices: DeviceOptions = field(default_factory=DeviceOptions)
    data: DataOptions = field(default_factory=DataOptions)
    run: RunOptions = field(default_factory=RunOptions)
    named: frozenset[str] = frozenset()
    not_default: tuple[str, ...] = ()

    @classmethod
    def parser(cls, usage: str) -> OneLineParser:
        """The script's parser; `usage` is the script's docstring."""
        parser = OneLineParser(usage)
        sizes = ", ".join(f"{name}: {method.batch_size}" for name, method in cls.methods.items())
        for group in (*GROUPS.values(), cls):
            add_flags(parser, group, sizes=sizes)
        return parser

    @classmethod
    def read(cls, args: Arguments, **unset: Any) -> TrainingOptions:
        """The options that a command line gives; `unset` are the values of flags that it leaves at None."""
        given, defaults = vars(args), cls().values()
        values = {**given, **{name: value for name, value in unset.items() if given[name] is None}}
        return cls(
            **{name: group(**read_flags(group, values)) for name, group in GROUPS.items()},
            **read_flags(cls, values),
            named=frozenset(args.named),
            not_default=tuple(sorted(name for name, value in given.items() if value != defaults[name])),
        )

    def _flags(self):
        """(field, value) of every flag."""
        for group in (self.length, self.devices, self.data, self.run, self):
            yield from ((each, getattr(group, each.name)) for each in fields(group) if "flag" in each.metadata)

    def values(self) -> dict[str, Any]:
        """{name: value} of all flags, as args.json holds them."""
        return {each.name: value for each, value in self._flags()}

    def fixed(self) -> dict[str, Any]:
        """{name: value} of the flags in which a resumed run must agree."""
        return {each.name: value for each, value in self._flags() if each.metadata["fixed"]}


GROUPS = {"length": LengthOptions, "devices": DeviceOptions, "data": DataOptions, "run": RunOptions}


@dataclass(frozen=True)
class RecipeOptions(TrainingOptions):
    """What the two published scripts are asked for."""

    methods = RECIPES

    recipe: str = flag(
        "paper",
        "; ".join(f"{name}: {recipe.summary}" for name, recipe in RECIPES.items()),
        choices=RECIPES,
        fixed=True,
    )


@dataclass(frozen=True)
class CINGANOptions(RecipeOptions):
    """What train_CIN_GAN.py is asked for."""

    command = "train_CIN_GAN"

    n_critic: int = flag(
        None,
        "critic updates per iteration (default: "
        + ", ".join(f"{name}: {recipe.cin_gan.n_critic}" for name, recipe in RECIPES.items())
        + ")",
        integer(1),
        fixed=True,
    )


def _fixed_starts():
    return ", ".join(name for name, recipe in RECIPES.items() if recipe.cgan.fine_tuning is None)


@dataclass(frozen=True)
class CGANOptions(RecipeOptions):
    """What train_cGAN.py is asked for."""

    command = "train_cGAN"

    cin_augment: bool = flag(False, "True: add pairs that CIN-GAN generates", boolean, fixed=True)
    alpha: float = flag(0.3, "expected share of generated samples; 1: no real pairs", share, fixed=True)
    cin_generator_path: Path | None = flag(None, "generator.h5 of train_CIN_GAN.py", Path)
    init_from: str | None = flag(
        None,
        f"generator.h5 to start from, or none for random weights (default: the shipped one; {_fixed_starts()}: none)",
        str,
        metavar="PATH|none",
    )

    @property
    def generated_alone(self) -> bool:
        """Whether no real pair is trained on."""
        return self.cin_augment and self.alpha == 1.0


@dataclass(frozen=True)
class BaselineOptions(TrainingOptions):
    """What train_baseline.py is asked for."""

    command, methods = "train_baseline", BASELINES

    method: str = flag(None, "the method to train", choices=BASELINES, required=True, fixed=True)
    augment: bool = flag(
        False,
        f"{named_with(BASELINES, 'augments')}: our random crops, flips, turns and averaged weights",
        fixed=True,
    )
    n_critic: int = flag(
        5, f"{named_with(BASELINES, 'has_critic')}: critic updates per iteration", integer(1), fixed=True
    )


TRAININGS = {options.command: options for options in (CINGANOptions, CGANOptions, BaselineOptions)}


class Idle(NamedTuple):
    """Flags without effect.

    Args:
        flags: their names, separated by blanks.
        when: called with the arguments or a training's options, and with a generator's metadata where the command reads
            a generator.
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
    unknown = args.task not in metadata.tasks  # as every task is to the shipped generator
    return not args.check and (unknown or (_turns_alike if turns else _scales_alike)(args, metadata))


def _of_the_recipe(part):
    """Rules of a training script; `part` is the name of what it trains, a field of `Recipe`."""

    def trained(args):
        return getattr(RECIPES[args.recipe], part)

    return (
        Idle(
            "no_rotate rotate",
            lambda args: trained(args).augmentation.turns != "undirected",
            "recipe {recipe} turns the images of all tasks alike",
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
            "init_from",
            lambda args: args.init_from == "none" and RECIPES[args.recipe].cgan.fine_tuning is None,
            "recipe {recipe} always starts from random weights",
        ),
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
    "a training on the CPU": (Idle("deterministic", lambda options: options.devices.deterministic, "it is for GPUs"),),
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


def in_vain(command: str, args: Arguments | TrainingOptions, *metadata: Metadata) -> dict[str, str]:
    """{flag: why it has no effect}, whether the command line names it or not; `command` is a key of IDLE."""
    rules = IDLE.get(command, ())
    found = {name: rule.because for rule in rules if rule.when(args, *metadata) for name in rule.flags.split()}
    return {name: because.format(**vars(args)) for name, because in found.items()}


def idle(command: str, args: Arguments | TrainingOptions, *metadata: Metadata) -> dict[str, str]:
    """{flag: why it has no effect} of those that the command line names."""
    return {name: because for name, because in in_vain(command, args, *metadata).items() if name in args.named}


def tell_idle(command: str, args: Arguments | TrainingOptions, *metadata: Metadata) -> None:
    """Print a note for each flag that the command line names in vain."""
    for name, because in idle(command, args, *metadata).items():
        print(f"note: --{name} has no effect: {because}")


def acting(command: str, flags: list[str]) -> list[str]:
    """Those of a training command's flags, each as --name=value, that have an effect; for commands made by programs."""
    without = idle(command, TRAININGS[command].parser("").parse_args(flags))
    return [text for text in flags if text.split("=")[0].removeprefix("--") not in without]
