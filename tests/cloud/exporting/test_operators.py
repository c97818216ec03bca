"""What of torch a student file can say: exactly, or refused with the operator and its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

import pyedge
from pyedge.cloud.compression.student import Student
from pyedge.cloud.exporting import check
from pyedge.cloud.exporting.describe import student_file
from pyedge.cloud.exporting.export import export
from pyedge.cloud.exporting.lower import lower
from pyedge.errors import ExportError, PyedgeError
from tests.support.around import differences, student_around
from tests.support.tiny_nets import images, tiny_wrn


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(F.relu(self.one(x)))


class SqueezeAndExcitation(nn.Module):
    """A gate in one of three spellings (Hu et al. 2018)."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.spelling = spelling
        layer = (lambda a, b: nn.Conv2d(a, b, 1)) if spelling == "conv" else nn.Linear
        self.squeeze, self.excite = layer(4, 2), layer(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        n, c = x.shape[:2]
        if self.spelling == "conv":
            gate = self.excite(F.silu(self.squeeze(x.mean((2, 3), keepdim=True))))
            return F.hardsigmoid(gate) * x
        gate = torch.sigmoid(
            self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1).view(n, c))))
        )
        gate = gate.view(n, c, 1, 1)
        return x * (gate.expand_as(x) if self.spelling == "expanded" else gate)


GOES = {
    "max_pool_ceil_after_relu": lambda x: F.max_pool2d(F.relu(x), 2, ceil_mode=True),
    "max_pool_ceil_without_effect": lambda x: F.max_pool2d(x, 3, ceil_mode=True),
    "max_pool_padded": nn.MaxPool2d(3, 2, 1),
    "avg_pool_ceil": nn.AvgPool2d(2, 2, ceil_mode=True),
    "avg_pool_ceil_padded": nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    "avg_pool_border_not_counted": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "avg_pool_ceil_not_counted": nn.AvgPool2d(2, 2, 1, ceil_mode=True, count_include_pad=False),
    "avg_pool_divisor": lambda x: F.avg_pool2d(x, 3, divisor_override=5),
    "avg_pool_divisor_ceil": lambda x: F.avg_pool2d(x, 2, ceil_mode=True, divisor_override=5),
    "avg_pool_oblong": lambda x: F.avg_pool2d(x, (1, 9), (3, 1)),
    "adaptive_smaller": nn.AdaptiveAvgPool2d((3, 9)),
    "adaptive_uneven": nn.AdaptiveAvgPool2d((4, 2)),
    "adaptive_larger": nn.AdaptiveAvgPool2d(13),
    "adaptive_max": nn.AdaptiveMaxPool2d((3, 1)),
    "pad_uneven": lambda x: F.pad(x, (0, 1, 2, 0)),
    "pad_negative": lambda x: F.pad(x, (-1, -2, 0, -3)),
    "pad_mixed": lambda x: F.pad(x, (-1, 2, 3, -1)),
    "pad_reflect": nn.ReflectionPad2d((1, 2, 0, 3)),
    "pad_replicate": lambda x: F.pad(x, (2, 2, 1, 1), mode="replicate"),
    "pad_then_conv": nn.Sequential(nn.ZeroPad2d(2), nn.Conv2d(4, 3, 3, 2, padding=1)),
    "pad_then_pool": nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)),
    "conv_same_even": nn.Conv2d(4, 3, (4, 2), padding="same"),
    "conv_circular": nn.Conv2d(4, 3, 3, padding=1, padding_mode="circular"),
    "conv_dilated_grouped": nn.Conv2d(4, 6, 3, 2, padding=3, dilation=2, groups=2),
    "conv_grouped": nn.Sequential(nn.Conv2d(4, 40, 1), nn.Conv2d(40, 24, 3, padding=1, groups=8)),
    "conv_grouped_stride": nn.Sequential(
        nn.Conv2d(4, 36, 1), nn.ReLU(), nn.Conv2d(36, 36, 5, 2, padding=2, groups=4, bias=False)
    ),
    "conv_grouped_pointwise": nn.Sequential(nn.Conv2d(4, 51, 1), nn.Conv2d(51, 68, 1, groups=17)),
    "slice_stride": lambda x: x[:, :, ::2, ::3],
    "slice_start": lambda x: x[..., 1::2, 2:7],
    "slice_negative": lambda x: x[:, :, -5:-1, 0:1],
    "slice_channels": lambda x: x[:, 1:4:2],
    "cat": lambda x: torch.cat([F.relu(x), x, x[:, :1]], 1),
    "arithmetic": lambda x: 1 - (2 * x - 3) / 4 + x * 0.5 - (-x),
    "twice_itself": lambda x: x + x,
    "difference": lambda x: torch.sub(F.relu(x), x, alpha=0.3),
    "mean_by_steps": lambda x: x.mean(3).mean(2),
    "mean_last": lambda x: x.permute(0, 2, 3, 1).mean((1, 2)),
    "sum": lambda x: x.sum((2, 3)),
    "maximum": lambda x: x.amax((2, 3)),
    "einsum": lambda x: torch.einsum("nchw->nc", x) / 81,
    "grid": lambda x: x.reshape(x.shape[0], -1),
    "hidden_layers": nn.Sequential(
        nn.Flatten(), nn.Linear(324, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4)
    ),
    "clamp": lambda x: x.clamp(min=0).contiguous(),
    "leaky": nn.LeakyReLU(0.2),
    "leaky_function": lambda x: F.leaky_relu(x, 0.3),
    "prelu": nn.PReLU(4, init=0.3),
    "prelu_of_one_slope": nn.PReLU(),
    "sigmoid": torch.sigmoid,
    "sigmoid_module": nn.Sequential(nn.BatchNorm2d(4), nn.Sigmoid()),
    "hard_sigmoid": nn.Hardsigmoid(),
    "silu": nn.SiLU(),
    "silu_function": F.silu,
    "silu_by_hand": lambda x: x * torch.sigmoid(x),
    "hard_swish": nn.Hardswish(),
    "hard_swish_by_hand": lambda x: x * (F.relu6(x + 3) / 6),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU("tanh"),
    "gelu_function": lambda x: F.gelu(x, approximate="tanh"),
    "mish": nn.Mish(),
    "mish_function": F.mish,
    "elu": nn.ELU(),
    "elu_of_a_number": nn.Sequential(nn.BatchNorm2d(4), nn.ELU(0.4)),
    "elu_function": lambda x: F.elu(x, 1.5),
    "selu": nn.SELU(),
    "selu_function": F.selu,
    "celu": nn.CELU(0.5),
    "celu_function": lambda x: F.celu(x, alpha=2.0),
    "square": lambda x: x * x,
    "product": lambda x: torch.mul(F.relu(x), F.silu(x)),
    "squeeze_and_excitation": SqueezeAndExcitation("linear"),
    "squeeze_and_excitation_expanded": SqueezeAndExcitation("expanded"),
    "squeeze_and_excitation_of_convolutions": SqueezeAndExcitation("conv"),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", GOES)
def test_export_operator_computes_what_torch_does(name: str) -> None:
    student = student_around(GOES[name])
    assert differences(student) < 1e-6
    # and the engine: logits and all gradients
    lowered = lower(student)
    assert check.check_against_torch(student_file(student), lowered).gradients < check.TOLERANCE


STAYS = {
    "tanh": (torch.tanh, r"operator tanh \(node 'tanh'"),
    "softplus": (nn.Softplus(), r"operator Softplus at 'body'"),
    "instance_norm": (nn.InstanceNorm2d(4), r"operator InstanceNorm2d at 'body'"),
    "no_statistics": (
        nn.BatchNorm2d(4, track_running_stats=False),
        "BatchNorm2d at 'body' .* it has no running statistics",
    ),
    "transposed": (nn.ConvTranspose2d(4, 4, 2), "operator ConvTranspose2d at 'body'"),
    "max_pool_dilated": (nn.MaxPool2d(2, dilation=2), "MaxPool2d at 'body' .* gaps"),
    "max_pool_ceil": (nn.MaxPool2d(2, ceil_mode=True), "MaxPool2d .* where no number is negative"),
    "adaptive_max": (nn.AdaptiveMaxPool2d(2), "AdaptiveMaxPool2d .* windows differ in size"),
    "pad_with_ones": (nn.ConstantPad2d(1, 1.0), "ConstantPad2d at 'body' .* pads with 1.0"),
    "gate_of_pixels": (lambda x: x * x.mean(1, keepdim=True), "operator mean"),
    "gate_broadcast": (lambda x: x + x.mean((2, 3), keepdim=True), "operator add"),
    "celu_without_bound": (nn.CELU(-1.0), "operator CELU at 'body'"),
    "clamp_high": (lambda x: x.clamp(max=200.0), "operator clamp"),
    "clamp_low": (lambda x: x.clamp(min=-0.1), "operator clamp"),
    "softmax_inside": (nn.Softmax(1), "operator Softmax at 'body'"),
    "shuffle": (nn.PixelShuffle(2), "operator PixelShuffle at 'body'"),
    "transpose": (lambda x: x.transpose(2, 3), "operator transpose"),
    "flip": (lambda x: x.flip(3), "operator flip"),
    "called_twice": (Twice(), "body.one is called twice"),
    "sort": (lambda x: torch.sort(x, 1)[0], "operator sort"),
}


@pytest.mark.parametrize("name", STAYS)
def test_export_operator_that_cannot_go_is_named_with_its_place(name: str, tmp_path: Path) -> None:
    body, message = STAYS[name]
    with pytest.raises(ExportError, match=message) as caught:
        export(student_around(body), tmp_path / "s.pyedge")
    assert isinstance(caught.value, PyedgeError)
    assert len(str(caught.value)) < 400
    assert not list(tmp_path.iterdir())


def test_export_large_map_is_not_resampled() -> None:
    student = student_around(nn.AdaptiveAvgPool2d(7), size=40)
    with pytest.raises(ExportError, match=r"AdaptiveAvgPool2d at 'body' .*32 lines"):
        lower(student)


def test_export_parts_that_only_torch_needs_are_gone() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.Identity(), nn.ReLU(), nn.Dropout2d(0.1))
    ops = [node["op"] for node in lower(student_around(net)).nodes]
    assert ops == ["input", "conv2d", "relu", "flatten", "linear"]


def test_export_casts_are_left_out_since_all_is_float32() -> None:
    student = student_around(lambda x: x.float().to(torch.float32))
    lowered = lower(student)
    assert [node["op"] for node in lowered.nodes] == ["input", "conv2d", "flatten", "linear"]
    assert check.check_against_torch(student_file(student), lowered).gradients < check.TOLERANCE


def test_export_constant_factors_are_one_node() -> None:
    ops = [node["op"] for node in lower(student_around(lambda x: (x * 2 - 1) / 3 * 1.5)).nodes]
    assert ops == ["input", "conv2d", "affine", "flatten", "linear"]


def test_export_softmax_at_the_end_is_left_out(tmp_path: Path) -> None:
    student = pyedge.compress(nn.Sequential(tiny_wrn(), nn.Softmax(1)), 0.5, images())
    file = export(student, tmp_path / "s.pyedge")
    assert file is not None
    x = images(4, seed=3)
    with torch.no_grad():
        logits = student.forward_taps(x)[0]
    np.testing.assert_allclose(file.engine().predict(x.numpy()), logits, rtol=1e-3, atol=1e-4)


def test_export_layers_that_share_a_weight_do_not_learn() -> None:
    student = student_around(nn.Conv2d(4, 4, 1))
    other = nn.Conv2d(4, 4, 1, bias=False)
    other.weight = student.net.body.weight
    student.net.body = nn.Sequential(student.net.body, other)
    net = fx.symbolic_trace(student.net)
    next(iter(net.graph.nodes)).meta["shape"] = (2, 3, 9, 9)
    tied = Student(net, [torch.arange(4)], ["conv"], "pyedge_classifier", [4]).eval()
    assert student_file(tied, trainable="last_conv").trainable == ("conv", "pyedge_classifier")
    with pytest.raises(ExportError, match=r"body\.\d and body\.\d share"):
        student_file(tied, trainable=["body.1"])


def test_export_batch_norm_without_weights_does_not_learn() -> None:
    student = student_around(nn.BatchNorm2d(4, affine=False))
    file = student_file(student, trainable="all")
    assert "body" not in file.trainable
    assert differences(student) < 1e-6
