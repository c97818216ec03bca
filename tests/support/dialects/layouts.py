"""Where the blocks lie: in Sequentials, lists, dicts, attributes, functions, or nowhere at all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dialect import Dialect, family


class Unit(nn.Module):
    """A plain post-activation block, widths 8, 16, 24 by group."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.a = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.na = nn.BatchNorm2d(c_out)
        self.b = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.nb = nn.BatchNorm2d(c_out)
        self.side = nn.Conv2d(c_in, c_out, 1, stride, bias=False) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.nb(self.b(F.relu(self.na(self.a(x)))))
        return F.relu(y + (x if self.side is None else self.side(x)))


WIDTHS = (8, 16, 24)


def stages(blocks: tuple[int, ...], unit: Callable[..., nn.Module] = Unit) -> list[list[nn.Module]]:
    out, c_in = [], WIDTHS[0]
    for i, n in enumerate(blocks):
        out.append([])
        for j in range(n):
            out[-1].append(unit(c_in, WIDTHS[i], 2 if i and not j else 1))
            c_in = WIDTHS[i]
    return out


class Frame(nn.Module):
    """Stem and head; the layouts differ in `body`."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.entry_norm = nn.BatchNorm2d(WIDTHS[0])
        self.exit = nn.Linear(WIDTHS[-1], 10)

    def body(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(F.relu(self.entry_norm(self.entry(x))))
        return self.exit(F.adaptive_avg_pool2d(x, 1).flatten(1))


class OneList(Frame):
    def __init__(self, blocks):
        super().__init__()
        self.blocks = nn.ModuleList([b for stage in stages(blocks) for b in stage])

    def body(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class NestedLists(Frame):
    def __init__(self, blocks):
        super().__init__()
        self.stages = nn.ModuleList([nn.ModuleList(stage) for stage in stages(blocks)])

    def body(self, x):
        for stage in self.stages:
            for i in range(len(stage)):
                x = stage[i](x)
        return x


class Dicts(Frame):
    def __init__(self, blocks):
        super().__init__()
        self.stages = nn.ModuleDict(
            {f"res{i + 2}": nn.Sequential(*stage) for i, stage in enumerate(stages(blocks))}
        )

    def body(self, x):
        for stage in self.stages.values():
            x = stage(x)
        return x


class Named(Frame):
    def __init__(self, blocks):
        super().__init__()
        for i, stage in enumerate(stages(blocks)):
            names = OrderedDict((f"unit{j}", block) for j, block in enumerate(stage))
            setattr(self, f"conv{i + 2}_x", nn.Sequential(names))

    def body(self, x):
        return self.conv4_x(self.conv3_x(self.conv2_x(x)))


class Numbered(Frame):
    """self.b0, self.b1, .. reached with getattr."""

    def __init__(self, blocks):
        super().__init__()
        flat = [b for stage in stages(blocks) for b in stage]
        self.n = len(flat)
        for i, block in enumerate(flat):
            setattr(self, f"b{i}", block)

    def body(self, x):
        for i in range(self.n):
            x = getattr(self, f"b{i}")(x)
        return x


class WholeSequential(nn.Sequential):
    """Everything, head included, is one Sequential."""

    def __init__(self, blocks):
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            *[b for stage in stages(blocks) for b in stage],
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(24, 10),
        )


class StageModules(Frame):
    """Stages that are modules with their own forward, held inside a backbone."""

    class Stage(nn.Module):
        def __init__(self, blocks: list[nn.Module]):
            super().__init__()
            self.first, self.rest = blocks[0], nn.Sequential(*blocks[1:])

        def forward(self, x):
            return self.rest(self.first(x))

    class Backbone(nn.Module):
        def __init__(self, blocks):
            super().__init__()
            self.stage_list = nn.ModuleList(StageModules.Stage(s) for s in stages(blocks))

        def forward(self, x):
            for stage in self.stage_list:
                x = stage(x)
            return x

    def __init__(self, blocks):
        super().__init__()
        self.backbone = self.Backbone(blocks)

    def body(self, x):
        return self.backbone(x)


class Around(nn.Module):
    """A generic container: body and side path are whatever a function has put in."""

    def __init__(self, body: nn.Module, side: nn.Module):
        super().__init__()
        self.body, self.side = body, side

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.side(x)


def unit_function(c_in: int, c_out: int, stride: int) -> nn.Module:
    """A block that no class describes: Sequentials around a generic container."""
    body = nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(),
        nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False),
        nn.BatchNorm2d(c_out),
    )
    side = nn.Conv2d(c_in, c_out, 1, stride) if stride > 1 else nn.Identity()
    return nn.Sequential(Around(body, side), nn.ReLU())


class FunctionUnits(Frame):
    def __init__(self, blocks):
        super().__init__()
        self.all = nn.Sequential(*[b for s in stages(blocks, unit_function) for b in s])

    def body(self, x):
        return self.all(x)


class Flat(nn.Module):
    """No blocks: conv1 .. convN, bn1 .. bnN and a loop over their numbers."""

    def __init__(self, blocks):
        super().__init__()
        self.plan, c_in, k = [], 8, 1
        self.conv0, self.bn0 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        for i, n in enumerate(blocks):
            for j in range(n):
                stride = 2 if i and not j else 1
                for c_from, s in ((c_in, stride), (WIDTHS[i], 1)):
                    setattr(self, f"conv{k}", nn.Conv2d(c_from, WIDTHS[i], 3, s, 1, bias=False))
                    setattr(self, f"bn{k}", nn.BatchNorm2d(WIDTHS[i]))
                    k += 1
                if stride > 1:
                    setattr(self, f"side{k}", nn.Conv2d(c_in, WIDTHS[i], 1, 2, bias=False))
                self.plan.append((k - 2, k - 1, f"side{k}" if stride > 1 else None))
                c_in = WIDTHS[i]
        self.out = nn.Linear(c_in, 10)

    def forward(self, x):
        x = F.relu(self.bn0(self.conv0(x)))
        for first, second, side in self.plan:
            y = F.relu(getattr(self, f"bn{first}")(getattr(self, f"conv{first}")(x)))
            y = getattr(self, f"bn{second}")(getattr(self, f"conv{second}")(y))
            x = F.relu(y + (getattr(self, side)(x) if side else x))
        return self.out(x.mean((2, 3)))


class WrittenOut(nn.Module):
    """Thirteen convolutions, each line written by hand; no norm, no loop."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2, self.conv3 = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.conv4, self.conv5 = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.conv6, self.conv7 = nn.Conv2d(8, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, padding=1)
        self.conv8, self.conv9 = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.conv10, self.conv11 = nn.Conv2d(16, 24, 3, 2, 1), nn.Conv2d(24, 24, 3, padding=1)
        self.conv12, self.conv13 = nn.Conv2d(24, 24, 3, padding=1), nn.Conv2d(24, 24, 3, padding=1)
        self.skip6, self.skip10 = nn.Conv2d(8, 16, 1, 2), nn.Conv2d(16, 24, 1, 2)
        self.fc14 = nn.Linear(24, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(x + self.conv3(F.relu(self.conv2(x))))
        x = F.relu(x + self.conv5(F.relu(self.conv4(x))))
        x = F.relu(self.skip6(x) + self.conv7(F.relu(self.conv6(x))))
        x = F.relu(x + self.conv9(F.relu(self.conv8(x))))
        x = F.relu(self.skip10(x) + self.conv11(F.relu(self.conv10(x))))
        x = F.relu(x + self.conv13(F.relu(self.conv12(x))))
        return self.fc14(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class CaffeNames(Frame):
    """res2a_branch2a, bn2a_branch2a, ..: flat attributes for whole bottlenecks."""

    def __init__(self, blocks):
        super().__init__()
        self.units, c_in = [], 8
        for i, n in enumerate(blocks):
            mid, c_out = WIDTHS[i] // 2, WIDTHS[i]
            for j in range(n):
                tag, stride = f"{i + 2}{'abcdefgh'[j]}", 2 if i and not j else 1
                for path, a, b, k, s in (
                    ("2a", c_in, mid, 1, stride),
                    ("2b", mid, mid, 3, 1),
                    ("2c", mid, c_out, 1, 1),
                    *((("1", c_in, c_out, 1, stride),) if j == 0 else ()),
                ):
                    conv = nn.Conv2d(a, b, k, s, k // 2, bias=False)
                    self.add_module(f"res{tag}_branch{path}", conv)
                    self.add_module(f"bn{tag}_branch{path}", nn.BatchNorm2d(b))
                self.units.append((tag, j == 0))
                c_in = c_out

    def path(self, tag, x):
        return getattr(self, f"bn{tag}")(getattr(self, f"res{tag}")(x))

    def body(self, x):
        for tag, first in self.units:
            y = F.relu(self.path(f"{tag}_branch2a", x))
            y = F.relu(self.path(f"{tag}_branch2b", y))
            y = self.path(f"{tag}_branch2c", y)
            x = F.relu(y + (self.path(f"{tag}_branch1", x) if first else x))
        return x


LAYOUTS: dict[str, Callable[[tuple[int, ...]], nn.Module]] = {
    "nested_lists": NestedLists,
    "dicts": Dicts,
    "named_sequentials": Named,
    "stage_modules": StageModules,
    "caffe_names": CaffeNames,
}
RENUMBERED: dict[str, Callable[[tuple[int, ...]], nn.Module]] = {
    "one_list": OneList,
    "numbered_attributes": Numbered,
    "whole_sequential": WholeSequential,
    "function_units": FunctionUnits,
    "flat": Flat,
}

DIALECTS: list[Dialect] = [
    *(family(f"layout_{name}", make) for name, make in LAYOUTS.items()),
    *(family(f"layout_{name}", make, nested=False) for name, make in RENUMBERED.items()),
    Dialect("layout_written_out", WrittenOut, (3, 16, 16), 3, (2, 2, 2), convs_kept=9),
]
