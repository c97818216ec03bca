"""Check that a device answers as the student itself does, whatever its `forward` does.

`check` compares with the graph that was lowered; this compares with `student(images)`.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn

from pyedge.cloud.exporting.check import TOLERANCE, engine_of, logits_error
from pyedge.cloud.exporting.lower import Lowered
from pyedge.cloud.exporting.tail import MASKED
from pyedge.cloud.graph.answer import finish
from pyedge.cloud.graph.modes import evaluating
from pyedge.cloud.graph.rewrite import device_of
from pyedge.errors import ExportError
from pyedge.student.file import StudentFile

_IMAGES = 8


def check_answers(file: StudentFile, lowered: Lowered, student: nn.Module, seed: int = 0) -> None:
    """Compare the engine with the student in evaluation mode, for several images and for one.

    Raises ExportError if they differ by more than `TOLERANCE`.
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(_IMAGES, *file.input_shape, generator=generator).float()
    wanted, alone = _answers(student, images), _answers(student, images[:1])
    if alone.shape != wanted[:1].shape or not torch.allclose(
        alone, wanted[:1], rtol=1e-3, atol=1e-3, equal_nan=True
    ):
        raise ExportError(
            f"export: what the student answers to an image depends on the others: {_IMAGES} images "
            f"give {list(wanted.shape)}, and the first of them alone {list(alone.shape)}, with "
            "other numbers; a device takes images one by one"
        )
    logits = engine_of(file).predict(images.numpy())
    if wanted.shape != logits.shape:
        raise ExportError(
            f"export: the student gives {list(wanted.shape)}, and what pyedge made of it "
            f"{list(logits.shape)}"
        )
    got = finish(torch.from_numpy(logits).double(), lowered.ending)
    if lowered.ending == "logits":
        error = logits_error(file, got.numpy(), wanted.clamp(min=MASKED).numpy())
    else:  # as probabilities: a masked class has the logarithm minus infinity, or nearly
        logarithms = lowered.ending == "log_softmax"
        pair = [(each.exp() if logarithms else each).numpy() for each in (got, wanted)]
        error = float(np.abs(pair[0] - pair[1]).max())
    if math.isnan(error) or error > TOLERANCE:
        raise ExportError(
            "export: the engine does not answer what the student does: they differ by "
            f"{error:.1e}, at most {TOLERANCE:.0e} is expected; please report this network"
        )


def _answers(student: nn.Module, images: Tensor) -> Tensor:
    """Return the answers of `student` itself, in float64."""
    net = student
    if any(p.is_floating_point() and p.dtype != torch.float32 for p in student.parameters()):
        net = copy.deepcopy(student).float()
    with evaluating(net), torch.no_grad():
        found = net(images.to(device_of(net)))
    if not isinstance(found, Tensor) or found.dim() != 2:
        raise ExportError(f"export: the student gives {type(found).__name__}, wanted logits [n, c]")
    return found.cpu().double()
