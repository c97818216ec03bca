"""Where the repository is, for tests that read or run other parts of it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
