"""How the parts of `pyedge serve` show what they print: digests, dates, and which part it was."""

from __future__ import annotations

import argparse
import time
from typing import Any

SHORT = 12  # digits of a digest that are shown


def named(args: argparse.Namespace) -> dict[str, Any]:
    """Return what a JSON object begins with."""
    return {"command": "serve", "part": args.part, "do": args.do}


def when(moment: float) -> str:
    """Return seconds since 1970 as a date and a time."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
