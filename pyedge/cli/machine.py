"""What a command computes on: the GPU that it asks for, and the number of threads."""

from __future__ import annotations

import torch

from pyedge import kernels
from pyedge.cli.parsing import UsageError


def use_threads(threads: int | None) -> None:
    """Give torch and the kernels the number of threads of --threads."""
    if threads is not None:
        torch.set_num_threads(threads)
        kernels.set_num_threads(threads)


def check_device(device: str) -> None:
    """Raise UsageError for a GPU that is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA GPU here; leave it out, or take cpu")
