"""No flag of any command is ignored in silence: a table of all flags, each with where it acts and where it cannot."""

import importlib
import json
import shlex
from pathlib import Path

import pytest
import tensorflow as tf
from small_generators import PAPER, identity_generator, metadata

import reproduce_tables
import train_cGAN
from methods import BASELINES
from restoring.generator_file import SHIPPED, save_generator
from tables.data import Data
from tables.rows import JOBS
from tables.trainings import training_arguments
from training import options
from training import run as launch
from training.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]

# Flags that act whatever else is given, or as soon as what they limit or permit comes (a limit that is never reached,
# an --overwrite with nothing to overwrite).
TRAINING = (
    "batch_size num_iters max_seconds num_gpu images_limit eval_limit dir data_dir tasks precision seed save_every "
    "keep_checkpoints eval_every on_divergence resume overwrite"
)
OF_STACKS = "axes scene channel time max_gb"
PART = f"{OF_STACKS} z"
ALWAYS = {
    "train_CIN_GAN": f"{TRAINING} recipe n_critic unpaired_limit",
    "train_cGAN": f"{TRAINING} recipe cin_augment",
    "train_baseline": f"{TRAINING} method augment",  # --augment of another method than care is an error
    "restore": f"generator_path input output {PART} ground_truth tile overlap average dtype uncertainty check "
    "precision overwrite skip_existing verbose isotropic view",
    "evaluate": "x y metric promote",
    "calibrate": "generator_path input ground_truth output uncertainty limit",
    "export": "generator_path format output",
    "reproduce_tables": "setting runs seed images_limit eval_limit data_dir tasks dir",
    "demo": "dir",
    "isotropic": f"input output spacing minutes psf depth_ranges average {OF_STACKS}",
    "run_report": "",
    "view": f"input {PART}",
    "data/simulate": "output kind n n_test size photons seed",
    "data/prepare_care": "output tasks input n_images n_test",
    "data/prepare_micrographs": "output input overwrite",
    "data/prepare_folders": "x_dir y_dir pattern x_channel y_channel project unpaired test_files more_x more_y name "
    f"output patch {PART} keep_empty",
    "data/prepare_stack": f"input spacing psf depth_ranges name output patch seed {OF_STACKS}",
    "animations/make_animations": "output",
    "illustrations/make_illustrations": "output",
}
AUGMENTED = "--cin_augment=True --cin_generator_path=g.h5"
PACKAGE = "--format=bioimageio --output=o.zip --sample=x.npy"
TRAINING_OF_TABLES = "num_iters seconds seeds batch_size unpaired_limit no_rotate rotate vgg_weights num_gpu"
# (command, a flag in vain, what it is in vain with, what it acts with)
IN_VAIN = [
    ("train_CIN_GAN", "--no_rotate=A", "", "--recipe=tuned"),
    ("train_CIN_GAN", "--rotate=A", "", "--recipe=tuned"),
    ("train_CIN_GAN", "--vgg_weights=random", "--recipe=tuned", ""),
    ("train_CIN_GAN", "--deterministic", None, None),
    ("train_cGAN", "--no_rotate=A", "", "--recipe=tuned"),
    ("train_cGAN", "--rotate=A", "", "--recipe=tuned"),
    ("train_cGAN", "--vgg_weights=imagenet", "--recipe=tuned", ""),
    ("train_cGAN", "--alpha=0.3", "", AUGMENTED),
    ("train_cGAN", "--cin_generator_path=g.h5", "", "--cin_augment=True"),
    ("train_cGAN", "--cin_generator_path=g.h5", "--cin_augment=True --alpha=0", "--cin_augment=True --alpha=1"),
    ("train_cGAN", "--unpaired_limit=0", "", AUGMENTED),
    ("train_cGAN", "--init_from=none", "", "--recipe=tuned"),
    ("train_cGAN", "--deterministic", None, None),
    ("train_baseline", "--no_rotate=A", "--method=cyclegan", "--method=care"),
    ("train_baseline", "--rotate=A", "--method=cyclegan", "--method=care"),
    ("train_baseline", "--unpaired_limit=-1", "--method=care", "--method=cyclegan"),
    ("train_baseline", "--n_critic=5", "--method=cyclegan", "--method=deblurgan"),
    ("train_baseline", "--vgg_weights=random", "--method=cyclegan", "--method=deblurgan"),
    ("train_baseline", "--deterministic", None, None),
    *[("reproduce_tables", f"--{flag}=1", "--runs=runs", "") for flag in TRAINING_OF_TABLES.split()],
    ("restore", "--task=A", "--generator_path={tuned}", "--generator_path={paper}"),
    ("restore", "--task=A", "--generator_path={directed}", "--generator_path={directed} --average=8"),
    ("restore", "--task=A", "--generator_path={shipped} --average=8", "--generator_path={shipped} --check"),
    ("restore", "--task=A", "--generator_path={tuned} --uncertainty=2", "--generator_path={directed} --uncertainty=2"),
    ("restore", "--task=A", "--generator_path={tuned} --average=8", "--generator_path={tuned} --check"),
    ("restore", "--seed=0", "--generator_path={tuned}", "--generator_path={cin} --task=A"),
    ("restore", "--scheduler=tcp://here:8786", "--generator_path={tuned}", "--generator_path={tuned} --input=v.zarr"),
    ("restore", "--recursive", "--generator_path={tuned}", "--generator_path={tuned} --input={folder}"),
    ("restore", "--calibration=c.json", "--generator_path={tuned}", "--generator_path={tuned} --uncertainty=2"),
    ("restore", "--normalize=stack", "--generator_path={tuned} --isotropic", "--generator_path={tuned}"),
    ("restore", "--spacing=2,1,1", "--generator_path={tuned}", "--generator_path={tuned} --isotropic"),
    ("restore", "--normalize=stack", "--generator_path={paper} --task=A", "--generator_path={tuned}"),
    ("restore", "--cin_generator_path={cin}", "--generator_path={tuned}", "--generator_path={tuned} --check"),
    ("evaluate", "--task=A", "{folder}/tuned", "{folder}/paper"),
    ("calibrate", "--task=A", "--generator_path={tuned}", "--generator_path={directed}"),
    ("export", "--sample={tuned}", "--format=onnx", "--format=bioimageio --output=o.zip"),
    *[("export", flag, "--format=onnx", PACKAGE) for flag in ("--name=Name", "--author=Me", "--license=MIT")],
    ("export", "--task=A", "--generator_path={paper} --format=onnx", f"--generator_path={{paper}} {PACKAGE}"),
    ("export", "--task=A", PACKAGE, f"--generator_path={{paper}} {PACKAGE}"),
]
REQUIRED = {
    "reproduce_tables": "--setting=A",
    "restore": "--input=x.npy --output=r.npy",
    "evaluate": "--x=x.npy --y=y.npy",
    "calibrate": "--input=x.npy --ground_truth=y.npy --output=c.json",
    "export": "--generator_path={tuned} --output=o.onnx",
}


def load_command(command):
    return importlib.import_module(command.replace("/", "."))


@pytest.mark.parametrize("command", list(ALWAYS))
def test_every_flag_of_every_command_stands_in_one_of_the_two_tables(command):
    flags = {action.dest for action in load_command(command).make_parser()._actions if action.option_strings}
    in_vain = {flag.split("=")[0].removeprefix("--") for name, flag, *_ in IN_VAIN if name == command}
    always = set(ALWAYS[command].split())
    assert not in_vain & always and in_vain | always == flags - {"help"}


def test_every_command_stands_in_the_table():
    with_flags = {
        str(path.relative_to(ROOT).with_suffix(""))
        for folder in (".", "data", "animations", "illustrations")
        for path in (ROOT / folder).glob("*.py")
        if "make_parser().parse_args()" in path.read_text(encoding="utf-8")
    }
    assert with_flags == set(ALWAYS)
    assert set(options.IDLE) - {"a training on the CPU"} <= with_flags


class StoppedError(Exception):
    """The command has said which flags are in vain; what comes after it is not tested here."""


@pytest.fixture
def places(tmp_path, monkeypatch):
    """What {tuned} and the like in the table mean: generator files, and run folders that hold them."""
    monkeypatch.chdir(tmp_path)
    kinds = {
        "tuned": metadata(),
        "directed": metadata(no_rotate=["A"]),
        "paper": metadata(PAPER),
        "cin": metadata(PAPER, "CIN-GAN", noise_channels=1),
    }
    paths = {kind: tmp_path / kind / "generator.h5" for kind in kinds}
    for kind, path in paths.items():
        save_generator(identity_generator(), path, kinds[kind])
        record = {"arguments": {}, "versions": {}, "not_default": []}
        (path.parent / "args.json").write_text(json.dumps(record))
    return {**paths, "shipped": SHIPPED, "folder": tmp_path}


@pytest.mark.parametrize(("command", "flag", "vain", "acts"), [case for case in IN_VAIN if case[2] is not None])
def test_a_flag_in_vain_is_noted_and_one_that_acts_is_not(command, flag, vain, acts, places, monkeypatch, capsys):
    script, tell = load_command(command), options.tell_idle

    def tell_and_stop(*received):
        tell(*received)
        raise StoppedError

    monkeypatch.setattr(getattr(script, "options", script), "tell_idle", tell_and_stop)
    monkeypatch.setattr(script, "find_images", lambda path: [path], raising=False)
    for words, noted in ((vain, True), (acts, False)):
        text = f"{REQUIRED.get(command, '')} {words} {flag}".format(**places)
        capsys.readouterr()
        with pytest.raises(StoppedError):
            script.main(script.make_parser().parse_args(shlex.split(text)))
        name = flag.split("=")[0]
        assert (f"note: {name} has no effect: " in capsys.readouterr().out) == noted, text


@pytest.mark.parametrize(("devices", "noted"), [("the CPU", True), ("1 GPU", False)])
def test_deterministic_is_in_vain_on_a_cpu(devices, noted, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(launch, "start_tensorflow", lambda *received, **named: (tf.distribute.get_strategy(), devices))
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: None)
    given = options.CGANOptions.read(train_cGAN.make_parser().parse_args(["--deterministic"]), batch_size=1)
    launch.start_devices(given, RunFolder(tmp_path), "recipe tuned", (32, 32), 1.0)
    assert ("note: --deterministic has no effect: " in capsys.readouterr().out) == noted


def test_a_flag_with_its_defaults_value_is_a_flag_too():
    parser = train_cGAN.make_parser()
    assert parser.parse_args(["--alpha=0.3"]).named == {"alpha"} and not parser.parse_args([]).named
    assert "named" not in vars(parser.parse_args(["--alpha=0.3"])), "args.json holds arguments alone"


@pytest.mark.parametrize("job", list(JOBS))
def test_trainings_of_the_tables_get_only_flags_that_act(job, tmp_path):
    words = "--setting=A --seconds=9 --no_rotate=A --unpaired_limit=-1 --vgg_weights=random --tasks=A --num_gpu=2"
    args = reproduce_tables.make_parser().parse_args(words.split())
    shared = reproduce_tables.shared(args, Data(10, args.unpaired_limit, None, Path("pairs"), args.tasks))
    script, *flags = training_arguments(job, shared, 10, 1, tmp_path, JOBS[job].cin and tmp_path)
    command = Path(script).stem
    assert not options.idle(command, load_command(command).make_parser().parse_args(flags))
    baseline = BASELINES.get(job.split("_")[0])
    turns = baseline.turns if baseline else job.startswith(("tuned", "cin_tuned"))
    assert "--tasks=A" in flags and ("--no_rotate=A" in flags) == turns
