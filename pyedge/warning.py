"""Warnings that point at the caller's line, however deep inside pyedge they are found."""

from __future__ import annotations

import os
import sys
import warnings

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_PROGRAMS = tuple(os.path.join(_HERE, name) + os.sep for name in ("cli", "demo"))


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the first line outside pyedge, or in one of its programs.

    A fixed stacklevel would not do: the number of pyedge's frames differs between entry points.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _inside(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


def _inside(path: str) -> bool:
    path = os.path.abspath(path)
    return path.startswith(_HERE) and not path.startswith(_PROGRAMS)
