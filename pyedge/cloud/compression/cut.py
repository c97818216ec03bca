"""Cut: which filters stay, and what the student costs then."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import fx, nn

from pyedge.cloud.compression.coupling import CostModel, FilterSet
from pyedge.cloud.compression.depth import Shallow
from pyedge.cloud.compression.profile import Profile
from pyedge.cloud.compression.widths import (
    WidthRule,
    check_threshold,
    kept_filters,
    mean_zero_fraction,
    threshold_widths,
)
from pyedge.cloud.graph.siblings import Origin
from pyedge.cloud.graph.structure import Structure
from pyedge.images.pixels import Look
from pyedge.images.preprocessing import Preprocessing

if TYPE_CHECKING:
    from typing_extensions import Self

Init = Literal["inherit", "fresh"]


@dataclass(frozen=True)
class LayerPlan:
    """One convolution of the student.

    zero_fraction: mean over filters, None if not measured. near_zero_fraction: the same of what is
    close to zero, for an activation that has no exact zeros; one of the two is None.
    """

    conv: str
    source: str
    filters: int
    width: int
    zero_fraction: float | None
    note: str = ""
    near_zero_fraction: float | None = None


@dataclass(frozen=True)
class Teacher:
    """The measured copy of the teacher, and its costs; `origin` if it is a student, else None."""

    traced: fx.GraphModule
    structure: Structure
    params: int
    macs: int
    origin: Origin = None


@dataclass(frozen=True)
class Cut:
    """Widths, parameters and multiply-accumulates of a student, for one threshold.

    `set_widths` has one entry for each set of coupled filters. `shown` tells what the images looked
    like, and `class_names` what the ids meant; the student remembers both until its export.
    """

    P: float | None
    set_widths: tuple[int, ...]
    teacher: Teacher = field(repr=False)
    shallow: Shallow = field(repr=False)
    profile: Profile = field(repr=False)
    sets: tuple[FilterSet, ...] = field(repr=False)
    cost: CostModel = field(repr=False)
    rule: WidthRule = field(repr=False)
    init: Init = "inherit"
    seed: int = 0
    calibration: tuple[torch.Tensor, ...] = field(repr=False, default=())
    shown: Look | None = field(repr=False, default=None)
    preprocessing: Preprocessing | None = field(repr=False, default=None)
    class_names: tuple[str, ...] = field(repr=False, default=())

    def at(self, P: float) -> Self:
        """Return the plan for another threshold. Raises ValueError outside 0 to 1."""
        P = check_threshold(P)
        widths = threshold_widths(P, self.sets, self.profile, self.shallow.source, self.rule)
        return dataclasses.replace(self, P=P, set_widths=tuple(widths))

    @property
    def structure(self) -> Structure:
        """Groups and blocks of the teacher."""
        return self.teacher.structure

    @property
    def widths(self) -> dict[str, int]:
        """The number of filters that stay in each convolution, by the teacher's module names."""
        return {layer.conv: layer.width for layer in self.layers}

    @property
    def layers(self) -> list[LayerPlan]:
        """One row for each convolution of the student, in order of execution."""
        place_of = {conv: place for place, each in enumerate(self.sets) for conv in each.convs}
        rows = []
        for name, module in self.shallow.traced.named_modules():
            if not isinstance(module, nn.Conv2d):
                continue
            place = place_of.get(name)
            width = module.out_channels if place is None else self.set_widths[place]
            source = self.shallow.source.get(name, name)
            profile = self.profile.convs.get(source)
            fraction = float(profile.zero_fraction.mean()) if profile is not None else None
            near = profile is not None and profile.near_zero is not None
            rows.append(
                LayerPlan(
                    name,
                    source,
                    module.out_channels,
                    width,
                    None if near else fraction,
                    self._note(name, place),
                    fraction if near else None,
                )
            )
        order = {str(node.target): i for i, node in enumerate(self.shallow.traced.graph.nodes)}
        return sorted(rows, key=lambda row: order[row.conv])

    def _note(self, name: str, place: int | None) -> str:
        if place is None:
            return "inside a gate" if name in self.shallow.gate_convs else ""
        each = self.sets[place]
        notes = [each.fixed] if each.fixed else []
        others = [conv for conv in each.convs if conv != name]
        if others:
            notes.append("tied to " + ", ".join(others))
        if name in self.profile.unseen:
            notes.append("no activation sees it")
        return "; ".join(notes)

    @property
    def kept(self) -> list[torch.Tensor]:
        """For each set of coupled filters, the positions of those that stay, int64."""
        return [
            kept_filters(
                mean_zero_fraction(each, self.profile, self.shallow.source), each.filters, width
            )
            for each, width in zip(self.sets, self.set_widths, strict=True)
        ]

    @property
    def params(self) -> int:
        """Parameters of the student."""
        return self.cost.params(self.set_widths)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the student for one image."""
        return self.cost.macs(self.set_widths)

    @property
    def ratio(self) -> float:
        """The teacher's parameters divided by the student's."""
        return self.teacher.params / self.params

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain data, for JSON."""
        return {
            "P": self.P,
            "params": self.params,
            "macs": self.macs,
            "ratio": self.ratio,
            "teacher": {"params": self.teacher.params, "macs": self.teacher.macs},
            "images": self.profile.images,
            "noise": self.profile.noise,
            "near_zero": self.profile.near_zero,
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
            "groups": [[b.name for b in group.blocks] for group in self.structure.groups],
        }
