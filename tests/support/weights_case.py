"""What the tests of weights share: networks of which no two layers are alike, and others' names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyedge import models

State = Mapping[str, Tensor]
RESNET = {"depth": 14, "width": 8, "num_classes": 4}


def lively(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every tensor values of its own, so that no two layers could change places unseen."""
    made = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                value.fill_(7)
            elif name.endswith("running_var") or (value.dim() == 1 and name.endswith("weight")):
                value.copy_(torch.rand(value.shape, generator=made) + 0.5)
            else:
                value.copy_(torch.randn(value.shape, generator=made) * value[0].numel() ** -0.5)
    return model.eval()


def cifar(seed: int = 0, **more: Any) -> nn.Module:
    return lively(models.cifar_resnet(**{**RESNET, **more}), seed)


def prefixed(prefix: str, state: State) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def renamed(state: State, *pairs: tuple[str, str]) -> dict[str, Tensor]:
    """Replace beginnings of names, in the given order, once each."""
    found = {}
    for name, value in state.items():
        for old, new in pairs:
            if name.startswith(old):
                name = new + name.removeprefix(old)
                break
        found[name] = value
    return found


TORCHVISION = (
    ("stem.", "conv1."),
    ("bn.", "bn1."),
    *((f"groups.{i}.", f"layer{i + 1}.") for i in range(4)),
    ("classifier.", "fc."),
)


def downsampled(state: State) -> dict[str, Tensor]:
    return {name.replace(".shortcut.", ".downsample."): value for name, value in state.items()}


def same(one: nn.Module, other: nn.Module, size: int = 16, channels: int = 3) -> bool:
    x = torch.randn(3, channels, size, size, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return torch.equal(one.eval()(x), other.eval()(x))
