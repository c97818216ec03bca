"""Plain text tables for the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def text_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Align `rows` under `header`: the first column to the left, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(width(row[column]) for row in cells) for column in range(len(header))]
    numeric = [
        all(_is_number(row[column]) for row in cells[1:]) and len(cells) > 1
        for column in range(len(header))
    ]

    def line(row: Sequence[str]) -> str:
        parts = [
            f"{' ' * (most - width(cell))}{cell}" if right else padded(cell, most)
            for cell, most, right in zip(row, widths, numeric, strict=True)
        ]
        return "  ".join(parts).rstrip()

    rule = "  ".join("-" * most for most in widths)
    return "\n".join([line(cells[0]), rule, *map(line, cells[1:])])


def width(text: str) -> int:
    """Count a terminal's columns: two for an East Asian letter, none for a combining accent."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.category(c) in ("Mn", "Me", "Cf") for c in text)


def padded(text: str, columns: int) -> str:
    """Return text padded with blanks to at least that many columns."""
    return text + " " * (columns - width(text))


def _is_number(cell: str) -> bool:
    text = cell.strip().rstrip("%xMGk").replace(",", "").replace("±", "").replace(" ", "")
    return text in ("", "-") or text.replace(".", "", 2).lstrip("+-").isdigit()


def count(number: float) -> str:
    """1234567 -> 1.23M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:g}"
