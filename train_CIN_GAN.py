"""Train CIN-GAN: learn, unpaired, to make microscope defects from few images.

    python train_CIN_GAN.py --batch_size=100 --num_iters=3000 --num_gpu=2        as published
    python train_CIN_GAN.py --recipe=tuned --images_limit=10 --num_iters=1000    for few images, on a CPU

Results appear in CIN-GAN_results/ (below --dir): generator.h5, critic.h5, log.csv, samples/, checkpoints/.
All layers are shared by the defect types but the conditional instance normalisation ones. An iteration is one
generator update with its n_critic critic updates. Use the generator with train_cGAN.py --cin_augment=True.
"""

from __future__ import annotations

import argparse

from common import command_line
from common.errors import InputError, run_script
from data_utils import Task
from methods.batches import Sampling, UnpairedBatches
from recipes import RECIPES
from recipes.recipe import Recipe
from restoring.generator_file import Metadata
from restoring.normalization import FixedNormalization
from training import options
from training import run as launch
from training.run_folder import RunFolder


def make_parser() -> argparse.ArgumentParser:
    """The script's arguments."""
    parser = options.recipe_parser(__doc__)
    per_recipe = ", ".join(f"{name}: {recipe.cin_gan.n_critic}" for name, recipe in RECIPES.items())
    parser.add_argument(
        "--n_critic", type=command_line.integer(1), help=f"critic updates an iteration (default: {per_recipe})"
    )
    return parser


def check_patch(patch: tuple[int, int], margin: int) -> None:
    """Raise InputError where nearly nothing is left of a patch without its margin of so many pixels."""
    least = 16 + 2 * margin
    if min(patch) < least:
        raise InputError(
            f"patches of {patch[0]} x {patch[1]} pixels are too small for this recipe's CIN-GAN; at least {least} x "
            f"{least} are needed: give larger images, or leave out the task with the smallest with --tasks"
        )


def choose_no_rotate(args: argparse.Namespace, turns: str, run: RunFolder, tasks: list[Task]) -> list[str]:
    """Names of the tasks that are never turned; `turns` is the recipe's (`Augmentation`)."""
    if turns == "none" and args.resume and run.read_state().get("no_rotate") == []:
        print("note: this run was started by an earlier version, which turned its images; it goes on like that")
        return []
    return launch.choose_no_rotate(args, run, tasks, True, turns)


def main(args: argparse.Namespace, recipe: Recipe | None = None) -> int:
    """Train with parsed arguments, and a recipe in place of the one that they name; returns the exit code."""
    recipe = recipe or RECIPES[args.recipe]
    part = recipe.cin_gan
    given = options.given(args, make_parser())
    options.tell_idle("train_CIN_GAN", args)
    args = options.complete(args)
    args.n_critic = args.n_critic or part.n_critic
    run = launch.open_run(args, "CIN-GAN_results")
    tasks = launch.load_tasks(args)
    args.no_rotate = choose_no_rotate(args, part.augmentation.turns, run, tasks)
    patch = launch.choose_patch(tasks, part.patch, recipe)
    check_patch(patch, part.margin)
    strategy = launch.start_devices(args, run, f"recipe {args.recipe}", patch, part.gflop)
    from training.evaluation import Evaluator

    normalization = part.normalizing.fit(tasks)
    sampling = Sampling(args.batch_size, patch, args.seed, args.no_rotate, part.augmentation.mirror)
    updates = args.n_critic + 1
    batches = UnpairedBatches(tasks, normalization, sampling, updates, part.mixed_tasks, part.noise_channels)
    with strategy.scope():
        features = launch.load_features(args.vgg_weights) if part.needs_vgg else None
        gan = part.build(args.seed, args.num_iters, args.n_critic, len(tasks), features)
    evaluator = Evaluator(tasks, make_metadata(args, recipe, tasks, normalization))
    training = launch.Training(args, run, strategy, gan, evaluator, part.adam.cosine)
    return training.run(batches, given)


def make_metadata(
    args: argparse.Namespace, recipe: Recipe, tasks: list[Task], normalization: FixedNormalization
) -> Metadata:
    """What the generator's use needs."""
    return Metadata(
        script="CIN-GAN",
        recipe=args.recipe,
        tasks=[task.name for task in tasks],
        normalization=normalization,
        no_rotate=args.no_rotate,
        size_multiple=recipe.size_multiple,
        noise_channels=recipe.cin_gan.noise_channels,
        margin=2 * recipe.cin_gan.margin,
    )


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
