"""Train the cGAN: one generator that restores every defect type, from a few real pairs, CIN-GAN's pairs, or both.

    python train_cGAN.py --batch_size=100 --num_iters=3000 --num_gpu=2 --images_limit=50        as published
    python train_cGAN.py --cin_augment=True --alpha=0.3 \\
        --cin_generator_path=CIN-GAN_results/generator.h5 --images_limit=50                     with CIN-GAN's pairs
    python train_cGAN.py --recipe=tuned --images_limit=10 --num_iters=600                       ten pairs, on a CPU

Results appear in Microscopy_cGAN_results/ or, with --cin_augment=True, in Microscopy_cGAN_results_CIN_augm/ (below
--dir): generator.h5, discriminator.h5 (recipe paper), log.csv, samples/, checkpoints/. Restore your images with
restore.py.
"""

from __future__ import annotations

import math
from dataclasses import replace

from common.command_line import Arguments, OneLineParser
from common.errors import InputError, run_script
from data_utils import Task, factors_of
from methods.batches import PairBatches, Sampling
from methods.rehearsal import SIMULATED
from recipes import RECIPES
from recipes.recipe import CganPart, Recipe
from restoring.generator_file import SHIPPED, Metadata, read_metadata
from training import run as launch
from training.options import CGANOptions, tell_idle
from training.run_folder import RunFolder
from training.start import NONE, SHIPPED_BEFORE, Start, find_start

PAIR_PIXELS = 128 * 128  # of the pairs that `FineTuning` counts in


def make_parser() -> OneLineParser:
    """The script's arguments."""
    return CGANOptions.parser(__doc__)


def main(args: Arguments, recipe: Recipe | None = None) -> int:
    """Train with parsed arguments, and a recipe in place of the one that they name; returns the exit code."""
    recipe = recipe or RECIPES[args.recipe]
    options = CGANOptions.read(args, batch_size=recipe.batch_size)
    tell_idle(options.command, options)
    run = launch.open_run(options.run, "Microscopy_cGAN_results" + ("_CIN_augm" if options.cin_augment else ""))
    part, start = choose_start(options, recipe.cgan, run)
    x_alone = options.generated_alone and part.patch is not None
    tasks = launch.load_tasks(options.data, options.run.seed, x_alone)
    launch.look_at_images(tasks, paired=not options.generated_alone)
    names = [task.name for task in tasks]
    check_cin_generator(options, names)
    no_rotate = launch.choose_no_rotate(options, run, tasks, options.cin_augment, part.augmentation.turns)
    patch = launch.choose_patch(tasks, part.patch, recipe)
    strategy = launch.start_devices(options, run, f"recipe {options.recipe}", patch, part.gflop)
    from training.evaluation import Evaluator

    vary = part.augmentation
    variety = vary.mirror, vary.intensity, vary.mixup_after, vary.outliers
    sampling = Sampling(options.length.batch_size, patch, options.run.seed, no_rotate, *variety)
    batches = make_batches(options, part, tasks, sampling, start)
    with strategy.scope():
        features = launch.load_features(options.run.vgg_weights) if part.needs_vgg else None
        gan = part.build(options.run.seed, options.length.num_iters, features)
        if start:
            start.load_into(gan, choose_learned(options, part, tasks, run))
    metadata = Metadata(
        "cGAN", options.recipe, names, batches.normalization, no_rotate, recipe.size_multiple, factors=factors_of(tasks)
    )
    training = launch.Training(options, run, strategy, gan, Evaluator(tasks, metadata), part.adam.cosine, start)
    return training.run(batches)


def choose_start(options: CGANOptions, part: CganPart, run: RunFolder) -> tuple[CganPart, Start | None]:
    """The part of the recipe that is trained, and the generator that it starts from; None for random weights."""
    version = launch.version_of(run) if options.run.resume else launch.STATE_VERSION
    part = part.of_version(version)
    if version < 3:
        if options.init_from not in (None, NONE):
            raise InputError(f"--init_from={options.init_from}: {run.path} was begun from random weights; leave it out")
        return part, None
    start = find_start(options.init_from, options.recipe, part)
    if version == 3 and start and start.path == SHIPPED:
        start = replace(start, sha256=SHIPPED_BEFORE)
    if start is None:
        return part, None
    share = f"; {100 * start.rehearsal:.0f} % of every batch are simulated pairs" if start.rehearsal else ""
    print(f"starting from {start.path}{share}")
    return part.started(), start


def choose_learned(options: CGANOptions, part: CganPart, tasks: list[Task], run: RunFolder) -> float:
    """Share of the trained weights in the released ones, 0 to 1; the rest stay the start's. Printed."""
    version = launch.version_of(run) if options.run.resume else launch.STATE_VERSION
    if version < 4:
        return 1.0
    if version > 4 and all(task.stride for task in tasks):
        # The mean guards what was not trained on; a stack is what its generator was trained on (docs/isotropic.md).
        print("the generator that is saved is the trained one, no mean with the start: these are stacks")
        return 1.0
    pairs, unpaired = 0.0, 0.0  # means over the tasks
    for task in tasks:
        size = math.prod(task.shape) / PAIR_PIXELS / len(tasks)
        if not options.generated_alone:
            pairs += size * len(task.train_x)
        if options.cin_augment:  # Of the smaller kind: simulated scenes in place of y are as many as one likes.
            unpaired += size * min(len(task.unpaired_x), len(task.unpaired_y))
    learned = part.fine_tuning.learned(pairs, unpaired)
    print(f"the generator that is saved is the mean of the trained one ({100 * learned:.0f} %) and the start")
    return learned


def make_batches(
    options: CGANOptions, part: CganPart, tasks: list[Task], sampling: Sampling, start: Start | None = None
) -> PairBatches:
    """Batches of real pairs and, with --cin_augment, of CIN-GAN's, each normalised as it needs; rehearsed ones last."""
    rehearsed = None
    if start and start.rehearsal:
        rehearsed = start.rehearsed(sampling.seed)
        sampling = sampling._replace(no_rotate=[*sampling.no_rotate, SIMULATED])
    if not options.cin_augment:
        return PairBatches(tasks, launch.fit_to_pairs(part.normalizing.fit, tasks), sampling, rehearsed=rehearsed)
    from training.generated_pairs import generate_pairs

    generated, scales = generate_pairs(options.cin_generator_path, tasks, sampling.seed, sampling.patch)
    of_generated = part.normalizing.fit(tasks, generated)
    normalization = of_generated if options.generated_alone else launch.fit_to_pairs(part.normalizing.fit, tasks)
    return PairBatches(tasks, normalization, sampling, generated, options.alpha, of_generated, scales, rehearsed)


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
