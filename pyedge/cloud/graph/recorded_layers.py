"""Layers as plain values: the kind, and the sizes and settings that make another like it.

Weights are not included, nor which filters stayed: a cut layer is a layer of smaller sizes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from pyedge.cloud.graph.channel_affine import ChannelAffine
from pyedge.cloud.graph.channel_pad import ChannelPad
from pyedge.cloud.graph.recorded_values import check_word, plain, shown, value_of

_LARGEST = 1 << 20  # of any size or setting

# constructor arguments, which are attributes too; written out, since a later torch may take others
_NORM = "num_features eps momentum affine track_running_stats"
_SETTINGS: dict[type[nn.Module], str] = {
    nn.Conv2d: (
        "in_channels out_channels kernel_size stride padding dilation groups bias padding_mode"
    ),
    nn.Linear: "in_features out_features bias",
    nn.BatchNorm1d: _NORM,
    nn.BatchNorm2d: _NORM,
    nn.SyncBatchNorm: _NORM,
    nn.InstanceNorm2d: _NORM,
    nn.GroupNorm: "num_groups num_channels eps affine",
    nn.LayerNorm: "normalized_shape eps elementwise_affine bias",
    nn.LocalResponseNorm: "size alpha beta k",
    nn.MaxPool2d: "kernel_size stride padding dilation return_indices ceil_mode",
    nn.AvgPool2d: "kernel_size stride padding ceil_mode count_include_pad divisor_override",
    nn.LPPool2d: "norm_type kernel_size stride ceil_mode",
    nn.AdaptiveAvgPool2d: "output_size",
    nn.AdaptiveMaxPool2d: "output_size return_indices",
    nn.ZeroPad2d: "padding",
    nn.ConstantPad2d: "padding value",
    nn.ReflectionPad2d: "padding",
    nn.ReplicationPad2d: "padding",
    nn.CircularPad2d: "padding",
    nn.Upsample: "size scale_factor mode align_corners recompute_scale_factor",
    nn.PixelShuffle: "upscale_factor",
    nn.PixelUnshuffle: "downscale_factor",
    nn.ChannelShuffle: "groups",
    nn.Flatten: "start_dim end_dim",
    nn.Unflatten: "dim unflattened_size",
    nn.Identity: "",
    nn.Dropout: "p inplace",
    nn.Dropout2d: "p inplace",
    nn.AlphaDropout: "p inplace",
    nn.FeatureAlphaDropout: "p inplace",
    nn.ReLU: "inplace",
    nn.ReLU6: "inplace",
    nn.LeakyReLU: "negative_slope inplace",
    nn.PReLU: "num_parameters",
    nn.ELU: "alpha inplace",
    nn.SELU: "inplace",
    nn.CELU: "alpha inplace",
    nn.GELU: "approximate",
    nn.SiLU: "inplace",
    nn.Mish: "inplace",
    nn.Sigmoid: "",
    nn.LogSigmoid: "",
    nn.Tanh: "",
    nn.Softplus: "beta threshold",
    nn.Softsign: "",
    nn.Hardswish: "inplace",
    nn.Hardsigmoid: "inplace",
    nn.Hardtanh: "min_val max_val inplace",
    nn.Threshold: "threshold value inplace",
    nn.Softmax: "dim",
    nn.LogSoftmax: "dim",
}
_KINDS = {kind.__name__: kind for kind in (*_SETTINGS, ChannelPad, ChannelAffine)}
# what a subclass may have of its own and still be the layer that it is a subclass of
_HARMLESS = {
    *("__init__", "__module__", "__doc__", "__annotations__", "__dict__", "__weakref__"),
    *("__constants__", "__firstlineno__", "__static_attributes__", "__annotate_func__"),
    *("__annotations_cache__", "extra_repr", "reset_parameters"),
}


def record_layer(layer: nn.Module) -> list[Any]:
    """Return [kind, settings] of a layer. Raises ValueError for one that files do not know."""
    settings: dict[str, Any]
    if isinstance(layer, ChannelPad):
        return ["ChannelPad", {"inputs": layer.in_channels, "outputs": layer.out_channels}]
    if isinstance(layer, ChannelAffine):
        settings = {"channels": layer.channels}
        for name in ("weight", "bias"):
            settings[f"{name}_learns"] = isinstance(getattr(layer, name), nn.Parameter)
        return ["ChannelAffine", settings]
    kind = _kind_of(layer)
    settings = {}
    for name in _SETTINGS[kind].split():
        value = getattr(layer, name)
        settings[name] = value is not None if name == "bias" else plain(value)
    return [kind.__name__, settings]


def build_layer(recorded: Any) -> nn.Module:
    """Make the layer of `record_layer`; its tensors have no values. Raises ValueError."""
    if not (isinstance(recorded, list) and len(recorded) == 2 and isinstance(recorded[1], dict)):
        raise ValueError(f"wanted [kind, settings] of a layer, got {shown(recorded)}")
    name, settings = recorded
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"wanted a kind of layer that pyedge knows, got {shown(name)}")
    given = {check_word(setting): value_of(value, {}) for setting, value in settings.items()}
    if any(isinstance(n, int) and not -_LARGEST <= n <= _LARGEST for n in _flat(given.values())):
        raise ValueError(f"{name}: wanted sizes of at most {_LARGEST}, got {shown(settings)}")
    try:
        if kind is ChannelPad:
            return _channel_pad(**given)
        if kind is ChannelAffine:
            return _channel_affine(**given)
        wanted = _SETTINGS[kind].split()
        if set(wanted) != given.keys():
            raise ValueError(f"wanted the settings {', '.join(wanted) or 'none'}")
        with torch.device("meta"):
            return kind(**given)
    except Exception as error:  # whatever torch's constructors raise at what is no size
        raise ValueError(f"{name} cannot be made of {shown(settings)}: {error}") from error


def _kind_of(layer: nn.Module) -> type[nn.Module]:
    """Return the torch layer that this is, or of which it is a subclass with another __init__."""
    family = type(layer).__mro__
    kind = next((each for each in family if each in _SETTINGS), None)
    if kind is not None:
        below = family[: family.index(kind)]
        own = {name for each in below for name in vars(each)} - _HARMLESS
        if not any(hasattr(kind, name) for name in own):
            return kind
    raise ValueError(f"a layer is a {type(layer).__name__}, which files do not hold")


def _channel_pad(inputs: int, outputs: int) -> ChannelPad:
    # -1 fits any number of outputs; the positions come with the weights
    return ChannelPad(torch.full((inputs,), -1, dtype=torch.int64, device="cpu"), outputs)


def _channel_affine(channels: int, weight_learns: bool, bias_learns: bool) -> ChannelAffine:
    weight, bias = torch.empty(channels, device="meta"), torch.empty(channels, device="meta")
    return ChannelAffine(
        nn.Parameter(weight) if weight_learns else weight,
        nn.Parameter(bias) if bias_learns else bias,
    )


def _flat(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value
