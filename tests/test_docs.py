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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_notebook_runs_from_any_folder(tmp_path, monkeypatch, temporary_folder):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (requirements/dev.txt)")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed (requirements/dev.txt)")
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
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (requirements/dev.txt)")
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
    path, parts = ROOT, name.split(".")
    while (path / parts[0]).is_dir():
        path /= parts.pop(0)
    module = path / f"{parts[0]}.py"
    file, parts = (module, parts[1:]) if module.is_file() else (path / "__init__.py", parts)
    scope = ast.parse(file.read_text(encoding="utf-8"))
    for part in parts:
        found = {node.name: node for node in scope.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        assigned = [target for node in scope.body if isinstance(node, ast.Assign) for target in node.targets]
        assert part in found or part in [getattr(target, "id", None) for target in assigned], name
        scope = found.get(part)


def test_every_top_level_file_has_a_room():
    assert {path.name for path in ROOT.glob("*.py")} <= set(re.findall(r"`(\w+\.py)`", PAGE))


PAGES = (ROOT / "README.md", ROOT / "generators/README.md", *sorted((ROOT / "docs").glob("*.md")))
TEXTS = {path: path.read_text(encoding="utf-8") for path in PAGES}


def benchmark_commands():
    """(script, flags) of every `python benchmarks/NAME.py ...` or `python -m benchmarks NAME ...` of the pages."""
    text = " ".join(" ".join(TEXTS.values()).replace("\\\n", " ").split())
    found = re.findall(r"python (?:-m benchmarks |benchmarks/)(\w+)(?:\.py)?((?: (?!python\b)[^`\s]+)*)", text)
    return sorted({(name, *re.findall(r"--(\w+)", words)) for name, words in found})


@pytest.mark.parametrize("command", benchmark_commands(), ids=" ".join)
def test_every_benchmark_that_a_page_names_exists_with_its_flags(command):
    name, *flags = command
    sources = ("benchmarks/" + name, "training/options", "train_cGAN")
    known = "".join((ROOT / f"{source}.py").read_text(encoding="utf-8") for source in sources)
    assert not [flag for flag in flags if not re.search(rf"\b{flag}\b", known)]


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_links_between_the_pages_lead_to_a_heading(page):
    for name, anchor in re.findall(r"\]\(\s*([\w./-]*\.md)?#([\w-]+)\)", TEXTS[page]):
        headings = re.findall(r"^#+ (.*)$", TEXTS[(page.parent / name).resolve() if name else page], re.MULTILINE)
        assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("path", ["README.md", "docs/results.md", "demo.py", "Makefile"])
def test_the_time_of_the_demonstration_is_the_same_everywhere(path):
    words = " ".join((ROOT / path).read_text(encoding="utf-8").replace("#", " ").split())
    assert "about 4 minutes on two cores with AVX-512, longer on slower ones" in words


@pytest.mark.parametrize(
    "path", ["README.md", "docs/training.md", "docs/from_your_microscope.md", "train_cGAN.py", "Dockerfile"]
)
def test_recipe_tuned_is_trained_for_as_long_everywhere(path):
    """600 iterations from the shipped start, or 8,400 with CIN-GAN's pairs from all unpaired images."""
    text = (ROOT / path).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if "train_cGAN.py" in line and "--recipe=tuned" in line]
    assert lines
    for line in lines:
        expected = "8400" if "--unpaired_limit=-1" in line else "600"
        assert re.search(r"--num_iters=(?:\$\{ITERATIONS:-)?(\d+)", line)[1] == expected, line
