"""train_baseline.py: a run folder per task, resume, and what it refuses."""

import keras
import numpy as np
import pytest

import models
import restore
import train_baseline
from common.errors import InputError
from methods import care
from restoring.generator_file import read_metadata

needs_csbdeep = pytest.mark.skipif(
    not care.has_csbdeep(), reason="csbdeep is not installed (requirements/baselines.txt)"
)


@pytest.fixture
def quick_networks(monkeypatch):
    """One convolution for the residual body, two for the judges: the script is tested, not the machine."""
    judge, critic = models.patch_discriminator, models.patch_critic

    def body(image, *args, **kwargs):
        return keras.layers.Conv2D(1, 3, padding="same", activation="tanh")(image)

    monkeypatch.setattr(models, "resnet", body)
    monkeypatch.setattr(models, "patch_discriminator", lambda filters, conditional: judge((4, 8), True, conditional))
    monkeypatch.setattr(models, "patch_critic", lambda num_tasks, filters: critic(num_tasks, (4, 8)))


@pytest.mark.parametrize(
    "method", ["deblurgan", pytest.param("cyclegan", marks=pytest.mark.slow), pytest.param("care", marks=needs_csbdeep)]
)
def test_script_leaves_a_run_folder_per_task_that_restore_takes(method, train, quick_networks, pair_folder, tmp_path):
    flags = ["--n_critic=1"] if method == "deblurgan" else ["--augment"] if method == "care" else []
    run = train(train_baseline, f"--method={method}", *flags)
    for task in ("Layers", "Speckle"):
        files = "args.json log.csv report.html generator.h5 samples/000002.png checkpoints/000002.npz".split()
        assert all((run / task / file).is_file() for file in files)
        assert read_metadata(run / task / "generator.h5").tasks == [task]
    target = tmp_path / "restored.npy"
    flags = [f"--generator_path={run / 'Speckle' / 'generator.h5'}", f"--output={target}"]
    assert restore.main(restore.make_parser().parse_args([*flags, f"--input={pair_folder / 'Speckle_X.npy'}"])) == 0
    restored = np.load(target)
    assert restored.shape == (12, 32, 32) and np.isfinite(restored).all()


@pytest.mark.slow
def test_script_goes_on_with_unfinished_tasks(train, quick_networks):
    """The first task is finished, the second was killed at its start: --resume trains the second only."""
    run = train(train_baseline, "--method=cyclegan", "--tasks=Layers")
    before = (run / "Layers" / "checkpoints" / "000002.npz").stat().st_mtime_ns
    (run / "Speckle" / "samples").mkdir(parents=True)  # killed before its first checkpoint
    train(train_baseline, "--method=cyclegan", "--resume", "--tasks=Layers,Speckle")
    assert (run / "Speckle" / "generator.h5").is_file()
    assert (run / "Layers" / "checkpoints" / "000002.npz").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method=cyclegan", "--augment"], "--augment"),
        (["--method=deblurgan", "--resume"], "no checkpoint"),
    ],
)
def test_mistakes_are_told(flags, message, pair_folder, tmp_path):
    args = [f"--data_dir={pair_folder}", f"--dir={tmp_path}", *flags]
    with pytest.raises(InputError, match=message):
        train_baseline.main(train_baseline.make_parser().parse_args(args))


def test_care_without_csbdeep_names_the_requirements(pair_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(care, "has_csbdeep", lambda: False)
    args = ["--method=care", f"--data_dir={pair_folder}", f"--dir={tmp_path / 'o'}"]
    with pytest.raises(InputError, match=r"requirements/baselines\.txt"):
        train_baseline.main(train_baseline.make_parser().parse_args(args))
    assert not (tmp_path / "o").exists()
