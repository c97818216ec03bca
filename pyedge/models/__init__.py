"""Teachers: wide ResNets, CIFAR ResNets, ResNet-18/34, VGG-11/16, each a plain nn.Module."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from pyedge.models import packages
from pyedge.models.cifar_resnet import CifarResNet, cifar_resnet
from pyedge.models.layers import count_parameters
from pyedge.models.resnet import ResNet, resnet18, resnet34
from pyedge.models.vgg import VGG, vgg11, vgg16
from pyedge.models.wrn import WideResNet, wrn, wrn_28_10, wrn_small

__all__ = [
    "VGG",
    "CifarResNet",
    "ResNet",
    "WideResNet",
    "cifar_resnet",
    "count_parameters",
    "create",
    "names",
    "resnet18",
    "resnet34",
    "vgg11",
    "vgg16",
    "wrn",
    "wrn_28_10",
    "wrn_small",
]

_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "resnet18": resnet18,
    "resnet20": partial(cifar_resnet, 20),
    "resnet34": resnet34,
    "resnet56": partial(cifar_resnet, 56),
    "resnet110": partial(cifar_resnet, 110),
    "vgg11": partial(vgg11, batch_norm=False),
    "vgg11_bn": partial(vgg11, batch_norm=True),
    "vgg16": partial(vgg16, batch_norm=False),
    "vgg16_bn": partial(vgg16, batch_norm=True),
    "wrn": wrn,
    "wrn_28_10": wrn_28_10,
    "wrn_small": wrn_small,
}


def names() -> tuple[str, ...]:
    """List the names that `create` takes; it also takes any `wrn_<depth>_<width>`."""
    return tuple(_BUILDERS)


def create(name: str, **options: Any) -> nn.Module:
    """Build a network by name: `create("wrn_16_4", num_classes=10)`.

    A name may be one of another package, "timm:resnet18" or "torchvision:mobilenet_v2", where that
    is installed; its networks come without weights. `options` go to the builder of that name.
    Raises ValueError for an unknown name, TypeError for an option that this network does not take,
    ImportError for a package that is not installed.
    """
    if not isinstance(name, str):
        raise TypeError(f"create: name: wanted text such as 'wrn_16_4', got {name!r:.80}")
    if packages.package_of(name) is not None:
        try:
            build = packages.builder(name)
        except ValueError as error:
            raise ValueError(f"create: name: {error}") from None
        return build(**options)
    builder = _BUILDERS.get(name)
    if builder is None:
        sized = re.fullmatch(r"wrn_(\d+)_(\d+)", name)
        if sized is None:
            raise ValueError(
                f"create: name: wanted wrn_<depth>_<width> or one of {', '.join(names())}, "
                f"got {name!r}"
            )
        builder = partial(wrn, int(sized[1]), int(sized[2]))
    return builder(**options)
