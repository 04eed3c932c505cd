"""`python -m benchmarks training_steps`: what is drawn at an iteration is what its checkpoint restores."""

import numpy as np
import pytest
from PIL import Image
from small_generators import local_mean_generator

from benchmarks import training_steps
from benchmarks.measuring import read_tasks
from common.errors import InputError
from restoring.generator_file import Metadata, save_generator
from restoring.normalization import FixedNormalization, Scale
from training.run_folder import RunFolder


@pytest.fixture
def run(pair_folder, tmp_path):
    """A run whose checkpoints 1 and 2 hold the weights of a small network and their double; (folder, its tasks)."""
    tasks, network = read_tasks(pair_folder), local_mean_generator()
    scales = FixedNormalization({task.name: (Scale(0, 1), Scale(0, 1)) for task in tasks})
    details = Metadata("cGAN", "paper", [task.name for task in tasks], scales, [], 4)
    save_generator(network, tmp_path / "generator.h5", details)
    (tmp_path / "checkpoints").mkdir()
    for iteration in (1, 2):
        weights = {f"released/{i}": weight * iteration for i, weight in enumerate(network.get_weights())}
        np.savez(tmp_path / f"checkpoints/{iteration:06d}.npz", **weights)
    return tmp_path, tasks


def test_each_column_is_restored_with_the_weights_of_its_checkpoint(run):
    folder, tasks = run
    found = training_steps.restored_at(RunFolder(folder), [1, 2], tasks)
    assert [len(images) for images in found.values()] == [len(tasks)] * 2
    assert not np.allclose(found[1][0], found[2][0])
    np.testing.assert_array_equal(training_steps.restored_at(RunFolder(folder), [2], tasks)[2], found[2])


def test_the_picture_has_a_row_for_each_task_and_a_missing_checkpoint_is_an_error(run, pair_folder, tmp_path):
    folder, tasks = run
    training_steps.main(run=folder, data_dir=pair_folder, output=tmp_path / "a.png", iterations="1,2")
    width, height = Image.open(tmp_path / "a.png").size
    assert width == 640 and height == int(160 * len(tasks) + 30)
    with pytest.raises(InputError, match="--iterations=a: expected whole numbers"):
        training_steps.main(run=folder, data_dir=pair_folder, output=tmp_path / "b.png", iterations="a")
    with pytest.raises(InputError, match=r"000007\.npz: no such checkpoint"):
        training_steps.main(run=folder, data_dir=pair_folder, output=tmp_path / "b.png", iterations="7")
