"""Arguments as programs have them: numpy's numbers as Python's, and words for the wrong kind."""

from __future__ import annotations

import numbers
from os import PathLike, fsencode
from typing import Any


def plain_number(value: Any) -> Any:
    """Return a whole or real number, numpy's included, as Python's own; anything else as it is.

    True and False stay what they are: no number is meant by them.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    return value


def whole(value: Any, where: str, least: int, most: int | None = None) -> int:
    """Return a whole number from `least`, up to `most`; `where` is what messages begin with.

    Raises TypeError for what is none, ValueError for one out of range.
    """
    number = plain_number(value)
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{where} must be a whole number, got {value!r}")
    if number < least:
        raise ValueError(f"{where} must be at least {least}, got {number}")
    if most is not None and number > most:
        raise ValueError(f"{where} must be at most {most}, got {number}")
    return number


def checked_path(path: Any, function: str) -> None:
    """Raise TypeError for what is no path, ValueError for one that no file can have."""
    if not isinstance(path, (str, bytes, PathLike)):
        raise TypeError(f"{function}: path must be that of a file, not {type(path).__name__}")
    if b"\0" in fsencode(path):
        raise ValueError(
            f"{function}: path {path!r} holds a zero character, which no file can have"
        )
