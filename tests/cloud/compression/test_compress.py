"""compress: the caller's network untouched, students that run, save, load and copy."""

from __future__ import annotations

import copy
import dataclasses
import io

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pyedge
from pyedge import models
from pyedge.cloud.compression.surgery import recalibrate
from pyedge.cloud.graph.taps import tap_teacher
from tests.support.dialects.vgg import BlocksVGG
from tests.support.tiny_nets import images, settled, tiny_resnet, tiny_vgg, tiny_wrn

MAKERS = [tiny_wrn, tiny_resnet]


def logits(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("training", [True, False])
def test_compress_leaves_the_callers_network_alone(make, training):
    model = make().train(training)
    model.requires_grad_(False)
    calls: list[int] = []
    hook = model.register_forward_hook(lambda *_: calls.append(1))
    before = copy.deepcopy(model.state_dict())
    modules = [id(module) for module in model.modules()]
    state = torch.get_rng_state()
    pyedge.compress(model, 0.7, images())
    assert torch.equal(torch.get_rng_state(), state)
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert model.training is training
    assert all(module.training is training for module in model.modules())
    assert [id(module) for module in model.modules()] == modules
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not calls
    assert len(model._forward_hooks) == 1
    hook.remove()


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("keep", ["first", "last"])
@pytest.mark.parametrize("init", ["inherit", "fresh"])
def test_compress_is_reproducible_and_its_state_dict_loads(make, keep, init):
    options = {"keep": keep, "init": init}
    student = pyedge.compress(make(), 0.7, images(), **options)
    again = pyedge.compress(make(), 0.7, images(), **options)
    state = student.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in again.state_dict().items())
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.add_(1)
    again.load_state_dict(state)
    assert torch.equal(logits(again, images(3)), logits(student, images(3)))
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert not student.training


def test_compress_with_another_seed_gives_other_fresh_weights():
    one, other = (pyedge.compress(tiny_wrn(), 0.7, images(), init="fresh", seed=s) for s in (0, 1))
    assert not torch.equal(logits(one, images(3)), logits(other, images(3)))


@pytest.mark.parametrize("make", MAKERS)
def test_compress_students_copy_and_save_whole(make):
    student = pyedge.compress(make(), 0.7, images())
    wanted = logits(student, images(3))
    twin = copy.deepcopy(student)
    assert torch.equal(logits(twin, images(3)), wanted)
    with torch.no_grad():
        next(twin.parameters()).zero_()
    assert torch.equal(logits(student, images(3)), wanted)
    file = io.BytesIO()
    torch.save(student, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert torch.equal(logits(loaded, images(3)), wanted)
    assert loaded.last_convs == student.last_convs
    assert loaded.classifier == student.classifier


@pytest.mark.parametrize("make", [*MAKERS, tiny_vgg])
def test_compress_students_show_their_taps_and_parts(make):
    x = torch.randn(4, 3, 32, 32) if make is tiny_vgg else images(4)
    model = make()
    student = pyedge.compress(model, 0.7, x)
    out, taps = student.forward_taps(x)
    assert torch.equal(out, student(x))
    _, teacher_maps = tap_teacher(model, x)(x)
    assert len(taps) == len(teacher_maps) == len(student.last_convs)
    for group, (tap, maps) in enumerate(zip(taps, teacher_maps, strict=True)):
        kept = student.kept(group)
        assert tap.shape[1] == len(kept)
        assert tap.shape[2:] == maps[0].shape[2:]
        assert bool((kept[1:] > kept[:-1]).all())
        assert int(kept[-1]) < maps[0].shape[1]
        last = student.get_submodule(student.last_convs[group])
        assert isinstance(last, nn.Conv2d)
        assert last.out_channels == len(kept)
    assert isinstance(student.get_submodule(student.classifier), nn.Linear)


def test_compress_inherits_the_kept_filters():
    model = tiny_wrn()
    plan = pyedge.plan(model, 0.7, images())
    student = plan.build()
    kept = dict(zip((each.convs[0] for each in plan.sets), plan.kept, strict=True))
    conv, stem = model.groups[0][0].conv1, kept["stem"]
    wanted = conv.weight[kept["groups.0.0.conv1"]][:, stem]
    assert torch.equal(student.net.get_submodule("groups.0.0.conv1").weight, wanted)
    norm = student.net.get_submodule("groups.0.0.bn2")
    assert torch.equal(norm.weight, model.groups[0][0].bn2.weight[kept["groups.0.0.conv1"]])


def test_compress_keep_last_takes_the_last_blocks_weights_where_they_fit():
    model = tiny_wrn()
    student = pyedge.compress(model, images=images(), widths={}, keep="last")
    block = student.net.groups.get_submodule("1.0")
    # conv2 maps 24 to 24 filters in every block; conv1 of the first block reads 16
    assert torch.equal(block.conv2.weight, model.groups[1][1].conv2.weight)
    assert block.conv1.weight.shape == model.groups[1][0].conv1.weight.shape
    assert not torch.equal(block.conv1.weight, model.groups[1][0].conv1.weight)


@pytest.mark.parametrize("blocks", [(2, 2, 3), (1, 2, 2)], ids=str)
def test_compress_keep_last_pairs_each_norm_with_its_own_blocks(blocks):
    """Without pools between the groups, the norm before a block is another block's."""
    torch.manual_seed(0)
    model = settled(BlocksVGG(blocks, strided=True))
    student = pyedge.compress(model, images=images(), widths={}, keep="last")
    for group, count in enumerate(blocks, 1):
        norm = student.net.get_submodule(f"block{group}.0.1")
        last = model.get_submodule(f"block{group}.{count - 1}.1")
        assert torch.equal(norm.weight, last.weight)
        assert torch.equal(norm.bias, last.bias)


def test_compress_of_one_block_a_group_at_full_width_is_the_identity():
    torch.manual_seed(0)
    model = settled(models.wrn(10, num_classes=5, widths=(16, 24, 32), stem=8))
    student = pyedge.compress(model, images=images(), widths={})
    x = images(5, seed=3)
    torch.testing.assert_close(logits(student, x), logits(model, x))
    thinner = pyedge.compress(model, images=images(), widths={"stem": 7})
    norm = "groups.0.0.bn1"
    assert thinner.net.get_submodule(norm).running_mean.shape == (7,)


def test_compress_cuts_dead_filters_without_changing_the_output():
    torch.manual_seed(0)
    model = settled(models.wrn(10, num_classes=5, widths=(16, 24, 32), stem=8))
    norm = model.groups[1][0].bn2
    with torch.no_grad():
        norm.weight[::2] = 0
        norm.bias[::2] = -1
        norm.bias[1::2] = 3  # all others are seen
    x = images()
    assert pyedge.plan(model, 1.0, x).widths["groups.1.0.conv1"] == 12
    plan = pyedge.plan(model, images=x, widths={"groups.1.0.conv1": 12})
    kept = dict(zip((each.convs[0] for each in plan.sets), plan.kept, strict=True))
    assert kept["groups.1.0.conv1"].tolist() == list(range(1, 24, 2))
    student = plan.build()
    # batch statistics on both sides, since a thinner network's norms are recalibrated
    torch.testing.assert_close(logits(student.train(), x), logits(model.train(), x))


class Mean(nn.Module):
    """A batch norm on the image, whose statistics are known."""

    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(x)


def test_compress_recalibration_measures_plain_means():
    model = Mean().eval()
    batches = [3 + 2 * images(8, seed=s) for s in range(3)]
    recalibrate(model, batches)
    mean = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    torch.testing.assert_close(model.bn.running_mean, mean)
    var = torch.stack([batch.var((0, 2, 3)) for batch in batches]).mean(0)
    torch.testing.assert_close(model.bn.running_var, var)
    assert model.bn.momentum == 0.1
    assert not model.bn.training


def test_compress_recalibration_without_images_changes_nothing():
    model = Mean().eval()
    recalibrate(model, [])
    assert torch.equal(model.bn.running_mean, torch.zeros(3))
    recalibrate(model, [torch.ones(1, 3, 1, 1)])  # one value a channel has no variance
    assert model.bn.running_var.isfinite().all()


def test_compress_recalibrates_norms_after_the_dropped_blocks():
    student = pyedge.compress(tiny_wrn(), 0.8, images())
    seen: dict[str, Tensor] = {}
    norm = student.net.get_submodule("bn")
    norm.register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
    student(images())
    # eval mode divides by the unbiased variance, the calibration by the batch's own
    torch.testing.assert_close(norm.running_mean, seen["x"].mean((0, 2, 3)), rtol=1e-2, atol=1e-2)


def test_compress_vgg_head_single_or_kept():
    x = torch.randn(4, 3, 32, 32)
    single = pyedge.compress(tiny_vgg(), 0.8, x)
    kept = pyedge.compress(tiny_vgg(), 0.8, x, head="keep")
    assert sum(isinstance(m, nn.Linear) for m in single.modules()) == 1
    assert sum(isinstance(m, nn.Linear) for m in kept.modules()) == 3


def test_compress_plan_builds_any_number_of_times():
    plan = pyedge.plan(tiny_resnet(), 0.9, images())
    first, second = plan.build(), plan.build()
    assert torch.equal(logits(first, images(2)), logits(second, images(2)))
    thinner = plan.at(0.5).build()
    assert thinner.params == plan.at(0.5).params < first.params
    fresh = dataclasses.replace(plan, init="fresh").build()
    assert fresh.params == first.params


def test_compress_student_learns():
    torch.manual_seed(0)
    student = pyedge.compress(tiny_wrn(), 0.8, images(32)).train()
    x, y = images(32), torch.arange(32) % 5
    before = copy.deepcopy(student.state_dict())
    optimizer = torch.optim.SGD(student.parameters(), 0.05, momentum=0.9)
    losses = []
    for _ in range(15):
        loss = F.cross_entropy(student(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    moved = [key for key, p in student.named_parameters() if not torch.equal(p, before[key])]
    assert len(moved) == len(list(student.parameters()))
