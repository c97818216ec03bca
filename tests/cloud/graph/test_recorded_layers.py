"""Layers and values as a record holds them: each comes back as it was, others are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pyedge.cloud.graph import recorded_values
from pyedge.cloud.graph.channel_affine import ChannelAffine
from pyedge.cloud.graph.recorded_layers import build_layer, record_layer


class OtherConstructor(nn.Conv2d):
    def __init__(self) -> None:
        super().__init__(3, 4, 3, padding="same", bias=False)


class OtherForward(nn.Conv2d):
    def _conv_forward(self, *args: Any) -> torch.Tensor:
        return 2 * super()._conv_forward(*args)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 8, (3, 1), stride=2, padding=1, groups=2, padding_mode="circular"),
        nn.Conv2d(6, 6, 3, padding="same", groups=6, bias=False),
        nn.Linear(3, 4, bias=False),
        nn.BatchNorm2d(4, eps=1e-3, momentum=None, affine=False),
        nn.InstanceNorm2d(4, affine=True),
        nn.GroupNorm(2, 4),
        nn.LayerNorm([4, 2], bias=False),
        nn.PReLU(4),
        nn.AvgPool2d(3, stride=2, ceil_mode=True, divisor_override=4),
        nn.MaxPool2d((2, 3), dilation=2),
        nn.AdaptiveAvgPool2d((None, 2)),
        nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=True),
        nn.Hardtanh(-2.0, 3.0),
        nn.Unflatten(1, (2, 3)),
        nn.Dropout(0.25),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_recorded_layer_is_one_like_it(layer: nn.Module) -> None:
    again = build_layer(record_layer(layer))
    assert type(again) is type(layer)
    assert repr(again) == repr(layer)
    plain, wanted = ({k: v for k, v in vars(m).items() if k[0] != "_"} for m in (again, layer))
    assert plain == wanted
    shapes, wanted = ({k: v.shape for k, v in m.state_dict().items()} for m in (again, layer))
    assert shapes == wanted


def test_recorded_layer_may_be_a_subclass_that_only_has_another_constructor() -> None:
    kind, settings = record_layer(OtherConstructor())
    assert kind == "Conv2d"
    assert (settings["out_channels"], settings["padding"], settings["bias"]) == (4, "same", False)
    with pytest.raises(ValueError, match="a layer is a OtherForward, which files do not hold"):
        record_layer(OtherForward(3, 4, 3))


def test_recorded_layer_channel_affine_keeps_what_learns() -> None:
    affine = ChannelAffine(nn.Parameter(torch.ones(3)), torch.zeros(3))
    again = build_layer(record_layer(affine))
    assert [name for name, _ in again.named_parameters()] == ["weight"]
    assert [name for name, _ in again.named_buffers()] == ["bias"]


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 3, -1.5, float("inf"), "same", (), (1, (2, [3])), [None]),
        *(slice(None), slice(1, None, 2), Ellipsis, torch.float32, torch.channels_last),
        torch.device("cpu"),
    ],
    ids=repr,
)
def test_recorded_value_comes_back(value: Any) -> None:
    again = recorded_values.value_of(recorded_values.plain(value), {})
    assert again == value
    assert type(again) is type(value)


def test_recorded_values_of_other_kinds_are_refused() -> None:
    for value in (torch.zeros(1), {1}, {"a": 1}, len, torch.device("meta")):
        with pytest.raises(ValueError, match="which files do not hold"):
            recorded_values.plain(value)


def test_recorded_functions_are_pure() -> None:
    for name in (
        "torch.load",
        "torch.save",
        "torch.from_file",
        "builtins.eval",
        "operator.attrgetter",
    ):
        with pytest.raises(ValueError, match=f"got '{name}'"):
            recorded_values.function_of(name)
    for name, function in recorded_values._FUNCTIONS.items():
        assert recorded_values.function_of(recorded_values.name_of_function(function)) is function
        assert name == "getattr" or name.startswith(("torch.", "operator."))
