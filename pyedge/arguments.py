"""Arguments as programs have them: numpy's numbers as Python's, and words for the wrong kind.

Messages have one form, "name: wanted X, got Y"; the `where` of these functions is the name: of the
function and its argument, "plan: seed".
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from os import PathLike, fsencode
from typing import Any


def plain_number(value: Any) -> Any:
    """Return a whole or real number (numpy's too) as a Python number; anything else unchanged.

    True and False are left unchanged: they are not meant as numbers.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    return value


def whole(value: Any, where: str, least: int, most: int | None = None) -> int:
    """Return a whole number from `least` to `most`; messages begin with `where`.

    Raises TypeError if it is not a whole number, ValueError if it is out of range.
    """
    number = plain_number(value)
    kind = isinstance(number, int) and not isinstance(number, bool)
    if not kind or number < least or (most is not None and number > most):
        wanted = f"a whole number from {least}" + ("" if most is None else f" to {most}")
        error = ValueError if kind else TypeError
        raise error(f"{where}: wanted {wanted}, got {shown(value)}")
    return int(number)


def real(
    value: Any,
    where: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> float:
    """Return a finite number within bounds. Raises as `whole`."""
    number = plain_number(value)
    kind = isinstance(number, (int, float)) and not isinstance(number, bool)
    if (
        not kind
        or not math.isfinite(number)
        or (least is not None and number < least)
        or (above is not None and number <= above)
        or (most is not None and number > most)
        or (below is not None and number >= below)
    ):
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (("from", least), ("above", above), ("to", most), ("below", below))
            if bound is not None
        ]
        error = ValueError if kind else TypeError
        raise error(f"{where}: wanted {' '.join(['a number', *bounds])}, got {shown(value)}")
    return number


def flag(value: Any, where: str) -> bool:
    """Return True or False, numpy's included. Raises TypeError."""
    if type(value).__name__ not in ("bool", "bool_"):
        raise TypeError(f"{where}: wanted True or False, got {shown(value)}")
    return bool(value)


def choice(value: Any, where: str, words: Sequence[str]) -> None:
    """Raise ValueError unless the value is one of these words."""
    if not isinstance(value, str) or value not in words:
        quoted = [f'"{word}"' for word in words]
        wanted = " or ".join([", ".join(quoted[:-1]), quoted[-1]] if quoted[1:] else quoted)
        raise ValueError(f"{where}: wanted {wanted}, got {shown(value)}")


def checked_path(path: Any, function: str) -> None:
    """Raise TypeError if this is not a path, ValueError if no file can have this path."""
    if not isinstance(path, (str, bytes, PathLike)):
        raise TypeError(f"{function}: path: wanted a file's path, got {kind_of(path)}")
    if b"\0" in fsencode(path):
        raise ValueError(
            f"{function}: path: wanted one that a file can have, got {path!r}, which holds a zero "
            "character"
        )


def path_comes_first(first: Any, second: Any) -> bool:
    """Tell whether the path comes before what is to be written, as it did before version 0.1."""
    kinds = (str, bytes, PathLike)
    return isinstance(first, kinds) and not isinstance(second, kinds)


def shown(value: Any) -> str:
    """Show a value in one line."""
    try:
        return " ".join(f"{value!r:.80}".split())
    except RecursionError:  # a file's JSON may be nested as deep as it can be read, not shown
        return f"{kind_of(value)} nested too deep to be shown"


def kind_of(value: Any) -> str:
    """Name the type of a value, where the value itself would tell nothing."""
    name = type(value).__name__
    return name if value is None else f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"
