"""The two symbolic tracers: a plain one, and one that knows every tensor's size meanwhile."""

from __future__ import annotations

import builtins
import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import fx, nn

from pyedge.cloud.graph.channel_affine import ChannelAffine
from pyedge.cloud.graph.channel_pad import ChannelPad

# functions that make tensors from sizes, and that torch does not let a Proxy into
_CONSTRUCTORS = ("zeros", "ones", "full", "empty", "randn", "rand")
# methods that hand a tensor's values to Python
_READING_METHODS = {"item", "tolist", "numpy"}


class DataDependentError(Exception):
    """What the forward does depends on the values of the images."""


def written_in(module: nn.Module) -> str:
    """Name the Python module that a network's forward was written in; "" for a generated one.

    torch.fx generates the forward of a GraphModule, which then belongs to no Python module.
    """
    return type(module).forward.__module__ or ""


class PlainTracer(fx.Tracer):
    """Keep torch's own layers whole, with subclasses that inherit their forward.

    leaves: further modules to keep whole. proxy_buffers: also record operations on buffers, for
    buffer.expand(len(x), -1), since a tensor's own methods take no Proxy; otherwise what is
    computed only from buffers is a constant of the graph.
    """

    def __init__(self, leaves: set[nn.Module], proxy_buffers: bool = False) -> None:
        super().__init__()
        self.leaves = leaves
        self.proxy_buffer_attributes = proxy_buffers
        self._thread = threading.get_ident()

    # while it traces, fx has patched nn.Module for the whole process: other threads' networks go on
    # as ever
    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        if module in self.leaves or isinstance(module, (ChannelPad, ChannelAffine)):
            return True  # a student's own layers, when it is cut again
        if isinstance(module, (nn.Sequential, nn.ModuleList)):
            return False
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            return True  # normalise() expands those that have an activation inside
        return written_in(module).startswith(("torch.nn.", "torch.ao.nn."))

    def path_of_module(self, module: nn.Module) -> str:
        try:
            return super().path_of_module(module)
        except NameError:
            if any(True for _ in module.parameters()) or any(True for _ in module.buffers()):
                raise
        # nn.ReLU()(x): a layer made on the spot, which holds nothing, joins the network
        assert isinstance(self.root, nn.Module)
        name = f"made_in_forward_{len(self.submodule_paths or {})}"
        self.root.add_module(name, module)
        if self.submodule_paths is not None:
            self.submodule_paths[module] = name
        return name


class _SizedProxy(fx.Proxy):
    """A proxy that knows its value, so that `if x.shape[1] != c:` can be followed."""

    def __init__(self, node: fx.Node, tracer: fx.Tracer, value: Any) -> None:
        super().__init__(node, tracer)
        self.concrete = value

    @property
    def shape(self) -> tuple[Any, ...]:
        # the batch stays symbolic, all else is fixed by the architecture and the input size
        sizes = tuple(self.concrete.shape)
        batch = self.tracer.create_proxy("call_method", "size", (self, 0), {})
        return (batch, *sizes[1:])

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return self.concrete.dim()

    def __len__(self) -> int:
        return len(self.concrete)

    @property
    def ndim(self) -> int:
        return self.concrete.dim()

    @property
    def dtype(self) -> torch.dtype:
        return self.concrete.dtype

    @property
    def device(self) -> torch.device:
        return self.concrete.device


class SizedTracer(PlainTracer):
    """Evaluate every operation while tracing it, for networks that branch on shapes."""

    def __init__(self, leaves: set[nn.Module], example: torch.Tensor) -> None:
        super().__init__(leaves)
        self.example = example
        self._evaluating = False

    def create_proxy(
        self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **options: Any
    ) -> fx.Proxy:
        if kind == "call_method" and target in _READING_METHODS:
            raise DataDependentError(f"it reads a tensor's values with .{target}()")
        rest = rest[:2]  # name and type_expr; the proxy's class is ours
        plain_args: Any = self.create_arg(args)
        plain_kwargs: Any = self.create_arg(kwargs)
        node = self.create_node(kind, target, plain_args, plain_kwargs, *rest)
        return _SizedProxy(node, self, self._evaluate(kind, target, args, kwargs))

    def to_bool(self, obj: fx.Proxy) -> bool:
        value = _concrete(obj)
        if isinstance(value, torch.Tensor):
            raise DataDependentError("it branches on a tensor's values")
        return bool(value)

    def iter(self, obj: Any) -> Iterator[Any]:
        value = _concrete(obj)
        if isinstance(value, torch.Tensor):
            raise DataDependentError("it loops over the images of a batch")
        return iter([obj[place] for place in range(len(value))])

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self._evaluating:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self._evaluating:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def _evaluate(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        if kind == "placeholder":
            return self.example
        if kind == "output":
            return None
        args, kwargs = fx.node.map_aggregate((args, kwargs), _concrete)
        # fx has patched nn.Module.__call__ and __getattr__; while a layer is evaluated both
        # must act as ever, or they would trace what is inside it
        self._evaluating = True
        try:
            with torch.no_grad():
                return self._value(kind, target, args, kwargs)
        finally:
            self._evaluating = False

    def _value(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        if kind == "get_attr":
            value: Any = self.root
            for part in str(target).split("."):
                value = getattr(value, part)
            return value
        if kind == "call_function":
            return target(*args, **kwargs)
        if kind == "call_module":
            assert isinstance(self.root, nn.Module)
            return self.root.get_submodule(target)(*args, **kwargs)
        return getattr(args[0], target)(*args[1:], **kwargs)


def _concrete(value: Any) -> Any:
    return value.concrete if isinstance(value, _SizedProxy) else value


@contextlib.contextmanager
def proxies_everywhere() -> Iterator[None]:
    """Let torch.zeros and the like take a Proxy as a size, and len() measure a tensor."""
    originals = {name: getattr(torch, name) for name in _CONSTRUCTORS}
    length = builtins.len

    def symbolic_length(x: Any) -> Any:
        if isinstance(x, _SizedProxy) and isinstance(x.concrete, torch.Tensor):
            return x.size(0)  # Python makes an int of what __len__ returns, and fixes the batch
        return length(x)

    try:
        builtins.len = symbolic_length
        for name, original in originals.items():
            setattr(torch, name, _recording(original))
        yield
    finally:
        builtins.len = length
        for name, original in originals.items():
            setattr(torch, name, original)


def _recording(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def construct(*args: Any, **kwargs: Any) -> Any:
        found: list[fx.Proxy] = []
        fx.node.map_aggregate(
            (args, kwargs), lambda a: found.append(a) if isinstance(a, fx.Proxy) else None
        )
        if not found:
            return original(*args, **kwargs)
        return found[0].tracer.create_proxy("call_function", original, args, kwargs)

    return construct
