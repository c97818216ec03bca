"""What is known of a network besides its weights: how it was built, its classes, its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyedge.images.preprocessing import Preprocessing
from pyedge.models.packages import package_of

if TYPE_CHECKING:
    from pyedge.cloud.compression.plan import Plan

# what files of before say, which knew nothing else
PER_IMAGE = "per-image standardisation"


@dataclass(frozen=True)
class StudentSettings:
    """How a student was cut out of its teacher, without its weights.

    widths: filters by the name of a convolution, one for each set of coupled filters. keep, head,
    structure: as in `pyedge.plan`.
    """

    widths: Mapping[str, int]
    keep: str = "first"
    head: str = "single"
    structure: Sequence[Sequence[str]] | None = None

    @classmethod
    def of(
        cls,
        chosen: Plan,
        *,
        keep: str = "first",
        head: str = "single",
        structure: Sequence[Sequence[str]] | None = None,
    ) -> StudentSettings:
        """Take the widths of a plan that was made with these settings.

        Raises ValueError for a plan that cuts a student again: a file says how to cut a student
        out of a builder's network, once.
        """
        if chosen.teacher.origin is not None:
            raise ValueError(
                "StudentSettings: the plan cuts a student again, and a network file holds students "
                "of a builder's network alone; export it, or cut the first teacher to these widths"
            )
        pairs = zip(chosen.sets, chosen.set_widths, strict=True)
        return cls({each.convs[0]: width for each, width in pairs}, keep, head, structure)


@dataclass(frozen=True, kw_only=True)
class NetworkInfo:
    """Everything about a network except its weights.

    builder: a name that `pyedge.models.create` takes ("timm:resnet18" is one), or
    "package.module:function" or "file.py:function" for your own code. options: its keyword
    arguments. classes: names, in the order of the logits.
    input_shape: c h w. split_seed: how the data were split into training, validation and test
    images, so that no later step learns from a test image. preprocessing: what the network takes of
    pixels. student: None for a teacher. record: what was done to the network so far, plain values,
    one entry for each step.
    """

    builder: str
    options: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    split_seed: int = 0
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    student: StudentSettings | None = None
    record: tuple[Mapping[str, Any], ...] = ()

    @property
    def kind(self) -> str:
        """ "teacher" or "student"."""
        return "teacher" if self.student is None else "student"

    @property
    def own_code(self) -> bool:
        """Whether the builder is the user's own code, which a file must not run by itself."""
        return ":" in self.builder and package_of(self.builder) is None
