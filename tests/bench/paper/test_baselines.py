"""The baselines' formulas, in cases worked out by hand: a wrong formula fails."""

from __future__ import annotations

import copy
import math

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from bench.paper.baselines import quantization  # noqa: E402
from bench.paper.baselines.attention import attention, attention_loss  # noqa: E402
from bench.paper.baselines.l1_pruning import kept_filters, prune_blocks  # noqa: E402
from bench.paper.baselines.rilod import rilod_loss  # noqa: E402
from bench.paper.split_network import split_classifier  # noqa: E402
from pyedge.cloud.training.losses import hint_loss, soft_target_loss  # noqa: E402
from pyedge.models import cifar_resnet, vgg11, wrn  # noqa: E402


def test_l1_pruning_takes_the_filters_of_smallest_absolute_sum():
    # sums of squares would take filter 0, signed sums filter 1, absolute sums filter 2
    weight = torch.tensor([[1.0, 1.0, 1.0], [3.0, -3.0, 0.0], [2.0, 0.0, 0.0]])[..., None, None]
    assert kept_filters(weight, 0.34).tolist() == [0, 1]
    assert kept_filters(weight, 0.0).tolist() == [0, 1, 2]
    assert kept_filters(weight, 0.99).tolist() == [1]
    with pytest.raises(ValueError, match=r"share: wanted .* got 1"):
        kept_filters(weight, 1)


@pytest.mark.parametrize(
    "model", [cifar_resnet(8, width=4), wrn(10, widths=(4, 8, 8), stem=4)], ids=["post", "pre"]
)
def test_l1_pruning_computes_what_zeroed_filters_compute(model: nn.Module):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
    pruned = prune_blocks(model, 0.5).eval()
    zeroed = copy.deepcopy(model).eval()
    for block in zeroed.modules():
        if not hasattr(block, "conv2"):
            continue
        kept = kept_filters(block.conv1.weight, 0.5)
        gone = [i for i in range(block.conv1.out_channels) if i not in kept]
        with torch.no_grad():
            block.conv2.weight[:, gone] = 0  # as if the filters' maps were not there
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(pruned(x), zeroed(x))
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in model.parameters())


def test_l1_pruning_wants_blocks():
    with pytest.raises(ValueError, match=r"model: wanted blocks with conv1 and conv2"):
        prune_blocks(vgg11(2, input_size=32, width=2, hidden=None), 0.5)


def test_quantized_rounds_to_levels_of_each_buckets_range():
    values = torch.tensor([0.0, 1.0, 0.4, -1.0, 2.0, 0.4])  # two buckets of three, two bits
    found = quantization.quantized(values, 2, bucket=3)
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 1 / 3, -1.0, 2.0, 0.0]))


def test_quantized_has_an_error_of_half_a_level_at_most_and_any_length():
    values = torch.randn(3, 7, 11)
    found = quantization.quantized(values, 8, bucket=1000)
    level = (values.max() - values.min()) / 255
    assert found.shape == values.shape
    assert 0 < float((found - values).abs().max()) <= float(level) / 2 * 1.001
    assert quantization.quantized(torch.full((5,), 3.0), 2).tolist() == [3.0] * 5
    with pytest.raises(ValueError, match=r"bits, bucket: wanted 1 to 16 .* got 0"):
        quantization.quantized(values, 0)


def test_quantized_distillation_passes_the_gradient_to_the_full_weights():
    layer = nn.Linear(4, 3, bias=False)
    full, x = layer.weight.detach().clone(), torch.randn(5, 4)
    quantization.begin_quantized(layer, 2)
    layer(x).sum().backward()
    rounded = quantization.quantized(full, 2)
    torch.testing.assert_close(layer.weight.detach(), rounded)
    gradient = layer.parametrizations.weight.original.grad
    torch.testing.assert_close(gradient, x.sum(0).expand(3, -1))  # d sum(x W^T) / dW
    quantization.end_quantized(layer)
    assert not torch.equal(layer.weight, full)
    torch.testing.assert_close(layer.weight.detach(), rounded)


def test_bytes_of_a_quantized_network_count_codes_buckets_and_the_rest():
    model = nn.Sequential(nn.Linear(30, 10), nn.BatchNorm1d(10))
    # 300 weights of 4 bits, two buckets of 256 with two floats each, 10 + 20 floats
    assert quantization.quantized_bytes(model, 4) == 150 + 16 + 120


def test_attention_is_the_unit_vector_of_summed_squares():
    maps = torch.tensor([[[[1.0, 2.0]], [[2.0, 0.0]]]])  # two channels, two places: 5 and 4
    wanted = torch.tensor([[5.0, 4.0]]) / math.sqrt(41)
    torch.testing.assert_close(attention(maps), wanted)


def test_attention_loss_by_hand_with_other_widths():
    student = [torch.tensor([[[[1.0, 0.0]]]])]
    teacher = [torch.tensor([[[[0.0, 1.0]], [[0.0, 2.0]]]])]
    # unit vectors (1, 0) and (0, 1): squares 1 and 1, mean over two places
    assert float(attention_loss(student, teacher)) == pytest.approx(1.0)
    assert float(attention_loss(student * 2, teacher * 2)) == pytest.approx(2.0)
    assert float(attention_loss(student, [5 * student[0]])) == pytest.approx(0.0, abs=1e-7)
    with pytest.raises(ValueError, match=r"wanted 2 groups, got 1"):
        attention_loss(student, teacher * 2)


def test_rilod_loss_by_hand():
    logits, labels = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([2])
    then = torch.tensor([[3.0, 1.0]])
    features, features_then = torch.tensor([[0.5, 3.0]]), torch.tensor([[0.0, 0.0]])
    hard = -math.log(math.exp(2) / (math.exp(1) + 1 + math.exp(2)))
    answers = (4.0 + 1.0) / 2
    kept = (0.5 * 0.25 + (3.0 - 0.5)) / 2  # smooth L1: quadratic below 1, then linear
    found = rilod_loss(logits, labels, then, features, features_then, (10.0, 100.0))
    assert float(found) == pytest.approx(hard + 10 * answers + 100 * kept, rel=1e-5)


def test_distillation_is_the_softened_divergence_times_the_squared_temperature():
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[4.0 * math.log(3), 0.0]])
    # at temperature 4 the teacher says 3/4 and 1/4, the student 1/2 and 1/2
    wanted = 16 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    assert float(soft_target_loss(student, teacher, 4.0)) == pytest.approx(wanted, rel=1e-5)


def test_hint_is_half_the_mean_square():
    regressed, hint = torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 3.0]]]])
    assert float(hint_loss(regressed, hint)) == pytest.approx((1 + 9) / 2 / 2)


def test_split_network_computes_what_the_network_computes():
    model = vgg11(3, input_size=32, width=2, hidden=8).eval()
    body, head = split_classifier(model)
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(head(body(x)), model(x))
    assert body(x).shape == (2, 8)
    with pytest.raises(ValueError, match=r"network: wanted a linear layer"):
        split_classifier(nn.Conv2d(1, 1, 1))
