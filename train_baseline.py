"""Train a method that the paper compares with, one network per task, on the same data and split as ours.

    python train_baseline.py --method=care --images_limit=10 --num_iters=800         (requirements/baselines.txt)
    python train_baseline.py --method=deblurgan --images_limit=10 --num_iters=3000
    python train_baseline.py --method=cyclegan --images_limit=10 --num_iters=3000    unpaired

Results appear in CARE_results/, DeblurGAN_results/ or CycleGAN_results/ (below --dir), one run folder per task with
its generator.h5 for restore.py. --max_seconds is shared by the tasks. --resume goes on with the tasks that are not
finished. One GPU at most is used; for several, choose --tasks for each.
"""

from __future__ import annotations

from dataclasses import replace

from common.command_line import Arguments, OneLineParser
from common.errors import InputError, run_script
from data_utils import Task, factors_of
from methods import BASELINES
from methods.baseline import Baseline
from methods.batches import Sampling
from restoring.generator_file import Metadata
from training import cluster
from training import run as launch
from training.options import BaselineOptions, RunOptions, named_with, tell_idle
from training.run_folder import RunFolder


def make_parser() -> OneLineParser:
    """The script's arguments."""
    return BaselineOptions.parser(__doc__)


def main(args: Arguments, baseline: Baseline | None = None) -> int:
    """Train every task with parsed arguments, and a method in place of the named one; returns the exit code."""
    baseline = baseline or BASELINES[args.method]
    options = BaselineOptions.read(args, batch_size=baseline.batch_size)
    check(options, baseline)
    tell_idle(options.command, options)
    tasks = launch.load_tasks(options.data, options.run.seed)
    launch.look_at_images(tasks, paired=not baseline.unpaired)
    runs = [RunFolder(options.run.dir / baseline.folder / task.name, options.run.keep_checkpoints) for task in tasks]
    resumes, overwrites = plan_starts(options.run, runs)
    length = options.length
    if length.max_seconds:
        length = replace(length, max_seconds=length.max_seconds / len(tasks))
    for task, run, resume, overwrite in zip(tasks, runs, resumes, overwrites, strict=True):
        if resume and run.finished(length.num_iters):
            print(f"{run.path} is finished")
            continue
        print(f"--- {baseline.name}, {task.name}")
        start = replace(options.run, resume=resume, overwrite=overwrite)
        code = train_task(replace(options, length=length, run=start), baseline, task, run)
        if code:
            return code
    return 0


def check(options: BaselineOptions, baseline: Baseline) -> None:
    """Raise InputError where arguments, method and machine do not fit."""
    if options.augment and not baseline.augments:
        augmenting = named_with(BASELINES, "augments")
        raise InputError(f"--augment is for --method={augmenting}; the others crop and flip as published")
    if options.devices.precision == "float16":
        raise InputError("--precision=float16: baselines have no loss scale; choose bfloat16 or float32")
    if cluster.is_asked_for():
        raise InputError("a baseline is trained by one process; unset TF_CONFIG, or choose --tasks for each machine")
    if baseline.missing():
        raise InputError(f"--method={options.method} needs {baseline.missing()}")


def plan_starts(options: RunOptions, runs: list[RunFolder]) -> tuple[list[bool], list[bool]]:
    """Which runs go on and which start anew where there was one, each a list of bools. Raises InputError."""
    if options.resume and not any(run.checkpoints() for run in runs):
        runs[0].check(resume=True, overwrite=options.overwrite)
    # A task that was killed before its first checkpoint starts anew, its folder kept under another name.
    resumes = [options.resume and bool(run.checkpoints()) for run in runs]
    overwrites = [options.overwrite or (options.resume and not resume) for resume in resumes]
    for run, resume, overwrite in zip(runs, resumes, overwrites, strict=True):
        run.check(resume, overwrite)
    return resumes, overwrites


def train_task(options: BaselineOptions, baseline: Baseline, task: Task, run: RunFolder) -> int:
    """Train the network of one task; returns the exit code."""
    turning = baseline.turns
    no_rotate = launch.choose_no_rotate(options, run, [task], unpaired=False) if turning else [task.name]
    patch = launch.choose_patch([task], baseline.patch, baseline)
    strategy = launch.start_devices(options, run, baseline.name, patch, baseline.gflop, most_gpus=1)
    import keras

    from training.evaluation import Evaluator

    normalization = baseline.fit_normalization(task)
    sampling = Sampling(options.length.batch_size, patch, options.run.seed, no_rotate, mirror=True)
    batches = baseline.make_batches(task, normalization, sampling, options.augment, options.n_critic)
    with strategy.scope():
        features = launch.load_features(options.run.vgg_weights) if baseline.needs_vgg else None
        method = baseline.build(
            patch, options.run.seed, options.length.num_iters, options.augment, options.n_critic, features
        )
    metadata = Metadata(
        baseline.name,
        options.method,
        [task.name],
        normalization,
        no_rotate,
        baseline.size_multiple,
        factors=factors_of([task]),
    )
    training = launch.Training(options, run, strategy, method, Evaluator([task], metadata), baseline.linear)
    code = training.run(batches)
    # After the task and not before: it resets the precision too.
    keras.backend.clear_session()
    return code


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
