"""What a class may be called: one rule for every list, folder and file that comes in.

Refused are names that a file or a line of text cannot hold whole: with control characters (a list
written on Windows leaves a carriage return at the end of each name), with bytes that are not UTF-8,
with more than 200 characters, or empty; and names that look exactly the same: "mug" and "mug ", or
an accented letter in two Unicode spellings. Names that merely look alike, such as "Cat" and "cat",
give a warning. A file that already holds an odd name is read, and keeps it.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Collection, KeysView, Mapping, Sequence, Set
from itertools import islice
from numbers import Integral
from typing import Any

from pyedge.classes.matching import (
    invisible,
    listing,
    looks,
    quoted,
    same_to_the_eye,
    stripped,
    told_apart,
)
from pyedge.errors import FormatError
from pyedge.warning import warn

LONGEST = 200  # characters; what a student's file allows
_MOST = 1 << 20  # no classifier has more; an iterator may never end

_CALLED = {
    "\r": "a carriage return",
    "\n": "a line break",
    "\t": "a tab",
    "\0": "a zero character",
    "\ufeff": "a byte order mark",
    "\u200b": "a zero-width space",
    "\xa0": "a no-break space",
}


class ClassNames(tuple[str, ...]):
    """Names in the order of the logits, already checked or from a file: not checked again."""

    __slots__ = ()


class KindError(TypeError, ValueError):
    """Not a list of names at all. Also a ValueError, since some callers treat lists as values."""


def checked_names(
    names: Any,
    where: str,
    *,
    count: int | None = None,
    known: Sequence[str] = (),
    edges: bool = True,
) -> ClassNames:
    """Check class names, and return them in order as text.

    where: function and argument, for messages. count: how many there must be, one for each logit.
    known: the classes that they are added to. edges: refuse blanks and invisible characters at the
    ends of a name, which are mistakes in a list typed by hand; otherwise only warn of them. Raises
    TypeError for anything but an ordered list of text; ValueError for a name that the rule refuses,
    with its place.
    """
    if isinstance(names, ClassNames) and not known:
        found = names
    else:
        if known and isinstance(names, Mapping):
            raise KindError(f"{where}: wanted a list of names, the next ids are theirs; got a dict")
        found, there = _names_in_order(names, where), set(known)
        for place, name in enumerate(found):
            _refuse(name, f"{where}: class {place}, {quoted(name)},", there, edges)
            if name in there:
                raise ValueError(f"{where}: the student knows {quoted(name)} already")
        _check_apart(found, where, known, count)
    if count is not None and len(found) != count:
        raise ValueError(_counted(where, count, found))
    return found


def check_folders(path: str, names: Sequence[str]) -> tuple[str, ...]:
    """Check the names of class folders as `checked_names` does, before anything is decoded.

    Blanks at the ends of a folder's name give only a warning: an older student may know the name
    with them. Raises FormatError.
    """
    try:
        return checked_names(names, f"{path}: class folders", edges=False)
    except ValueError as error:
        raise FormatError(str(error)) from None


def storable(name: Any) -> str | None:
    """Return why a student's file cannot hold a name, or None; odd names can be held."""
    if not isinstance(name, str):
        return "is no text"
    if not name:
        return "is empty"
    if len(name) > LONGEST:
        return f"has {len(name)} characters, a file keeps at most {LONGEST}"
    if any(c < " " for c in name):
        return "holds a control character"
    return "is not UTF-8" if _undecoded(name) else None


# From containers to a tuple


def _names_in_order(names: Any, where: str) -> ClassNames:
    if isinstance(names, (str, bytes)):
        raise KindError(f"{where}: wanted a list of names, got the text {names!r}")
    if isinstance(names, Mapping):
        return _by_id(names, where)
    if isinstance(names, Set) and not isinstance(names, (KeysView, Sequence)):
        raise KindError(
            f"{where}: wanted a list, which has an order, got a {type(names).__name__}: its order "
            f"changes from run to run"
        )
    _check_index(names, where)
    if getattr(names, "ndim", 1) != 1:
        raise KindError(f"{where}: wanted a list of names, got {names.ndim} dimensions")
    try:
        items = list(islice(iter(names), _MOST))
    except TypeError:
        kind = type(names).__name__
        raise KindError(f"{where}: wanted a list of names, got {kind}") from None
    return ClassNames(_text(item, place, where) for place, item in enumerate(items))


def _text(item: Any, place: int, where: str) -> str:
    if isinstance(item, str):
        return str.__str__(item)  # numpy's and pandas' text is a kind of str
    hint = ""
    if isinstance(item, bytes):
        hint = ", such as name.decode()"
    elif isinstance(item, Integral):
        hint = f", such as {str(item)!r}"
    raise KindError(
        f"{where}: class {place}: wanted text{hint}, got {type(item).__name__} ({item!r:.60})"
    )


def _by_id(given: Mapping[Any, Any], where: str) -> ClassNames:
    """Sort a dict by its ids: name -> id, as torchvision's class_to_idx, or id -> name."""
    pairs = list(given.items())
    if pairs and all(_is_id(key) and isinstance(value, str) for key, value in pairs):
        pairs = [(value, key) for key, value in pairs]
    if not all(isinstance(name, str) and _is_id(number) for name, number in pairs):
        raise KindError(f"{where}: wanted a list of names, or a dict of name and id, one a class")
    names = {int(number): name for name, number in pairs}
    if sorted(names) != list(range(len(pairs))):
        raise ValueError(
            f"{where}: wanted a dict with each id of 0..{len(pairs) - 1} once, got "
            f"{sorted(int(number) for _, number in pairs)[:20]}"
        )
    return ClassNames(_text(names[place], place, where) for place in range(len(pairs)))


def _is_id(value: Any) -> bool:
    if isinstance(value, str):  # JSON has no other keys
        return value.isascii() and value.isdigit()
    return isinstance(value, Integral) and not isinstance(value, bool)


def _check_index(names: Any, where: str) -> None:
    """Refuse a pandas Series whose index numbers the classes in another order than their own."""
    index = getattr(names, "index", None)
    if index is None or callable(index):  # a list's index is a method
        return
    numbers = list(index)
    if all(map(_is_id, numbers)):
        numbers = [int(n) for n in numbers]
        if numbers != sorted(numbers):  # gaps are left by drop_duplicates, and say nothing
            raise ValueError(
                f"{where}: the index gives another order than that of the names, {numbers[:12]}; "
                f"wanted a list in the order of the logits"
            )


# The rule


def _refuse(name: str, which: str, known: Collection[str], edges: bool) -> None:
    """Raise ValueError for what a name must not have; warn of what it should not have."""
    if not stripped(name):
        raise ValueError(
            f"{which} shows nothing; wanted a name with at least one visible character"
        )
    if len(name) > LONGEST:
        raise ValueError(f"{which} has {len(name)} characters, a file keeps at most {LONGEST}")
    if _undecoded(name):
        raise ValueError(f"{which} is not UTF-8{_how_decoded(name)}")
    control = next((c for c in name if unicodedata.category(c) in ("Cc", "Zl", "Zp")), None)
    if control is not None:
        windows = ", as lines of a list written on Windows have" if name.endswith("\r") else ""
        raise ValueError(f"{which} holds {_called(control)}{windows}; wanted {_wanted(name)}")
    hidden = next((c for c in name if invisible(c)), None)
    if name != stripped(name):
        edge = name[0] if stripped(name)[0] != name[0] else name[-1]
        there = ", which is there already" if stripped(name) in known else ""
        text = (
            f"{which} has {_called(edge)} at an end, which nobody sees; wanted {_wanted(name)}"
            f"{there}"
        )
        if edges:
            raise ValueError(text)
        warn(text)
    elif hidden is not None:
        warn(f"{which} holds {_called(hidden)}, which nobody sees")


def _check_apart(names: Sequence[str], where: str, known: Sequence[str], count: int | None) -> None:
    """Refuse names that are equal or look exactly the same; warn of those that look alike."""
    exact: dict[str, int] = {}
    same = {same_to_the_eye(each): each for each in known}
    alike = {looks(each): each for each in known}
    pairs = []
    for place, name in enumerate(names):
        if name in exact:
            counted = f"{where}: " if count is None else f"{_counted(where, count, names)}: "
            raise ValueError(
                f"{counted}a name stands twice, {quoted(name)}, at {exact[name]} and {place}; "
                f"wanted different names"
            )
        exact[name] = place
        other = same.setdefault(same_to_the_eye(name), name)
        if other != name:
            raise ValueError(
                f"{where}: {quoted(other)} and {quoted(name)} look exactly the same and would be "
                f"two classes; wanted one of them, or another name"
            )
        other = alike.setdefault(looks(name), name)
        if other != name:
            pairs.append(" and ".join(told_apart(other, name)))
    if pairs:
        more = f" (and {len(pairs) - 1} more pairs)" if len(pairs) > 1 else ""
        warn(f"{where}: {pairs[0]}{more} look alike, and are different classes")


def _counted(where: str, count: int, names: Sequence[str]) -> str:
    return (
        f"{where}: wanted {count} different names, one for each logit, got {len(names)} "
        f"({listing(names)})"
    )


def _undecoded(name: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in name)


def _how_decoded(name: str) -> str:
    data = name.encode("utf-8", "surrogatepass")
    try:
        data = name.encode("utf-8", "surrogateescape")  # the bytes of a file's name
        if data.decode() and sys.getfilesystemencoding() != "utf-8":
            return f" as this system's {sys.getfilesystemencoding()} reads it; set PYTHONUTF8=1"
    except UnicodeDecodeError:
        guess = data.decode("latin-1")
        may = f"; Latin-1 would make it {guess!r}" if guess.isprintable() else ""
        return f": rename it, or decode its bytes with the encoding it was written in{may}"
    except UnicodeEncodeError:
        pass
    return ": it holds half of a surrogate pair"


def _called(character: str) -> str:
    if character in _CALLED:
        return _CALLED[character]
    if character.isspace() and character.isprintable():
        return "a blank"
    kind = "a control character" if unicodedata.category(character) == "Cc" else "the character"
    return f"{kind} {character!a}"


def _wanted(name: str) -> str:
    plain = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in name)
    return quoted(stripped(plain))
