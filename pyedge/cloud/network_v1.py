"""Students from files without a record of their cut: all of version 1, and a few of version 2.

Such a file says how a student was cut, but not the result. The student is cut out of its builder's
network once more, at the widths in the file, by this pyedge and the installed Torch-Pruning; saved
again it has a record, and no longer depends on them.
"""

from __future__ import annotations

from os import PathLike

import torch
from torch import nn

from pyedge.cloud.compression.compress import plan
from pyedge.cloud.compression.student import Student
from pyedge.cloud.network_info import NetworkInfo
from pyedge.errors import FormatError


def cut_again(path: str | PathLike[str], teacher: nn.Module, info: NetworkInfo) -> Student:
    """Cut the student that `info.student` describes out of a teacher with any weights."""
    settings = info.student
    assert settings is not None
    with torch.no_grad():
        for parameter in teacher.parameters():  # a builder may leave memory as it is: NaN, say
            parameter.nan_to_num_()
    try:
        # "fresh" spares the recalibration of batch norms, whose values are in the file
        return plan(
            teacher,
            images=torch.zeros(2, *info.input_shape).float(),
            widths=dict(settings.widths),
            keep=settings.keep,  # type: ignore[arg-type]
            head=settings.head,  # type: ignore[arg-type]
            structure=settings.structure,
            init="fresh",
        ).build()
    except (ValueError, RuntimeError) as error:
        raise FormatError(f"{path}: the student cannot be built again: {error}") from error
