"""Small settled networks of our own families, for the tests of plan, profile and compress."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyedge import models
from tests.support.dialects.dialect import settle

SIZE = 16


def images(n: int = 16, seed: int = 0) -> Tensor:
    """Float images n 3 16 16."""
    return torch.randn(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def settled(model: nn.Module) -> nn.Module:
    """Batch norms and biases as after training, so that filters differ in their zeros."""
    settle(model, images(16, seed=1))
    return model.eval()


def tiny_wrn() -> nn.Module:
    """Pre-activation, padded shortcuts, two blocks a group: 8 / 16 / 24 / 32 filters."""
    torch.manual_seed(0)
    return settled(models.wrn(16, num_classes=5, widths=(16, 24, 32), stem=8))


def tiny_resnet() -> nn.Module:
    """Post-activation, projected or padded shortcuts, three blocks a group."""
    torch.manual_seed(0)
    return settled(models.cifar_resnet(20, num_classes=5))


def tiny_vgg() -> nn.Module:
    """Plain chain with hidden linear layers."""
    torch.manual_seed(0)
    model = models.vgg11(num_classes=5, batch_norm=True, input_size=32, hidden=12)
    return settled_at(model, 32)


def settled_at(model: nn.Module, size: int) -> nn.Module:
    settle(model, torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(1)))
    return model.eval()
