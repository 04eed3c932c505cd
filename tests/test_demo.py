"""demo.py with trainings that are stood in for: the commands it runs, what it compares, what it keeps."""

import keras
import numpy as np
import pytest
from matplotlib.image import imread

import demo
from common.errors import InputError
from common.metrics import mean_scores
from data_utils import SAMPLE_DIR
from restoring.generator_file import Metadata, save_generator
from restoring.normalization import PercentileNormalization


class Trainings:
    """Stands in for `run_command`: notes each command, leaves generators that give their input back."""

    def __init__(self):
        self.commands = []

    def __call__(self, script, words):
        self.commands.append([script, *words])
        flags = dict(flag.split("=", 1) for flag in words)
        image = keras.Input((None, None, 1))
        model = keras.Model(image, keras.layers.Activation("linear")(image))
        metadata = Metadata("cGAN", "tuned", ["Nuclei"], PercentileNormalization({"Nuclei": (1.0, 0.0)}), [], 4)
        folder = "Microscopy_cGAN_results" + "_CIN_augm" * (flags.get("--cin_augment") == "True")
        folder = "CIN-GAN_results" if "CIN_GAN" in script else folder
        save_generator(model, f"{flags['--dir']}/{folder}/generator.h5", metadata)


@pytest.fixture
def trainings(monkeypatch):
    stand_in = Trainings()
    monkeypatch.setattr(demo, "run_command", stand_in)
    monkeypatch.setattr(demo, "find_task_names", lambda folder: ["Nuclei"])
    return stand_in


def run(folder):
    return demo.main(demo.make_parser().parse_args([f"--dir={folder}"]))


def test_the_whole_path(trainings, tmp_path, capsys):
    """Generators that give their input back score as it does; the cGAN is given the CIN-GAN of this run."""
    assert run(tmp_path / "demo") == 0
    assert f"--cin_generator_path={tmp_path / 'demo' / 'CIN-GAN_results' / 'generator.h5'}" in trainings.commands[1]
    x, y = (np.load(SAMPLE_DIR / f"Nuclei_{kind}_test.npy") for kind in "XY")
    scores = mean_scores(x, y)
    cell = f"{scores['affine_psnr']:.2f} / {scores['affine_ssim']:.3f}"
    lines = capsys.readouterr().out.splitlines()
    for row in ("input", "ten unpaired images", "ten pairs"):
        assert f"| {row} | {cell} | {cell} |" in lines, "of its one task, and their mean"
    without = next(line for line in lines if line.startswith("| no training |"))
    assert float(without.split()[4]) > scores["affine_psnr"] + 3, "the shipped generator restores without any training"
    assert imread(tmp_path / "demo" / "before_after.png").std() > 0


def test_earlier_results_are_kept(trainings, tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "before_after.png").touch()
    run(tmp_path / "demo")
    assert len(list(tmp_path.glob("demo.*/before_after.png"))) == 1


def test_a_folder_of_the_users_is_left_alone(trainings, tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="holds other things"):
        run(tmp_path)
    assert not trainings.commands and list(tmp_path.iterdir()) == [tmp_path / "mine.txt"]
