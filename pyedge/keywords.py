"""The keywords of public functions, their former names included.

An unknown name raises an error that lists the valid ones. A name or order of arguments from the
version before is accepted for one more version, with a DeprecationWarning: `renamed` and
`old_order` go with 0.2.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from pyedge.warning import warn

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)


def keywords(
    *,
    title: str | None = None,
    fields: type | None = None,
    renamed: Mapping[str, str] | None = None,
    old_order: Callable[[Any, Any], bool] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function name its arguments when it is called with an unknown one.

    title: what its messages begin with, by default its name. fields: a dataclass whose fields are
    keywords as well, passed through the function's own `**overrides`; `inspect.signature` then
    shows them with their defaults. renamed: old names, each with its new one. old_order: the first
    two arguments have changed places; old_order(first, second) tells whether these two come in the
    old order.
    """
    old = dict(renamed or {})

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        where = title or function.__name__
        own = _names_of(function)
        names = own if fields is None else (*own, *(f.name for f in dataclasses.fields(fields)))

        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> R:
            if given:
                given = _spelled(where, names, old, given)
            if old_order is not None:
                args, given = _in_order(where, names, old_order, args, given)
            return function(*args, **given)

        if fields is not None:
            call.__signature__ = _with_fields(function, fields)  # type: ignore[attr-defined]
        return call

    return decorate


def named_fields(kind: C) -> C:
    """Make a dataclass name its fields when it is called with an unknown one."""
    kind.__init__ = keywords(title=kind.__name__)(kind.__init__)  # type: ignore[misc]
    return kind


def unknown_name(where: str, name: str, names: tuple[str, ...]) -> TypeError:
    """Return the error for an unknown argument."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return TypeError(f"{where}: wanted arguments among {', '.join(names)}, got {name!r}{hint}")


def deprecated(text: str) -> None:
    """Warn, at the caller's line, of a spelling that the next version drops."""
    warn(f"{text}; the old spelling goes with pyedge 0.2", DeprecationWarning)


def _names_of(function: Any) -> tuple[str, ...]:
    code = function.__code__
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return names[1:] if names[:1] in (("self",), ("cls",)) else names


def _spelled(
    where: str, names: tuple[str, ...], old: Mapping[str, str], given: dict[str, Any]
) -> dict[str, Any]:
    """Return keywords under their current names."""
    found = {}
    for name, value in given.items():
        new = name
        if name not in names:
            if name not in old:
                raise unknown_name(where, name, names)
            new = old[name]
            if new in given:
                raise TypeError(f"{where}: wanted {new} alone, got {name}, its old name, as well")
            deprecated(f"{where}: {name} is called {new} now")
        found[new] = value
    return found


def _in_order(
    where: str,
    names: tuple[str, ...],
    old_order: Callable[[Any, Any], bool],
    args: tuple[Any, ...],
    given: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments in their current order."""
    first, second = names[:2]
    if len(args) == 1 and first in given and second not in given:
        args, given = (*args, given[first]), {k: v for k, v in given.items() if k != first}
        swapped = True  # f(second, first=...) would be an error in the order of today
    else:
        swapped = len(args) > 1 and old_order(args[0], args[1])
    if not swapped:
        return args, given
    deprecated(f"{where}: {first} comes before {second} now")
    return (args[1], args[0], *args[2:]), given


def _with_fields(function: Callable[..., Any], fields: type) -> inspect.Signature:
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    more = [
        inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type
        )
        for f in dataclasses.fields(fields)
    ]
    return signature.replace(parameters=[*own, *more])
