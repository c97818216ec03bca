"""Transfer and FitNet on a tiny pair: what falls, what moves, what is never touched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pyedge.cloud.training.fitnet import fitnet
from pyedge.cloud.training.train_options import TrainOptions
from pyedge.cloud.training.transfer import transfer
from tests.support.tiny_pair import TinyTeacher, batches, changed, pair, state_of, taught_pair

QUICK = TrainOptions(epochs=12, lr=0.05, progress=False)
LEARNS = {"groups.0.1.0.weight", "groups.1.1.0.weight", "head.weight", "head.bias"}


class Forbidden:
    """Labels that fail when anything is done with them."""

    def __getattr__(self, name):
        raise AssertionError(f"labels were touched: {name}")


class WithoutLabels:
    def __init__(self, form):
        self.form = form

    def __len__(self):
        return 3

    def __iter__(self):
        for x, _ in batches():
            yield {"alone": x, "list": [x], "forbidden": (x, Forbidden())}[self.form]


@pytest.mark.parametrize("norms", ["batch", "image"])
@pytest.mark.parametrize("padding", ["kept", "end"])
def test_transfer_lowers_every_part_of_the_loss(norms, padding):
    student, teacher = taught_pair()
    result = transfer(student, teacher, batches(), norms=norms, padding=padding, options=QUICK)
    first, last = result.history[0], result.history[-1]
    for part in ("J_1", "J_b", "J_3", "loss"):
        assert last[part] < first[part]
    assert last["loss"] == pytest.approx(last["J_1"] + 10 * last["J_b"] + last["J_3"], rel=1e-5)
    assert [sum(group.values()) for group in last["pairs"]] == [3, 3]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("teacher_batch_norm", ["frozen", "batch"])
def test_transfer_moves_only_what_is_trainable(teacher_batch_norm, channels_last):
    student, teacher = pair()
    teacher.train()
    before, taught = state_of(student), state_of(teacher)
    transfer(
        student, teacher, batches(), trainable="last_conv", batch_norm="frozen",
        teacher_batch_norm=teacher_batch_norm, channels_last=channels_last, options=QUICK,
    )  # fmt: skip
    assert changed(before, student) == LEARNS
    assert not changed(taught, teacher)
    assert all(module.training for module in teacher.modules())
    assert all(m.track_running_stats for m in teacher.modules() if isinstance(m, nn.BatchNorm2d))
    assert all(p.grad is None for p in teacher.parameters())


def test_transfer_with_the_teachers_batch_statistics_is_another_loss():
    losses = []
    for teacher_batch_norm in ("frozen", "batch"):
        student, teacher = pair()
        result = transfer(
            student, teacher, batches(), teacher_batch_norm=teacher_batch_norm, options=QUICK,
            steps=1,
        )  # fmt: skip
        losses.append(result.history[0]["J_b"])
    assert losses[0] != losses[1]


@pytest.mark.parametrize("form", ["alone", "list", "forbidden"])
def test_transfer_without_labels_never_touches_them(form):
    student, teacher = pair()
    result = transfer(student, teacher, WithoutLabels(form), labelled=False, options=QUICK)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert "J_3" not in result.history[0]


def test_transfer_leaves_out_parts_of_weight_zero():
    student, teacher = pair()
    only_logits = transfer(student, teacher, batches(), lambdas=(1, 0, 0), options=QUICK)
    assert set(only_logits.history[0]) >= {"J_1", "loss"}
    assert not {"J_b", "J_3"} & set(only_logits.history[0])
    assert only_logits.history[0]["pairs"] == []


def test_transfer_counts_the_planted_block():
    """A teacher whose first block in group 0 gives the student's own map, the second noise."""

    class Planted(nn.Module):
        is_tapped = True

        def __init__(self, student):
            super().__init__()
            self.student = student

        def forward(self, x):
            logits, taps = self.student.forward_taps(x)
            noise = torch.randn_like(taps[1])
            return logits, [[taps[0], -taps[0]], [noise, taps[1], noise]]

    student, _ = pair()
    twin, _ = pair()
    result = transfer(
        student, Planted(twin), batches(), padding="end", batch_norm="frozen", lr=1e-6,
        options=QUICK, epochs=1,
    )  # fmt: skip
    assert result.history[0]["pairs"] == [{"0": 3}, {"1": 3}]
    assert result.history[0]["J_b"] < 1e-3


def test_transfer_trains_in_bfloat16():
    student, teacher = pair()
    result = transfer(student, teacher, batches(), precision="bf16-mixed", options=QUICK)
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_transfer_names_what_does_not_fit():
    student, teacher = pair()
    with pytest.raises(ValueError, match="three finite weights"):
        transfer(student, teacher, batches(), lambdas=(1, 2))
    with pytest.raises(ValueError, match="wanted a weight above 0 of J_1 or J_b, without labels"):
        transfer(student, teacher, batches(), lambdas=(0, 0, 1), labelled=False)
    with pytest.raises(ValueError, match='padding: wanted "kept" or "end", got \'start\''):
        transfer(student, teacher, batches(), padding="start")
    with pytest.raises(ValueError, match=r"norms: wanted .batch. or .image."):
        transfer(student, teacher, batches(), norms="pixel")
    with pytest.raises(ValueError, match='teacher_batch_norm: wanted "batch" or "frozen"'):
        transfer(student, teacher, batches(), teacher_batch_norm="eval")
    with pytest.raises(TypeError, match=r"student: wanted the result of pyedge\.compress"):
        transfer(nn.Linear(2, 2), teacher, batches())
    with pytest.raises(ValueError, match="transfer: loader yields no batches"):
        transfer(student, teacher, [])


def test_transfer_refuses_a_teacher_of_other_classes():
    student, _ = pair()

    class Other(TinyTeacher):
        def forward(self, x):
            logits, maps = super().forward(x)
            return logits[:, :2], maps

    with pytest.raises(ValueError, match=r"transfer: teacher: .*3 classes.*got 2"):
        transfer(student, Other(), batches(), options=QUICK)


def test_fitnet_runs_its_two_stages():
    student, teacher = taught_pair()
    result = fitnet(student, teacher, batches(), test=batches(seed=2), options=QUICK)
    (hint,) = result.stages
    assert hint.steps == 18
    assert hint.history[-1]["hint"] < hint.history[0]["hint"]
    assert result.history[-1]["soft"] < result.history[0]["soft"]
    assert result.test_accuracy is not None
    assert all(p.requires_grad for p in student.parameters())
    assert result.to_dict()["stages"][0]["steps"] == 18


def test_fitnet_hint_leaves_what_lies_behind_it():
    """With the first group's hint, the second group and the classifier wait for stage two."""
    student, teacher = pair()
    before = state_of(student)
    seen = []
    transfer_state = state_of(teacher)
    fitnet(
        student, teacher, WithoutLabels("forbidden"), labelled=False, group=0, options=QUICK,
        val=batches(), epochs=1, lr=1e-9, weight_decay=0.0, batch_norm="frozen",
        hint_share=1.0, score=lambda e: seen.append(changed(before, student)) or e.accuracy,
    )  # fmt: skip
    assert not changed(transfer_state, teacher)
    assert len(seen) == 1  # the hint stage has nothing to validate


def test_fitnet_trains_the_last_convolutions_alone_when_asked():
    student, teacher = pair()
    before = state_of(student)
    fitnet(student, teacher, batches(), options=QUICK, trainable="last_conv", batch_norm="frozen")
    assert changed(before, student) == LEARNS


def test_fitnet_without_hint_is_distillation():
    student, teacher = pair()
    result = fitnet(student, teacher, batches(), hint_share=0, options=QUICK, epochs=1)
    assert result.stages == ()


def test_fitnet_names_what_does_not_fit():
    student, teacher = pair()
    with pytest.raises(ValueError, match="temperature: wanted a number above 0"):
        fitnet(student, teacher, batches(), temperature=0)
    with pytest.raises(ValueError, match=r"hint_share: wanted a number from 0 to 10, got -1"):
        fitnet(student, teacher, batches(), hint_share=-1)
    with pytest.raises(ValueError, match=r"group: wanted a whole number from 0 to 1, got 2"):
        fitnet(student, teacher, batches(), group=2)


def test_transfer_of_maps_alone_leaves_the_classifier():
    """Not even weight decay moves what no loss reaches."""
    student, teacher = pair()
    before = state_of(student)
    transfer(
        student, teacher, batches(), lambdas=(0, 1, 0), trainable="last_conv", options=QUICK,
        batch_norm="frozen",
    )  # fmt: skip
    assert changed(before, student) == {"groups.0.1.0.weight", "groups.1.1.0.weight"}
    with pytest.raises(ValueError, match=r"nothing .*this loss can train"):
        transfer(student, teacher, batches(), lambdas=(0, 1, 0), trainable=("head",), options=QUICK)


@pytest.mark.parametrize("labels", ["no", 1, torch.tensor([0, 1])])
def test_transfer_takes_true_and_false_alone_for_labels(labels):
    student, teacher = pair()
    with pytest.raises(TypeError, match="transfer: labelled: wanted True or False, since"):
        transfer(student, teacher, batches(), labelled=labels, epochs=1)
