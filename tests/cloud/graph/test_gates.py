"""Gates and home-made activations: which products of maps are followed, and which are refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pyedge
from pyedge.cloud.graph.gates import find_gates
from pyedge.cloud.graph.trace import trace
from tests.support.dialects import get

IMAGE = torch.zeros(2, 3, 12, 12)


class Formula(nn.Module):
    """A convolution, a formula of its map, a classifier."""

    def __init__(self, formula):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.mix, self.narrow = nn.Conv2d(8, 8, 1), nn.Conv1d(1, 1, 3, padding=1)
        self.formula = formula
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        return self.fc(F.relu(self.b(self.formula(self, x))).mean((2, 3)))


def gate(net: nn.Module, x: Tensor) -> Tensor:
    return x * net.mix(x.mean((2, 3), keepdim=True)).sigmoid()


@pytest.mark.parametrize("name", ["gate_linear_expand_as", "gate_conv", "gate_conv_hard_in_place"])
def test_gates_are_found_with_their_maps_and_layers(name):
    traced = trace(get(name).make(), IMAGE)
    gates = find_gates(traced)
    assert [str(each.map.target) for each in gates.each] == [
        f"body.{group}.{block}.bn2" for group in (0, 1) for block in (0, 1)
    ]
    assert all(each.factor.meta["shape"][2:] == (1, 1) for each in gates.each)
    kind = nn.Linear if "linear" in name else nn.Conv2d
    assert len(gates.layers(kind)) == 8


def test_gates_broadcast_and_have_no_sizes_of_their_own():
    for name in ("gate_linear_expand_as", "gate_linear_expand", "gate_linear_index"):
        traced = trace(get(name).make(), IMAGE)
        called = {str(getattr(node.target, "__name__", node.target)) for node in traced.graph.nodes}
        assert not called & {"view", "expand", "expand_as", "size", "getitem"}
        assert {"unsqueeze", "mul"} <= called


def test_gates_views_of_the_same_sizes_are_none():
    model = Formula(
        lambda net, x: x * net.mix(x.mean((2, 3), True).view(len(x), 8, 1, 1)).sigmoid()
    )
    plan = pyedge.plan(model, images=torch.randn(4, 3, 12, 12), widths={"a": 5})
    assert plan.build()(torch.randn(3, 3, 12, 12)).shape == (3, 4)
    assert plan.widths == {"a": 5, "mix": 5}


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (lambda net, x: x * net.mix(x), "two maps that it computes itself .mul."),
        (lambda net, x: x * net.mix(x)[:, :1].sigmoid(), "two maps"),
        (lambda net, x: torch.matmul(x, x.transpose(2, 3)) @ x, "two maps .*matmul"),
        (lambda net, x: x * x.mean((2, 3), keepdim=True).softmax(1), "goes through softmax"),
        (
            lambda net, x: x * net.narrow(x.mean((2, 3))[:, None])[:, 0, :, None, None].sigmoid(),
            "gate of a product .mul. goes through",
        ),
        (
            lambda net, x: x * (x.mean((2, 3), keepdim=True) + net.b(x).mean((2, 3), keepdim=True)),
            "goes through Conv2d",
        ),
        (
            lambda net, x: net.b(x) * (net.b(x) + net.mix(x)).mean((2, 3), keepdim=True),
            "two maps",
        ),
    ],
    ids=["map", "one_channel", "attention", "softmax", "conv1d", "two_paths", "other_map"],
)
def test_gates_that_cannot_be_followed_are_refused(formula, message):
    with pytest.raises(pyedge.StructureError, match=message) as caught:
        pyedge.plan(Formula(formula), 0.5, torch.randn(4, 3, 12, 12))
    assert "\n" not in str(caught.value)


def test_gates_leave_a_chain_whole():
    model = Formula(gate).eval()
    images = torch.randn(4, 3, 12, 12)
    plan = pyedge.plan(model, images=images, widths={})
    assert [[block.name for block in group.blocks] for group in plan.structure.groups] == [
        ["a", "b"]
    ]
    assert plan.widths == {"a": 8, "mix": 8}
    # the block that goes leaves nothing behind: the gate belongs to the one that stays
    x = F.relu(model.a(images))
    wanted = model.fc(gate(model, x).mean((2, 3)))
    torch.testing.assert_close(plan.build()(images), wanted)


def elementwise(name: str):
    return lambda net, x: FORMULAS[name](x)


FORMULAS = {
    "silu": lambda x: x * torch.sigmoid(x),
    "silu_in_place": lambda x: x.mul_(x.sigmoid()),
    "hardswish": lambda x: x * F.relu6(x + 3.0, inplace=True) / 6.0,
    "hardswish_of_hard_sigmoid": lambda x: x * (F.relu6(x + 3) / 6),
    "hardswish_of_clamp": lambda x: x * torch.clamp(x + 3, 0, 6) * (1 / 6),
    "mish": lambda x: x * torch.tanh(F.softplus(x)),
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    "gelu_of_tanh": lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3))),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_activations_in_several_operations_become_one(name):
    model = Formula(elementwise(name)).eval()
    images = torch.randn(4, 3, 12, 12)
    traced = trace(model, images)
    called = [str(getattr(node.target, "__name__", node.target)) for node in traced.graph.nodes]
    assert name.partition("_")[0] in called
    assert "mul" not in called
    torch.testing.assert_close(traced(images), model(images))


def test_activations_that_are_no_known_formula_stay_as_they_are():
    model = Formula(lambda net, x: x * torch.sigmoid(1.5 * x)).eval()
    with pytest.raises(pyedge.StructureError, match="two maps"):
        pyedge.plan(model, 0.5, torch.randn(4, 3, 12, 12))
