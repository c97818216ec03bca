"""pyedge: compress a classifier by its zero activations, and let it go on learning on a device.

`import pyedge` and the device side need only numpy. Names load on first use; those of the cloud
side import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pyedge import _moved
from pyedge._version import __version__
from pyedge.errors import (
    DivergedError,
    ExportError,
    FormatError,
    OfflineError,
    PyedgeError,
    RefusedError,
    StructureError,
)

_moved.install()

# name -> module that defines it; these need numpy alone
_EDGE = {
    "Cloud": "pyedge.remote.cloud",
    "EdgeImages": "pyedge.images.edge_images",
    "EdgeLearner": "pyedge.edge.learner",
    "Evaluation": "pyedge.runs.evaluation",
    "Knowledge": "pyedge.knowledge.pack",
    "LearnOptions": "pyedge.edge.learn_options",
    "LearnResult": "pyedge.edge.result",
    "Memory": "pyedge.edge.replay_memory",
    "Statistics": "pyedge.statistics.sums",
    "StudentFile": "pyedge.student.file",
    "add_int8": "pyedge.edge.add_int8",
    "add_statistics": "pyedge.edge.add_statistics",
    "make_category": "pyedge.edge.category_making",
    "merge_statistics": "pyedge.statistics.merging",
    "read_memory": "pyedge.edge.replay_memory",
    "read_category": "pyedge.statistics.category_file",
    "read_statistics": "pyedge.statistics.statistics_file",
    "read_student": "pyedge.student.archive",
    "subtract_statistics": "pyedge.statistics.merging",
    "write_statistics": "pyedge.statistics.statistics_file",
    "write_student": "pyedge.student.archive",
}
# and all of these need torch
_CLOUD = {
    "Plan": "pyedge.cloud.compression.plan",
    "Structure": "pyedge.cloud.graph.structure",
    "Student": "pyedge.cloud.compression.student",
    "TrainOptions": "pyedge.cloud.training.train_options",
    "TransferOptions": "pyedge.cloud.training.train_options",
    "compress": "pyedge.cloud.compression.compress",
    "evaluate": "pyedge.cloud.training.evaluate",
    "export": "pyedge.cloud.exporting.export",
    "find_structure": "pyedge.cloud.graph.structure",
    "fitnet": "pyedge.cloud.training.fitnet",
    "knowledge_bytes": "pyedge.cloud.make_knowledge",
    "make_knowledge": "pyedge.cloud.make_knowledge",
    "plan": "pyedge.cloud.compression.compress",
    "train": "pyedge.cloud.training.train",
    "transfer": "pyedge.cloud.training.transfer",
}

if TYPE_CHECKING:
    from pyedge.cloud.compression.compress import compress, plan
    from pyedge.cloud.compression.plan import Plan
    from pyedge.cloud.compression.student import Student
    from pyedge.cloud.exporting.export import export
    from pyedge.cloud.graph.structure import Structure, find_structure
    from pyedge.cloud.make_knowledge import knowledge_bytes, make_knowledge
    from pyedge.cloud.training.evaluate import evaluate
    from pyedge.cloud.training.fitnet import fitnet
    from pyedge.cloud.training.train import train
    from pyedge.cloud.training.train_options import TrainOptions, TransferOptions
    from pyedge.cloud.training.transfer import transfer
    from pyedge.edge.add_int8 import add_int8
    from pyedge.edge.add_statistics import add_statistics
    from pyedge.edge.category_making import make_category
    from pyedge.edge.learn_options import LearnOptions
    from pyedge.edge.learner import EdgeLearner
    from pyedge.edge.replay_memory import Memory, read_memory
    from pyedge.edge.result import LearnResult
    from pyedge.images.edge_images import EdgeImages
    from pyedge.knowledge.pack import Knowledge
    from pyedge.remote.cloud import Cloud
    from pyedge.runs.evaluation import Evaluation
    from pyedge.statistics.category_file import read_category
    from pyedge.statistics.merging import merge_statistics, subtract_statistics
    from pyedge.statistics.statistics_file import read_statistics, write_statistics
    from pyedge.statistics.sums import Statistics
    from pyedge.student.archive import read_student, write_student
    from pyedge.student.file import StudentFile

__all__ = [
    "Cloud",
    "DivergedError",
    "EdgeImages",
    "EdgeLearner",
    "Evaluation",
    "ExportError",
    "FormatError",
    "Knowledge",
    "LearnOptions",
    "LearnResult",
    "Memory",
    "OfflineError",
    "Plan",
    "PyedgeError",
    "RefusedError",
    "Statistics",
    "Structure",
    "StructureError",
    "Student",
    "StudentFile",
    "TrainOptions",
    "TransferOptions",
    "__version__",
    "add_int8",
    "add_statistics",
    "compress",
    "evaluate",
    "export",
    "find_structure",
    "fitnet",
    "knowledge_bytes",
    "make_category",
    "make_knowledge",
    "merge_statistics",
    "plan",
    "read_category",
    "read_memory",
    "read_statistics",
    "read_student",
    "subtract_statistics",
    "train",
    "transfer",
    "write_statistics",
    "write_student",
]


def __getattr__(name: str) -> Any:
    if name in _EDGE:
        return getattr(importlib.import_module(_EDGE[name]), name)
    if name not in _CLOUD:
        raise AttributeError(f"module 'pyedge' has no attribute {name!r}")
    try:
        module = importlib.import_module(_CLOUD[name])
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "pyedge":
            raise
        raise ImportError(
            f"pyedge.{name} needs {error.name}, which is not installed; "
            'install the cloud side with: pip install "pyedge[cloud]"'
        ) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
