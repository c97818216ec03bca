"""From anybody's network to a torch.fx graph whose operations pyedge understands.

Reading a network as a graph, not as a tree of modules, is what makes attribute names, nesting
and style irrelevant: a block written as a class, inlined in one long forward, or built by a
function looks the same.
"""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import parametrize

from pyedge.cloud.normalise import normalise
from pyedge.errors import StructureError

Shape = tuple[int, ...]


def trace(model: nn.Module, example: torch.Tensor) -> fx.GraphModule:
    """Trace `model` into a normalised graph that shares its modules.

    example: a float batch n c h w. Every node's `meta["shape"]` is set (None for what is no
    tensor). Raises StructureError, in one sentence, when the network cannot be read as a graph.
    """
    model = unwrap(model)
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        graph = _trace_graph(model, example)
        traced = fx.GraphModule(model, graph, class_name=type(model).__name__)
        traced.eval()
        record_shapes(traced, example)
        normalise(traced)
        record_shapes(traced, example)
        _check_output(traced)
    finally:
        for module, mode in training.items():
            module.training = mode
    return traced


def private_copy(model: nn.Module) -> nn.Module:
    """Copy `model` in float32 and eval mode, free of hooks and parametrisations.

    All measuring and cutting happens on the copy, so the caller's network, its mode and its
    hooks are never touched.
    """
    model = unwrap(model)
    try:
        clone = copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise StructureError(
            f"{type(model).__name__} cannot be copied ({_first_sentence(error)}); remove weight "
            "normalisation or other derived weights first"
        ) from error
    for module in clone.modules():
        module._forward_hooks.clear()
        module._backward_hooks.clear()
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    for parameter in clone.parameters():
        parameter.requires_grad_(True)
    return clone.float().eval()


def unwrap(model: nn.Module) -> nn.Module:
    """Take off DataParallel, DistributedDataParallel and torch.compile wrappers."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod
        else:
            break
    if isinstance(model, torch.jit.ScriptModule):
        raise StructureError(
            "the network is a compiled TorchScript module, whose Python forward is gone; "
            "pass the nn.Module that it was scripted from"
        )
    return model


def record_shapes(traced: fx.GraphModule, example: torch.Tensor) -> None:
    """Run the graph once on `example` and set every node's meta["shape"]."""
    try:
        with torch.no_grad():
            _ShapeRecorder(traced).run(example)
    except Exception as error:
        raise StructureError(
            f"the network does not run on an input of shape {tuple(example.shape)}: "
            f"{_first_sentence(error)}"
        ) from error


class _ShapeRecorder(fx.Interpreter):
    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        node.meta["shape"] = tuple(value.shape) if isinstance(value, torch.Tensor) else None
        return value


class _Tracer(fx.Tracer):
    """Keeps torch's own layers whole, subclasses that inherit their forward included."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        if isinstance(module, (nn.Sequential, nn.ModuleList)):
            return False
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            return True  # normalise() expands those that have an activation inside
        return type(module).forward.__module__.startswith(("torch.nn.", "torch.ao.nn."))


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

    @property
    def ndim(self) -> int:
        return self.concrete.dim()


class _SizedTracer(_Tracer):
    """Evaluates every operation as it is traced, for networks that branch on shapes."""

    def __init__(self, example: torch.Tensor) -> None:
        super().__init__()
        self.example = example

    def create_proxy(self, kind, target, args, kwargs, *rest, **options):  # type: ignore[no-untyped-def]
        rest = rest[:2]  # name and type_expr; the proxy's class is ours
        node = self.create_node(kind, target, self.create_arg(args), self.create_arg(kwargs), *rest)
        return _SizedProxy(node, self, self._evaluate(kind, target, args, kwargs))

    def _evaluate(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        if kind == "placeholder":
            return self.example
        if kind == "output":
            return None
        if kind == "get_attr":
            return operator.attrgetter(target)(self.root)
        args, kwargs = fx.node.map_aggregate((args, kwargs), _concrete)  # type: ignore[misc]
        with torch.no_grad():
            if kind == "call_function":
                return target(*args, **kwargs)
            if kind == "call_module":
                return self.root.get_submodule(target)(*args, **kwargs)
            return getattr(args[0], target)(*args[1:], **kwargs)


def _concrete(value: Any) -> Any:
    return value.concrete if isinstance(value, _SizedProxy) else value


class _OneInput(nn.Module):
    """Calls a network with the image batch alone, so that further arguments keep defaults."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> Any:
        return self.model(x)


def _trace_graph(model: nn.Module, example: torch.Tensor) -> fx.Graph:
    root = _OneInput(model).eval()
    try:
        graph = _Tracer().trace(root)
    except Exception:
        # most often control flow on a shape; if it is control flow on data, this fails as well
        try:
            graph = _SizedTracer(example).trace(root)
        except Exception as error:
            raise StructureError(
                f"{type(model).__name__} cannot be traced: its forward does what depends on the "
                f"values of an image or is no plain torch code ({_first_sentence(error)})"
            ) from error
    for node in graph.nodes:
        node.type = None  # annotations are strings here, which a pickled graph cannot hold
        if node.op in ("call_module", "get_attr"):
            node.target = str(node.target).removeprefix("model.")
    return graph


def _check_output(traced: fx.GraphModule) -> None:
    output = next(node for node in traced.graph.nodes if node.op == "output").args[0]
    if not isinstance(output, fx.Node):
        kind = type(output).__name__
        raise StructureError(
            f"the network returns a {kind}, wanted one tensor of logits n classes; "
            "wrap it in a module that returns the logits alone"
        )
    shape = output.meta["shape"]
    if shape is None or len(shape) != 2:
        raise StructureError(
            f"the network returns a tensor of shape {shape}, wanted logits n classes"
        )


def _first_sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (text[:160] + "...") if len(text) > 160 else (text or type(error).__name__)
