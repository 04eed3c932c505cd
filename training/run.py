"""What both training scripts do around their GAN: load the data, start the devices, train, evaluate, save."""

from __future__ import annotations

import hashlib
import sys
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import data_utils
from common.devices import estimate_seconds, is_slow_on_cpu, start_tensorflow
from common.errors import InputError
from common.files import json_values, written_whole
from data_utils import Task
from methods.baseline import Baseline
from methods.batches import patch_shape
from recipes.recipe import Recipe
from restoring.generator_file import save_generator, save_keras
from restoring.normalization import Normalization
from training import cluster
from training.clean_scenes import COUNT, CleanScenes, with_clean_scenes
from training.direction import measure
from training.options import DataOptions, RunOptions, TrainingOptions, in_vain, tell_idle
from training.pair_check import notices_of
from training.report import cgan_command, restore_command, write_report
from training.run_folder import RunFolder

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from methods.method import Method
    from training.evaluation import Evaluator
    from training.start import Start

# After a divergence the batches are drawn from another seed, a few times.
REDRAW, MOST_ROLLBACKS = 1_000_003, 3

# Of the state in a checkpoint. Those without a version know a task's data by its first x alone, and CIN-GAN's generator
# by its path. Those of version 2 began from random weights, and put all pairs of a task on x's scale by one gain. Those
# of version 3 released the trained weights alone, and replaced no outliers. Those of version 4 averaged them with the
# start's for stacks too.
STATE_VERSION = 5


def load_tasks(data: DataOptions, seed: int, x_alone: bool = False) -> list[Task]:
    """The pair sets that the options name; notices are printed. Raises InputError.

    Args:
        x_alone: sets without y are taken too, with simulated scenes as y.
    """
    both = set(data.no_rotate) & set(data.rotate)
    if both:
        raise InputError(f"--no_rotate and --rotate both name {', '.join(sorted(both))}; leave it out of one")
    tasks, notices = data_utils.load_tasks(
        data.data_dir, data.tasks, data.images_limit, data.eval_limit, data.unpaired_limit, seed, x_alone
    )
    for notice in notices:
        print(f"note: {notice}")
    tasks = [_with_y(task, seed) for task in tasks]
    for flag in ("no_rotate", "rotate"):
        unknown = set(getattr(data, flag)) - {task.name for task in tasks}
        if unknown:
            print(f"note: --{flag}={','.join(sorted(unknown))} names none of the tasks here")
    for task in tasks:
        height, width = task.shape
        print(f"{task.name}: {len(task.train_x)} training pairs, {len(task.test_x)} test pairs, {height} x {width}")
    return tasks


def _with_y(task, seed):
    """A task as it is, or with scenes in place of the y that it has not; says so."""
    if task.train_y.path != task.train_x.path:
        return task
    print(
        f"note: {task.name} has no y: {COUNT} simulated scenes stand for clean images; on our micrographs the "
        "shipped generator was better without this training (docs/training.md)"
    )
    task = with_clean_scenes(task, seed)
    if isinstance(task.test_y, CleanScenes):
        print(f"note: {task.name}: no test image has its y; PSNR and SSIM compare unrelated images: they say nothing")
    return task


def choose_no_rotate(
    options: TrainingOptions, run: RunFolder, tasks: list[Task], unpaired: bool, turns: str = "undirected"
) -> list[str]:
    """As `find_no_rotate`; a resumed run of an earlier version, which went by its tasks' names, keeps its own list."""
    if options.run.resume and version_of(run) == 1 and not {"no_rotate", "rotate"} & options.named:
        return run.read_state()["no_rotate"]
    return find_no_rotate(options.data, tasks, unpaired, turns)


def find_no_rotate(data: DataOptions, tasks: list[Task], unpaired: bool, turns: str = "undirected") -> list[str]:
    """Names of the tasks that are never turned by 90 degrees. Says what was measured.

    `--no_rotate` and `--rotate` overrule what is measured. Where too few pixels say nothing, flips alone are safe.

    Args:
        unpaired: measure on the images of unpaired training, else on the pairs.
        turns: "undirected" to turn all but those whose defect has a direction; "all" to turn every task, and print a
            note for each whose defect has one; "none" to turn nothing.
    """
    if turns == "none":
        return [task.name for task in tasks]
    never = []
    for task in tasks:
        measured = measure(*((task.unpaired_x, task.unpaired_y) if unpaired else (task.train_x, task.train_y)))
        if turns == "all":
            if measured.found:
                print(f"note: {task.name}: {measured}; this recipe turns it by 90 degrees all the same, as published")
            continue
        named = [flag for flag in ("no_rotate", "rotate") if task.name in getattr(data, flag)]
        turned = named == ["rotate"] or (not named and measured.found is False)
        so = "flips and quarter turns" if turned else "flips, but no quarter turns"
        print(f"{task.name}: {measured}: {so}{f' (--{named[0]})' if named else ''}")
        never += [] if turned else [task.name]
    return never


def look_at_images(tasks: list[Task], paired: bool = True) -> None:
    """Print a note on each thing that seems wrong with the tasks' images; `paired` as for `notices_of`."""
    for task in tasks:
        if isinstance(task.train_y, CleanScenes):
            continue
        for notice in notices_of(task, paired):
            print(f"note: {notice}")


def open_run(options: RunOptions, name: str) -> RunFolder:
    """The results folder, checked but not yet written to. Raises InputError where it holds an earlier run."""
    run = RunFolder(options.dir / name, options.keep_checkpoints)
    # Several workers would find each other's probe of the lock; the chief takes it later.
    run.check(options.resume, options.overwrite, probe_lock=not cluster.is_asked_for())
    return run


def version_of(run: RunFolder) -> int:
    """Version of the state in a run's checkpoints: 1 where it has none, STATE_VERSION where there is no checkpoint."""
    state = run.read_state()
    return state.get("version", 1) if state else STATE_VERSION


def fit_to_pairs(fit: Callable[..., Normalization], tasks: list[Task]) -> Normalization:
    """The normalisation of the real pairs; prints a note for each task whose pairs differ in gain and offset."""
    normalization = fit(tasks)
    for name, (low, high) in getattr(normalization, "own_gains", {}).items():
        print(
            f"note: {name}: gain and offset differ from pair to pair (y has {1 / high:.2g} to {1 / low:.2g} times the "
            "contrast of x): each pair is scaled by its own"
        )
    return normalization


def choose_patch(tasks: list[Task], largest: int | None, recipe: Recipe | Baseline) -> tuple[int, int]:
    """(height, width) of the training patches; prints where images are cropped."""
    patch = patch_shape(tasks, largest, recipe.size_multiple)
    if any(task.shape != patch for task in tasks):
        print(f"training on patches of {patch[0]} x {patch[1]} pixels")
    return patch


def start_devices(
    options: TrainingOptions,
    run: RunFolder,
    method: str,
    patch: tuple[int, int],
    gflop_per_image: float,
    most_gpus: int | None = None,
) -> tf.distribute.Strategy:
    """Import TensorFlow, choose devices and precision, say how long a CPU will need.

    Args:
        run: of the training; where it is resumed, only what is left of it counts.
        method: what is trained, in words.
        patch: (height, width) of the training patches in pixels.
        gflop_per_image: arithmetic of one 128 x 128 image in one iteration.
        most_gpus: GPUs that the method can use, or None.

    Returns:
        The tf.distribute strategy.
    """
    several = most_gpus is None and cluster.is_asked_for()
    batch_size, precision = options.length.batch_size, options.devices.precision
    strategy, devices = start_tensorflow(options.devices.num_gpu, most_gpus, cluster.make_strategy if several else None)
    if several:
        devices = cluster.describe(strategy, devices)
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise InputError(f"--batch_size={batch_size} cannot be split over {replicas} devices; choose a multiple")
    import keras
    import tensorflow as tf

    if options.devices.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(options.run.seed)
    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    print(f"training on {devices}, {method}, batch {batch_size}")
    if "CPU" in devices:
        tell_idle("a training on the CPU", options)
        if is_slow_on_cpu(precision):
            print(f"note: this CPU has no {precision} instructions; --precision=float32 is several times faster here")
        left = options.length.num_iters - (run.iterations_done() if options.run.resume else 0)
        hours = estimate_seconds(gflop_per_image, batch_size * left, patch[0] * patch[1]) / 3600
        if hours > 0.25 and not (options.length.max_seconds and options.length.max_seconds < 900):
            print(f"note: {left} iterations will take about {hours:.1f} hours on this CPU")
    return strategy


def load_features(weights: str) -> keras.Model:
    """VGG16 features with the filters that `--vgg_weights` names; says which."""
    from methods import vgg

    features, description = vgg.load_vgg(weights)
    print(f"VGG16 with {description}")
    return features


def run_state(options: TrainingOptions, no_rotate: list[str], tasks: list[Task], has_schedule: bool) -> dict:
    """Plain values that a resumed run must agree in, as a checkpoint holds them."""
    state = {**options.fixed(), "no_rotate": no_rotate}
    state |= {"num_iters": options.length.num_iters} if has_schedule else {}
    state |= {"version": STATE_VERSION, "tasks": [task.name for task in tasks], "data": fingerprint(tasks)}
    strides = {task.name: task.stride for task in tasks if task.stride}
    state |= {"strides": strides} if strides else {}
    if getattr(options, "cin_augment", False):
        state["cin_generator_sha256"] = hashlib.sha256(options.cin_generator_path.read_bytes()).hexdigest()
    return json_values(state)


def earlier_state(options: TrainingOptions, tasks: list[Task], state: dict) -> dict:
    """`state` as it was before it had a version."""
    kept = {key: value for key, value in state.items() if key not in ("version", "cin_generator_sha256")}
    path = {key: getattr(options, key) for key in ["cin_generator_path"] if hasattr(options, key)}
    first = {task.name: [len(task.train_x), *task.shape, zlib.crc32(task.train_x[0].tobytes())] for task in tasks}
    return json_values({**kept, **path, "data": first})


def fingerprint(tasks: list[Task]) -> dict[str, list[int]]:
    """What tells the images that a training may see from others, unpaired ones among them.

    Returns:
        {name: [pairs, height, width, checksum of all x, of all y]}.
    """
    return {t.name: [len(t.train_x), *t.shape, t.unpaired_x.checksum, t.unpaired_y.checksum] for t in tasks}


class Training:
    """One training and its results folder: where it starts, what is saved, what happens when it diverges.

    Args:
        strategy: the strategy that `gan` was built under.
        has_schedule: a learning rate follows `--num_iters`, so that a resumed run may not change it.
        start: the generator that it starts from, or None.
    """

    def __init__(
        self,
        options: TrainingOptions,
        run: RunFolder,
        strategy: tf.distribute.Strategy,
        gan: Method,
        evaluator: Evaluator,
        has_schedule: bool,
        start: Start | None = None,
    ):
        self.options, self.folder, self.strategy, self.gan, self.evaluator = options, run, strategy, gan, evaluator
        self.chief = cluster.is_chief(strategy)
        self.start, self.seconds, self.rollbacks = 0, 0.0, 0
        no_rotate = evaluator.metadata.no_rotate
        self.arguments = {**options.values(), "no_rotate": no_rotate}  # what was measured, whatever was given
        self.state = run_state(options, no_rotate, evaluator.tasks, has_schedule)
        self.state["init_from_sha256"] = start and start.sha256

    def run(self, batches: Callable[[int], dict]) -> int:
        """Train, evaluate and save until the end; print where the generator is.

        Args:
            batches: callable from the iteration to the global batch.

        Returns:
            The script's exit code.
        """
        with self.folder.locked() if self.chief else nullcontext(), cluster.failures_told(self.strategy):
            self._prepare()
            done, code = self._train(batches)
            if self.chief:
                write_report(self.folder.path)
        if not self.chief:
            print(f"stopped after iteration {done}; the chief has saved everything")
            return code
        if code:
            print(f"stopped after iteration {done}; everything is saved. Go on with the same command and --resume")
        self._tell_how_to_use(done)
        return code

    def _tell_how_to_use(self, done):
        metadata, generator = self.evaluator.metadata, self.folder / "generator.h5"
        purpose, command = "use it on your own images", restore_command(generator, metadata.needs_task)
        if metadata.makes_defects:
            purpose = "train a cGAN with its pairs (without real ones: add --alpha=1)"
            command = cgan_command(self.arguments, generator)
        times = self.evaluator.seconds
        if len(times) > 1:
            print(f"{len(times)} evaluations took {sum(times):.0f} s of this run; a larger --eval_every makes fewer")
        print(f"how it went: {self.folder / 'report.html'}")
        print(f"{generator} is ready after {done} iterations; {purpose}:\n  {command}")
        sys.stdout.flush()

    def _prepare(self):
        """Make the folder, or load its last checkpoint. Workers other than the chief write nothing."""
        options = self.options.run
        if self.chief:  # Looked at again, now that nobody else can write to it.
            self.folder.check(options.resume, options.overwrite, probe_lock=False)
        notice = self.folder.create(options.resume, options.overwrite) if self.chief else None
        if notice:
            print(f"note: {notice}")
        if options.resume:
            version = version_of(self.folder)
            if version == 1:
                print(
                    f"note: {self.folder.path} was begun by an earlier version; it goes on with the tasks that it "
                    "never turned, and only the first x of each task and the path of CIN-GAN's generator are compared"
                )
                self.state = earlier_state(self.options, self.evaluator.tasks, self.state)
            elif version < STATE_VERSION:
                self.state["version"] = version
            self._load()
        elif options.on_divergence == "rollback" and self.chief:
            self.folder.save_checkpoint(0, self.gan.variables(), self.state)
        if self.chief:
            self.folder.write_args(self.arguments, self.options.not_default, self.evaluator.metadata.script)

    def _load(self):
        # Of the flags in vain these two count all the same: the state holds the turns that were measured, and a
        # checksum of the unpaired images.
        free = in_vain(self.options.command, self.options).keys() - {"no_rotate", "unpaired_limit"}
        state = {key: value for key, value in self.state.items() if key not in free}
        with self.strategy.scope():
            self.start, self.seconds, self.rollbacks = self.folder.load_checkpoint(self.gan.variables(), state)

    def _save(self, done, seconds):
        """Save the generator, the other networks and a checkpoint, each whole."""
        if not self.chief:
            return
        save_generator(self.gan.released, self.folder / "generator.h5", self.evaluator.metadata)
        for name in self.gan.networks.keys() - {"generator"}:
            with written_whole(self.folder / f"{name}.h5") as beside:
                save_keras(self.gan.networks[name], beside)
        self.folder.save_checkpoint(done, self.gan.variables(), self.state, seconds, self.rollbacks)

    def _train(self, batches):
        """Train to the end, or raise DivergenceError; gives (finished iterations, exit code)."""
        from training.loop import DivergenceError, Loop

        evaluate = self.evaluator.bind(self.gan, self.folder) if self.chief else lambda *received: None
        images = sum(len(task.test_x) for task in self.evaluator.tasks)
        length = self.options.length
        limits = replace(length, eval_every=length.evaluation_interval(images))
        while True:
            batches.seed = self.options.run.seed + REDRAW * self.rollbacks
            try:
                evaluated = self.start if self.start == self.folder.evaluated() else None
                loop = Loop(self.gan, batches, self.strategy, limits, evaluate, self._save, evaluated)
                return loop.run(self.start, self.seconds)
            except DivergenceError as failure:
                if self.options.run.on_divergence == "stop" or self.rollbacks == MOST_ROLLBACKS:
                    raise DivergenceError(f"{failure}; {self._advice()}") from failure
                self._roll_back(failure)

    def _roll_back(self, failure):
        rollbacks = self.rollbacks + 1
        self._load()
        self.rollbacks = rollbacks
        print(f"note: {failure}; back at iteration {self.start}, with other batches (rollback {rollbacks})")

    def _advice(self):
        checkpoints = self.folder.checkpoints()
        if not checkpoints:
            return "nothing was saved before; look at the data, or lower --save_every"
        iteration = int(checkpoints[-1].stem)
        return f"the state of iteration {iteration} is kept: go on with --resume --on_divergence=rollback"
