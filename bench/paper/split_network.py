"""A network of pyedge.models as what comes before its last linear layer, and that layer."""

from __future__ import annotations

import copy

from torch import nn


def split_classifier(network: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """Return a copy without its last linear layer (images -> features), and that layer.

    Raises ValueError for a network without a linear layer.
    """
    body = copy.deepcopy(network)
    linear = [name for name, each in body.named_modules() if isinstance(each, nn.Linear)]
    if not linear:
        raise ValueError("split_classifier: network: wanted a linear layer at its end, got none")
    head = body.get_submodule(linear[-1])
    body.set_submodule(linear[-1], nn.Identity())
    assert isinstance(head, nn.Linear)
    return body, head
