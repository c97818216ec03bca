"""The words of a recorded graph: which operations and values a file may hold, and their spelling.

A file may come from anybody, and torch.fx makes Python code from a graph. So an operation is a name
in the tables below and never code, and a value is one of the kinds that `value_of` knows.
"""

from __future__ import annotations

import builtins
import keyword
import operator
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

_FUNCTIONS_AND_METHODS = """
    abs add addcmul adaptive_avg_pool1d amax amin arange argmax avg_pool1d bmm broadcast_to cat
    celu chunk clamp clamp_max clamp_min clip clone concat concatenate conv2d cos dropout div
    einsum eq exp expand expand_as eye feature_dropout flatten flip floor_divide fmax fmin
    full full_like ge gt index_select le lerp linalg_norm log log_softmax logical_and
    logical_not logical_or logsumexp lt masked_fill matmul max maximum mean min minimum mm
    movedim mul multiply narrow ne neg norm ones ones_like outer permute pixel_shuffle pow prod
    ravel reciprocal relu repeat repeat_interleave reshape roll round rsqrt rsub selu select
    sigmoid sign sin softmax split sqrt square squeeze stack std sub subtract sum swapaxes t
    take_along_dim tanh tensor_split tile transpose tril triu true_divide unbind unflatten
    unsqueeze var view_as_real where zeros zeros_like
"""
_METHODS_ALONE = """
    bool contiguous dim double float half int long ndimension new_full new_ones
    new_zeros numel size to type_as view view_as
"""
_OF_FUNCTIONAL = """
    adaptive_avg_pool2d adaptive_max_pool2d alpha_dropout avg_pool2d batch_norm celu conv2d
    dropout dropout2d elu feature_alpha_dropout gelu glu group_norm hardsigmoid hardswish
    hardtanh instance_norm interpolate layer_norm leaky_relu linear local_response_norm
    log_softmax logsigmoid lp_pool2d max_pool2d mish normalize one_hot pad pixel_shuffle prelu
    relu relu6 selu sigmoid silu softmax softplus softsign tanh threshold unfold upsample
"""
_OF_OPERATOR = """
    add and_ eq floordiv ge getitem gt iadd imul invert isub itruediv le lt matmul mod mul ne
    neg not_ or_ pos pow sub truediv
"""
# what getattr may fetch of a tensor
_FACTS = {"shape", "dtype", "device", "ndim", "T", "mT", "H"}


def _table() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {"getattr": builtins.getattr}
    rooms = (
        ("torch", torch, _FUNCTIONS_AND_METHODS),
        ("torch.nn.functional", F, _OF_FUNCTIONAL),
        ("operator", operator, _OF_OPERATOR),
    )
    for room, module, names in rooms:
        for name in names.split():
            function = getattr(module, name, None)  # torch may have none of this name
            if callable(function):
                found[f"{room}.{name}"] = function
    return found


_FUNCTIONS = _table()
# where two names are one function, the first of them
_NAMES = {function: name for name, function in reversed(_FUNCTIONS.items())}
_METHODS = {
    name
    for name in (_FUNCTIONS_AND_METHODS + _METHODS_ALONE).split()
    if hasattr(torch.Tensor, name)
}
_IN_PLACE = {f"{name}_" for name in _METHODS if hasattr(torch.Tensor, f"{name}_")}

_DTYPES = {
    str(each).removeprefix("torch."): each
    for each in (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8),
        *(torch.int8, torch.int16, torch.int32, torch.int64, torch.complex64),
    )
}
_MEMORY_FORMATS = {
    str(each).removeprefix("torch."): each
    for each in (torch.contiguous_format, torch.channels_last, torch.preserve_format)
}
_LONGEST_TEXT = 256
_DEEPEST = 8
_PART = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*|[0-9]+", re.ASCII)


def name_of_function(function: Any) -> str:
    """Return the name of a node's function. Raises ValueError for one that files do not know."""
    try:
        return _NAMES[function]
    except (KeyError, TypeError) as error:
        raise ValueError(f"the operation {shown(function)} is none that a file may name") from error


def function_of(name: Any) -> Callable[..., Any]:
    """Return the function of a name. Raises ValueError for one that is not in the table."""
    found = _FUNCTIONS.get(name) if isinstance(name, str) else None
    if found is None:
        raise ValueError(f"wanted an operation that pyedge knows, got {shown(name)}")
    return found


def check_method(name: Any) -> str:
    """Return the name of a tensor's method. Raises ValueError for one that files do not know."""
    if isinstance(name, str) and (name in _METHODS or name in _IN_PLACE):
        return name
    raise ValueError(f"wanted a method of tensors that pyedge knows, got {shown(name)}")


def check_call(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Raise ValueError for a getattr of anything but a tensor's shape and the like."""
    if function is builtins.getattr and not (
        len(args) == 2
        and isinstance(args[0], fx.Node)
        and isinstance(args[1], str)
        and args[1] in _FACTS
    ):
        raise ValueError(f"wanted getattr of a node and one of {sorted(_FACTS)}, got {shown(args)}")


def check_path(name: Any) -> str:
    """Return a dotted name of a module or tensor. Raises ValueError if it is not one."""
    if isinstance(name, str) and len(name) <= _LONGEST_TEXT:
        parts = name.split(".")
        # what a module has by itself is not to be replaced
        if all(_PART.fullmatch(p) and not hasattr(fx.GraphModule, p) for p in parts):
            return name
    raise ValueError(f"wanted a dotted name of a module or tensor, got {shown(name)}")


def check_word(name: Any) -> str:
    """Return a plain identifier. Raises ValueError if it is not one."""
    if (
        isinstance(name, str)
        and len(name) <= _LONGEST_TEXT
        and name.isascii()
        and name.isidentifier()
        and not keyword.iskeyword(name)
    ):
        return name
    raise ValueError(f"wanted a plain name, got {shown(name)}")


def dtype_of(name: Any) -> torch.dtype:
    """The dtype of a name such as "float32". Raises ValueError."""
    return _of_table(_DTYPES, name, "a dtype")


def plain(value: Any) -> Any:
    """Return a node's argument in values that a file may hold. Raises ValueError for others."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if type(value) in (tuple, torch.Size):
        return {"tuple": [plain(item) for item in value]}
    if isinstance(value, slice):
        return {"slice": [plain(item) for item in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, torch.memory_format):
        return {"memory_format": str(value).removeprefix("torch.")}
    if value == torch.device("cpu"):
        return {"device": "cpu"}
    raise ValueError(f"an argument is a {type(value).__name__}, which files do not hold")


def value_of(value: Any, nodes: Mapping[str, fx.Node], depth: int = 0) -> Any:
    """Undo `plain`; `nodes` are those that came before. Raises ValueError."""
    if depth > _DEEPEST:
        raise ValueError(f"wanted values at most {_DEEPEST} deep")
    if value is None or type(value) in (bool, float):
        return value
    if type(value) is int and abs(value) < 1 << 63:
        return value
    if type(value) is str and len(value) <= _LONGEST_TEXT:
        return value
    if type(value) is list:
        return [value_of(item, nodes, depth + 1) for item in value]
    if type(value) is dict and len(value) == 1:
        ((kind, content),) = value.items()
        if kind == "node" and isinstance(content, str) and content in nodes:
            return nodes[content]
        if kind in ("tuple", "slice") and type(content) is list:
            items = tuple(value_of(item, nodes, depth + 1) for item in content)
            if kind == "tuple":
                return items
            if len(items) == 3:
                return slice(*items)
        if kind == "ellipsis":
            return Ellipsis
        if kind == "dtype":
            return dtype_of(content)
        if kind == "memory_format":
            return _of_table(_MEMORY_FORMATS, content, "a memory format")
        if kind == "device" and content == "cpu":
            return torch.device("cpu")
    raise ValueError(f"wanted a plain value or a node that came before, got {shown(value)}")


def shown(value: Any) -> str:
    """Return a value as text for a message, cut if it is long or deep."""
    name = getattr(value, "__name__", None)
    return str(name) if name is not None else reprlib.repr(value)


def _of_table(table: Mapping[str, Any], name: Any, what: str) -> Any:
    if isinstance(name, str) and name in table:
        return table[name]
    raise ValueError(f"wanted {what} ({', '.join(table)}), got {shown(name)}")
