"""Pauses between tries: they grow, and are random, so that a fleet does not come back as one."""

from __future__ import annotations

import random
from collections.abc import Iterator

_FIRST_SECONDS = 0.2
_LONGEST_SECONDS = 10.0
_LONGEST_ASKED = 60.0  # by a service that says when to come back


def pauses(tries: int, source: random.Random) -> Iterator[float]:
    """Yield the pause after each of several tries but the last, in seconds ("full jitter")."""
    for number in range(tries - 1):
        yield source.uniform(0, min(_LONGEST_SECONDS, _FIRST_SECONDS * 2**number))


def asked(header: str | None) -> float:
    """Return the seconds of a Retry-After header; 0 for none, or one that is no number."""
    if header is None or not header.isascii() or not header.isdecimal():
        return 0.0
    return min(float(header), _LONGEST_ASKED)
