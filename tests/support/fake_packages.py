"""Stand-ins for timm and torchvision: real ones need not be there, and are large."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch_pruning  # noqa: F401  (looks for timm when it is imported, and not again)
from torch import nn

from pyedge import models

# as a timm network has it
CFG = {
    "mean": (0.5, 0.4, 0.3),
    "std": (0.25, 0.2, 0.3),
    "input_size": (3, 16, 16),
    "interpolation": "bicubic",
    "crop_pct": 0.8,
    "crop_mode": "center",
}


def install_timm(monkeypatch: pytest.MonkeyPatch, **cfg: Any) -> None:
    """Put a timm in place of what is installed; `cfg` changes its networks' pretrained_cfg."""
    timm: Any = types.ModuleType("timm")
    timm.__version__ = "1.0"

    def list_models(pattern: str = "", pretrained: bool = False) -> list[str]:
        tagged = ["resnet8.a_in1k", "resnet8.b_in1k"]
        return tagged if pattern == "resnet8.*" and pretrained else ["resnet8", "resnet14", "mlp"]

    def create_model(
        name: str, pretrained: bool = False, num_classes: int = 1000, in_chans: int = 3, **more: Any
    ) -> nn.Module:
        assert not pretrained
        if more.pop("fails", False):
            raise KeyError("out of range")
        depth = int(name.partition(".")[0].removeprefix("resnet"))
        model = models.cifar_resnet(depth, num_classes, in_chans, **{"width": 4, **more})
        model.pretrained_cfg = {**CFG, **cfg}  # type: ignore[assignment]
        return model

    timm.list_models, timm.create_model = list_models, create_model
    settings = types.SimpleNamespace(to_dict=lambda: {**CFG, **cfg})
    timm.get_pretrained_cfg = lambda name: settings
    monkeypatch.setitem(sys.modules, "timm", timm)


def install_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a torchvision in place; torchmetrics, which looks for it, must not be imported then."""
    vision: Any = types.ModuleType("torchvision")
    vision.models = types.ModuleType("torchvision.models")

    def get_model(name: str, weights: None = None, **options: Any) -> nn.Module:
        assert name == "tiny_net"
        return models.cifar_resnet(8, width=4, **options)

    vision.models.list_models = lambda module: ["tiny_net"] if module is vision.models else []
    vision.models.get_model = get_model
    transforms = types.SimpleNamespace(
        mean=[0.5, 0.4, 0.3],
        std=[0.25, 0.2, 0.3],
        crop_size=[16],
        resize_size=[18],
        interpolation=types.SimpleNamespace(value="bilinear"),
    )
    first = types.SimpleNamespace(transforms=lambda: transforms)
    vision.models.get_model_weights = lambda name: [first]
    for module in (vision, vision.models):
        monkeypatch.setitem(sys.modules, module.__name__, module)
