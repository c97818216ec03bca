"""Class names on the command line: lists in which names may contain commas, files of names."""

from __future__ import annotations

import argparse
import codecs
import difflib
import re
import shlex
from collections.abc import Sequence

from pyedge.classes.matching import listing, nearly, places, quoted
from pyedge.cli.parsing import UsageError, existing, suggestion

HELP = 'commas between them, a name with a comma as "a, b"; @FILE: a name on each line of a file'

# a name in double quotes, or all up to a comma; a backslash takes the next character as it is
_ITEM = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"\s*|((?:[^,\\]|\\.?)*))(?:,|$)', re.DOTALL)


def add_option(
    parser: argparse._ActionsContainer, *options: str, help: str, required: bool = False
) -> None:
    """Add an option that takes names; given twice, it takes both. `chosen` reads its values."""
    parser.add_argument(
        *options,
        action="append",
        type=_not_blank,
        required=required,
        metavar="NAMES",
        help=f"{help} ({HELP})",
    )


def chosen(values: Sequence[str] | None, known: Sequence[str], option: str) -> list[str]:
    """Return the names in an option's values.

    A value that is itself a known class is that class, even if it has commas. Raises UsageError for
    a list or a file that cannot be read.
    """
    found: list[str] = []
    for value in values or ():
        whole = max(places([value, value.strip()], known))
        if whole >= 0:
            found.append(known[whole])
        elif value.startswith("@"):
            found += _lines(value[1:], option)
        else:
            found += split(value, option)
    return found


def ids(values: Sequence[str], classes: Sequence[str], option: str) -> list[int]:
    """Turn an option's values into rising class ids. Raises UsageError for an unknown name."""
    names = chosen(values, classes, option)
    found = places(names, classes)
    for name, place in zip(names, found, strict=True):
        if place < 0:
            hint = _meant(name, values, classes)
            raise UsageError(
                f"{option}: no class is named {quoted(name)}{hint}; there are {len(classes)} "
                f"classes ({listing(classes)})"
            )
    return sorted(set(found))


def split(text: str, option: str) -> list[str]:
    """Read "cat, golden retriever" or '"tench, Tinca tinca",cat'."""
    names, start = [], 0
    while start < len(text):
        found = _ITEM.match(text, start)
        if found is None or (found[2] or "").startswith('"'):
            raise UsageError(
                f"{option}: wanted names with commas between them, and a name with a comma as "
                f'"a, b", got {text!r}'
            )
        name = found[2].strip() if found[1] is None else found[1]
        if found[1] is not None or name:
            names.append(re.sub(r'\\([,"\\@])', r"\1", name))
        start = found.end()
    return names


def written(option: str, names: Sequence[str]) -> str:
    """Write an option with these names, to be pasted into a shell."""
    items = ",".join(map(_item, names))
    return f"{option}{'=' if items.startswith('-') else ' '}{shlex.quote(items)}"


def _item(name: str) -> str:
    if name == name.strip() and not set(name) & set(',"\\') and not name.startswith("@"):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _meant(name: str, values: Sequence[str], classes: Sequence[str]) -> str:
    """Hint at the class that was meant, such as one that was split at its comma."""
    parted = [c for c in classes if "," in c and name in map(str.strip, c.split(","))]
    whole = [value for value in values if "," in value and name in value]
    parted += [c for value in whole for c in difflib.get_close_matches(value, classes, n=1)]
    if parted:
        return f" (did you mean {shlex.quote(_item(parted[0]))}?)"
    return suggestion(name, classes) or nearly(name, classes)


def _not_blank(text: str) -> str:
    if not text.strip(", "):
        raise argparse.ArgumentTypeError(f"wanted names with commas between them, got {text!r}")
    return text


def _lines(path: str, option: str) -> list[str]:
    """Read a file of names, one on each line, with the line ends of any system."""
    with open(existing(path), "rb") as file:
        data = file.read()
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = data.decode("utf-16")
        else:
            text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{option}: {path}, line {row}: not UTF-8 (byte 0x{data[error.start]:02x}); save the "
            "file as UTF-8"
        ) from error
    # not splitlines, which takes rarer characters for the end of a line as well
    lines = re.split(r"\r\n|\n|\r", text)
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise UsageError(f"{option}: {path}, line {number}: empty, wanted a name on each line")
    if not lines:
        raise UsageError(f"{option}: {path}: no names in it")
    return lines
