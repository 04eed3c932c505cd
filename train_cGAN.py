"""Train the cGAN: one generator that restores every defect type, from a few real pairs, CIN-GAN's pairs, or both.

    python train_cGAN.py --batch_size=100 --num_iters=3000 --num_gpu=2 --images_limit=50        as published
    python train_cGAN.py --cin_augment=True --alpha=0.3 \\
        --cin_generator_path=CIN-GAN_results/generator.h5 --images_limit=50                     with CIN-GAN's pairs
    python train_cGAN.py --recipe=tuned --images_limit=10 --num_iters=2100                      ten pairs, on a CPU

Results appear in Microscopy_cGAN_results/ or, with --cin_augment=True, in Microscopy_cGAN_results_CIN_augm/ (below
--dir): generator.h5, discriminator.h5 (recipe paper), log.csv, samples/, checkpoints/. Restore your images with
restore.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from common import command_line
from common.errors import InputError, run_script
from data_utils import Task
from methods.batches import PairBatches, Sampling
from recipes import RECIPES
from recipes.recipe import Recipe
from restoring.generator_file import Metadata, read_metadata
from restoring.normalization import Normalization
from training import options
from training import run as launch


def make_parser() -> argparse.ArgumentParser:
    """The script's arguments."""
    parser = options.recipe_parser(__doc__)
    add = parser.add_argument
    add("--cin_augment", type=command_line.boolean, default=False, help="True: add pairs that CIN-GAN generates")
    add("--alpha", type=command_line.share, default=0.3, help="expected share of generated samples; 1: no real pairs")
    add("--cin_generator_path", type=Path, help="generator.h5 of train_CIN_GAN.py")
    return parser


def main(args: argparse.Namespace, recipe: Recipe | None = None) -> int:
    """Train with parsed arguments, and a recipe in place of the one that they name; returns the exit code."""
    recipe = recipe or RECIPES[args.recipe]
    part = recipe.cgan
    given = options.given(args, make_parser())
    options.tell_idle("train_cGAN", args)
    args = options.complete(args)
    run = launch.open_run(args, "Microscopy_cGAN_results" + ("_CIN_augm" if args.cin_augment else ""))
    tasks = launch.load_tasks(args)
    if not (args.cin_augment and args.alpha == 1.0):
        launch.tell_of_unlike_pairs(tasks)
    names = [task.name for task in tasks]
    check_cin_generator(args, names)
    args.no_rotate = launch.choose_no_rotate(args, run, tasks, args.cin_augment, part.augmentation.turns)
    patch = launch.choose_patch(tasks, part.patch, recipe)
    strategy = launch.start_devices(args, run, f"recipe {args.recipe}", patch, part.gflop)
    from training.evaluation import Evaluator

    variety = part.augmentation.mirror, part.augmentation.intensity, part.augmentation.mixup_after
    sampling = Sampling(args.batch_size, patch, args.seed, args.no_rotate, *variety)
    batches = make_batches(args, launch.choose_fit(args, run, part.normalizing), tasks, sampling)
    with strategy.scope():
        features = launch.load_features(args.vgg_weights) if part.needs_vgg else None
        gan = part.build(args.seed, args.num_iters, features)
    metadata = Metadata("cGAN", args.recipe, names, batches.normalization, args.no_rotate, recipe.size_multiple)
    training = launch.Training(args, run, strategy, gan, Evaluator(tasks, metadata), part.adam.cosine)
    return training.run(batches, given)


def make_batches(
    args: argparse.Namespace, fit: Callable[..., Normalization], tasks: list[Task], sampling: Sampling
) -> PairBatches:
    """Batches of real pairs and, with --cin_augment, of CIN-GAN's, each normalised as it needs."""
    if not args.cin_augment:
        return PairBatches(tasks, launch.fit_to_pairs(fit, tasks), sampling)
    from training.generated_pairs import generate_pairs

    generated, scales = generate_pairs(args.cin_generator_path, tasks, args.seed, sampling.patch)
    of_generated = fit(tasks, generated)
    normalization = of_generated if args.alpha == 1.0 else launch.fit_to_pairs(fit, tasks)
    return PairBatches(tasks, normalization, sampling, generated, args.alpha, of_generated, scales)


def check_cin_generator(args: argparse.Namespace, names: list[str]) -> None:
    """Raise InputError where --cin_augment lacks a CIN-GAN's generator that knows the tasks."""
    if not args.cin_augment:
        return
    if args.cin_generator_path is None:
        raise InputError("--cin_augment=True needs --cin_generator_path=CIN-GAN_results/generator.h5")
    metadata = read_metadata(args.cin_generator_path)
    if not metadata.makes_defects:
        raise InputError(f"{args.cin_generator_path} restores images; expected the generator.h5 of train_CIN_GAN.py")
    missing = [name for name in names if name not in metadata.tasks]
    if missing:
        raise InputError(
            f"{args.cin_generator_path} knows the tasks {', '.join(metadata.tasks)}, but not {', '.join(missing)}; "
            "train CIN-GAN on the same tasks, or choose with --tasks"
        )


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
