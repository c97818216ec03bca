"""What the exporter knows of operators, said once and where each is: `translates`, `computes`.

The modules that use these are imported by `operators`, which makes the tables whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, fx, nn

from pyedge.cloud.graph.nodes import module_of

if TYPE_CHECKING:
    from pyedge.cloud.exporting.lowering_state import Lowering

Translate = Callable[["Lowering", fx.Node, int], "int | None"]
Predicate = Callable[[fx.Node], bool]
Named = Mapping[str, Tensor]


@dataclass(frozen=True)
class Computed:
    """An operator of student files in torch: compute(node, its arrays by field, *inputs).

    kinks: it bends where its gradient jumps, so that float32 and float64 may differ there.
    smooth: the operator that a check without kinks puts in its place, None for none at all.
    """

    compute: Callable[..., Tensor]
    kinks: bool = False
    smooth: str | None = None


COMPUTED: dict[str, Computed] = {}
_MODULES: list[tuple[type[nn.Module], Translate]] = []
_FUNCTIONS: dict[str, Translate] = {}
_PREDICATES: list[tuple[Predicate, Translate]] = []


def translates(*kinds: type[nn.Module] | str | Predicate) -> Callable[[Translate], Translate]:
    """Let a function translate modules of these types, functions and methods of these names.

    Or nodes that a predicate knows, which come first. A translator gets the index of the node's
    first lowered input, and returns the index of the new node, None for what it does not know (the
    probe then has a look), or raises ValueError with the reason why this one cannot go.
    """

    def register(translate: Translate) -> Translate:
        for kind in kinds:
            if isinstance(kind, str):
                _FUNCTIONS[kind] = translate
            elif isinstance(kind, type):
                _MODULES.append((kind, translate))
            else:
                _PREDICATES.append((kind, translate))
        return translate

    return register


def computes(
    *names: str, kinks: bool = False, smooth: str | None = None
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Let a function say in torch what operators of student files compute; see `Computed`."""

    def register(compute: Callable[..., Tensor]) -> Callable[..., Tensor]:
        for name in names:
            COMPUTED[name] = Computed(compute, kinks, smooth)
        return compute

    return register


def translator(node: fx.Node) -> Translate | None:
    """Return what translates a node, None for what nobody knows."""
    for knows, translate in _PREDICATES:
        if knows(node):
            return translate
    module: Any = module_of(node)
    if module is None:
        return _FUNCTIONS.get(str(getattr(node.target, "__name__", node.target)))
    return next((translate for kind, translate in _MODULES if isinstance(module, kind)), None)
