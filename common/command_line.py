"""Command lines whose mistakes are one line, and the kinds of values that flags take."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, fields
from typing import Any, NoReturn


class Arguments(argparse.Namespace):
    """Parsed arguments; `named` are those that the command line names, their defaults' values among them."""

    __slots__ = ("named",)  # and so none of vars(args), which args.json holds


class OneLineParser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, `error: ...`, with exit code 2.

    Args:
        description: the script's docstring, shown as it is.
    """

    def __init__(self, description: str):
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        print(f"error: {message} (see --help)", file=sys.stderr)
        sys.exit(2)

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, giving `Arguments`."""
        parsed, rest = super().parse_known_args(args, namespace or Arguments())
        unnamed = object()
        marked, _ = super().parse_known_args(args, argparse.Namespace(**dict.fromkeys(vars(parsed), unnamed)))
        parsed.named = {name for name, value in vars(marked).items() if value is not unnamed}
        return parsed, rest


def flag(
    default: Any, help_text: str, parse: Callable[[str], Any] | None = None, *, fixed: bool = False, **more: Any
) -> Any:
    """A field of a frozen dataclass that is a flag, --NAME=VALUE, of the field's name.

    Args:
        default: its value where the command line leaves it out.
        help_text: for `--help`; {texts} in it are filled in by `add_flags`.
        parse: from its text to its value; None for a switch, or where `choices` are given.
        fixed: a resumed run must agree in it, because it changes the mathematics.
        more: for argparse's `add_argument`.
    """
    kind = {"type": parse} if parse else {} if "choices" in more else {"action": "store_true"}
    described = {"default": default, "help": help_text, **kind, **more}
    return field(default_factory=lambda: default, metadata={"flag": described, "fixed": fixed})


def add_flags(parser: argparse.ArgumentParser, group: type, **texts: str) -> None:
    """Add the fields of a dataclass that are flags to a parser; `texts` fill in what their helps leave open."""
    for each in fields(group):
        if "flag" in each.metadata:
            described = each.metadata["flag"]
            parser.add_argument(f"--{each.name}", **{**described, "help": described["help"].format(**texts)})


def read_flags(group: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """{name: value} of the fields of a dataclass that are flags, out of those of a whole command line."""
    return {each.name: values[each.name] for each in fields(group) if "flag" in each.metadata}


def boolean(text: str) -> bool:
    """True or False from its name; `type=bool` would read "False" as True."""
    names = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in names:
        raise argparse.ArgumentTypeError(f"expected True or False, received {text!r}")
    return names[text.lower()]


def integer(minimum: int, also: tuple[int, ...] = (), maximum: int = 2**63 - 1) -> Callable[[str], int]:
    """A parser of whole numbers from `minimum` to `maximum`, or one of `also`."""

    def parse(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or (not minimum <= value <= maximum and value not in also):
            extra = "".join(f" or {other}" for other in also)
            extra += f" and at most {maximum}" if value is not None and value > maximum else ""
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {minimum}{extra}, received {text!r}")
        return value

    return parse


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to 1, received {text!r}")
    return value


def positive(text: str, of: str = "") -> float:
    """A positive number; `of` says of what, in the error."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number{of}, received {text!r}")
    return value


def not_negative(text: str) -> float:
    """A number that is 0 or more."""
    return 0.0 if text in ("0", "0.0") else positive(text, " or 0")


def seconds(text: str) -> float:
    """A positive number of seconds."""
    return positive(text, " of seconds")


def axes(text: str) -> str:
    """A letter for each dimension of an image, Y and X among them."""
    text = text.upper()
    if not text.isalpha() or len(set(text)) < len(text) or not {"Y", "X"} <= set(text):
        raise argparse.ArgumentTypeError(f"expected different letters, Y and X among them, received {text!r}")
    return text


def names(text: str) -> list[str]:
    """Names separated by commas; an empty text is no name."""
    return [name for name in text.split(",") if name]
