"""pyedge: compress a classifier by its zero activations, and let it go on learning on the device.

`import pyedge` needs numpy alone. Names of the cloud side (torch) load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pyedge.errors import FormatError, PyedgeError, StructureError

__version__ = "0.1.0"

# name -> module that defines it; all of these need torch
_CLOUD = {
    "Evaluation": "pyedge.cloud.training.evaluate",
    "Plan": "pyedge.cloud.compression.plan",
    "Structure": "pyedge.cloud.graph.structure",
    "Student": "pyedge.cloud.compression.student",
    "TrainOptions": "pyedge.cloud.training.options",
    "compress": "pyedge.cloud.compression.compress",
    "evaluate": "pyedge.cloud.training.evaluate",
    "find_structure": "pyedge.cloud.graph.structure",
    "fitnet": "pyedge.cloud.training.fitnet",
    "plan": "pyedge.cloud.compression.compress",
    "train": "pyedge.cloud.training.train",
    "transfer": "pyedge.cloud.training.transfer",
}

if TYPE_CHECKING:
    from pyedge.cloud.compression.compress import compress, plan
    from pyedge.cloud.compression.plan import Plan
    from pyedge.cloud.compression.student import Student
    from pyedge.cloud.graph.structure import Structure, find_structure
    from pyedge.cloud.training.evaluate import Evaluation, evaluate
    from pyedge.cloud.training.fitnet import fitnet
    from pyedge.cloud.training.options import TrainOptions
    from pyedge.cloud.training.train import train
    from pyedge.cloud.training.transfer import transfer

__all__ = [
    "Evaluation",
    "FormatError",
    "Plan",
    "PyedgeError",
    "Structure",
    "StructureError",
    "Student",
    "TrainOptions",
    "__version__",
    "compress",
    "evaluate",
    "find_structure",
    "fitnet",
    "plan",
    "train",
    "transfer",
]


def __getattr__(name: str) -> Any:
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
