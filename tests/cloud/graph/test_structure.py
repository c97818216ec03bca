"""Groups and blocks of a network: our own models, names given by hand, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import pyedge
from pyedge import models
from pyedge.cloud.graph.channel_affine import ChannelAffine
from pyedge.cloud.graph.clone import private_copy
from pyedge.cloud.graph.trace import trace

IMAGE = torch.zeros(2, 3, 16, 16)


def block_names(structure: pyedge.Structure) -> list[list[str]]:
    return [[block.name for block in group.blocks] for group in structure.groups]


@pytest.mark.parametrize(
    ("model", "blocks", "residual"),
    [
        (models.wrn(16, 1), (2, 2, 2), True),
        (models.wrn(22, 1, shortcut="projection"), (3, 3, 3), True),
        (models.cifar_resnet(20), (3, 3, 3), True),
        (models.resnet18(num_classes=4, small_input=True), (2, 2, 2, 2), True),
        (models.vgg11(num_classes=4, input_size=32, hidden=None), (1, 1, 2, 2, 2), False),
        (models.vgg16(num_classes=4, input_size=32, hidden=8), (2, 2, 3, 3, 3), False),
    ],
    ids=["wrn", "wrn_projection", "cifar_resnet", "resnet18", "vgg11", "vgg16"],
)
def test_structure_of_our_models(model, blocks, residual):
    structure = pyedge.find_structure(model, torch.zeros(2, 3, 32, 32))
    assert tuple(len(group.blocks) for group in structure.groups) == blocks
    assert structure.residual is residual
    assert structure.input_shape == (3, 32, 32)
    shapes = [group.shape for group in structure.groups]
    assert len(set(shapes)) == len(shapes)


def test_structure_names_what_it_found():
    text = str(
        pyedge.find_structure(models.vgg16(4, input_size=32, hidden=8), torch.zeros(2, 3, 32, 32))
    )
    assert text.startswith("chain network, input 3x32x32")
    assert "hidden layers of the classifier: " in text
    structure = pyedge.find_structure(models.wrn(16, 1), IMAGE)
    assert str(structure).startswith("residual network, input 3x16x16")
    assert structure.stem == ("stem",)
    assert structure.classifier == "classifier"


def test_structure_given_by_name_is_the_one_found():
    model = models.cifar_resnet(20)
    found = pyedge.find_structure(model, IMAGE)
    given = pyedge.find_structure(model, IMAGE, structure=block_names(found))
    assert given == found


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["groups.0.0"], TypeError, "list of lists"),
        ([["groups.0.7"]], pyedge.StructureError, "no module named 'groups.0.7'"),
        ([["groups.0.0", "groups.1.0"]], pyedge.StructureError, "differ in shape"),
        ([["groups.0.0.bn1"]], pyedge.StructureError, "no nn.Conv2d"),
    ],
)
def test_structure_refuses_bad_names(names, error, message):
    with pytest.raises(error, match=message):
        pyedge.find_structure(models.wrn(16, 1), IMAGE, structure=names)


class Residual(nn.Module):
    """stem -> residual blocks chosen by a subclass -> linear."""

    def __init__(self, width: int = 8):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.a, self.b = (
            nn.Conv2d(width, width, 3, padding=1),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.fc = nn.Linear(width, 4)

    def block(self, x: Tensor) -> Tensor:
        return F.relu(x + self.b(F.relu(self.a(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.block(F.relu(self.stem(x))).mean((2, 3)))


class CalledTwice(Residual):
    def block(self, x: Tensor) -> Tensor:
        return super().block(super().block(x))


class CalledAtTwoSizes(Residual):
    def block(self, x: Tensor) -> Tensor:
        return super().block(F.max_pool2d(super().block(x), 2))


def test_structure_counts_a_block_called_twice_once():
    torch.manual_seed(0)
    twice, once = CalledTwice(), Residual()
    once.load_state_dict(twice.state_dict())
    group = pyedge.find_structure(twice, IMAGE).groups[0]
    assert (len(group.blocks), len(group.repeats)) == (1, 1)
    student = pyedge.compress(twice, images=torch.randn(4, 3, 16, 16), widths={})
    x = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(student(x), once(x))


def test_structure_refuses_a_block_called_in_two_groups():
    with pytest.raises(pyedge.StructureError, match="called in two groups"):
        pyedge.find_structure(CalledAtTwoSizes(), IMAGE)


class Branches(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x / 2 if x.max() > 1 else x)


class Reads(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x / max(1.0, x.max().item()))


@pytest.mark.parametrize(
    ("kind", "what"), [(Branches, "branches on a tensor's values"), (Reads, r"\.item\(\)")]
)
def test_structure_says_where_a_forward_depends_on_the_images(kind, what):
    with pytest.raises(pyedge.StructureError, match=what) as caught:
        pyedge.find_structure(kind(), IMAGE)
    message = str(caught.value)
    assert f"{kind.__name__} cannot be read as one graph" in message
    assert "in forward, line" in message
    assert "of test_structure.py" in message


class FixesBatch(Residual):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 3:
            raise ValueError("three channels are wanted")
        return super().forward(x).view(2, 4)


def test_structure_refuses_a_forward_that_fixes_the_batch_size():
    with pytest.raises(pyedge.StructureError, match="fixes the batch size"):
        pyedge.find_structure(FixesBatch(), IMAGE)


def test_structure_refuses_what_does_not_take_the_images():
    with pytest.raises(pyedge.StructureError, match=r"not run .*\(2, 1"):
        pyedge.find_structure(Residual(), torch.zeros(2, 1, 16, 16))


@pytest.mark.parametrize(
    "normalise", [parametrizations.weight_norm, parametrizations.spectral_norm]
)
def test_structure_copy_leaves_parametrised_networks_whole(normalise):
    model = Residual()
    normalise(model.a)
    model.eval()
    x = torch.randn(2, 3, 16, 16)
    before = model(x)
    clone = private_copy(model)
    assert type(model.a).__name__ == "ParametrizedConv2d"
    assert torch.equal(model(x), before)
    assert type(clone.a) is nn.Conv2d
    torch.testing.assert_close(clone(x), before)


def test_structure_copy_bakes_masks_after_a_forward_with_gradients():
    model = Residual()
    prune.l1_unstructured(model.a, "weight", amount=0.5)
    before = model(torch.ones(2, 3, 16, 16))
    assert not model.a.weight.is_leaf
    clone = private_copy(model)
    assert isinstance(clone.a.weight, nn.Parameter)
    assert (clone.a.weight == 0).sum() == (model.a.weight == 0).sum() > 0
    torch.testing.assert_close(clone(torch.ones(2, 3, 16, 16)), before)
    assert "weight_orig" in dict(model.a.named_parameters())
    copy.deepcopy(clone)


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x) if self.training else x


class Unchanged(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def test_structure_keeps_what_is_random_in_training_only():
    model = Residual()
    model.stem = nn.Sequential(model.stem, Noise(), Unchanged())
    state = torch.get_rng_state()
    traced = trace(model, IMAGE)
    assert torch.equal(torch.get_rng_state(), state)
    kinds = [type(module) for module in traced.modules()]
    assert Noise in kinds
    assert Unchanged not in kinds


class Clamps(Residual):
    def block(self, x: Tensor) -> Tensor:
        y = self.a(x).clamp(min=0)
        return torch.clamp(x + self.b(y), 0, 6)


class ClampsElsewhere(Residual):
    def block(self, x: Tensor) -> Tensor:
        return torch.clamp(x + self.b(torch.clamp(self.a(x), 0, 1)), min=0.5)


def test_structure_takes_a_clamp_for_a_relu_only_where_it_is_one():
    targets = [node.target for node in trace(Clamps(), IMAGE).graph.nodes]
    assert targets.count(F.relu) == 2
    assert targets.count(F.relu6) == 1
    assert torch.clamp not in targets
    targets = [node.target for node in trace(ClampsElsewhere(), IMAGE).graph.nodes]
    assert targets.count(F.relu) == 1
    assert targets.count(torch.clamp) == 2


class Frozen(Residual):
    """Scale and shift of every channel are buffers, those after the second conv parameters."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.linspace(0.5, 2, 8).view(8, 1, 1))
        self.register_buffer("shift", torch.linspace(-1, 1, 8).view(8, 1, 1))
        self.gamma = nn.Parameter(torch.linspace(1, 3, 8).view(1, 8, 1, 1))

    def block(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x) * self.scale + self.shift)
        return F.relu(x + self.gamma * self.b(y))


def test_structure_prunes_frozen_norms_and_layer_scales_along():
    torch.manual_seed(0)
    model = Frozen().eval()
    x = torch.randn(8, 3, 16, 16)
    traced = trace(model, x)
    affines = [module for module in traced.modules() if isinstance(module, ChannelAffine)]
    assert len(affines) == 2
    torch.testing.assert_close(traced(x), model(x))
    plan = pyedge.plan(model, images=x, widths={"a": 5, "b": 6})
    student = plan.build()
    assert plan.params == student.params
    assert student(x).shape == (8, 4)
    left = [module for module in student.modules() if isinstance(module, ChannelAffine)]
    assert sorted(module.channels for module in left) == [5, 6]
    assert sum(isinstance(module.weight, nn.Parameter) for module in left) == 1


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 8), nn.LocalResponseNorm(3)])
def test_structure_refuses_norms_over_several_channels_by_name(norm):
    model = Residual()
    model.a = nn.Sequential(model.a, norm)
    with pytest.raises(pyedge.StructureError, match=rf"a\.1 \({type(norm).__name__}\)"):
        pyedge.find_structure(model, IMAGE)
