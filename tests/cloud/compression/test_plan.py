"""Plans: the paper's parameter counts, costs against hooks, thresholds, budgets, bad arguments."""

from __future__ import annotations

import json
import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import pyedge
from pyedge import models
from pyedge.cloud.compression.plan import Plan
from tests.support.tiny_nets import images, tiny_resnet, tiny_vgg, tiny_wrn

# the paper's students (Table 1): widths in order, and their parameters
WRN_STUDENTS = [
    ([14, 120, 138, 286, 272, 94, 640], 2_000_968),
    ([12, 96, 132, 226, 266, 60, 622], 1_422_850),
    ([12, 68, 110, 104, 246, 24, 582], 595_174),
    ([12, 54, 78, 48, 210, 8, 498], 226_262),
]
VGG_STUDENTS = [
    ([64, 128, 256, 512, 416], 5_547_590),
    ([62, 122, 246, 482, 254], 3_779_618),
    ([58, 102, 210, 380, 254], 3_105_068),
    ([42, 60, 120, 206, 96], 969_512),
]


@cache
def tiny_plan() -> Plan:
    return pyedge.plan(tiny_wrn(), 0.8, images())


def test_plan_of_the_papers_wrn_students_has_their_parameters():
    teacher = models.wrn_28_10(10).eval()
    x = torch.randn(2, 3, 8, 8)  # parameters do not depend on the size of the images
    for widths, params in WRN_STUDENTS:
        plan = pyedge.plan(teacher, images=x, widths=widths)
        assert plan.params == params
        assert plan.teacher.params == 36_220_634
        assert list(plan.widths.values()) == widths
    assert plan.build().params == params


def test_plan_of_the_papers_vgg_students_has_their_parameters():
    # the teacher's hidden layers, 4096 wide in the paper, do not live on in the student
    teacher = models.vgg16(num_classes=102, batch_norm=False, input_size=224, hidden=16).eval()
    plan = pyedge.plan(teacher, images=torch.randn(1, 3, 224, 224), widths=VGG_STUDENTS[0][0])
    assert plan.params == VGG_STUDENTS[0][1]
    for widths, params in VGG_STUDENTS:
        assert plan.cost.params(widths) == params


@pytest.mark.parametrize("make", [tiny_wrn, tiny_resnet, tiny_vgg])
@pytest.mark.parametrize("P", [1.0, 0.8, 0.6])
def test_plan_costs_are_those_of_the_built_student(make, P):
    x = torch.randn(4, 3, 32, 32) if make is tiny_vgg else images(4)
    plan = pyedge.plan(make(), P, x)
    student = plan.build()
    assert plan.params == sum(parameter.numel() for parameter in student.parameters())
    macs = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        fan_in = math.prod(module.weight.shape[1:])
        macs += output[0].numel() * fan_in

    for module in student.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    student(x[:1])
    assert plan.macs == macs
    assert plan.ratio == pytest.approx(plan.teacher.params / student.params)


def test_plan_counts_the_teacher_in_full():
    model = tiny_wrn()
    assert tiny_plan().teacher.params == sum(parameter.numel() for parameter in model.parameters())


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_plan_grows_with_the_threshold(one, other):
    low, high = sorted((one, other))
    few, many = tiny_plan().at(low), tiny_plan().at(high)
    assert all(a <= b for a, b in zip(few.set_widths, many.set_widths, strict=True))
    assert few.params <= many.params
    assert few.macs <= many.macs
    # filters that stay at a low threshold stay at every higher one
    for a, b in zip(few.kept, many.kept, strict=True):
        assert set(a.tolist()) <= set(b.tolist())


def test_plan_answers_for_any_threshold_as_if_asked_at_once():
    for P in (1.0, 0.55):
        asked = pyedge.plan(tiny_wrn(), P, images())
        assert tiny_plan().at(P).set_widths == asked.set_widths
        assert tiny_plan().at(P).P == P


def test_plan_width_follows_the_mean_count_of_idle_filters():
    plan = pyedge.plan(tiny_wrn(), 0.6, images())
    for layer in plan.layers:
        if "tied" in layer.note:
            continue
        spare = plan.profile.convs[layer.source].prunable(0.6)
        assert layer.width == max(1, layer.filters - math.floor(spare + 0.5))


@pytest.mark.parametrize("budget", ["params", "macs"])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_plan_takes_the_widest_student_within_a_budget(budget, share):
    whole = getattr(tiny_plan().at(1.0), budget)
    limit = int(whole * share)
    plan = pyedge.plan(tiny_wrn(), images=images(), **{f"max_{budget}": limit})
    got = getattr(plan, budget)
    assert got <= limit
    for step in range(501):
        other = getattr(plan.at(step / 500), budget)
        assert other <= got or other > limit


def test_plan_budget_respects_the_threshold_as_its_upper_bound():
    plan = pyedge.plan(tiny_wrn(), 0.7, images(), max_params=10**9)
    assert plan.P == 0.7
    assert plan.set_widths == tiny_plan().at(0.7).set_widths


@pytest.mark.parametrize("round_to", [4, 8])
def test_plan_rounds_widths_up(round_to):
    plain = tiny_plan().at(0.6)
    rounded = pyedge.plan(tiny_wrn(), 0.6, images(), round_to=round_to)
    for a, b in zip(plain.set_widths, rounded.set_widths, strict=True):
        assert b % round_to == 0
        assert a <= b < a + round_to


def test_plan_keeps_a_minimum_of_filters():
    plan = pyedge.plan(tiny_wrn(), 0.0, images(), min_width=5)
    assert set(plan.set_widths) == {5}
    assert set(tiny_plan().at(0.0).set_widths) == {1}


def test_plan_explicit_widths_by_name_leave_the_rest():
    plan = pyedge.plan(tiny_wrn(), images=images(), widths={"groups.1.0.conv1": 7})
    assert plan.widths["groups.1.0.conv1"] == 7
    assert sum(layer.width == layer.filters for layer in plan.layers) == len(plan.layers) - 1
    both = pyedge.plan(tiny_wrn(), 0.7, images(), widths={"groups.1.0.conv1": 7})
    wanted = {**tiny_plan().at(0.7).widths, "groups.1.0.conv1": 7}
    assert both.widths == wanted


BAD = [
    ({}, ValueError, "wanted P, widths, max_params or max_macs"),
    ({"P": 1.5}, ValueError, "P: wanted a number from 0 to 1, got 1.5"),
    ({"P": math.nan}, ValueError, "P: wanted a number from 0 to 1"),
    ({"P": "0.5"}, TypeError, "P: wanted a number"),
    ({"P": True}, TypeError, "P: wanted a number"),
    ({"P": 0.5, "min_width": 0}, ValueError, "min_width: wanted an integer of at least 1, got 0"),
    ({"P": 0.5, "round_to": 1.5}, ValueError, "round_to: wanted an integer"),
    ({"P": 0.5, "keep": "middle"}, ValueError, 'keep: wanted "first" or "last", got \'middle\''),
    ({"P": 0.5, "init": "zeros"}, ValueError, "init: wanted .inherit. or .fresh."),
    ({"P": 0.5, "head": "none"}, ValueError, "head: wanted .single. or .keep."),
    (
        {"widths": {}, "max_params": 5},
        ValueError,
        "widths: wanted None with max_params or max_macs",
    ),
    ({"max_params": 0}, ValueError, "max_params: wanted a number above 0, got 0"),
    ({"max_macs": 10}, ValueError, "even P=0 leaves"),
    ({"widths": [1, 2]}, ValueError, "widths has 2 entries, wanted 7, for stem, groups.0.0.conv1"),
    ({"widths": {"conv9": 3}}, ValueError, "widths: .*among stem.*'conv9'"),
    ({"widths": {"stem": 9}}, ValueError, "an integer from 1 to 8 for stem, got 9"),
    ({"widths": {"stem": 2.0}}, ValueError, "an integer from 1 to 8 for stem, got 2.0"),
    ({"P": 0.5, "max_images": 0}, ValueError, "max_images: wanted a whole number from 1, got 0"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD, ids=[str(bad[0]) for bad in BAD])
def test_plan_refuses_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        pyedge.plan(tiny_wrn(), images=images(4), **options)


def test_plan_refuses_unequal_widths_for_tied_filters():
    widths = {"stem": 9, "groups.0.0.conv2": 10}
    with pytest.raises(ValueError, match=r"which a sum ties, got 9 and 10"):
        pyedge.plan(models.cifar_resnet(20).eval(), images=images(2), widths=widths)


def test_plan_refuses_what_is_no_network():
    with pytest.raises(TypeError, match=r"model: wanted a torch\.nn.Module, got str"):
        pyedge.plan("resnet", 0.5, images())


def test_plan_without_images_warns_that_it_measures_noise():
    with pytest.warns(UserWarning, match=r"no images .*noise"):
        plan = pyedge.plan(tiny_wrn(), 0.8, input_shape=(3, 8, 8))
    assert plan.profile.noise
    assert plan.structure.input_shape == (3, 8, 8)
    assert "noise" in plan.table()


def test_plan_uses_at_most_max_images():
    assert pyedge.plan(tiny_wrn(), 0.8, images(9), max_images=5).profile.images == 5
    assert pyedge.plan(tiny_wrn(), 0.8, images(9), max_images=None).profile.images == 9


def test_plan_as_data_is_json():
    told = json.loads(json.dumps(tiny_plan().to_dict()))
    assert told["params"] == tiny_plan().params
    assert told["groups"][0] == ["groups.0.0", "groups.0.1"]
    assert [layer["width"] for layer in told["layers"]] == list(tiny_plan().widths.values())


def test_plan_refuses_a_network_in_which_nothing_can_go():
    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 8, 3, groups=2)
            self.fc = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(torch.relu(self.b(torch.relu(self.a(x)))).mean((2, 3)))

    with pytest.raises(pyedge.StructureError, match=r"no filter .* \(a: a grouped convolution"):
        pyedge.plan(Grouped(), 0.5, torch.randn(2, 4, 8, 8))
