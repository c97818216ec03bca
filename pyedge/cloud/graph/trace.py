"""From any network to a torch.fx graph whose operations pyedge understands.

Reading a network as a graph, not as a tree of modules, is what makes attribute names, nesting
and style irrelevant: a block written as a class, inlined in one long forward, or built by a
function looks the same.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from pyedge.cloud.feed.failures import swapped
from pyedge.cloud.graph.clone import unwrap
from pyedge.cloud.graph.modes import evaluating
from pyedge.cloud.graph.normalise import normalise
from pyedge.cloud.graph.symbolic_tracers import (
    DataDependentError,
    PlainTracer,
    SizedTracer,
    proxies_everywhere,
    written_in,
)
from pyedge.errors import StructureError
from pyedge.files.locks import ForkSafeLock

Shape = tuple[int, ...]
_tracing = ForkSafeLock()  # fx patches nn.Module for the process: one trace at a time


def trace(model: nn.Module, example: torch.Tensor) -> fx.GraphModule:
    """Trace `model` into a normalised graph that shares its modules.

    example: a float batch n c h w; a single image is doubled, since a squeeze() would remove its
    batch axis. Every node's `meta["shape"]` is set (None if it is not a tensor). Raises
    StructureError, in one sentence, when the network cannot be read as a graph.
    """
    model = unwrap(model)
    if len(example) == 1:
        example = example.expand(2, *example.shape[1:])
    with _tracing, evaluating(model):
        random_identities = _try_out(model, example)
        traced = _trace_graph(_OneInput(model).eval(), example, random_identities)
        record_shapes(traced, example)
        normalise(traced)
        record_shapes(traced, example)
    return traced


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


class _OneInput(nn.Module):
    """Call a network with only the image batch, so that further arguments keep their defaults."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> Any:
        return self.model(x)


def _try_out(model: nn.Module, example: torch.Tensor) -> set[nn.Module]:
    """Run the network on `example`, check what it returns, and find its random identities.

    Stochastic depth, DropBlock or added noise do nothing in eval mode, so a trace would lose
    them. They are found as modules without parameters, of any name, that return their input in eval
    mode and draw random numbers in train mode.
    """
    inputs: dict[nn.Module, torch.Tensor] = {}

    def remember(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if len(args) == 1 and isinstance(args[0], torch.Tensor) and output is args[0]:
            inputs.setdefault(module, args[0][:2])

    handles = [m.register_forward_hook(remember) for m in model.modules() if _holds_nothing(m)]
    try:
        with torch.no_grad():
            output = model(example)
    except Exception as error:
        raise StructureError(
            f"the network does not run on one input of shape {tuple(example.shape)}"
            f"{swapped(tuple(example.shape))}: {_first_sentence(error)}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    _check_output(output)
    return {module for module, seen in inputs.items() if _draws_in_training(module, seen)}


def _holds_nothing(module: nn.Module) -> bool:
    own = written_in(module).startswith("torch.nn.")
    return not own and not any(True for _ in module.children()) and not module.state_dict()


def _draws_in_training(module: nn.Module, seen: torch.Tensor) -> bool:
    devices = [seen.device] if seen.is_cuda else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        before = _random_state(seen)
        module.training = True
        try:
            module(seen.clone())
        finally:
            module.training = False
        return not torch.equal(before, _random_state(seen))


def _random_state(tensor: torch.Tensor) -> torch.Tensor:
    return torch.cuda.get_rng_state(tensor.device) if tensor.is_cuda else torch.get_rng_state()


def _check_output(output: Any) -> None:
    if not isinstance(output, torch.Tensor):
        raise StructureError(
            f"the network returns an object of type {type(output).__name__}, wanted one tensor of "
            "logits n classes; wrap it in a module that returns the logits alone"
        )
    if output.dim() != 2:
        raise StructureError(
            f"the network returns a tensor of shape {tuple(output.shape)}, wanted logits n classes"
        )


def _trace_graph(root: _OneInput, example: torch.Tensor, leaves: set[nn.Module]) -> fx.GraphModule:
    for proxy_buffers in (False, True):
        try:
            with proxies_everywhere():
                graph = PlainTracer(leaves, proxy_buffers).trace(root)
            return _graph_module(root, graph, leaves)
        except Exception:
            continue
    # most often control flow on a shape; if it is control flow on data, this fails as well
    tracer = SizedTracer(leaves, example)
    name = type(root.model).__name__
    try:
        with proxies_everywhere():
            graph = tracer.trace(root)
    except DataDependentError as error:
        raise StructureError(
            f"{name} cannot be read as one graph: its forward depends on the images' values "
            f"({error}{_place(error)})"
        ) from error
    except Exception as error:
        raise StructureError(
            f"{name} cannot be traced: its forward is not plain torch code "
            f"({_first_sentence(error)}{_place(error)})"
        ) from error
    traced = _graph_module(root, graph, leaves)
    _check_other_batch(traced, example, name)
    return traced


def _graph_module(root: _OneInput, graph: fx.Graph, leaves: set[nn.Module]) -> fx.GraphModule:
    """Wrap the graph, with the network's names; constants made by tracing are added."""
    attributes: dict[str, Any] = {}
    for node in graph.nodes:
        node.type = None  # annotations are strings here, which a pickled graph cannot hold
        if node.op in ("call_module", "get_attr"):
            path, _, name = str(node.target).rpartition(".")
            value = getattr(root.get_submodule(path), name)
            plain = _plain_name(str(node.target), root.model)
            # a constant made while tracing may be called like one that the network has
            while attributes.get(plain, value) is not value:
                plain += "_"
            node.target = plain
            attributes[plain] = value
            if isinstance(value, nn.Module):
                node.meta["random_identity"] = value in leaves
    return fx.GraphModule(attributes, graph, class_name=type(root.model).__name__).eval()


def _plain_name(target: str, model: nn.Module) -> str:
    """Return the name inside the network, as its author knows it; without a student's wrapper."""
    inside = target.removeprefix("model.")
    return inside.removeprefix(f"{getattr(model, 'inside', '')}.")


def _check_other_batch(traced: fx.GraphModule, example: torch.Tensor, name: str) -> None:
    """Check on another batch that it does not matter that Python numbers are fixed now."""
    other = torch.cat([example, example[:1]])
    try:
        with torch.no_grad():
            traced(other)
    except Exception as error:
        raise StructureError(
            f"{name} cannot be traced: its forward fixes the batch size ({_first_sentence(error)})"
        ) from error


def _place(error: BaseException) -> str:
    """Tell where in the network's own code the error arose."""
    torch_folder, own_folder = Path(torch.__file__).parent, Path(__file__).parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.suffix == ".py" and not {torch_folder, own_folder} & set(path.parents):
            return f", in {frame.name}, line {frame.lineno} of {path.name}"
    return ""


def _first_sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (text[:160] + "...") if len(text) > 160 else (text or type(error).__name__)
