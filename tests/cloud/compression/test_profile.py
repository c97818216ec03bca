"""Zero counts by hand, and which ReLU sees a convolution."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pyedge
from pyedge.cloud.compression.profile import (
    ConvProfile,
    Counted,
    activation_after,
    image_batches,
    measure,
)
from pyedge.cloud.graph.trace import trace
from tests.support.tiny_nets import images, tiny_resnet, tiny_wrn


class Chain(nn.Module):
    """Two 1x1 convolutions; the first copies the image with three signs and shifts."""

    def __init__(self, activation=F.relu):
        super().__init__()
        self.activation = activation
        self.a, self.b = nn.Conv2d(1, 3, 1), nn.Conv2d(3, 2, 1)
        self.fc = nn.Linear(2, 2)
        with torch.no_grad():
            self.a.weight.copy_(torch.tensor([1.0, -1.0, 0.0]).view(3, 1, 1, 1))
            self.a.bias.copy_(torch.tensor([0.0, 0.0, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.activation(self.b(self.activation(self.a(x)))).mean((2, 3)))


def hand_made_images() -> Tensor:
    """Four pixels an image, of which 3 and 1 are positive and none is zero."""
    return torch.tensor([[1.0, 2.0, 3.0, -1.0], [-1.0, -2.0, 5.0, -4.0]]).view(2, 1, 2, 2)


def test_profile_counts_zeros_as_by_hand():
    plan = pyedge.plan(Chain(), 1.0, hand_made_images())
    profile = plan.profile.convs["a"]
    # zeros of relu(x): 1, 3; of relu(-x): 3, 1; of relu(1): none
    assert profile.zero_fraction.tolist() == [0.5, 0.5, 0.0]
    assert profile.histogram.tolist() == [2, 2, 0, 2, 0]
    assert profile.images == 2
    assert [profile.prunable(P) for P in (0.0, 0.25, 0.26, 0.75, 0.76, 1.0)] == [3, 2, 1, 1, 0, 0]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**31), st.data())
def test_profile_answers_every_threshold_exactly(map_size, filters, n, seed, data):
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(0, map_size + 1, (n, filters), generator=generator)
    profile = ConvProfile(filters, map_size)
    for part in (counts[: n // 2], counts[n // 2 :]):
        profile.add(Counted.of(part, map_size))
    zeros = data.draw(st.integers(0, map_size))
    for P in (zeros / map_size, data.draw(st.floats(0, 1))):
        wanted = sum(count / map_size >= P for count in counts.flatten().tolist()) / n
        assert profile.prunable(P) == wanted
    torch.testing.assert_close(profile.zero_fraction, counts.double().mean(0) / map_size)


def test_profile_pre_activation_relus():
    traced = trace(tiny_wrn(), images(2))
    seen = {conv: str(activation_after(traced, conv).target) for conv in CONVS}
    assert seen == CONVS


# in a pre-activation network a conv is seen by the next BN + ReLU, past the sum
CONVS = {
    "stem": "groups.0.0.relu1",
    "groups.0.0.conv1": "groups.0.0.relu2",
    "groups.0.0.conv2": "groups.0.1.relu1",
    "groups.0.1.conv2": "groups.1.0.relu1",
    "groups.2.1.conv2": "relu",
}


class Post(nn.Module):
    """conv1 -> relu1 -> conv2 -> (+ x) -> relu2, with a dropout before the last ReLU."""

    def __init__(self):
        super().__init__()
        self.stem, self.relu0 = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()
        self.conv1, self.relu1 = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
        self.conv2, self.relu2 = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
        self.drop, self.fc = nn.Dropout(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu0(self.stem(x))
        x = self.relu2(self.drop(x + 0.5 * self.conv2(self.relu1(self.conv1(x)))))
        return self.fc(x.mean((2, 3)))


def test_profile_post_activation_relus():
    traced = trace(Post(), images(2))
    seen = [activation_after(traced, conv).target for conv in ("stem", "conv1", "conv2")]
    assert seen == ["relu0", "relu1", "relu2"]


@pytest.mark.parametrize("make", [tiny_wrn, tiny_resnet])
def test_profile_agrees_with_hooks_on_the_relus(make):
    model, x = make(), images(6)
    traced = trace(model, x[:2])
    convs = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)][:4]
    profile = measure(traced, convs, iter([x[:4], x[4:]]))
    for conv in convs:
        relu = activation_after(traced, conv)
        graph = torch.fx.Interpreter(traced)
        graph.garbage_collect_values = False
        with torch.no_grad():
            graph.run(x)
        wanted = (graph.env[relu] == 0).double().mean((2, 3)).mean(0)
        torch.testing.assert_close(profile.convs[conv].zero_fraction, wanted)


def test_profile_names_the_activation_that_makes_no_zeros():
    with pytest.raises(pyedge.StructureError, match=r"\ba .*elu, .*no exact"):
        pyedge.plan(Chain(F.elu), 1.0, hand_made_images())


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


def test_profile_counts_what_is_close_to_zero_as_by_hand():
    # maps 1, 2, 3, -0.1 and -0.1, -0.2, 5, -0.4; the same mirrored; 1: the largest is 5
    plan = pyedge.plan(Chain(leaky), 1.0, hand_made_images(), near_zero=0.05)
    profile = plan.profile.convs["a"]
    assert (profile.near_zero, profile.largest) == (0.05, 5.0)
    # within 0.25: one and two of the first; -0.1, -0.2 and nothing (0.3) of the second, and of
    # the other image -0.5
    assert profile.zero_fraction.tolist() == [(1 + 2) / 8, (2 + 0) / 8, 0.0]
    assert plan.profile.near_zero == 0.05


def test_profile_looks_for_the_largest_value_on_the_first_batch_alone():
    first, second = hand_made_images().split(1)
    one = pyedge.plan(Chain(leaky), 1.0, [first, second], near_zero=0.1).profile.convs["a"]
    assert one.largest == 3.0
    other = pyedge.plan(Chain(leaky), 1.0, [second, first], near_zero=0.1).profile.convs["a"]
    assert other.largest == 5.0


@pytest.mark.parametrize(
    "activation",
    [F.silu, F.gelu, F.mish, F.hardswish, leaky, nn.PReLU()],
    ids=["silu", "gelu", "mish", "hardswish", "leaky", "prelu"],
)
def test_profile_finds_idle_filters_of_smooth_activations(activation):
    model = Chain(activation)
    with torch.no_grad():
        model.a.bias.copy_(torch.tensor([0.0, 0.0, -1e-3]))
    profile = pyedge.plan(model, 1.0, hand_made_images()).profile.convs["a"]
    assert profile.zero_fraction[2] == 1
    assert profile.zero_fraction[:2].max() < 1


@pytest.mark.parametrize("make", [tiny_wrn, tiny_resnet])
def test_profile_counts_exact_zeros_of_relus_whatever_is_near(make):
    one, other = (pyedge.plan(make(), 0.7, images(), near_zero=each) for each in (0.01, 0.9))
    assert one.widths == other.widths
    assert one.profile.near_zero is None
    for conv, profile in one.profile.convs.items():
        assert torch.equal(profile.histogram, other.profile.convs[conv].histogram)


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (1, ValueError), ("much", TypeError), (-0.1, ValueError)]
)
def test_profile_refuses_a_share_that_is_none(value, error):
    with pytest.raises(error, match="plan: near_zero: wanted a number above 0 below 1, got"):
        pyedge.plan(Chain(F.silu), 1.0, hand_made_images(), near_zero=value)


def test_profile_takes_batches_datasets_and_loaders():
    x = images(10)
    data = TensorDataset(x, torch.arange(10))
    for source in (x, data, DataLoader(data, 3), [x[:4], x[4:]], [(x, "labels")]):
        got = torch.cat(list(image_batches(source, None, torch.device("cpu"), batch_size=4)))
        assert torch.equal(got, x)
    limited = list(image_batches(DataLoader(data, 3), 7, torch.device("cpu")))
    assert [len(batch) for batch in limited] == [3, 3, 1]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (torch.zeros(3, 16, 16), ValueError, r"n c h w, got shape \(3, 16, 16\)"),
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), TypeError, "floating point.*uint8"),
        (torch.full((2, 3, 16, 16), math.nan), ValueError, "NaN"),
        ([["a", "b"]], TypeError, "tensors n c h w, got str"),
        ([], ValueError, "images: wanted at least one, got none"),
        ([images(2), images(2)[..., :8]], ValueError, "size of the first"),
    ],
)
def test_profile_refuses_bad_images(source, error, message):
    with pytest.raises(error, match=message):
        pyedge.plan(tiny_wrn(), 1.0, source)
