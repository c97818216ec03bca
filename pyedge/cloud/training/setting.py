"""What a run sets and restores: the network's device and layout, and torch's random state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pyedge.cloud.training.trainable import set_layout


@contextmanager
def moved(model: nn.Module, device: torch.device, layout: torch.memory_format) -> Iterator[None]:
    """Move the network to the device and the layout, then back."""
    home = next(model.parameters()).device
    model.to(device)
    if layout == torch.channels_last:
        set_layout(model, layout)
    try:
        yield
    finally:
        model.to(home)
        if layout == torch.channels_last:
            set_layout(model, torch.contiguous_format)


@contextmanager
def own_random_numbers(device: torch.device) -> Iterator[None]:
    """Restore torch's random state afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return torch's random state, for a checkpoint."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Set a state from `random_state`."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
