"""Broken and hostile files end in a finite result or in one error; the rest of them is benchmarks/hostile_input.py."""

from pathlib import Path

import pytest
from hostile_cases import MARKER, npy_cases, path_cases, prepare, read_tools, tiff_cases
from hostile_generators import generator_cases
from hostile_input import contents, finite

from common.errors import InputError

KINDS = {"npy": npy_cases, "tiff": tiff_cases, "generator": generator_cases, "path": path_cases}


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good files")
    prepare(folder)
    return read_tools(folder)


def wrong_ending(case, folder):
    """What is wrong with the ending of a case, or None."""
    prepared = case.write(folder)
    before = contents(folder)
    try:
        assert prepared.run() == 0
        ending = "result" if finite(prepared.output) else "no finite result"
    except (InputError, OSError) as failure:
        ending = "error" if str(failure) else "error without a message"
    after = contents(folder)
    if ending == "result":
        after.pop(prepared.output.resolve(), None)
    touched = after != before or (folder / MARKER).exists() or Path(MARKER).exists()
    if ending in (case.expected, *("result", "error") * (case.expected == "either")) and not touched:
        return None
    return f"{case.name}: {ending}, expected {case.expected}" + ", files were changed" * touched


@pytest.mark.parametrize("kind", KINDS)
def test_result_or_one_error_and_nothing_else(kind, tools, tmp_path, monkeypatch):
    wrong = []
    for number, case in enumerate(KINDS[kind](tools)):
        folder = tmp_path / str(number) / "files"
        folder.mkdir(parents=True)
        monkeypatch.chdir(folder)
        wrong.append(wrong_ending(case, folder))
    assert number >= 19 and not list(filter(None, wrong))
