"""The exporter's tables of operators, which `translates` and `computes` fill.

`operators` imports the modules that use them, which completes the tables.
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

    kinks: whether its gradient jumps somewhere, so that float32 and float64 may differ there.
    smooth: the operator that replaces it in a check without kinks, None for none at all.
    """

    compute: Callable[..., Tensor]
    kinks: bool = False
    smooth: str | None = None


COMPUTED: dict[str, Computed] = {}
_MODULES: list[tuple[type[nn.Module], Translate]] = []
_FUNCTIONS: dict[str, Translate] = {}
_PREDICATES: list[tuple[Predicate, Translate]] = []


def translates(*kinds: type[nn.Module] | str | Predicate) -> Callable[[Translate], Translate]:
    """Register a function that translates modules of these types, and functions and methods.

    Or nodes that a predicate accepts, which are asked first. A translator gets the index of the
    node's first lowered input, and returns the index of the new node, or None for what it does not
    know (the probe then tries), or raises ValueError with the reason why this one cannot be
    exported.
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
    """Register a torch function for what operators of student files compute; see `Computed`."""

    def register(compute: Callable[..., Tensor]) -> Callable[..., Tensor]:
        for name in names:
            COMPUTED[name] = Computed(compute, kinks, smooth)
        return compute

    return register


def translator(node: fx.Node) -> Translate | None:
    """Return the function that translates a node, or None."""
    for knows, translate in _PREDICATES:
        if knows(node):
            return translate
    module: Any = module_of(node)
    if module is None:
        return _FUNCTIONS.get(str(getattr(node.target, "__name__", node.target)))
    return next((translate for kind, translate in _MODULES if isinstance(module, kind)), None)
