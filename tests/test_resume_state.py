"""What a resumed run must agree in: every image that the training may see, and the content of CIN-GAN's generator."""

import json
import zlib

import h5py
import numpy as np
import pytest

import launch
import train_cGAN
import train_CIN_GAN
from data_utils import load_tasks
from errors import InputError


@pytest.mark.parametrize("row", [0, 3, -1])
@pytest.mark.parametrize("kind", ["X", "Y"])
def test_data_are_known_by_every_image_that_a_training_may_see(kind, row, pair_folder):
    """Rows 0 and 3 are of pairs; the last one is of the unpaired pool, whose odd rows give x, and even ones y."""
    layers = load_layers(pair_folder, images_limit=4, unpaired_limit=-1)
    change_pixel(
        pair_folder / f"Layers_{kind}.npy", (layers.unpaired_x if kind == "X" else layers.unpaired_y).rows[row]
    )
    changed = load_layers(pair_folder, images_limit=4, unpaired_limit=-1)
    assert launch.fingerprint([layers]) != launch.fingerprint([changed])


def load_layers(folder, **limits):
    return load_tasks(folder, ["Layers"], **limits)[0][0]


def change_pixel(path, row):
    images = np.load(path)
    images[row, 5, 5] += 1
    np.save(path, images)


def test_cin_gans_generator_is_known_by_its_content_and_in_an_earlier_version_by_its_path(train, tmp_path, capsys):
    cin = train(train_CIN_GAN, "--recipe=tuned", "--n_critic=1") / "generator.h5"
    moved = tmp_path / "moved.h5"
    moved.write_bytes(cin.read_bytes())

    def augment(path, *flags):
        named = f"--cin_generator_path={path}"
        return train(train_cGAN, "--recipe=tuned", "--cin_augment=True", named, *flags, folder="augmented")

    checkpoint = augment(cin) / "checkpoints/000002.npz"
    augment(moved, "--resume")
    with h5py.File(moved, "r+") as file:
        file.attrs["another"] = 1
    with pytest.raises(InputError, match="cin_generator_sha256 was"):
        augment(moved, "--resume")
    assert "earlier version" not in capsys.readouterr().out
    with np.load(checkpoint) as stored:
        arrays = dict(stored)
    state = json.loads(str(arrays["state"]))
    del state["version"], state["cin_generator_sha256"]
    tasks, _ = load_tasks(tmp_path / "pairs")
    state["data"] = {task.name: [len(task.train_x), 32, 32, zlib.crc32(task.train_x[0])] for task in tasks}
    np.savez(checkpoint, **{**arrays, "state": json.dumps({**state, "cin_generator_path": str(moved)})})
    augment(moved, "--resume")
    assert "was begun by an earlier version" in capsys.readouterr().out
    with pytest.raises(InputError, match="cin_generator_path was"):
        augment(cin, "--resume")
