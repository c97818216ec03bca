"""Comparing class names: finding them, showing them so that they can be told apart, warnings."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from pyedge.warning import warn

_LONGEST_SHOWN = 200
# Letters of other alphabets that look like Latin ones, in small: Cyrillic, then Greek.
_LATIN = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445"
    "\u0455\u0456\u0458\u0501\u04bb\u051b\u051d"
    "\u03b1\u03b9\u03ba\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7",
    "abekmhopctyxsijdhqwaikvoptux",
)
_JOINERS = "\u200c\u200d"  # part of Persian and Indic spelling and of emoji: no mistake


def places(names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Return the place of each name among classes, -1 if it is not there.

    The same text in another Unicode spelling counts (macOS has its own), if only one class matches.
    """
    exact = {name: place for place, name in reversed(list(enumerate(classes)))}
    found = [exact.get(name, -1) for name in names]
    if -1 not in found:
        return found
    spellings: dict[str, int] = {}
    for place, name in enumerate(classes):
        form = spelled(name)
        spellings[form] = -1 if form in spellings else place
    return [
        spellings.get(spelled(name), -1) if place < 0 else place
        for name, place in zip(names, found, strict=True)
    ]


def absent(names: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Return the names that `places` does not find among classes."""
    found = zip(names, places(names, classes), strict=True)
    return [name for name, place in found if place < 0]


def unknown(names: Sequence[str], classes: Sequence[str]) -> str:
    """Write "a, b; it knows c, d", and the class that the first name is nearly, if there is one."""
    return f"{listing(names)}; it knows {listing(classes)}{nearly(names[0], classes)}"


def nearly(name: str, classes: Sequence[str]) -> str:
    """Write " ('mug' is there, and is not 'mug ')" for a class that was probably meant, or ""."""
    form = looks(name)
    near = next((each for each in classes if looks(each) == form), None)
    if near is not None:
        there, given = told_apart(near, name)
        return f" ({there} is there, and is not {given})"
    close = difflib.get_close_matches(name, classes, n=1, cutoff=0.6)
    if not close or (name.isascii() and close[0].isascii()):
        return ""
    # letters of two alphabets may look the same: only their numbers tell them apart
    return f" ({close[0]!a} is there, and is not {name!a})"


def told_apart(one: str, other: str) -> tuple[str, str]:
    """Write two names in quotes, with escapes if letters of two alphabets look the same."""
    if one.translate(_LATIN) != one or other.translate(_LATIN) != other:
        return ascii(one), ascii(other)
    return quoted(one), quoted(other)


def listing(names: Sequence[str], most: int = 12) -> str:
    """Write names with commas between them, so that each can be told from the others."""
    return ", ".join(map(shown, names[:most])) + (", ..." if len(names) > most else "")


def shown(name: str) -> str:
    """Write a name as it is if nothing in it is invisible, else in quotes with escapes."""
    plain = name.isprintable() and name == name.strip() and not set(name) & set(",'\"\\")
    return name if name and plain and spelled(name) == name else quoted(name)


def quoted(name: Any) -> str:
    """Write a name in quotes, with escapes for invisible characters and decomposed accents."""
    if not isinstance(name, str):
        return repr(name)
    if len(name) > _LONGEST_SHOWN:
        name = f"{name[:40]}..."
    text = repr(str.__str__(name))
    if spelled(name) == name:
        return text
    return "".join(ascii(c)[1:-1] if unicodedata.combining(c) else c for c in text)


def spelled(name: str) -> str:
    """Return a name in its usual Unicode spelling (NFC)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def same_to_the_eye(name: str) -> str:
    """Return what can be seen of a name: names that share it look exactly the same."""
    if name.isascii():
        return name.strip()
    seen = (" " if c.isspace() else c for c in spelled(name) if not invisible(c))
    return "".join(seen).strip()


def looks(name: str) -> str:
    """Return what a hasty reader sees of a name: no case, no widths, no repeated blanks.

    Letters of other alphabets that look like Latin ones count as these.
    """
    text = same_to_the_eye(name)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        latin = text.translate(_LATIN)
        text = latin if latin.isascii() else text
    return re.sub(r"\s+", " ", text.casefold()).strip()


def stripped(name: str) -> str:
    """Return a name without blanks and invisible characters at its ends."""
    if name.isascii():
        return name.strip()
    while name and (name[0].isspace() or invisible(name[0])):
        name = name[1:]
    while name and (name[-1].isspace() or invisible(name[-1])):
        name = name[:-1]
    return name


def invisible(character: str) -> bool:
    """Tell whether a character takes no room: zero-width spaces, byte order marks, directions."""
    return unicodedata.category(character) == "Cf" and character not in _JOINERS


# What data sets and students say of their classes


def classes_of(data: Any) -> tuple[str, ...] | None:
    """Return the classes that a data set or its loader names, in the order of ids, or None."""
    for _ in range(4):  # a loader of a part of a data set: each holds the next as `dataset`
        names = getattr(data, "classes", None)
        if isinstance(names, (list, tuple)) and names and all(isinstance(n, str) for n in names):
            return tuple(names)
        data = getattr(data, "dataset", None)
        if data is None:
            break
    return None


def same_classes(title: str, **sets: Any) -> None:
    """Check that data sets that name their classes agree on the ids.

    sets: by argument, anything that has `classes`, or a `dataset` that does (a loader). One may
    lack the last classes of another. Raises ValueError with the first id that has two names.
    """
    named = {name: found for name, each in sets.items() if (found := classes_of(each))}
    first = next(iter(named), "")
    for other, classes in named.items():
        for place, (a, b) in enumerate(zip(named[first], classes, strict=False)):
            if spelled(a) != spelled(b):
                raise ValueError(
                    f"{title}: class {place}: wanted the same class in {first} and {other}, got "
                    f"{quoted(a)} and {quoted(b)}"
                )


def numbered(classes: Sequence[str]) -> bool:
    """Tell whether classes have only the names that export gives them: "0", "1", ..."""
    return tuple(classes) == tuple(map(str, range(len(classes))))


def warn_of_text_order(path: str, names: Sequence[str]) -> None:
    """Warn if folders named by numbers are sorted as text: class 2 is then "10"."""
    if _numbers(names) and sorted(names, key=int) != list(names):
        place = next(i for i, name in enumerate(names) if int(name) != i)
        warn(
            f"{path}: folders called by numbers are sorted as text, so that class {place} is "
            f"{quoted(names[place])}; export(classes=...) with these names keeps their meaning"
        )


def warn_of_ids(title: str, names: Sequence[str]) -> None:
    """Warn if labels are ids, and the names of the classes are numbers other than their ids."""
    if _numbers(names) and not numbered(names):
        place = next((i for i, name in enumerate(names) if int(name) != i), 0)
        warn(
            f"{title}: labels are taken as ids, and the student's classes are named by other "
            f"numbers: id {place} is class {quoted(names[place])}; labels given as text are taken "
            f"as names"
        )


def _numbers(names: Sequence[str]) -> bool:
    return bool(names) and all(name.isascii() and name.isdigit() for name in names)
