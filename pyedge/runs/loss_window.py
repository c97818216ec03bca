"""Window: the loss parts and the chosen teacher blocks between two evaluations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Window:
    """Sum the losses and count the pairs of the steps since the last evaluation."""

    steps: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    pairs: list[Counter[int]] = field(default_factory=list)

    def add(self, values: Mapping[str, float], pairs: Sequence[int]) -> None:
        """Add one step."""
        self.steps += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        if not self.pairs:
            self.pairs = [Counter() for _ in pairs]
        for counter, k in zip(self.pairs, pairs, strict=True):
            counter[k] += 1

    def row(self) -> dict[str, Any]:
        """Return the means and the counts, as a row of the history has them."""
        means: dict[str, Any] = {name: total / self.steps for name, total in self.sums.items()}
        means["pairs"] = [{str(k): c[k] for k in sorted(c)} for c in self.pairs]
        return means

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, lists and dicts, ready for JSON."""
        pairs = [{str(k): count for k, count in counter.items()} for counter in self.pairs]
        return {"steps": self.steps, "sums": dict(self.sums), "pairs": pairs}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Window:
        """Make a window from what `to_dict` gave; TypeError, KeyError, ValueError if it is not."""
        pairs = [Counter({int(k): int(n) for k, n in each.items()}) for each in content["pairs"]]
        sums = {str(name): float(value) for name, value in content["sums"].items()}
        return cls(int(content["steps"]), sums, pairs)
