"""Tokens that are forged, revoked, of others; and requests that come again."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator


def forged(token: str, count: int, source: random.Random) -> Iterator[str]:
    """Yield tokens that are nearly a real one, as headers can hold them."""
    _, identity, secret = token.split("_", 2)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for number in range(count):
        place = source.randrange(len(secret))
        other = source.choice([each for each in letters if each != secret[place]])
        changed = secret[:place] + other + secret[place + 1 :]
        kinds = (
            f"pyedge_{identity}_{changed}",
            f"pyedge_{source.randrange(16**16):016x}_{secret}",
            f"pyedge_{identity}_{secret[:place]}",
            f"pyedge_{identity}_{secret}{other}",
            f"pyedge_{identity.upper()}_{secret}",
            f"PYEDGE_{identity}_{secret}",
            f"pyedge_{identity}_{secret} {changed}",
            f"pyedge_{identity}_' OR 1=1 --",
            base64.b64encode(token.encode()).decode(),
            "",
        )
        yield kinds[number % len(kinds)]
