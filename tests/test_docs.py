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
PICTURES = 3  # in docs/quickstart.ipynb
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


def test_the_notebook_runs_from_any_folder(tmp_path, monkeypatch, temporary_folder):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (requirements-dev.txt)")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed (requirements-dev.txt)")
    for name, value in {"REPOSITORY": str(ROOT), "ITERATIONS": "2", "CUDA_VISIBLE_DEVICES": ""}.items():
        monkeypatch.setenv(name, value)
    notebook = read_notebook()
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert "restored" in "".join(output.get("text", "") for cell in code_cells(notebook) for output in cell.outputs)
    assert list(temporary_folder.glob("quickstart_*")), "its results are left, but not in the system's folder"


def test_the_notebook_is_stored_as_it_ran_and_small():
    path = ROOT / "docs/quickstart.ipynb"
    text, cells = path.read_text(encoding="utf-8"), code_cells(read_notebook())
    assert path.stat().st_size < 500_000
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(
        output.output_type == "error" or output.get("name") == "stderr" for c in cells for output in c.outputs
    )
    assert sum("image/jpeg" in output.get("data", {}) for cell in cells for output in cell.outputs) == PICTURES
    assert not re.search(r"/(home|tmp|root|Users|work)/", text) and "iopub" not in text, "paths or times of a machine"


def read_notebook():
    """docs/quickstart.ipynb as nbformat reads it."""
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (requirements-dev.txt)")
    return nbformat.read(ROOT / "docs/quickstart.ipynb", as_version=4)


def code_cells(notebook):
    """The cells that run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


PAGE, DIFFERENCES = ((ROOT / f"docs/{name}.md").read_text(encoding="utf-8") for name in ("architecture", "differences"))


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/]+\.py)`", PAGE + DIFFERENCES))))
def test_the_pages_name_files_that_exist(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize(
    "name", sorted({n for n in re.findall(r"`(\w+(?:\.\w+)+)`", PAGE + DIFFERENCES) if not n.endswith(SUFFIXES)})
)
def test_the_pages_name_what_the_code_holds(name):
    module, *parts = name.split(".")
    scope = ast.parse((ROOT / f"{module}.py").read_text(encoding="utf-8"))
    for part in parts:
        found = {node.name: node for node in scope.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        assigned = [target for node in scope.body if isinstance(node, ast.Assign) for target in node.targets]
        assert part in found or part in [getattr(target, "id", None) for target in assigned], name
        scope = found.get(part)


def test_every_top_level_file_has_a_room():
    assert {path.name for path in ROOT.glob("*.py")} <= set(re.findall(r"`(\w+\.py)`", PAGE))
