"""Parse command lines: values such as 500k, and one-line errors that suggest what was meant."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

_MULTIPLES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}


class UsageError(Exception):
    """The command line asks for something impossible: exit code 2."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError, and suggests what a mistyped option may mean."""

    def __init__(self, prog: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=_Formatter,
            allow_abbrev=False,  # an abbreviation would change its meaning with a new option
        )
        self._renamed: dict[str, str] = {}
        # takes a command line of the version before, whose order was another: (found, extra
        # words) to a note, or None
        self.old_order: Callable[[argparse.Namespace, list[str]], str | None] | None = None

    def rename(self, old: str, new: str) -> None:
        """Accept an option under its name in the previous version, with a note."""
        self._renamed[old] = new

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: None = None
    ) -> argparse.Namespace:
        """Parse; raise UsageError for anything not understood.

        `given` of the result names the options on the command line, whatever their values; `notes`
        are about spellings of the previous version.
        """
        args, notes = self._today(list(sys.argv[1:] if args is None else args))
        found, extra = self.parse_known_args(args, namespace)
        if self.old_order is not None and (told := self.old_order(found, extra)) is not None:
            notes.append(told)
            extra = []
        if extra:
            unknown = extra[0].partition("=")[0]
            if unknown.startswith("-"):
                options = [o for action in self._actions for o in action.option_strings]
                self.error(f"no option is named {unknown}{suggestion(unknown, options)}")
            self.error(f"{extra[0]!r} is one argument too many")
        found.given, found.notes = self._given(args, found), notes
        return found

    def _today(self, words: list[str]) -> tuple[list[str], list[str]]:
        """Return the words with current option names, and notes on those that were old."""
        found, notes = [], []
        options = words.index("--") if "--" in words else len(words)
        for place, word in enumerate(words):
            name, equals, value = word.partition("=")
            if place < options and name in self._renamed:
                new = self._renamed[name]
                notes.append(f"{name} is called {new} now; the old name goes with pyedge 0.2")
                word = f"{new}{equals}{value}"
            found.append(word)
        return found, notes

    def _given(self, args: Sequence[str] | None, found: argparse.Namespace) -> frozenset[str]:
        """Parse again with defaults that nobody can give, to see which options replace them."""
        lists = {a.dest for a in self._actions if isinstance(a, argparse._AppendAction)}
        unset = object()
        again = argparse.Namespace(**{name: unset for name in vars(found) if name not in lists})
        self.parse_known_args(args, again)
        told = {name for name, value in vars(again).items() if value is not unset}
        return frozenset(told - {name for name in lists if not getattr(found, name)})

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with argparse's message, slightly simplified."""
        message = message.replace("the following arguments are required", "missing")
        message = re.sub(r"^argument (\S+?)(/\S+)?: ", r"\1: ", message)
        more = "" if "did you mean" in message else f" ({self.prog} --help tells more)"
        raise UsageError(message + more)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keep line breaks in help texts, and begin the column of explanations early."""

    def __init__(self, prog: str, **options: Any) -> None:
        width = min(100, int(os.environ.get("COLUMNS", "0")) or _terminal_width())
        super().__init__(prog, max_help_position=30, width=width, **options)


def _terminal_width() -> int:
    try:
        return os.get_terminal_size().columns - 2
    except OSError:  # not a terminal
        return 96


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """Return " (did you mean x?)" for the nearest of the known words, or nothing."""
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""


def existing(path: str, *words: str) -> str:
    """Return the path of something that exists.

    Raises UsageError with the nearest existing name, or the nearest of the accepted `words`.
    """
    if not os.path.exists(path):
        if "://" in path:
            raise UsageError(f"{path} is an address; download it first")
        folder = Path(path).parent
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        known = {str(folder / name): name for name in names} | {word: word for word in words}
        near = difflib.get_close_matches(Path(path).name, known.values(), n=1, cutoff=0.6)
        meant = [shown for shown, name in known.items() if name in near]
        hint = f" (did you mean {meant[0]}?)" if meant else ""
        raise UsageError(f"{path}: no such file or folder{hint}")
    return path


def whole(least: int) -> Callable[[str], int]:
    """Make the type of an option that takes a whole number from `least`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"wanted a whole number from {least}, got {text!r}")
        return value

    return parse


def sides(least: int) -> Callable[[str], int | tuple[int, int]]:
    """Make the type of an option that takes the side of a square, or HEIGHTxWIDTH, in pixels."""

    def parse(text: str) -> int | tuple[int, int]:
        try:
            h, w = (
                (whole(least)(part) for part in text.split("x"))
                if "x" in text
                else ((whole(least)(text),) * 2)
            )
        except (argparse.ArgumentTypeError, ValueError):
            raise argparse.ArgumentTypeError(
                f"wanted a whole number from {least}, or two as 192x256, got {text!r}"
            ) from None
        return h if h == w else (h, w)

    return parse


def whole_or(least: int, *words: str) -> Callable[[str], int | str]:
    """Make the type of an option that takes a whole number from `least`, or one of some words."""

    def parse(text: str) -> int | str:
        if text in words:
            return text
        try:
            return whole(least)(text)
        except argparse.ArgumentTypeError:
            raise argparse.ArgumentTypeError(
                f"wanted a whole number from {least} or {' or '.join(words)}, got {text!r}"
            ) from None

    return parse


def number(least: float, most: float = float("inf"), above: bool = False) -> Callable[[str], float]:
    """Make the type of an option that takes a number; with `above`, `least` itself is too small."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not (least <= value <= most and value < float("inf")) or (above and value == least):
            low = f"above {least:g}" if above else f"from {least:g}"
            wanted = f"a number {low}" + (f" to {most:g}" if most < float("inf") else "")
            raise argparse.ArgumentTypeError(f"wanted {wanted}, got {text!r}")
        return value

    return parse


def amount(text: str) -> int:
    """Read 500000, 500k, 1.5M or 2G."""
    found = re.fullmatch(r"(\d+(?:[._]\d+)*|\d*\.\d+)\s*([kKmMgGbB]?)", text.replace(",", ""))
    if found is None:
        raise argparse.ArgumentTypeError(f"wanted a number such as 500k or 1.5M, got {text!r}")
    try:
        value = float(found[1].replace("_", "")) * _MULTIPLES[found[2].lower()]
    except ValueError:
        value = 0.0
    if value < 1:
        raise argparse.ArgumentTypeError(f"wanted a number such as 500k or 1.5M, got {text!r}")
    return round(value)


def listed(item: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """Make the type of an option that takes values with commas between them."""

    def parse(text: str) -> list[Any]:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if not parts:
            raise argparse.ArgumentTypeError(
                f"wanted values with commas between them, got {text!r}"
            )
        return [item(part) for part in parts]

    return parse


def lambdas(text: str) -> tuple[float, ...]:
    """Read three weights, such as 1,10,1."""
    try:
        values = tuple(number(0)(part) for part in text.split(","))
    except argparse.ArgumentTypeError:
        values = ()
    if len(values) != 3:
        raise argparse.ArgumentTypeError(
            f"wanted three weights from 0, of J_1, J_b and J_3, such as 1,10,1, got {text!r}"
        )
    return values


def widths(text: str) -> list[int] | dict[str, int]:
    """Read 14,120,138 (in order) or stem=14,groups.0.0.conv1=120 (by name)."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        if parts and all("=" in part for part in parts):
            pairs = [part.rpartition("=") for part in parts]
            return {name.strip(): whole(1)(value) for name, _, value in pairs}
        if parts:
            return [whole(1)(part) for part in parts]
    except argparse.ArgumentTypeError:
        pass
    raise argparse.ArgumentTypeError(
        f"wanted widths such as 14,120,138 or stem=14,groups.0.0.conv1=120, got {text!r}"
    )


def blocks(text: str) -> list[list[str]]:
    """Read block names, groups with a semicolon between them: "layer1.0,layer1.1;layer2.0"."""
    groups = [[b.strip() for b in group.split(",") if b.strip()] for group in text.split(";")]
    if not all(groups):
        raise argparse.ArgumentTypeError(
            f"wanted blocks such as 'layer1.0,layer1.1;layer2.0,layer2.1', got {text!r}"
        )
    return groups


def setting(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE for a builder: whole numbers, numbers, yes/no, none, lists of numbers."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"wanted NAME=VALUE, such as dropout=0.3, got {text!r}")
    return name, _plain_value(value)


def _plain_value(text: str) -> Any:
    words = {"true": True, "yes": True, "false": False, "no": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    if "," in text:
        return [_plain_value(part) for part in text.split(",") if part]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
