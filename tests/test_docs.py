"""The pages of docs/: commands run in their order with two iterations a training, and names are those of the code."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = (".py", ".h5", ".npy", ".csv", ".json")


def test_the_page_runs_as_it_stands(tmp_path):
    page = (ROOT / "docs/from_your_microscope.md").read_text(encoding="utf-8")
    script = "set -e\n" + "\n".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "REPOSITORY": str(ROOT), "ITERATIONS": "2", "PATH": path, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    restored = tifffile.imread(tmp_path / "restored/field10.tif")
    assert restored.shape == (128, 128) and np.isfinite(restored).all() and "flux" in done.stdout
    assert len(list((tmp_path / "checked").glob("*_check.tif"))) == 10


PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/]+\.py)`", PAGE))))
def test_architecture_names_files_that_exist(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize(
    "name", sorted({n for n in re.findall(r"`(\w+(?:\.\w+)+)`", PAGE) if not n.endswith(SUFFIXES)})
)
def test_architecture_names_what_the_code_holds(name):
    module, *parts = name.split(".")
    scope = ast.parse((ROOT / f"{module}.py").read_text(encoding="utf-8"))
    for part in parts:
        found = {node.name: node for node in scope.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        assigned = [target for node in scope.body if isinstance(node, ast.Assign) for target in node.targets]
        assert part in found or part in [getattr(target, "id", None) for target in assigned], name
        scope = found.get(part)


def test_every_top_level_file_has_a_room():
    assert {path.name for path in ROOT.glob("*.py")} <= set(re.findall(r"`(\w+\.py)`", PAGE))
