"""What ruff does not check: hints on everything public at the top level."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def public_functions(tree):
    """Functions and methods of a module; those whose names begin with an underscore and nested ones left out."""
    for node in tree.body:
        for part in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(part, FUNCTIONS) and (not part.name.startswith("_") or part.name in ("__init__", "__call__")):
                yield part


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.py")), ids=lambda path: path.name)
def test_public_functions_have_type_hints(path):
    missing = []
    for function in public_functions(ast.parse(path.read_text())):
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        bare = [a.arg for a in arguments if a.arg not in ("self", "cls") and a.annotation is None]
        returns = function.name == "__init__" or function.returns is not None
        if bare or not returns:
            missing.append(f"{function.name}: {', '.join(bare) or 'what it returns'}")
    assert not missing
