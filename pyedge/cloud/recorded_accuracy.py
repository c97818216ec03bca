"""How often a network of a file was right in its test: remembered with it, and compared.

It is kept as plain values in an attribute of the module, as `pyedge.cloud.shown` does, with a
checksum of the weights: who trains the network in a loop of his own has another one.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any

import torch
from torch import nn

from pyedge.cloud.network_info import NetworkInfo
from pyedge.edge.expected import both, is_far_below, other_causes, other_order, recorded_accuracy
from pyedge.runs.evaluation import Evaluation
from pyedge.warning import warn

_ATTRIBUTE = "_pyedge_accuracy"


def remember_accuracy(model: nn.Module, info: NetworkInfo, path: str | PathLike[str]) -> None:
    """Remember what the file at `path` records of its network, if it records a test."""
    share = recorded_accuracy(info.record)
    if share is None:
        return
    known: dict[str, Any] = {"path": str(fspath(path)), "accuracy": share}
    known |= {"classes": list(info.classes), "preprocessing": str(info.preprocessing)}
    setattr(model, _ATTRIBUTE, {**known, "weights": _checksum(model)})


def compare_accuracy(
    model: nn.Module, found: Evaluation, title: str, names: Sequence[str] | None
) -> None:
    """Warn where a network as a file holds it is right far less often than the file records.

    names: of the classes that the images' ids stand for, if they are known.
    """
    known: Mapping[str, Any] | None = getattr(model, _ATTRIBUTE, None)
    if known is None or not is_far_below(found, known["accuracy"]):
        return
    if known["weights"] != _checksum(model):
        return
    order = other_order(found, tuple(names or known["classes"]), known["accuracy"])
    said = both(f"{title}: {known['path']}", found, known["accuracy"])
    warn(f"{said}; {order or other_causes(known['preprocessing'])}")


def _checksum(model: nn.Module) -> int:
    found = 0
    for value in model.state_dict().values():
        if torch.is_tensor(value):
            plain = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            found = zlib.crc32(plain.numpy().data, found)
    return found
