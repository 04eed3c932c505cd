"""Train CIN-GAN: learn, unpaired, to make microscope defects from few images.

    python train_CIN_GAN.py --batch_size=100 --num_iters=3000 --num_gpu=2        as published
    python train_CIN_GAN.py --recipe=tuned --images_limit=10 --num_iters=1000    for few images, on a CPU

Results appear in CIN-GAN_results/ (below --dir): generator.h5, critic.h5, log.csv, samples/, checkpoints/.
All layers are shared by the defect types but the conditional instance normalisation ones. An iteration is one
generator update with its n_critic critic updates. Use the generator with train_cGAN.py --cin_augment=True.
"""

from __future__ import annotations

from dataclasses import replace

from common.command_line import Arguments, OneLineParser
from common.errors import InputError, run_script
from data_utils import Task
from methods.batches import Sampling, UnpairedBatches
from recipes import RECIPES
from recipes.recipe import Recipe
from restoring.apply import Applier
from restoring.generator_file import Metadata
from restoring.normalization import FixedNormalization
from training import run as launch
from training.options import CINGANOptions, tell_idle
from training.run_folder import RunFolder


def make_parser() -> OneLineParser:
    """The script's arguments."""
    return CINGANOptions.parser(__doc__)


def check_patch(patch: tuple[int, int], margin: int) -> None:
    """Raise InputError where nearly nothing is left of a patch without its margin of so many pixels."""
    least = 16 + 2 * margin
    if min(patch) < least:
        raise InputError(
            f"patches of {patch[0]} x {patch[1]} pixels are too small for this recipe's CIN-GAN; at least {least} x "
            f"{least} are needed: give larger images, or leave out the task with the smallest with --tasks"
        )


def choose_no_rotate(options: CINGANOptions, turns: str, run: RunFolder, tasks: list[Task]) -> list[str]:
    """Names of the tasks that are never turned; `turns` is the recipe's (`Augmentation`)."""
    if turns == "none" and options.run.resume and run.read_state().get("no_rotate") == []:
        print("note: an earlier version started this run and turned its images; the resumed run turns them too")
        return []
    return launch.choose_no_rotate(options, run, tasks, True, turns)


def main(args: Arguments, recipe: Recipe | None = None) -> int:
    """Train with parsed arguments, and a recipe in place of the one that they name; returns the exit code."""
    recipe = recipe or RECIPES[args.recipe]
    part = recipe.cin_gan
    options = CINGANOptions.read(args, batch_size=recipe.batch_size, n_critic=part.n_critic)
    tell_idle(options.command, options)
    run = launch.open_run(options.run, "CIN-GAN_results")
    tasks = launch.load_tasks(options.data, options.run.seed, x_alone=part.patch is not None)
    launch.look_at_images(tasks, paired=False)
    no_rotate = choose_no_rotate(options, part.augmentation.turns, run, tasks)
    recipe = replace(recipe, cin_gan=part.for_strides([task.stride for task in tasks]))
    part = recipe.cin_gan
    patch = launch.choose_patch(tasks, part.patch, recipe)
    check_patch(patch, part.margin)
    strategy = launch.start_devices(options, run, f"recipe {options.recipe}", patch, part.gflop)
    from training.defect_check import notices_of_failure
    from training.evaluation import Evaluator

    normalization = part.normalizing.fit(tasks)
    sampling = Sampling(options.length.batch_size, patch, options.run.seed, no_rotate, part.augmentation.mirror)
    updates = options.n_critic + 1
    channels = part.noise_channels
    batches = UnpairedBatches(tasks, normalization, sampling, updates, part.mixed_tasks, channels, part.samples)
    with strategy.scope():
        features = launch.load_features(options.run.vgg_weights) if part.needs_vgg else None
        gan = part.build(options.run.seed, options.length.num_iters, options.n_critic, len(tasks), features)
    evaluator = Evaluator(tasks, make_metadata(options.recipe, recipe, tasks, normalization, no_rotate))
    training = launch.Training(options, run, strategy, gan, evaluator, part.adam.cosine)
    code = training.run(batches)
    if code == 0 and training.chief and part.sees("noise"):
        applier = Applier(lambda inputs, training: gan.released(inputs, training=training), evaluator.metadata)
        for notice in notices_of_failure(applier, tasks):
            print(f"note: {notice}")
    return code


def make_metadata(
    name: str, recipe: Recipe, tasks: list[Task], normalization: FixedNormalization, no_rotate: list[str]
) -> Metadata:
    """What the generator's use needs; `name` is the recipe's."""
    return Metadata(
        script="CIN-GAN",
        recipe=name,
        tasks=[task.name for task in tasks],
        normalization=normalization,
        no_rotate=no_rotate,
        size_multiple=recipe.size_multiple,
        noise_channels=recipe.cin_gan.noise_channels,
        margin=2 * recipe.cin_gan.margin,
        strides={task.name: task.stride for task in tasks if task.stride and recipe.cin_gan.samples},
    )


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
