"""A teacher and a student so small that a training step takes a millisecond, for tests of transfer.

They have the interfaces of a tapped teacher and of a compressed student, and nothing behind them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyedge.cloud.training.train import train

CLASSES = 3


def block(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()
    )


class TinyTeacher(nn.Module):
    """Two groups of two blocks, 6 and 8 channels."""

    is_tapped = True

    def __init__(self) -> None:
        super().__init__()
        self.groups = nn.ModuleList(
            nn.ModuleList([block(1 if w == 6 else 6, w, 1 if w == 6 else 2), block(w, w)])
            for w in (6, 8)
        )
        self.classifier = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        maps: list[list[Tensor]] = []
        for group in self.groups:
            maps.append([])
            for layer in group:
                x = layer(x)
                maps[-1].append(x)
        return self.classifier(x.mean((2, 3))), maps


class TinyStudent(nn.Module):
    """Two groups of one block of two convolutions, 4 and 5 channels; the second of each learns."""

    last_convs = ("groups.0.1.0", "groups.1.1.0")
    classifier = "head"

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.groups = nn.ModuleList(
            nn.Sequential(block(i, 3, s), block(3, o)) for i, o, s in ((1, 4, 1), (4, 5, 2))
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(5, CLASSES)
        self.register_buffer("kept_0", torch.tensor([0, 2, 3, 5]))
        self.register_buffer("kept_1", torch.tensor([1, 2, 4, 5, 7]))

    def forward_taps(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        taps = []
        for group in self.groups:
            x = group(x)
            taps.append(x)
        return self.head(self.dropout(x.mean((2, 3)))), taps

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_taps(x)[0]

    def kept(self, group: int) -> Tensor:
        return self.get_buffer(f"kept_{group}")


def pair(seed: int = 0, dropout: float = 0.0) -> tuple[TinyStudent, TinyTeacher]:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return TinyStudent(dropout), TinyTeacher()


class Logits(nn.Module):
    """A tapped teacher as a plain classifier."""

    def __init__(self, tapped: TinyTeacher) -> None:
        super().__init__()
        self.tapped = tapped

    def forward(self, x: Tensor) -> Tensor:
        return self.tapped(x)[0]


def taught_pair() -> tuple[TinyStudent, TinyTeacher]:
    """Make a student, and a teacher that knows the classes."""
    student, teacher = pair()
    train(Logits(teacher), batches(), epochs=10, lr=0.1, progress=False)
    return student, teacher


def batches(images: int = 48, size: int = 8, batch: int = 16, seed: int = 1) -> list[tuple]:
    """Make three classes that differ in their bright rows; a list of batches is a loader."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(images, 1, size, size, generator=generator)
    y = torch.arange(images) % CLASSES
    for i, label in enumerate(y.tolist()):
        x[i, :, 2 * label : 2 * label + 3] += 2.0
    return list(zip(x.split(batch), y.split(batch), strict=True))


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before: dict[str, Tensor], model: nn.Module) -> set[str]:
    after = model.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}
