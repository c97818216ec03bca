"""What a dialect is: one network as somebody else's repository might write it, and what we expect.

The networks are small (8 to 32 channels, two or three blocks a group) but real in structure.
Their batch norms and biases are moved away from their initial values, so that filters differ in
how often they are zero and so that a norm that is swapped or reset is noticed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Dialect:
    """One network and what `pyedge.compress` must make of it.

    `shallow` builds the same network with one block a group: what compression at full width must
    amount to (`same_shallow`: with as many parameters). `nested` says that the names of its
    parameters mean the same in the deep network.
    `refuses` is a pattern that the one-sentence error must match, None for what must be taken.
    `stochastic` networks draw random numbers in train mode. `needs` is an operator that the engine
    must have for the student to be exported.
    """

    name: str
    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    groups: int = 0
    blocks: tuple[int, ...] = ()
    convs_kept: int | None = None
    refuses: str | None = None
    shallow: Callable[[], nn.Module] | None = None
    nested: bool = True
    same_shallow: bool = True
    stochastic: bool = False
    needs: str | None = None
    dtype: torch.dtype = torch.float32
    settle: bool = True

    def make(self) -> nn.Module:
        """Build the network with fixed seeds and settled statistics, in eval mode."""
        torch.manual_seed(0)
        model = self.build()
        if self.settle:
            settle(model, self.images(16, seed=1))
            model.eval()
        return model

    def make_shallow(self, settled: bool = True) -> nn.Module:
        """Build the network with one block a group, settled alike or as its maker left it."""
        if self.shallow is None:
            raise ValueError(f"dialect {self.name} has no shallow form")
        torch.manual_seed(0)
        model = self.shallow()
        if settled:
            settle(model, self.images(16, seed=1))
        return model.eval()

    def images(self, n: int, seed: int = 2) -> Tensor:
        """Return n random images of the network's input shape and dtype."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(n, *self.input_shape, generator=generator).to(self.dtype)


def family(
    name: str,
    make: Callable[[tuple[int, ...]], nn.Module],
    input_shape: tuple[int, ...] = (3, 16, 16),
    blocks: tuple[int, ...] = (2, 2, 2),
    **options: object,
) -> Dialect:
    """Describe a network that `make` builds for any number of blocks a group."""
    shallow = tuple(1 for _ in blocks)
    return Dialect(
        name,
        build=lambda: make(blocks),
        input_shape=input_shape,
        groups=len(blocks),
        blocks=blocks,
        shallow=lambda: make(shallow),
        **options,  # type: ignore[arg-type]
    )


def refused(
    name: str,
    build: Callable[[], nn.Module],
    pattern: str,
    input_shape: tuple[int, ...] = (3, 16, 16),
    **options: object,
) -> Dialect:
    """Describe a network that must be refused with an error that matches `pattern`."""
    return Dialect(name, build, input_shape, refuses=pattern, **options)  # type: ignore[arg-type]


@torch.no_grad()
def settle(model: nn.Module, images: Tensor) -> None:
    """Give every norm its own affine and statistics, as training would, in place."""
    generator = torch.Generator().manual_seed(7)
    for module in model.modules():
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if isinstance(module, nn.BatchNorm2d) and isinstance(weight, nn.Parameter):
            keep = weight.detach() != 0  # zero-initialised residual branches stay as they are
            spread = 0.5 + torch.rand(weight.shape, generator=generator)
            weight.copy_((spread * keep).to(weight.dtype))
            bias.copy_((0.7 * torch.randn(bias.shape, generator=generator) - 0.2).to(bias.dtype))
        elif isinstance(module, nn.Conv2d) and isinstance(bias, nn.Parameter):
            bias.copy_((0.3 * torch.randn(bias.shape, generator=generator) - 0.1).to(bias.dtype))
    model.train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old idioms warn; that is the network's own business
        for _ in range(3):
            model(images)
