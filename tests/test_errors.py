"""How scripts end: the code of their own, or one line."""

import argparse

import pytest

from common.errors import InputError, run_script


@pytest.mark.parametrize(
    "failure, code, line",
    [
        (InputError("two\nlines"), 2, "error: two lines\n"),
        (MemoryError(), 2, "error: MemoryError\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (None, 7, ""),
    ],
)
def test_a_script_ends_in_one_line(failure, code, line, capsys):
    def main(args):
        if failure:
            raise failure
        return 7

    with pytest.raises(SystemExit) as end:
        run_script(main, argparse.Namespace())
    assert end.value.code == code and capsys.readouterr().err == line


def test_a_fault_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_script(lambda args: 1 // 0, argparse.Namespace())
