"""Train a method that the paper compares with, one network per task, on the same data and split as ours.

    python train_baseline.py --method=care --images_limit=10 --num_iters=800         (requirements/baselines.txt)
    python train_baseline.py --method=deblurgan --images_limit=10 --num_iters=3000
    python train_baseline.py --method=cyclegan --images_limit=10 --num_iters=3000    unpaired

Results appear in CARE_results/, DeblurGAN_results/ or CycleGAN_results/ (below --dir), one run folder per task with
its generator.h5 for restore.py. --max_seconds is shared by the tasks. --resume goes on with the tasks that are not
finished. One GPU at most is used; for several, choose --tasks for each.
"""

from __future__ import annotations

import argparse
import copy

from common import command_line
from common.errors import InputError, run_script
from data_utils import Task
from methods import BASELINES
from methods.baseline import Baseline
from methods.batches import Sampling
from restoring.generator_file import Metadata
from training import cluster, options
from training import run as launch
from training.run_folder import RunFolder


def make_parser() -> argparse.ArgumentParser:
    """The script's arguments."""
    parser = options.training_parser(__doc__, BASELINES)
    add, augmenting, with_critic = parser.add_argument, _named("augments"), _named("has_critic")
    add("--method", choices=list(BASELINES), required=True, help="the method to train")
    add("--augment", action="store_true", help=f"{augmenting}: our random crops, flips, turns and averaged weights")
    add("--n_critic", type=command_line.integer(1), default=5, help=f"{with_critic}: critic updates an iteration")
    return parser


def _named(property_name):
    return options.named_with(BASELINES, property_name)


def main(args: argparse.Namespace, baseline: Baseline | None = None) -> int:
    """Train every task with parsed arguments, and a method in place of the named one; returns the exit code."""
    baseline = baseline or BASELINES[args.method]
    check(args, baseline)
    given = options.given(args, make_parser())
    options.tell_idle("train_baseline", args)
    args.batch_size = args.batch_size or baseline.batch_size
    tasks = launch.load_tasks(args)
    if not baseline.unpaired:
        launch.tell_of_unlike_pairs(tasks)
    runs = [RunFolder(args.dir / baseline.folder / task.name, args.keep_checkpoints) for task in tasks]
    resumes, overwrites = plan_starts(args, runs)
    if args.max_seconds:
        args.max_seconds /= len(tasks)
    for task, run, resume, overwrite in zip(tasks, runs, resumes, overwrites, strict=True):
        if resume and run.finished(args.num_iters):
            print(f"{run.path} is finished")
            continue
        print(f"--- {baseline.name}, {task.name}")
        task_args = copy.copy(args)
        task_args.resume, task_args.overwrite = resume, overwrite
        code = train_task(task_args, baseline, task, run, given)
        if code:
            return code
    return 0


def check(args: argparse.Namespace, baseline: Baseline) -> None:
    """Raise InputError where arguments, method and machine do not fit."""
    if args.augment and not baseline.augments:
        raise InputError(f"--augment is for --method={_named('augments')}; the others crop and flip as published")
    if args.precision == "float16":
        raise InputError("--precision=float16: baselines have no loss scale; choose bfloat16 or float32")
    if cluster.is_asked_for():
        raise InputError("a baseline is trained by one process; unset TF_CONFIG, or choose --tasks for each machine")
    if baseline.missing():
        raise InputError(f"--method={args.method} needs {baseline.missing()}")


def plan_starts(args: argparse.Namespace, runs: list[RunFolder]) -> tuple[list[bool], list[bool]]:
    """Which runs go on and which start anew where there was one, each a list of bools. Raises InputError."""
    if args.resume and not any(run.checkpoints() for run in runs):
        runs[0].check(resume=True, overwrite=args.overwrite)
    # A task that was killed before its first checkpoint starts anew, its folder kept under another name.
    resumes = [args.resume and bool(run.checkpoints()) for run in runs]
    overwrites = [args.overwrite or (args.resume and not resume) for resume in resumes]
    for run, resume, overwrite in zip(runs, resumes, overwrites, strict=True):
        run.check(resume, overwrite)
    return resumes, overwrites


def train_task(args: argparse.Namespace, baseline: Baseline, task: Task, run: RunFolder, given: list[str]) -> int:
    """Train the network of one task; returns the exit code."""
    turning = baseline.turns
    args.no_rotate = launch.choose_no_rotate(args, run, [task], unpaired=False) if turning else [task.name]
    patch = launch.choose_patch([task], baseline.patch, baseline)
    strategy = launch.start_devices(args, run, baseline.name, patch, baseline.gflop, most_gpus=1)
    import keras

    from training.evaluation import Evaluator

    normalization = baseline.fit_normalization(task)
    sampling = Sampling(args.batch_size, patch, args.seed, args.no_rotate, mirror=True)
    batches = baseline.make_batches(task, normalization, sampling, args.augment, args.n_critic)
    with strategy.scope():
        features = launch.load_features(args.vgg_weights) if baseline.needs_vgg else None
        method = baseline.build(patch, args.seed, args.num_iters, args.augment, args.n_critic, features)
    metadata = Metadata(baseline.name, args.method, [task.name], normalization, args.no_rotate, baseline.size_multiple)
    training = launch.Training(args, run, strategy, method, Evaluator([task], metadata), baseline.linear)
    code = training.run(batches, given)
    # After the task and not before: it resets the precision too.
    keras.backend.clear_session()
    return code


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
