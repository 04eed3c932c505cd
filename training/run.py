"""What both training scripts do around their GAN: load the data, start the devices, train, evaluate, save."""

from __future__ import annotations

import argparse
import hashlib
import sys
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import data_utils
from common.command_line import Arguments
from common.devices import estimate_seconds, is_slow_on_cpu, start_tensorflow
from common.errors import InputError
from common.files import json_values, written_whole
from data_utils import Task
from methods.baseline import Baseline
from methods.batches import patch_shape
from recipes.recipe import Normalizing, Recipe
from restoring.generator_file import save_generator, save_keras
from restoring.normalization import Normalization
from training import cluster
from training.direction import measure
from training.options import tell_idle
from training.pair_check import notice_of
from training.report import cgan_command, restore_command, write_report
from training.run_folder import RunFolder

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from methods.method import Method
    from training.evaluation import Evaluator

# After a divergence the batches are drawn from another seed, a few times.
REDRAW, MOST_ROLLBACKS = 1_000_003, 3

# Arguments that change the mathematics of a run: a resumed run must agree in them.
FIXED_BY_RESUME = (
    "recipe method augment batch_size images_limit unpaired_limit eval_limit no_rotate precision vgg_weights seed "
    "n_critic cin_augment alpha"
).split()
# Of the state in a checkpoint. Those without a version know a task's data by its first x alone, and CIN-GAN's generator
# by its path. Version 2 has one gain for each task, whether or not its pairs agree.
STATE_VERSION = 3


def load_tasks(args: argparse.Namespace) -> list[Task]:
    """The pair sets that the arguments name; notices are printed. Raises InputError."""
    both = set(args.no_rotate) & set(args.rotate)
    if both:
        raise InputError(f"--no_rotate and --rotate both name {', '.join(sorted(both))}; leave it out of one")
    tasks, notices = data_utils.load_tasks(
        args.data_dir, args.tasks, args.images_limit, args.eval_limit, args.unpaired_limit, args.seed
    )
    for notice in notices:
        print(f"note: {notice}")
    for flag in ("no_rotate", "rotate"):
        unknown = set(getattr(args, flag)) - {task.name for task in tasks}
        if unknown:
            print(f"note: --{flag}={','.join(sorted(unknown))} names none of the tasks here")
    for task in tasks:
        height, width = task.shape
        print(f"{task.name}: {len(task.train_x)} training pairs, {len(task.test_x)} test pairs, {height} x {width}")
    return tasks


def choose_no_rotate(
    args: Arguments, run: RunFolder, tasks: list[Task], unpaired: bool, turns: str = "undirected"
) -> list[str]:
    """As `find_no_rotate`; a resumed run of an earlier version, which went by its tasks' names, keeps its own list."""
    if args.resume and is_of_earlier_version(run) and not {"no_rotate", "rotate"} & args.named:
        return run.read_state()["no_rotate"]
    return find_no_rotate(args, tasks, unpaired, turns)


def find_no_rotate(args: argparse.Namespace, tasks: list[Task], unpaired: bool, turns: str = "undirected") -> list[str]:
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
                as_published = f"recipe {args.recipe} turns it by 90 degrees all the same, as published"
                print(f"note: {task.name}: {measured}; {as_published}")
            continue
        named = [flag for flag in ("no_rotate", "rotate") if task.name in getattr(args, flag)]
        turned = named == ["rotate"] or (not named and measured.found is False)
        so = "flips and quarter turns" if turned else "flips, but no quarter turns"
        print(f"{task.name}: {measured}: {so}{f' (--{named[0]})' if named else ''}")
        never += [] if turned else [task.name]
    return never


def tell_of_unlike_pairs(tasks: list[Task]) -> None:
    """Print a note for each task whose training pairs hold an x and a y that seem to show different fields."""
    for notice in filter(None, map(notice_of, tasks)):
        print(f"note: {notice}")


def open_run(args: argparse.Namespace, name: str) -> RunFolder:
    """The results folder, checked but not yet written to. Raises InputError where it holds an earlier run."""
    run = RunFolder(args.dir / name, args.keep_checkpoints)
    # Several workers would find each other's probe of the lock; the chief takes it later.
    run.check(args.resume, args.overwrite, probe_lock=not cluster.is_asked_for())
    return run


def is_of_earlier_version(run: RunFolder) -> bool:
    """Whether a run was begun before the state in a checkpoint had a version."""
    return "version" not in (run.read_state() or {"version"})


def begun_before_version_3(args: argparse.Namespace, run: RunFolder) -> bool:
    """Whether this resumes a run whose checkpoints are older than version 3."""
    state = run.read_state() if args.resume else {}
    return bool(state) and state.get("version", 1) < 3


def choose_fit(args: argparse.Namespace, run: RunFolder, normalizing: Normalizing) -> Callable[..., Normalization]:
    """What fits the normalisation: the recipe's, or the one that a resumed run of an earlier version began with."""
    earlier = normalizing.fit_before_version_3
    return earlier if earlier and begun_before_version_3(args, run) else normalizing.fit


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
    args: Arguments,
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
    strategy, devices = start_tensorflow(args.num_gpu, most_gpus, cluster.make_strategy if several else None)
    if several:
        devices = cluster.describe(strategy, devices)
    replicas = strategy.num_replicas_in_sync
    if args.batch_size % replicas:
        raise InputError(f"--batch_size={args.batch_size} cannot be split over {replicas} devices; choose a multiple")
    import keras
    import tensorflow as tf

    if args.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(args.seed)
    keras.config.set_dtype_policy("float32" if args.precision == "float32" else f"mixed_{args.precision}")
    print(f"training on {devices}, {method}, batch {args.batch_size}")
    if "CPU" in devices:
        tell_idle("a training on the CPU", args)
        left = args.num_iters - (run.iterations_done() if args.resume else 0)
        _warn_of_slow_cpu(args, left, patch, gflop_per_image)
    return strategy


def _warn_of_slow_cpu(args, left, patch, gflop_per_image):
    if is_slow_on_cpu(args.precision):
        print(f"note: this CPU has no {args.precision} instructions; --precision=float32 is several times faster here")
    hours = estimate_seconds(gflop_per_image, args.batch_size * left, patch[0] * patch[1]) / 3600
    if hours > 0.25 and not (args.max_seconds and args.max_seconds < 900):
        print(f"note: {left} iterations will take about {hours:.1f} hours on this CPU")


def load_features(weights: str) -> keras.Model:
    """VGG16 features with the filters that `--vgg_weights` names; says which."""
    from methods import vgg

    features, description = vgg.load_vgg(weights)
    print(f"VGG16 with {description}")
    return features


def run_state(args: argparse.Namespace, tasks: list[Task], has_schedule: bool) -> dict:
    """Plain values that a resumed run must agree in, as a checkpoint holds them."""
    state = {key: getattr(args, key) for key in (*FIXED_BY_RESUME, *["num_iters"] * has_schedule) if hasattr(args, key)}
    state |= {"version": STATE_VERSION, "tasks": [task.name for task in tasks], "data": fingerprint(tasks)}
    if getattr(args, "cin_augment", False):
        state["cin_generator_sha256"] = hashlib.sha256(args.cin_generator_path.read_bytes()).hexdigest()
    return json_values(state)


def earlier_state(args: argparse.Namespace, tasks: list[Task], state: dict) -> dict:
    """`state` as it was before it had a version."""
    kept = {key: value for key, value in state.items() if key not in ("version", "cin_generator_sha256")}
    path = {key: getattr(args, key) for key in ["cin_generator_path"] if hasattr(args, key)}
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
    """

    def __init__(
        self,
        args: argparse.Namespace,
        run: RunFolder,
        strategy: tf.distribute.Strategy,
        gan: Method,
        evaluator: Evaluator,
        has_schedule: bool,
    ):
        self.args, self.folder, self.strategy, self.gan, self.evaluator = args, run, strategy, gan, evaluator
        self.chief = cluster.is_chief(strategy)
        self.start, self.seconds, self.rollbacks = 0, 0.0, 0
        self.state = run_state(args, evaluator.tasks, has_schedule)

    def run(self, batches: Callable[[int], dict], given: list[str]) -> int:
        """Train, evaluate and save until the end; print where the generator is.

        Args:
            batches: callable from the iteration to the global batch.
            given: names of the arguments that are not their defaults, for args.json.

        Returns:
            The script's exit code.
        """
        with self.folder.locked() if self.chief else nullcontext(), cluster.failures_told(self.strategy):
            self._prepare(given)
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
            command = cgan_command(vars(self.args), generator)
        print(f"how it went: {self.folder / 'report.html'}")
        print(f"{generator} is ready after {done} iterations; {purpose}:\n  {command}")
        sys.stdout.flush()

    def _prepare(self, given):
        """Make the folder, or load its last checkpoint. Workers other than the chief write nothing."""
        if self.chief:  # Looked at again, now that nobody else can write to it.
            self.folder.check(self.args.resume, self.args.overwrite, probe_lock=False)
        notice = self.folder.create(self.args.resume, self.args.overwrite) if self.chief else None
        if notice:
            print(f"note: {notice}")
        if self.args.resume:
            if is_of_earlier_version(self.folder):
                print(
                    f"note: {self.folder.path} was begun by an earlier version; it goes on with the tasks that it "
                    "never turned, and only the first x of each task and the path of CIN-GAN's generator are compared"
                )
                self.state = earlier_state(self.args, self.evaluator.tasks, self.state)
            elif begun_before_version_3(self.args, self.folder):
                self.state["version"] = self.folder.read_state()["version"]
            self._load()
        elif self.args.on_divergence == "rollback" and self.chief:
            self.folder.save_checkpoint(0, self.gan.variables(), self.state)
        if self.chief:
            self.folder.write_args(self.args, given, self.evaluator.metadata.script)

    def _load(self):
        with self.strategy.scope():
            self.start, self.seconds, self.rollbacks = self.folder.load_checkpoint(self.gan.variables(), self.state)

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
        while True:
            batches.seed = self.args.seed + REDRAW * self.rollbacks
            try:
                evaluated = self.start if self.start == self.folder.evaluated() else None
                loop = Loop(self.gan, batches, self.strategy, self.args, evaluate, self._save, evaluated)
                return loop.run(self.start, self.seconds)
            except DivergenceError as failure:
                if self.args.on_divergence == "stop" or self.rollbacks == MOST_ROLLBACKS:
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
