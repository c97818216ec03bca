"""ChannelPad against F.pad and a written-out placement, in both memory formats."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pyedge.cloud.graph.channel_pad import ChannelPad

FORMATS = [torch.contiguous_format, torch.channels_last]


def placed(x: torch.Tensor, position: list[int], channels: int) -> torch.Tensor:
    out = x.sum() * torch.zeros(len(x), channels, *x.shape[2:])
    for source, target in enumerate(position):
        if target >= 0:
            out[:, target] = x[:, source]
    return out


@pytest.mark.parametrize("memory", FORMATS, ids=str)
@pytest.mark.parametrize("position", [[0, 1, 2], [1, 4, 6], [4, 1, 6], [-1, 4, 6], [-1, -1, -1]])
def test_channel_pad_places_channels(position, memory):
    x = torch.randn(2, 3, 4, 5).to(memory_format=memory).requires_grad_()
    pad = ChannelPad(position, 7)
    out = pad(x)
    assert torch.equal(out, placed(x, position, 7))
    assert out.is_contiguous(memory_format=memory)
    gradient = torch.randn(2, 7, 4, 5)
    out.backward(gradient)
    wanted = torch.autograd.grad(placed(x, position, 7), x, gradient)[0]
    assert torch.equal(x.grad, wanted)


@pytest.mark.parametrize("memory", FORMATS, ids=str)
def test_channel_pad_of_a_prefix_is_a_plain_pad(memory):
    x = torch.randn(2, 3, 4, 4).to(memory_format=memory)
    assert torch.equal(ChannelPad(range(3), 8)(x), F.pad(x, (0, 0, 0, 0, 0, 5)))


def test_channel_pad_follows_pruning_on_both_sides():
    x = torch.randn(2, 4, 3, 3)
    pad = ChannelPad([2, 3, 4, 5], 8)
    whole = pad(x)
    pad.remove_inputs([1])
    pad.remove_outputs([0, 4])
    kept = [1, 2, 3, 5, 6, 7]
    wanted = whole.clone()
    wanted[:, 3] = 0
    assert torch.equal(pad(x[:, [0, 2, 3]]), wanted[:, kept])
    assert pad.position.tolist() == [1, -1, 3]


def test_channel_pad_takes_positions_from_a_state_dict():
    x = torch.randn(2, 3, 4, 4)
    source, other = ChannelPad([1, -1, 6], 7), ChannelPad([0, 1, 2], 7)
    other.load_state_dict(source.state_dict())
    assert torch.equal(other(x), source(x))


def test_channel_pad_refuses_positions_outside():
    with pytest.raises(ValueError, match=r"position: .*out_channels = 4, got 4"):
        ChannelPad([0, 4], 4)
