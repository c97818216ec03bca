"""Whether a network is as often right as its file says, and why not: pixels, or classes."""

from __future__ import annotations

from torch import nn

from pyedge.cli import networks
from pyedge.cloud.network_file import NetworkInfo
from pyedge.cloud.training.evaluate import Evaluation
from pyedge.data import ImageSet
from pyedge.edge.expected import both, is_far_below, other_causes, other_order, recorded_accuracy
from pyedge.warning import warn


def warn_if_far_below(
    path: str, model: nn.Module, info: NetworkInfo, found: Evaluation, images: ImageSet
) -> None:
    """Warn where accuracy is far below what the file at `path` records, and name a likely cause.

    found: of labelled images; `images`: some of them, with which other preprocessings are tried.
    """
    recorded = recorded_accuracy(info.record)
    if recorded is None or not is_far_below(found, recorded):
        return
    said = both(path, found, recorded)
    order = other_order(found, info.classes, recorded)
    if order:
        warn(f"{said}; {order}")
        return
    best, shares = networks.best_preprocessing(model, images, info.preprocessing)
    if best is not None:
        warn(
            f"{said}; likely it was trained with another preprocessing than the file's "
            f"({info.preprocessing}): with {best} it is {shares[best]:.1%}. pyedge train DATA "
            f"--weights {path} --epochs 0 --preprocessing {best}, with its --model and --size, "
            "writes a file that says so"
        )
        return
    warn(f"{said}; {other_causes(str(info.preprocessing))}")
