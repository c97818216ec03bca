"""A network answers with what its forward returns, whatever stands behind its last nn.Linear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pyedge
from pyedge import models
from pyedge.cloud.exporting.lower import lower
from pyedge.cloud.graph.taps import tap_teacher
from pyedge.cloud.graph.trace import trace
from pyedge.cloud.training.losses import as_logits
from pyedge.errors import ExportError, StructureError
from tests.support.dialects.dialect import settle
from tests.support.headed_net import (
    CLASSES,
    ENDINGS,
    LOGARITHMS,
    LOGITS,
    REFUSED,
    Headed,
    batches,
    device_answers,
    network,
    student_of,
)
from tests.support.tiny_nets import images, settled, tiny_vgg


@pytest.mark.parametrize("name", LOGITS)
def test_device_gives_the_logits_that_forward_returns(name: str, tmp_path: Path) -> None:
    student = student_of(LOGITS[name])
    got, learner = device_answers(student, tmp_path)
    with torch.no_grad():
        wanted = student(images(32)).double().clamp(min=-1e30).numpy()
    assert got.shape == wanted.shape
    # float32 both; a logit's error is some 1e-6 of the largest that is not masked
    size = np.abs(wanted[np.abs(wanted) < 500]).max()
    assert (np.abs(got - wanted) <= 1e-5 * size + 1e-6 * np.abs(wanted)).all()
    assert np.array_equal(learner.predict(images(32).numpy()).ids, wanted.argmax(1))


@pytest.mark.parametrize("name", [*ENDINGS, *LOGARITHMS])
def test_device_gives_the_probabilities_of_a_network_that_ends_in_softmax(
    name: str, tmp_path: Path
) -> None:
    student = student_of({**ENDINGS, **LOGARITHMS}[name])
    _, learner = device_answers(student, tmp_path)
    with torch.no_grad():
        wanted = student(images(32))
    wanted = wanted.exp() if name in LOGARITHMS else wanted
    found = learner.predict(images(32).numpy())
    assert np.abs(found.probabilities - wanted.numpy()).max() < 1e-5
    assert np.array_equal(found.ids, wanted.argmax(1).numpy())


@pytest.mark.parametrize("name", REFUSED)
def test_export_names_what_a_device_cannot_do_behind_the_classifier(
    name: str, tmp_path: Path
) -> None:
    after, message = REFUSED[name]
    with pytest.raises(ExportError, match=message):
        pyedge.export(student_of(after), tmp_path / "s.pyedge")
    assert not list(tmp_path.iterdir())


def test_export_names_what_mixes_the_logits_with_other_features(tmp_path: Path) -> None:
    class Gated(Headed):
        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) * x.mean((1, 2, 3), keepdim=False)[:, None]

    model = Gated(lambda s, z: z)
    settle(model, images(16, seed=1))
    with pytest.raises(ExportError, match=r"operator mul .*something else"):
        pyedge.export(pyedge.compress(model.eval(), 0.6, images(32)), tmp_path / "s.pyedge")


def test_export_of_fewer_classes_wants_as_many_names(tmp_path: Path) -> None:
    student = student_of(LOGITS["fewer classes"])
    with pytest.raises(ValueError, match="classes: wanted 2 different names"):
        pyedge.export(student, tmp_path / "s.pyedge", classes=["a", "b", "c", "d"])
    pyedge.export(student, tmp_path / "s.pyedge", classes=["bee", "cow"])
    assert pyedge.EdgeLearner(tmp_path / "s.pyedge").classes == ("bee", "cow")


def test_export_check_sees_a_hook_that_changes_the_answers(tmp_path: Path) -> None:
    student = student_of(LOGITS["temperature"])
    student.register_forward_hook(lambda module, given, output: output * 2)
    with pytest.raises(ExportError, match=r"engine .*not answer .*student"):
        pyedge.export(student, tmp_path / "s.pyedge")


def test_export_check_sees_answers_that_depend_on_the_other_images(tmp_path: Path) -> None:
    student = student_of(LOGITS["temperature"])
    student.register_forward_hook(lambda module, given, output: output - output.mean(0))
    with pytest.raises(ExportError, match="depends on the others"):
        pyedge.export(student, tmp_path / "s.pyedge")


def test_device_grows_and_learns_behind_a_reordered_head(tmp_path: Path) -> None:
    student = student_of(LOGITS["fewer classes, reordered"])
    _, learner = device_answers(student, tmp_path)
    before = learner.predict(images(32).numpy()).ids
    learner.add_classes(["mug"])
    assert np.array_equal(learner.predict(images(32).numpy()).ids, before)
    labels = np.full(32, 3)
    result = learner.learn(images(32).numpy(), labels, steps=30, lr=0.05, progress=False)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert (learner.predict(images(32).numpy()).ids == 3).mean() > 0.9


def test_hidden_layers_replaced_by_one_keep_what_stands_behind_them(tmp_path: Path) -> None:
    class Reordered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = tiny_vgg()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).flip(1) / 3

    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    student = pyedge.compress(Reordered().eval(), 0.9, x)
    pyedge.export(student, tmp_path / "s.pyedge")
    got = pyedge.EdgeLearner(tmp_path / "s.pyedge").logits(x.numpy())
    with torch.no_grad():
        wanted = student(x).numpy()
    assert np.abs(got - wanted).max() < 1e-5 * np.abs(wanted).max()


# Training


@pytest.mark.parametrize("name", [*LOGITS, *ENDINGS, *LOGARITHMS])
def test_tapped_teacher_gives_logits_whose_softmax_is_what_forward_means(name: str) -> None:
    after = {**LOGITS, **ENDINGS, **LOGARITHMS}[name]
    model = network(after).train()
    with torch.no_grad():
        statistics = model.bn.running_mean.clone()
        logits, _ = _tapped(model)
        answers = model.eval()(images(4))
    wanted = answers if name in ENDINGS else answers.softmax(1)
    assert torch.allclose(logits.softmax(1).double(), wanted.double(), atol=1e-5)
    assert torch.equal(model.bn.running_mean, statistics)  # looking at it changed nothing


def _tapped(model: nn.Module) -> tuple[Tensor, list[list[Tensor]]]:
    tapped = tap_teacher(model, images(4))
    assert tapped.training
    return tapped.eval()(images(4))


@pytest.mark.parametrize(
    "name", ["order by a list", "batch norm", "softmax", "log_softmax", "logit adjustment"]
)
def test_training_on_labels_improves_what_forward_returns(name: str) -> None:
    after = {**LOGITS, **ENDINGS, **LOGARITHMS}[name]
    teacher = network(after)
    pyedge.train(teacher, batches(), epochs=8, lr=0.1, progress=False)
    taught = pyedge.evaluate(teacher, batches())
    assert taught.accuracy > 0.95
    assert taught.loss < 0.2  # the cross entropy of what it answers, also where that is a softmax
    student = pyedge.compress(teacher, 0.9, torch.cat([x for x, _ in batches()]))
    pyedge.transfer(student, teacher, batches(), epochs=8, lr=0.05, progress=False)
    assert pyedge.evaluate(student, batches()).accuracy > 0.95


def test_fitnet_learns_from_a_network_that_ends_in_softmax() -> None:
    teacher = network(ENDINGS["softmax"])
    pyedge.train(teacher, batches(), epochs=8, lr=0.1, progress=False)
    student = pyedge.compress(teacher, 0.9, images(32), init="fresh")
    pyedge.fitnet(student, teacher, batches(), epochs=8, lr=0.05, progress=False)
    assert pyedge.evaluate(student, batches()).accuracy > 0.9


def test_transfer_of_a_network_that_masks_classes_is_finite_and_learns_the_others() -> None:
    teacher = network(LOGITS["masked to minus infinity"])
    seen = [(x[(y == 1) | (y == 2)], y[(y == 1) | (y == 2)]) for x, y in batches()]
    pyedge.train(teacher, seen, epochs=8, lr=0.1, progress=False)
    student = pyedge.compress(teacher, 0.9, images(32))
    result = pyedge.transfer(student, teacher, seen, epochs=6, lr=0.05, progress=False)
    assert np.isfinite(result.history[-1]["J_1"])
    assert pyedge.evaluate(student, seen).accuracy > 0.95


def test_knowledge_of_a_network_that_masks_classes_teaches_the_device(tmp_path: Path) -> None:
    teacher = network(LOGITS["masked to minus infinity"])
    student = pyedge.compress(teacher, 0.6, images(32))
    pyedge.export(student, tmp_path / "s.pyedge")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 3, 16, 16), dtype=np.uint8)
    pack = pyedge.make_knowledge(
        tmp_path / "s.pyedge", teacher, pixels, tmp_path / "pack", progress=False
    )
    assert (pack.batch(np.arange(16), 0)["logits"][:, [0, 3]] == np.float32(-1e30)).all()
    learner = pyedge.EdgeLearner(tmp_path / "s.pyedge")
    result = learner.learn(pixels, knowledge=pack, steps=20, lr=0.01, progress=False)
    assert result.history[-1]["J_1"] < result.history[0]["J_1"] < 100


def test_as_logits_takes_logarithms_of_probabilities_and_leaves_logits_alone() -> None:
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    p = z.softmax(1)
    assert torch.allclose(as_logits(p).softmax(1), p, atol=1e-6)
    for logits in (z, z.abs(), z.log_softmax(1), torch.zeros(3, 5), p * 2):
        assert as_logits(logits) is logits
    certain = as_logits(torch.eye(5))
    assert torch.isfinite(certain).all()
    assert torch.allclose(certain.softmax(1), torch.eye(5), rtol=0, atol=1e-30)


# Linear layers that are called twice


class CalledTwice(nn.Module):
    def __init__(self, same: bool, functional: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = models.wrn(10, num_classes=CLASSES, widths=(8, 12, 16), stem=8)
        self.fc, self.net.classifier = self.net.classifier, nn.Identity()
        self.same, self.functional = same, functional
        self.register_buffer("mask", torch.tensor([True, False, False, False]))

    def classify(self, x: Tensor) -> Tensor:
        return F.linear(x, self.fc.weight, self.fc.bias) if self.functional else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.net(x)
        other = x if self.same else x.flip(1)
        return torch.where(self.mask, self.classify(other) - 9, self.classify(x))


@pytest.mark.parametrize("functional", [False, True])
def test_classifier_called_twice_on_the_same_features_is_one(
    functional: bool, tmp_path: Path
) -> None:
    student = pyedge.compress(settled(CalledTwice(True, functional)), 0.6, images(32))
    got, _ = device_answers(student, tmp_path)
    with torch.no_grad():
        assert np.abs(got - student(images(32)).numpy()).max() < 1e-4
    assert sum(isinstance(m, nn.Linear) for m in student.modules()) == 1


@pytest.mark.parametrize("functional", [False, True])
def test_classifier_called_twice_on_different_features_is_refused(functional: bool) -> None:
    with pytest.raises(StructureError, match=r"fc, .*twice.* features"):
        pyedge.compress(settled(CalledTwice(False, functional)), 0.6, images(32))


def test_a_hidden_layers_outputs_are_not_taken_for_classes() -> None:
    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = models.wrn(10, num_classes=12, widths=(8, 12, 16), stem=8)
            self.centres = nn.Parameter(torch.randn(12, CLASSES))

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) @ self.centres

    with pytest.raises(StructureError, match=r"not come from .*last nn\.Linear"):
        pyedge.compress(settled(Projected()), 0.6, images(32))


def test_lowered_student_names_its_ending() -> None:
    endings = {name: lower(student_of(after)).ending for name, after in ENDINGS.items()}
    assert set(endings.values()) == {"softmax"}
    assert lower(student_of(LOGARITHMS["log_softmax"])).ending == "log_softmax"
    assert lower(student_of(LOGITS["temperature"])).ending == "logits"


def test_tracing_does_not_merge_what_counts_its_calls() -> None:
    class Normed(Headed):
        def forward(self, x: Tensor) -> Tensor:
            z = self.net(x)
            return self.bn(z) + self.bn(z)

    traced = trace(Normed(lambda s, z: z).eval(), images(2))
    assert sum(str(node.target) == "bn" for node in traced.graph.nodes) == 2
