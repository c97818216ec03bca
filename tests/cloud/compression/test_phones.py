"""Networks of phones: what a filter takes along through depthwise convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import pyedge
from pyedge.cloud.compression.profile import activation_after
from pyedge.cloud.compression.surgery import recalibrate
from pyedge.cloud.graph.nodes import is_depthwise_conv
from pyedge.cloud.graph.trace import trace
from pyedge.cloud.network_file import NetworkInfo, StudentSettings, load_network, save_network
from pyedge.cloud.training.train_options import TrainOptions
from tests.support.dialects import get
from tests.support.dialects.gated import ConvGate, GatedResNet, LinearGate
from tests.support.dialects.mobile import MobileNetV2

BLOCK = "features.2.conv"  # the first with an expansion: 4 channels to 24 to 6


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def case(name: str) -> tuple[nn.Module, Tensor]:
    dialect = get(name)
    return dialect.make(), dialect.images(8)


def test_phones_expansion_depthwise_and_projection_are_one_set():
    model, images = case("mobilenet_v2")
    plan = pyedge.plan(model, 0.5, images)
    found = next(each for each in plan.sets if f"{BLOCK}.0.0" in each.convs)
    assert found.convs == (f"{BLOCK}.0.0", f"{BLOCK}.1.0")
    assert found.inputs == {f"{BLOCK}.2": 1}
    assert found.norms == (f"{BLOCK}.0.1", f"{BLOCK}.1.1")
    assert found.inner == (f"{BLOCK}.0.0",)
    assert not found.fixed


def test_phones_every_filter_of_a_set_costs_what_it_takes_along():
    model, images = case("mobilenet_v2")
    full, cut = (pyedge.plan(model, images=images, widths={f"{BLOCK}.0.0": w}) for w in (24, 17))
    # weights of 4 inputs, 9 taps, 6 outputs, and scale and shift of two norms
    assert full.params - cut.params == 7 * (4 + 9 + 6 + 4)
    # maps of 16x16 before the stride and 8x8 after it
    assert full.macs - cut.macs == 7 * (4 * 256 + (9 + 6) * 64)
    student = cut.build()
    assert parameters(student) == cut.params
    depthwise = student.net.get_submodule(f"{BLOCK}.1.0")
    assert depthwise.groups == depthwise.in_channels == depthwise.out_channels == 17
    kept = cut.kept[[BLOCK + ".0.0" in each.convs for each in cut.sets].index(True)]
    assert torch.equal(depthwise.weight, model.get_submodule(f"{BLOCK}.1.0").weight[kept])


def test_phones_filters_are_measured_behind_the_depthwise_convolution():
    model, images = case("mobilenet_v2")
    plan = pyedge.plan(model, 0.5, images)
    traced = trace(model, images)
    relu = activation_after(traced, f"{BLOCK}.1.0")
    seen: list[Tensor] = []
    model.get_submodule(f"{BLOCK}.1.2").register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.no_grad():
        model(images)
    assert relu is not None
    zeros = (seen[0] == 0).double().mean((2, 3))
    spare = (zeros >= 0.5).sum(1).double().mean()
    assert plan.widths[f"{BLOCK}.0.0"] == 24 - int(spare + 0.5) < 24
    assert plan.widths[f"{BLOCK}.1.0"] == plan.widths[f"{BLOCK}.0.0"]


def test_phones_idle_filters_leave_without_a_trace():
    model = MobileNetV2((1, 1, 1)).eval()
    images = torch.randn(8, 3, 32, 32)
    hidden = [name for name, module in model.named_modules() if is_depthwise_conv(module)]
    with torch.no_grad():
        for name in hidden:
            norm = model.get_submodule(name.removesuffix("0") + "1")
            norm.weight[1::2], norm.bias[1::2] = 0, -1
    recalibrate(model, [images])
    widths = {name: model.get_submodule(name).out_channels // 2 for name in hidden}
    plan = pyedge.plan(model, images=images, widths=widths)
    assert plan.params < plan.teacher.params
    torch.testing.assert_close(plan.build()(images), model(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("gate", [LinearGate, ConvGate])
def test_phones_idle_channels_leave_a_gate_without_a_trace(gate):
    model = GatedResNet((1, 1), gate).eval()
    images = torch.randn(8, 3, 12, 12)
    first = model.body[0][0]
    with torch.no_grad():
        model.stem.weight[:3], model.stem.bias[:3] = 0, -1
        first.bn2.weight[:3], first.bn2.bias[:3] = 0, 0
    recalibrate(model, [images])
    plan = pyedge.plan(model, images=images, widths={"stem": 5})
    assert plan.kept[0].tolist() == [3, 4, 5, 6, 7]
    torch.testing.assert_close(plan.build()(images), model(images), rtol=1e-4, atol=1e-4)


def test_phones_a_depthwise_convolution_of_the_image_stays():
    layers = [nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 8, 1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    plan = pyedge.plan(model, 0.0, torch.randn(4, 3, 8, 8))
    assert plan.widths == {"0": 3, "1": 1}
    assert [each.fixed for each in plan.sets] == ["it filters the image's channels", ""]
    assert plan.build()(torch.randn(2, 3, 8, 8)).shape == (2, 4)


@pytest.mark.parametrize("name", ["mobilenet_v2"])
def test_phones_students_learn_from_their_teacher_and_survive_a_file(name, tmp_path):
    model, images = case(name)
    plan = pyedge.plan(model, 0.5, images)
    student = plan.build()
    assert parameters(student) == plan.params < parameters(model)
    before = {key: value.clone() for key, value in student.state_dict().items()}
    labels = torch.arange(8) % 10
    options = TrainOptions(steps=1, lr=0.01, progress=False)
    pyedge.transfer(student, model, [(images, labels)], options=options)
    moved = {key for key, value in student.state_dict().items() if not value.equal(before[key])}
    assert {f"{conv}.weight" for conv in student.last_convs} < moved
    info = NetworkInfo(
        builder="tests.support.dialects.mobile:MobileNetV2",
        options={"blocks": [1, 2, 2]},
        classes=tuple("abcdefghij"),
        input_shape=(3, 32, 32),
        student=StudentSettings.of(plan),
    )
    save_network(tmp_path / "student.pt", student, info)
    again, _ = load_network(tmp_path / "student.pt")
    assert again.widths == plan.widths
    with torch.no_grad():
        assert torch.equal(again.eval()(images), student.eval()(images))


@pytest.mark.parametrize(
    ("name", "squeeze", "excite", "biases"),
    [
        ("gate_linear_expand_as", "body.0.0.se.fc.0", "body.0.0.se.fc.2", 0),
        ("gate_conv", "body.0.0.se.fc1", "body.0.0.se.fc2", 1),
    ],
)
def test_phones_a_gate_keeps_its_maps_channels(name, squeeze, excite, biases):
    model, images = case(name)
    full, cut = (pyedge.plan(model, images=images, widths={"stem": w}) for w in (8, 5))
    found = cut.sets[0]
    assert {"stem", "body.0.0.conv2"} <= {*found.convs}
    assert excite in (*found.convs, *found.gates)
    assert found.inputs[squeeze] == 1
    student = cut.build()
    assert parameters(student) == cut.params < full.params
    inner, outer = (student.net.get_submodule(each).weight for each in (squeeze, excite))
    whole = [model.get_submodule(each).weight for each in (squeeze, excite)]
    kept = cut.kept[0]
    assert torch.equal(inner.flatten(1), whole[0].flatten(1)[:, kept])
    assert torch.equal(outer.flatten(1), whole[1].flatten(1)[kept])
    # of the gate go inputs of the squeeze, and outputs of the other with their biases
    lost = sum(p.numel() for p in whole) - inner.numel() - outer.numel()
    assert lost == 3 * (2 * len(whole[0]))
    bias = student.net.get_submodule(excite).bias
    assert (0 if bias is None else bias.numel()) == 5 * biases


@pytest.mark.parametrize("name", ["gate_linear_expand_as", "gate_conv"])
def test_phones_the_last_blocks_gate_comes_with_it(name):
    model, images = case(name)
    student = pyedge.compress(model, images=images, widths={}, keep="last")
    gate = {key for key in model.state_dict() if key.startswith("body.0.1.se")}
    assert gate
    for key in gate:
        mine = student.net.get_parameter(key.replace("body.0.1", "body.0.0"))
        assert torch.equal(mine, model.get_parameter(key))


def test_phones_gates_are_named_in_the_table():
    model, images = case("gate_conv")
    plan = pyedge.plan(model, 0.5, images)
    notes = {layer.conv: layer.note for layer in plan.layers}
    assert notes["body.0.0.se.fc1"] == "inside a gate"
    assert "tied to" in notes["body.0.0.se.fc2"]


def test_phones_what_touches_no_grouped_convolution_is_cut():
    model, images = case("timm_resnext")
    plan = pyedge.plan(model, 0.5, images)
    assert [len(group.blocks) for group in plan.structure.groups] == [2, 2, 2, 2]
    grouped = {name for name, module in model.named_modules() if getattr(module, "groups", 1) > 1}
    assert grouped
    for each, width in zip(plan.sets, plan.set_widths, strict=True):
        touched = grouped & {*each.convs, *each.inputs}
        assert ("grouped convolution" in each.fixed) == bool(touched)
        assert width == each.filters if touched else width < each.filters
    assert parameters(plan.build()) == plan.params
