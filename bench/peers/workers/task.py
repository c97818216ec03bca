"""What a worker reads: a network, images and labels, as files that need numpy alone."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

Node = dict[str, Any]
Arrays = dict[str, np.ndarray]
KINDS = ("inference", "step")


class UnableError(Exception):
    """A peer that cannot do what is asked, with the reason in one sentence."""


class Task:
    """A folder's contents, for inference or for a step.

    nodes: the network's, with frozen batch norms folded into convolutions or as affine nodes.
    learned: the arrays that a step changes, by plain SGD at the rate `lr` of the mean cross entropy
    over the batch.
    """

    def __init__(self, folder: Path, kind: str, threads: int) -> None:
        self.folder, self.kind, self.threads = folder, kind, threads
        graph = json.loads((folder / f"{kind}.json").read_text())
        self.nodes: list[Node] = graph["nodes"]
        self.learned: list[str] = graph["learned"]
        self.lr: float = graph["lr"]

    @cached_property
    def arrays(self) -> Arrays:
        """The weights, by name."""
        return self._read(f"{self.kind}.npz")

    @cached_property
    def images(self) -> np.ndarray:
        """float32 [n, c, h, w], standardised."""
        return self._read("batch.npz")["images"]

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 [n]."""
        return self._read("batch.npz")["labels"]

    def file(self, suffix: str) -> Path:
        """Return the network's file in another form: "onnx", "pt2"."""
        return self.folder / f"{self.kind}.{suffix}"

    def _read(self, name: str) -> Arrays:
        with np.load(self.folder / name) as content:
            return {key: content[key] for key in content.files}
