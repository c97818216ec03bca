"""Table 5: nine classes of ImageNet and a new one."""

from __future__ import annotations

from bench.paper import nine_and_one
from bench.paper.rows import Row, Workshops


def rows(shops: Workshops) -> list[Row]:
    """Return the rows of ImageNet."""
    return nine_and_one.rows(shops.of("imagenet"))
