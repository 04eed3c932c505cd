"""CIN-GAN without clean images: simulated scenes are y, and a training that failed says so."""

import numpy as np
import pytest

import train_cGAN
import train_CIN_GAN
from common.errors import InputError
from data_utils import load_tasks
from restoring.apply import Applier
from restoring.generator_file import Metadata
from restoring.normalization import FixedNormalization
from training import run as launch
from training.clean_scenes import COUNT, CleanScenes
from training.defect_check import distance, notices_of_failure
from training.options import DataOptions


@pytest.fixture
def x_alone(pair_folder):
    """The pairs without the y of one task."""
    (pair_folder / "Speckle_Y.npy").unlink()
    return pair_folder


def test_scenes_are_a_pure_function_of_the_seed_and_of_the_shape_of_x():
    scenes, again, other = (CleanScenes(seed, (48, 32)) for seed in (1, 1, 2))
    assert scenes[3].shape == (48, 32) and scenes[3].dtype == np.float32
    assert np.array_equal(scenes[3], again[3]) and scenes.checksum == again.checksum
    assert not np.array_equal(scenes[3], other[3]) and scenes.checksum != other.checksum


def test_scenes_are_the_y_of_tasks_without_y_alone(x_alone, capsys):
    layers, speckle = launch.load_tasks(DataOptions(data_dir=x_alone), 42, x_alone=True)
    assert "note: Speckle has no y: 200 simulated scenes stand for clean images" in capsys.readouterr().out
    assert len(speckle.unpaired_y) == COUNT and len(speckle.train_x) == 10
    assert np.load(x_alone / "Layers_Y.npy")[layers.train_y.rows[0]] == pytest.approx(layers.train_y[0])


def test_only_what_learns_from_no_pair_takes_x_alone(x_alone, train):
    with pytest.raises(InputError, match=r"has no Speckle_Y\.npy beside it"):
        load_tasks(x_alone)
    for script, flags in ((train_cGAN, ["--recipe=tuned"]), (train_CIN_GAN, ["--recipe=paper"])):
        with pytest.raises(InputError, match=r"has no Speckle_Y\.npy beside it"):
            train(script, *flags)


def test_x_alone_is_enough_for_cin_gan_and_for_a_cgan_on_its_pairs(x_alone, train, capsys):
    cin = train(train_CIN_GAN, "--recipe=tuned", folder="cin")
    flags = ["--recipe=tuned", "--cin_augment=True", "--alpha=1", f"--cin_generator_path={cin / 'generator.h5'}"]
    assert (train(train_cGAN, *flags, folder="cgan") / "generator.h5").is_file()
    assert capsys.readouterr().out.count("note: Speckle has no y") == 2


def test_the_distance_of_noises_is_that_of_their_powers():
    rng = np.random.default_rng(0)
    noises = [0.5 + rng.normal(0, deviation, (64, 64)).astype(np.float32) for deviation in (0.1, 0.1, 0.2) * 4]
    assert distance(noises[::3], noises[1::3]) < 0.2
    assert distance(noises[::3], noises[2::3]) == pytest.approx(np.log(4), abs=0.2)


@pytest.mark.parametrize("deviation, fails", [(20, False), (80, True)])
def test_generated_x_unlike_real_x_end_in_a_note(pair_folder, deviation, fails):
    (task,) = load_tasks(pair_folder, ["Speckle"])[0]
    rng = np.random.default_rng(1)
    task = task._replace(
        unpaired_y=[500 * np.ones((32, 32), np.float32)] * 20,
        test_x=[500 + rng.normal(0, 20, (32, 32)).astype(np.float32) for _ in range(20)],
    )
    metadata = Metadata(
        "CIN-GAN",
        "tuned",
        ["Speckle"],
        FixedNormalization({"Speckle": ((0, 1000), (0, 1000))}),
        [],
        4,
        noise_channels=1,
    )
    applier = Applier(lambda inputs, training: inputs[0] + deviation / 1000 * inputs[2], metadata)
    assert bool(notices_of_failure(applier, [task])) == fails
