"""What is read of a network, its masks beside a student's, and both in any surroundings."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pyedge
from pyedge.errors import ExportError, StructureError
from tests.support.dialects.dialect import settle
from tests.support.headed_net import (
    CLASSES,
    LOGITS,
    Headed,
    batches,
    network,
    student_of,
)
from tests.support.tiny_nets import images
from tests.support.together import in_threads


def test_plan_warns_of_a_network_that_answers_an_image_alone_otherwise(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="answers an image alone otherwise"):
        student = student_of(lambda s, z: z.softmax(0))
    with pytest.raises(ExportError, match="operator softmax"):
        pyedge.export(student, tmp_path / "s.pyedge")


def test_plan_refuses_random_numbers_in_evaluation_mode() -> None:
    with pytest.raises(StructureError, match="because of random numbers"):
        pyedge.plan(network(lambda s, z: F.dropout(z, 0.5, True)), 0.6, images(8))


def test_plan_export_and_training_work_without_gradients_around_them(tmp_path: Path) -> None:
    for context in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)):
        model = network(LOGITS["temperature"])
        with context:
            student = pyedge.compress(model, 0.6, images(8))
            pyedge.export(student, tmp_path / "s.pyedge")
        with context:
            pyedge.fitnet(student, model, batches(1), steps=2, progress=False)
            pyedge.transfer(student, model, batches(1), steps=2, progress=False)


def test_compress_in_float64_by_default_gives_the_same_student() -> None:
    first = student_of(LOGITS["temperature"])
    before, model, x = torch.get_default_dtype(), network(LOGITS["temperature"]), images(32)
    torch.set_default_dtype(torch.float64)
    try:
        second = pyedge.compress(model, 0.6, x)
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(first(images(4)), second(images(4)))


def test_compress_takes_what_detaches_its_features() -> None:
    class Probed(Headed):
        def forward(self, x: Tensor) -> Tensor:
            return self.net(x.detach()).detach()

    model = Probed(lambda s, z: z)
    settle(model, images(16, seed=1))
    assert pyedge.compress(model.eval(), 0.6, images(8)).params > 0


def test_compress_names_what_cuts_the_gradient_off() -> None:
    with pytest.raises(StructureError, match=r"no gradient of the output|cannot follow"):
        student_of(lambda s, z: F.one_hot(z.argmax(1), CLASSES).float())


def test_export_names_a_layer_behind_the_classifier_and_not_its_reshaping(tmp_path: Path) -> None:
    class Mixed(Headed):
        def __init__(self) -> None:
            super().__init__(lambda s, z: s.mix(z[:, :, None, None]).flatten(1))
            self.mix = nn.Conv2d(CLASSES, CLASSES, 1)

    model = Mixed()
    settle(model, images(16, seed=1))
    with pytest.raises(ExportError, match="operator Conv2d at 'mix'"):
        pyedge.export(pyedge.compress(model.eval(), 1.0, images(8)), tmp_path / "s.pyedge")


def test_transfer_and_packs_refuse_a_teacher_that_masks_what_the_student_does_not(
    tmp_path: Path,
) -> None:
    teacher, plain = network(LOGITS["masked_fill"]), network(lambda s, z: z)
    student = pyedge.compress(plain, 0.6, images(32))
    for learn in (pyedge.transfer, pyedge.fitnet):
        with pytest.raises(ValueError, match=f"{learn.__name__}: .*teacher masks classes 0, 3"):
            learn(student, teacher, batches(1), steps=1, progress=False)
    pyedge.export(student, tmp_path / "s.pyedge", classes=["ant", "bee", "cow", "dog"])
    pixels = np.random.default_rng(0).integers(0, 256, (8, 3, 16, 16), dtype=np.uint8)
    pack = pyedge.make_knowledge(
        tmp_path / "s.pyedge", teacher, pixels, tmp_path / "pack", progress=False
    )
    learner = pyedge.EdgeLearner(tmp_path / "s.pyedge")
    with pytest.raises(ValueError, match=r"learn: .*teacher masks ant, dog"):
        learner.learn(pixels, knowledge=pack, steps=1)
    learner.learn(pixels, knowledge=pack, steps=1, lambdas=(0, 10, 0), progress=False)


def test_fitnet_of_a_pair_that_masks_by_minus_infinity_is_finite() -> None:
    teacher = network(LOGITS["masked to minus infinity"])
    student = pyedge.compress(teacher, 0.9, images(32))
    seen = [(x[(y == 1) | (y == 2)], y[(y == 1) | (y == 2)]) for x, y in batches()]
    result = pyedge.fitnet(student, teacher, seen, epochs=2, lr=0.02, progress=False)
    assert np.isfinite(result.history[-1]["soft"])


def test_train_warns_of_probabilities_that_leave_nothing_to_learn() -> None:
    with pytest.warns(UserWarning, match=r"probability of 0, .*nothing"):
        pyedge.train(
            network(lambda s, z: (z * 1e4).softmax(1)), batches(1), steps=1, progress=False
        )


# Threads


def test_networks_are_cut_and_evaluated_in_several_threads() -> None:
    model = network(LOGITS["order by a list"]).train()
    statistics = model.net.bn.running_mean.clone()
    wanted = pyedge.evaluate(model, batches()).loss
    losses: list[float] = []
    params: list[int] = []

    def judge(count: int) -> None:
        losses.extend(pyedge.evaluate(model, batches() * count).loss for _ in range(3))

    def cut(own: nn.Module) -> None:
        params.append(pyedge.compress(own, 0.6, images(32)).params)

    owns = [network(LOGITS["temperature"]) for _ in range(3)]
    in_threads(*[partial(judge, n) for n in (1, 3, 2)], *[partial(cut, own) for own in owns])
    assert losses == pytest.approx([wanted] * 9, rel=1e-6)
    assert len(params) == 3
    assert len(set(params)) == 1
    assert model.training
    assert torch.equal(model.net.bn.running_mean, statistics)
