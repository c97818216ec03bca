"""Modules under the names that they had before they moved: still importable, with a warning.

None of them was public, but programs may import them. To be dropped with version 0.2.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from pyedge.warning import warn

# room -> the name before it had a room, below `pyedge` -> the name in it
_ROOMS = {
    "student": {
        "student_file": "archive", "student_checks": "checks", "student_graph": "graph",
        "student_features": "features", "student_tail": "tail", "expansion": "expansion",
        "made_weights": "made_weights",
    },
    "files": {name: name for name in ("atomic", "disk", "locks", "npy_archive")},
    "runs": {
        "run_options": "run_options", "run_state": "state", "loss_window": "loss_window",
        "evaluation": "evaluation",
    },
    "classes": {"class_names": "names", "class_matching": "matching"},
    "edge": {"statistics.solve": "solving"},
    "images": {"edge.images": "edge_images"} | {
        f"edge.{name}": name
        for name in (
            "arrays", "class_folders", "colours", "decode", "digests", "doubts", "entries",
            "file_kinds", "folder", "folder_layout", "folder_tree", "labels", "layout", "left_out",
            "located", "named_files", "pixels", "png_chunks", "sources", "split_names",
        )
    },
    "knowledge": {"edge.knowledge": "pack", "edge.knowledge_format": "format"},
}  # fmt: skip
# room -> the name before, which another room has as well -> the name that tells
_RENAMED = {
    "cli": {
        "compressing": "plan_and_compress",
        "learning": "learn_method",
        "training": "train_and_transfer",
    },
    "cloud": {"knowledge": "make_knowledge"},
    "cloud.exporting": {
        "described": "with_statistics",
        "layers": "weighted_layers",
        "lowering": "lowering_state",
    },
    "cloud.graph": {"layers": "layer_spellings", "tracers": "symbolic_tracers"},
    "cloud.training": {"options": "train_options"},
    "data": {"loader": "batch_loader"},
    "edge": {
        "described": "add_statistics",
        "memory": "footprint",
        "options": "learn_options",
        "session": "stepwise",
    },
    "runs": {"options": "run_options"},
    "statistics": {"left_out": "leave_one_out"},
}
MOVED = {
    f"pyedge.{old}": f"pyedge.{room}.{new}"
    for room, names in _ROOMS.items()
    for old, new in names.items()
} | {
    f"pyedge.{room}.{old}": f"pyedge.{room}.{new}"
    for room, names in _RENAMED.items()
    for old, new in names.items()
}


class _Moved(MetaPathFinder, Loader):
    """Finds a module by its old name, and returns the module of the new name."""

    def __init__(self) -> None:
        self._specs: dict[str, ModuleSpec | None] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = MOVED[spec.name]
        warn(f"{spec.name} has moved, to {new}")
        module = importlib.import_module(new)
        self._specs[new] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec again; the import has set that of the old name."""
        module.__spec__ = self._specs.pop(module.__name__)


def install() -> None:
    """Look for old names where no other finder knows the module."""
    if not any(isinstance(each, _Moved) for each in sys.meta_path):
        sys.meta_path.append(_Moved())
