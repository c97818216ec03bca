"""Small tools for graphs: new modules, replaced nodes, values at chosen nodes, constants."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn
from torch.overrides import TorchFunctionMode

from pyedge.cloud.graph.nodes import shape_of


def device_of(module: nn.Module) -> torch.device:
    """Return the device of the first parameter or buffer; the CPU without any."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")


def add_module(traced: fx.GraphModule, name: str, module: nn.Module) -> str:
    """Add `module` under `name`, or a similar name if that is taken, and return it."""
    taken = {path for path, _ in traced.named_modules()} | set(traced._modules)
    base, count = "pyedge_" + name, 0
    free = base
    while free in taken:
        count += 1
        free = f"{base}_{count}"
    traced.add_submodule(free, module)
    return free


def replace(
    node: fx.Node,
    op: str,
    target: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
) -> fx.Node:
    """Replace `node` by another operation, and return that."""
    graph = node.graph
    with graph.inserting_after(node):
        new = graph.create_node(op, target, args, kwargs or {})
    node.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)
    new.meta.update(node.meta)
    graph.erase_node(node)
    return new


def random_input(traced: fx.GraphModule, seed: int = 0) -> torch.Tensor:
    """Return noise of the shape that the graph was measured with."""
    placeholder = next(node for node in traced.graph.nodes if node.op == "placeholder")
    return noise_like(traced, placeholder, torch.Generator().manual_seed(seed))


def noise_like(traced: fx.GraphModule, node: fx.Node, generator: torch.Generator) -> torch.Tensor:
    """Return noise of the shape of `node`, on the network's device."""
    return torch.randn(shape_of(node), generator=generator).float().to(device_of(traced))


def values(
    traced: fx.GraphModule,
    probe: torch.Tensor,
    given: dict[fx.Node, torch.Tensor],
    wanted: set[fx.Node],
) -> dict[fx.Node, torch.Tensor]:
    """Run the graph on `probe` with the values in `given` inserted; return those of `wanted`."""
    seen: dict[fx.Node, torch.Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, node: fx.Node) -> Any:
            value = super().run_node(node)
            if node in wanted:
                seen[node] = value
            return given.get(node, value)

    with torch.no_grad():
        Recorder(traced).run(probe)
    return seen


class InDouble(TorchFunctionMode):
    """A context in which every float32 tensor that this thread makes becomes float64.

    For networks in float64 whose forward makes tensors of its own (`torch.eye(10)`).
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.dtype == torch.float32:
            return found.double()
        return found


def constants(net: fx.GraphModule, example: torch.Tensor) -> dict[fx.Node, Any]:
    """Return the values of all nodes that no pixel reaches: sizes, parameters, tables."""
    varying: set[fx.Node] = set()
    found: dict[fx.Node, Any] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, node: fx.Node) -> Any:
            value = super().run_node(node)
            reached = any(source in varying for source in node.all_input_nodes)
            if node.op == "placeholder" or (reached and _holds_tensor(value)):
                varying.add(node)
            elif node.op != "output":
                found[node] = value
            return value

    with torch.no_grad():
        Recorder(net).run(example)
    return found


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_holds_tensor, value))
    return isinstance(value, torch.Tensor)
