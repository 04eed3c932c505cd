"""What ruff does not check: short files, short functions, and hints on everything public at the top level."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for folder in (".", "benchmarks", "data", "tests") for path in (ROOT / folder).glob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def lines_of_code(function):
    """Lines of a function without its docstring."""
    docstring = ast.get_docstring(function, clean=False)
    return function.end_lineno - function.lineno + 1 - (docstring.count("\n") + 1 if docstring else 0)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path):
    text = path.read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, FUNCTIONS)]
    most = 25 if path.parent == ROOT else 35
    assert text.count("\n") <= 350
    assert not [f.name for f in functions if lines_of_code(f) > most or f.end_lineno - f.lineno >= 40]


def public_functions(tree):
    """Functions and methods of a module; those whose names begin with an underscore and nested ones left out."""
    for node in tree.body:
        for part in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(part, FUNCTIONS) and (not part.name.startswith("_") or part.name in ("__init__", "__call__")):
                yield part


@pytest.mark.parametrize("path", [p for p in FILES if p.parent == ROOT], ids=lambda path: path.name)
def test_public_functions_have_type_hints(path):
    missing = []
    for function in public_functions(ast.parse(path.read_text())):
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        bare = [a.arg for a in arguments if a.arg not in ("self", "cls") and a.annotation is None]
        returns = function.name == "__init__" or function.returns is not None
        if bare or not returns:
            missing.append(f"{function.name}: {', '.join(bare) or 'what it returns'}")
    assert not missing
