"""Replicas: how many processes teach, on Ray, and what each of them has."""

from __future__ import annotations

from dataclasses import dataclass

from pyedge.arguments import real, whole


@dataclass(frozen=True)
class Replicas:
    """From `least` to `most` replicas of each teacher, with one CPU and `gpus` GPUs each.

    gpus may be a part of one, such as 0.5: two replicas then share it.
    """

    least: int = 1
    most: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        whole(self.least, "replicas: least", 1)
        whole(self.most, "replicas: most", self.least)
        real(self.gpus, "gpus_per_replica", least=0)
