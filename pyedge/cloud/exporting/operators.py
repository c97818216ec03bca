"""Translate torch's operators one to one; the modules imported here register what they know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import fx

# each of these puts its operators into the registry's tables
from pyedge.cloud.exporting import activations, arithmetic, borders, pools, weighted_layers
from pyedge.cloud.exporting.registry import COMPUTED, Computed, translator

if TYPE_CHECKING:
    from pyedge.cloud.exporting.lowering_state import Lowering

__all__ = [
    "activations",
    "arithmetic",
    "borders",
    "computed",
    "has_kinks",
    "lower_node",
    "pools",
    "weighted_layers",
]


def lower_node(lowering: Lowering, node: fx.Node) -> int | None:
    """Translate one node, if it is a known operator and its inputs are already lowered."""
    translate = translator(node)
    if translate is None:
        return None
    source = next((n for n in node.all_input_nodes if n not in lowering.constants), None)
    if source is None or source not in lowering.index:
        return None
    return translate(lowering, node, lowering.index[source])


def computed(op: str) -> Computed:
    """Return what an operator of student files computes."""
    return COMPUTED[op]


def has_kinks(op: str) -> bool:
    """Tell whether an operator of student files has kinks, where its gradient jumps."""
    return op in COMPUTED and COMPUTED[op].kinks
