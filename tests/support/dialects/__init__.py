"""Networks as other people's repositories write them, in our own code: the registry `DIALECTS`."""

from __future__ import annotations

from . import (
    cifar_resnet,
    gated,
    idioms,
    layouts,
    mobile,
    refused,
    smooth,
    timm_like,
    torchvision_like,
    variants,
    vgg,
    wide,
    wrapped,
)
from .dialect import Dialect

__all__ = ["DIALECTS", "Dialect", "get"]

DIALECTS: list[Dialect] = [
    *torchvision_like.DIALECTS,
    *timm_like.DIALECTS,
    *cifar_resnet.DIALECTS,
    *wide.DIALECTS,
    *vgg.DIALECTS,
    *idioms.DIALECTS,
    *layouts.DIALECTS,
    *mobile.DIALECTS,
    *gated.DIALECTS,
    *smooth.DIALECTS,
    *variants.DIALECTS,
    *wrapped.DIALECTS,
    *refused.DIALECTS,
]


def get(name: str) -> Dialect:
    """Return the dialect of that name."""
    return next(dialect for dialect in DIALECTS if dialect.name == name)
