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
    "Evaluation": "pyedge.cloud.evaluate",
    "Plan": "pyedge.cloud.plan",
    "Structure": "pyedge.cloud.structure",
    "Student": "pyedge.cloud.student",
    "TrainOptions": "pyedge.cloud.options",
    "compress": "pyedge.cloud.compress",
    "evaluate": "pyedge.cloud.evaluate",
    "find_structure": "pyedge.cloud.structure",
    "fitnet": "pyedge.cloud.fitnet",
    "plan": "pyedge.cloud.compress",
    "train": "pyedge.cloud.train",
    "transfer": "pyedge.cloud.transfer",
}

if TYPE_CHECKING:
    from pyedge.cloud.compress import compress, plan
    from pyedge.cloud.evaluate import Evaluation, evaluate
    from pyedge.cloud.fitnet import fitnet
    from pyedge.cloud.options import TrainOptions
    from pyedge.cloud.plan import Plan
    from pyedge.cloud.structure import Structure, find_structure
    from pyedge.cloud.student import Student
    from pyedge.cloud.train import train
    from pyedge.cloud.transfer import transfer

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
