"""The commands of docs/isotropic.md run in their order, on a simulated stack, with two iterations a training."""

import numpy as np
import pytest
from small_stacks import blobs, blurred_stack, write_imagej, write_zarr
from test_readme import SMALL, load_script, read_commands

from restoring.image_files import read_image

ADDED = {"data/prepare_stack.py": ["--patch=32"], "isotropic.py": ["--minutes=0.01"]}


@pytest.mark.slow
def test_the_commands_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("zarr", reason="requirements/large.txt is not installed")
    stack = blurred_stack(blobs(37, 40))
    write_imagej(tmp_path / "stack.tif", stack)
    write_zarr(tmp_path / "volume.zarr", np.stack([stack, stack])[None], "TCZYX", labels=["DNA", "actin"])
    commands = read_commands("docs/isotropic.md")
    for name, *flags in commands:
        script = load_script(name)
        added = SMALL if name.startswith("train_") else ADDED.get(name, [])
        assert script.main(script.make_parser().parse_args([*flags, *added])) == 0, [name, *flags]
    assert {"restore.py", "isotropic.py", "data/prepare_stack.py", "train_CIN_GAN.py"} <= {
        name for name, *_ in commands
    }
    for name in ("quick", "isotropic", "known", "trained", "trained_disagreement"):
        assert read_image(tmp_path / f"{name}.tif").planes.shape == (37, 40, 40), name
    assert read_image(tmp_path / "isotropic_disagreement.zarr").shape == (1, 2, 37, 40, 40)
