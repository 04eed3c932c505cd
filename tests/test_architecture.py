"""The house: imports go down only, in no circle; commands are no libraries; what is public has type hints."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the bottom up. A module imports what is below it, and modules of its own package or of those on its line.
LAYERS = (
    ("common",),
    ("models", "losses", "data_utils", "simulation"),
    ("restoring",),
    ("methods", "recipes"),
    ("training",),
    ("tables",),
)
PACKAGES = tuple(name for layer in LAYERS for name in layer)
FOLDERS = ("", *PACKAGES, "data", "benchmarks", "animations", "illustrations")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.py"))]
COMMANDS = {path.stem for path in ROOT.glob("*.py")} - set(PACKAGES)
COMMANDS |= {f"data.{path.stem}" for path in (ROOT / "data").glob("*.py") if "make_parser" in path.read_text()}
# An ablation is a training by the published command, in a process of its own.
STARTED = {("benchmarks.ablation", script) for script in ("train_cGAN", "train_CIN_GAN", "train_baseline")}


@cache
def imports():
    """{module: modules of this repository that it imports, also inside functions, but for hints alone}; no tests."""
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in FILES}
    found = {}
    for module, path in modules.items():
        names, waiting = set(), [ast.parse(path.read_text(encoding="utf-8"))]
        while waiting:
            node = waiting.pop()
            if not (isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING"):
                waiting += ast.iter_child_nodes(node)
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}: relative imports hide which layer a module belongs to"
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        # `from training import report` imports the module report, and of the package nothing but its docstring.
        found[module] = {name for name in names if name in modules and modules[name].name != "__init__.py"}
        found[module] |= {name for name in names if name in modules and modules[name].read_text().count("\n") > 1}
    return found


def layer_of(module):
    """Number of a module's layer; above all where it is in none."""
    package = module.split(".")[0]
    return next((number for number, layer in enumerate(LAYERS) if package in layer), len(LAYERS))


def test_imports_go_down():
    upward = [(m, other) for m, others in imports().items() for other in others if layer_of(other) > layer_of(m)]
    assert not upward


def test_no_imports_form_a_circle():
    left = dict(imports())
    while leaves := [module for module, others in left.items() if not others & left.keys()]:
        for module in leaves:
            del left[module]
    assert not left, "each of these imports another of these"


def test_commands_are_imported_by_tests_alone():
    assert {"restore", "evaluate", "train_cGAN", "data.simulate"} <= COMMANDS
    used = {(module, other) for module, others in imports().items() for other in others & COMMANDS}
    assert used <= STARTED


def test_common_imports_nothing_of_ours_else():
    assert not [m for m, others in imports().items() if m.startswith("common") and any(map(layer_of, others))]


def test_restoring_needs_no_training():
    """A lab that restores images alone needs these modules alone."""
    reached, waiting = set(), [module for module in imports() if module.startswith("restoring")]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += imports()[module]
    assert {module.split(".")[0] for module in reached} <= {"restoring", "common", "data_utils"}


def test_recipes_commands_and_what_they_check_first_are_imported_without_tensorflow():
    wanted = [m for m in imports() if m.split(".")[0] in ("common", "recipes", "restoring") or m in COMMANDS]
    code = f"import importlib, sys\nfor name in {sorted(wanted)}: importlib.import_module(name)\n"
    code += "print(sorted({'tensorflow', 'keras', 'torch', 'jax'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_no_file_changes_where_modules_are_found():
    changing = "sys" + ".path"
    files = [*FILES, *(ROOT / "tests").rglob("*.py")]
    assert not [path for path in files if changing in path.read_text(encoding="utf-8")]


def public_functions(tree):
    """Functions and methods of a module; those whose names begin with an underscore and nested ones left out."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in tree.body:
        for part in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(part, functions) and (not part.name.startswith("_") or part.name in ("__init__", "__call__")):
                yield part


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.parent.name in (ROOT.name, *PACKAGES)],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_arguments_of_public_functions_have_type_hints(path):
    """Ruff checks what they return, but would have hints on what is private too."""
    missing = []
    for function in public_functions(ast.parse(path.read_text(encoding="utf-8"))):
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        bare = [a.arg for a in arguments if a.arg not in ("self", "cls") and a.annotation is None]
        missing += [f"{function.name}: {', '.join(bare)}"] * bool(bare)
    assert not missing
