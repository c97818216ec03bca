"""The teachers: trained here and kept in the cache, or the ResNet-56 that is there already."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.learning.recipes import Recipe
from pyedge.cloud.training.train import train
from pyedge.data import Augment, BatchLoader, ImageSet
from pyedge.models import create

DEFAULT_FOLDER = Path("../shared/teachers")


def build(recipe: Recipe, classes: int) -> nn.Module:
    """Build the teacher's architecture."""
    options = {"num_classes": classes, "in_channels": recipe.channels, **recipe.options}
    return create(recipe.builder, **options)


def train_teacher(recipe: Recipe, images: ImageSet, val: ImageSet, seed: int) -> nn.Module:
    """Train a teacher on labels; of the epochs the best on validation images is kept."""
    torch.manual_seed(seed)
    model = build(recipe, len(images.classes))
    loader = BatchLoader(images, recipe.batch_size, augment=Augment(**recipe.augment), seed=seed)
    found = BatchLoader(val, 256, shuffle=False)
    options = recipe.teacher_options(len(images.classes))
    train(model, loader, val=found, seed=seed, progress=False, **options)
    return model.eval()


def read_teacher(recipe: Recipe, path: Path) -> nn.Module:
    """Read the state_dict of the CIFAR ResNet-56 into pyedge's own.

    Raises FileNotFoundError where it is not there.
    """
    if not path.exists():
        raise FileNotFoundError(f"bench.learning: no {path}; --teacher says where it lies")
    model = build(recipe, 10)
    theirs = with_padding_behind(torch.load(path, weights_only=True))
    own = model.state_dict()
    shapes = [v.shape for v in theirs.values()]
    if shapes != [v.shape for v in own.values()]:
        raise ValueError(f"bench.learning: {path} is no state_dict of a {recipe.builder}")
    model.load_state_dict(dict(zip(own, theirs.values(), strict=True)))
    return model.eval()


def with_padding_behind(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renumber channels so that shortcuts append zeros, as pyedge's do, and put none before.

    The file's network pads half of the new channels before the old ones and half behind. Which
    channel of a residual stream has which number is no matter, as long as all that writes to it and
    reads from it agrees: the weights are the same, in another order.
    """
    orders: dict[str, Tensor] = {}
    first = torch.arange(len(state["conv1.weight"]))
    orders["layer1"] = first
    for group in ("layer2", "layer3"):
        wide = len(state[f"{group}.0.conv2.weight"])
        lead = (wide - len(first)) // 2
        behind = torch.arange(lead + len(first), wide)
        first = torch.cat([lead + first, torch.arange(lead), behind])
        orders[group] = first
    found = {}
    for name, value in state.items():
        group, _, rest = name.partition(".")
        if group in orders:
            block, _, layer = rest.partition(".")
            if layer.startswith(("conv2", "bn2")) and value.dim():
                value = value[orders[group]]
            elif layer.startswith("conv1"):
                inside = int(block) > 0 or group == "layer1"
                before = group if inside else f"layer{int(group[-1]) - 1}"
                value = value[:, orders[before]]
        elif name == "linear.weight":
            value = value[:, orders["layer3"]]
        found[name] = value
    return found


def in_order(teacher: nn.Module, order: Sequence[int]) -> nn.Module:
    """Put the teacher's classes into the protocol's order, in place."""
    classifier: Any = teacher.classifier
    with torch.no_grad():
        classifier.weight.copy_(classifier.weight[list(order)].clone())
        classifier.bias.copy_(classifier.bias[list(order)].clone())
    return teacher


def digest(path: Path) -> str:
    """Tell a teacher's file from others."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "absent"
