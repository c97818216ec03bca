"""Pruning filters by their L1 norm (Li et al. 2016, "Pruning filters for efficient convnets").

In each block the first convolution loses the filters with the smallest sums of absolute weights;
the second one, whose maps are added to the shortcut's, keeps its width (their Sec. 3.3). No block
goes: depth stays, which is what the paper's own method is compared with.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from pyedge.models.wrn import PreActBlock


def filter_norms(weight: Tensor) -> Tensor:
    """Return the sum of absolute weights of each filter: [filters, c, h, w] -> [filters]."""
    return weight.detach().abs().flatten(1).sum(1)


def kept_filters(weight: Tensor, share: float) -> Tensor:
    """Return the places, rising, of the filters that stay when a share of them goes.

    The number that goes is rounded down, and one filter stays at least. Raises ValueError for a
    share outside [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"kept_filters: share: wanted a number in [0, 1), got {share}")
    count = max(1, len(weight) - int(share * len(weight)))
    return filter_norms(weight).topk(count).indices.sort().values


def prune_blocks(model: nn.Module, share: float) -> nn.Module:
    """Return a copy of a residual network of pyedge.models, a share of each conv1's filters gone.

    Raises ValueError for a network without blocks of conv1, bn and conv2.
    """
    pruned = copy.deepcopy(model)
    blocks = [each for each in pruned.modules() if _is_block(each)]
    if not blocks:
        raise ValueError("prune_blocks: model: wanted blocks with conv1 and conv2, got none")
    for block in blocks:
        _prune(block, share)
    return pruned


def _is_block(module: nn.Module) -> bool:
    return all(isinstance(getattr(module, n, None), nn.Conv2d) for n in ("conv1", "conv2"))


def _prune(block: Any, share: float) -> None:
    first, second = block.conv1, block.conv2
    kept = kept_filters(first.weight, share)
    norm = "bn2" if isinstance(block, PreActBlock) else "bn1"  # the one between the two
    with torch.no_grad():
        first.weight = nn.Parameter(first.weight[kept].clone())
        second.weight = nn.Parameter(second.weight[:, kept].clone())
    first.out_channels = second.in_channels = len(kept)
    setattr(block, norm, _thinned(getattr(block, norm), kept))


def _thinned(norm: nn.BatchNorm2d, kept: Tensor) -> nn.BatchNorm2d:
    thin = nn.BatchNorm2d(len(kept), norm.eps, norm.momentum)
    state = norm.state_dict()
    thin.load_state_dict({k: v[kept] if v.dim() else v for k, v in state.items()})
    return thin
