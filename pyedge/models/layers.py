"""Parts shared by the teachers: the parameter-free shortcut, initialisation, argument checks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PadShortcut(nn.Module):
    """Carry a block's input past it without parameters: pool, then add channels of zeros.

    [n, c_in, h, w] -> [n, c_out, ceil(h / stride), ceil(w / stride)]. `pool=True` averages
    stride x stride windows (the paper's WRN), `pool=False` takes every stride-th pixel ("option A"
    of He et al. 2016). The channels come behind the others, or half of them before with
    `around=True`. Needs c_out >= c_in.
    """

    def __init__(
        self, c_in: int, c_out: int, stride: int, pool: bool = True, around: bool = False
    ) -> None:
        super().__init__()
        if c_out < c_in:
            raise ValueError(
                f"PadShortcut: channels can be padded, not removed: wanted c_out >= c_in, "
                f"got c_in={c_in}, c_out={c_out}"
            )
        self.stride = stride
        self.kernel = stride if pool else 1
        self.extra = c_out - c_in
        self.before = self.extra // 2 if around else 0

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            # A window of 1 subsamples: the same numbers as x[:, :, ::2, ::2], as an operator that
            # exporters know. ceil_mode gives odd sizes the resolution of the 3x3 stride-2 conv.
            x = F.avg_pool2d(x, self.kernel, self.stride, ceil_mode=True)
        if self.extra:
            x = F.pad(x, (0, 0, 0, 0, self.before, self.extra - self.before))
        return x

    def extra_repr(self) -> str:
        return f"stride={self.stride}, kernel={self.kernel}, extra={self.extra}"


def conv3x3(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    """Make a 3x3 convolution without bias, padded to keep the resolution at stride 1."""
    return nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)


def initialise(model: nn.Module) -> None:
    """Draw the weights as He et al. 2015: fan-out for convs, fan-in for linear layers, BN 1 and 0.

    Uses torch's global generator: `torch.manual_seed` before the call makes it repeatable.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="linear")
            nn.init.zeros_(module.bias)


def check_positive(function: str, **values: int | Sequence[int]) -> None:
    """Raise ValueError naming function and argument unless every value is a positive int."""
    for name, value in values.items():
        for number in value if isinstance(value, Sequence) else (value,):
            if not isinstance(number, int) or number < 1:
                raise ValueError(
                    f"{function}: {name}: wanted positive whole numbers, got {value!r}"
                )


def count_parameters(model: nn.Module) -> int:
    """Count the parameters of a model (buffers, such as running statistics, are not counted)."""
    return sum(p.numel() for p in model.parameters())


def global_pool(x: Tensor) -> Tensor:
    """Average each map: [n, c, h, w] -> [n, c]."""
    return torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
