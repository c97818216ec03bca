"""Contexts for computations: modes of a network, gradients, full precision."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from pyedge.files.locks import ForkSafeLock

_locks: weakref.WeakKeyDictionary[nn.Module, ForkSafeLock] = weakref.WeakKeyDictionary()


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, then restore the mode of each module.

    Only one thread at a time for each network: another would restore evaluation mode by mistake, or
    see the network return to training mode in the middle of its batch.
    """
    with _locks.setdefault(net, ForkSafeLock()):
        modes = [(module, module.training) for module in net.modules()]
        try:
            net.eval()
            yield
        finally:
            for module, mode in modes:
                module.training = mode


@contextmanager
def plain_torch() -> Iterator[None]:
    """Compute with gradients and in the tensors' own precision, in any context of the caller.

    Surgery and the check of an export need gradients, which torch.no_grad() and inference_mode()
    switch off and autocast would compute in 16 bits.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextmanager
def with_gradients() -> Iterator[None]:
    """Compute with gradients even inside torch.no_grad() and inference_mode()."""
    with torch.inference_mode(False), torch.enable_grad():
        yield
