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

from common.command_line import Arguments, OneLineParser
from common.errors import InputError, run_script
from data_utils import Task
from methods.batches import PairBatches, Sampling
from recipes import RECIPES
from recipes.recipe import CganPart, Recipe
from restoring.generator_file import Metadata, read_metadata
from training import run as launch
from training.options import CGANOptions, tell_idle


def make_parser() -> OneLineParser:
    """The script's arguments."""
    return CGANOptions.parser(__doc__)


def main(args: Arguments, recipe: Recipe | None = None) -> int:
    """Train with parsed arguments, and a recipe in place of the one that they name; returns the exit code."""
    recipe = recipe or RECIPES[args.recipe]
    part = recipe.cgan
    options = CGANOptions.read(args, batch_size=recipe.batch_size)
    tell_idle(options.command, options)
    run = launch.open_run(options.run, "Microscopy_cGAN_results" + ("_CIN_augm" if options.cin_augment else ""))
    tasks = launch.load_tasks(options.data, options.run.seed)
    if not (options.cin_augment and options.alpha == 1.0):
        launch.tell_of_unlike_pairs(tasks)
    names = [task.name for task in tasks]
    check_cin_generator(options, names)
    no_rotate = launch.choose_no_rotate(options, run, tasks, options.cin_augment, part.augmentation.turns)
    patch = launch.choose_patch(tasks, part.patch, recipe)
    strategy = launch.start_devices(options, run, f"recipe {options.recipe}", patch, part.gflop)
    from training.evaluation import Evaluator

    variety = part.augmentation.mirror, part.augmentation.intensity, part.augmentation.mixup_after
    sampling = Sampling(options.length.batch_size, patch, options.run.seed, no_rotate, *variety)
    batches = make_batches(options, part, tasks, sampling)
    with strategy.scope():
        features = launch.load_features(options.run.vgg_weights) if part.needs_vgg else None
        gan = part.build(options.run.seed, options.length.num_iters, features)
    metadata = Metadata("cGAN", options.recipe, names, batches.normalization, no_rotate, recipe.size_multiple)
    training = launch.Training(options, run, strategy, gan, Evaluator(tasks, metadata), part.adam.cosine)
    return training.run(batches)


def make_batches(options: CGANOptions, part: CganPart, tasks: list[Task], sampling: Sampling) -> PairBatches:
    """Batches of real pairs and, with --cin_augment, of CIN-GAN's, each normalised as it needs."""
    if not options.cin_augment:
        return PairBatches(tasks, part.normalizing.fit(tasks), sampling)
    from training.generated_pairs import generate_pairs

    generated, scales = generate_pairs(options.cin_generator_path, tasks, sampling.seed, sampling.patch)
    of_generated = part.normalizing.fit(tasks, generated)
    normalization = of_generated if options.alpha == 1.0 else part.normalizing.fit(tasks)
    return PairBatches(tasks, normalization, sampling, generated, options.alpha, of_generated, scales)


def check_cin_generator(options: CGANOptions, names: list[str]) -> None:
    """Raise InputError where --cin_augment lacks a CIN-GAN's generator that knows the tasks."""
    if not options.cin_augment:
        return
    path = options.cin_generator_path
    if path is None:
        raise InputError("--cin_augment=True needs --cin_generator_path=CIN-GAN_results/generator.h5")
    metadata = read_metadata(path)
    if not metadata.makes_defects:
        raise InputError(f"{path} restores images; expected the generator.h5 of train_CIN_GAN.py")
    missing = [name for name in names if name not in metadata.tasks]
    if missing:
        raise InputError(
            f"{path} knows the tasks {', '.join(metadata.tasks)}, but not {', '.join(missing)}; "
            "train CIN-GAN on the same tasks, or choose with --tasks"
        )


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
