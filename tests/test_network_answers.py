"""A network answers with what its forward returns, whatever stands behind its last nn.Linear."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dialects.dialect import settle
from tiny_nets import images, settled, tiny_vgg
from together import in_threads
from torch import Tensor, nn

import pyedge
from pyedge import models
from pyedge.cloud.exporting.lower import lower
from pyedge.cloud.graph.taps import tap_teacher
from pyedge.cloud.graph.trace import trace
from pyedge.cloud.training.losses import as_logits
from pyedge.errors import ExportError, StructureError

CLASSES = 4
After = Callable[["Headed", Tensor], Tensor]


class Headed(nn.Module):
    """A network that does something with what another one answers."""

    def __init__(self, after: After) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = models.wrn(10, num_classes=CLASSES, widths=(8, 12, 16), stem=8)
        self.after = after
        self.bn = nn.BatchNorm1d(CLASSES)
        self.temperature = nn.Parameter(torch.tensor(0.4))
        self.register_buffer("mask", torch.tensor([True, False, False, True]))
        self.register_buffer("prior", torch.log(torch.tensor([0.9, 0.06, 0.03, 0.01])))
        self.register_buffer("order", torch.tensor([2, 0, 3, 1]))

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self, self.net(x))


def network(after: After) -> Headed:
    model = Headed(after)
    settle(model, images(16, seed=1))
    return model.eval()


def student_of(after: After) -> pyedge.cloud.compression.student.Student:
    return pyedge.compress(network(after), 0.6, images(32))


LOGITS: dict[str, After] = {
    "masked_fill": lambda s, z: z.masked_fill(s.mask, -1000.0),
    "masked to minus infinity": lambda s, z: z.masked_fill(s.mask, -torch.inf),
    "masked by a large number": lambda s, z: z * ~s.mask - 9e15 * s.mask,
    "where": lambda s, z: torch.where(s.mask, torch.full_like(z, -7.0), z),
    "logit adjustment": lambda s, z: z - 1.5 * s.prior,
    "a constant": lambda s, z: 3 - z,
    "temperature": lambda s, z: z / 0.05,
    "learned temperature": lambda s, z: z * s.temperature.exp(),
    "per class scale": lambda s, z: torch.mul(z, s.prior.abs()),
    "order by a list": lambda s, z: z[:, [3, 1, 0, 2]],
    "order by a buffer": lambda s, z: z.index_select(1, s.order),
    "order by gather": lambda s, z: z.gather(1, s.order.expand(z.shape[0], -1)),
    "order by a matrix": lambda s, z: z @ torch.eye(CLASSES, device=z.device)[s.order],
    "flip": lambda s, z: torch.flip(z, [1]),
    "fewer classes": lambda s, z: z[:, 1:3],
    "fewer classes, reordered": lambda s, z: z[..., [3, 0, 1]] * 2 + 1,
    "bias correction": lambda s, z: torch.cat([z[:, :2], z[:, 2:] * 0.8 - 0.4], 1),
    "chunks": lambda s, z: torch.cat(z.chunk(2, 1)[::-1], 1),
    "batch norm": lambda s, z: s.bn(z),
    "there and back": lambda s, z: z.unsqueeze(-1).permute(0, 2, 1).squeeze(1).double(),
}
ENDINGS: dict[str, After] = {
    "softmax": lambda s, z: z.softmax(1),
    "softmax module": lambda s, z: nn.Softmax(dim=-1)(z),
    "softmax by hand": lambda s, z: _by_hand(z),
    "softmax of a mask": lambda s, z: z.masked_fill(s.mask, -torch.inf).softmax(1),
    "softmax with temperature": lambda s, z: F.softmax(z / 4, dim=1),
}
LOGARITHMS: dict[str, After] = {
    "log_softmax": lambda s, z: F.log_softmax(z, dim=1),
    "log_softmax of an adjustment": lambda s, z: nn.LogSoftmax(1)(z + s.prior),
    "log of softmax": lambda s, z: z.softmax(1).log(),
    "less logsumexp": lambda s, z: z - z.logsumexp(1, keepdim=True),
}
REFUSED: dict[str, tuple[After, str]] = {
    "sigmoid": (lambda s, z: z.sigmoid(), "operator sigmoid"),
    "soft cap": (lambda s, z: 30 * torch.tanh(z / 30), "operator tanh"),
    "clamp": (lambda s, z: z.clamp(-5, 5), "operator clamp"),
    "matrix": (lambda s, z: z @ (torch.eye(CLASSES) + 0.1), "operator matmul"),
    "centred": (lambda s, z: z - z.mean(1, keepdim=True), "operator mean"),
    "probabilities adjusted": (lambda s, z: z.softmax(1) / s.prior.exp(), "operator softmax"),
    "a class twice": (lambda s, z: z[:, [0, 0, 1, 2]], "logits 0 and 1 both come from output 0"),
    "power": (lambda s, z: z**3, "operator pow"),
}  # fmt: skip


def _by_hand(z: Tensor) -> Tensor:
    e = (z - z.max(dim=1, keepdim=True).values).exp()
    return e / e.sum(1, keepdim=True)


def device_answers(student: nn.Module, folder: Path) -> tuple[np.ndarray, pyedge.EdgeLearner]:
    pyedge.export(student, folder / "s.pyedge")
    learner = pyedge.EdgeLearner(folder / "s.pyedge")
    return learner.logits(images(32).numpy()), learner


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
    with pytest.raises(ExportError, match=r"operator mul .* something else that the network"):
        pyedge.export(pyedge.compress(model.eval(), 0.6, images(32)), tmp_path / "s.pyedge")


def test_export_of_fewer_classes_wants_as_many_names(tmp_path: Path) -> None:
    student = student_of(LOGITS["fewer classes"])
    with pytest.raises(ValueError, match="classes must have 2 different names"):
        pyedge.export(student, tmp_path / "s.pyedge", classes=["a", "b", "c", "d"])
    pyedge.export(student, tmp_path / "s.pyedge", classes=["bee", "cow"])
    assert pyedge.EdgeLearner(tmp_path / "s.pyedge").classes == ("bee", "cow")


def test_export_check_sees_a_hook_that_changes_the_answers(tmp_path: Path) -> None:
    student = student_of(LOGITS["temperature"])
    student.register_forward_hook(lambda module, given, output: output * 2)
    with pytest.raises(ExportError, match="the engine does not answer what the student does"):
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


def batches(count: int = 4) -> list[tuple[Tensor, Tensor]]:
    """Classes that differ in their mean."""
    found = []
    for i in range(count):
        y = torch.arange(32) % CLASSES
        found.append((0.5 * images(32, seed=i) + (y.float() - 1.5)[:, None, None, None], y))
    return found


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
        teacher, tmp_path / "s.pyedge", pixels, tmp_path / "pack", progress=False
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
    with pytest.raises(StructureError, match="fc, is called twice on different features"):
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

    with pytest.raises(StructureError, match=r"does not come from its last nn\.Linear"):
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


# What the network answers, and what was read of it


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
        with pytest.raises(ValueError, match=f"{learn.__name__}: the teacher masks classes 0, 3"):
            learn(student, teacher, batches(1), steps=1, progress=False)
    pyedge.export(student, tmp_path / "s.pyedge", classes=["ant", "bee", "cow", "dog"])
    pixels = np.random.default_rng(0).integers(0, 256, (8, 3, 16, 16), dtype=np.uint8)
    pack = pyedge.make_knowledge(
        teacher, tmp_path / "s.pyedge", pixels, tmp_path / "pack", progress=False
    )
    learner = pyedge.EdgeLearner(tmp_path / "s.pyedge")
    with pytest.raises(ValueError, match="learn: the teacher masks ant, dog"):
        learner.learn(pixels, knowledge=pack, steps=1)
    learner.learn(pixels, knowledge=pack, steps=1, lambdas=(0, 10, 0), progress=False)


def test_fitnet_of_a_pair_that_masks_by_minus_infinity_is_finite() -> None:
    teacher = network(LOGITS["masked to minus infinity"])
    student = pyedge.compress(teacher, 0.9, images(32))
    seen = [(x[(y == 1) | (y == 2)], y[(y == 1) | (y == 2)]) for x, y in batches()]
    result = pyedge.fitnet(student, teacher, seen, epochs=2, lr=0.02, progress=False)
    assert np.isfinite(result.history[-1]["soft"])


def test_train_warns_of_probabilities_that_leave_nothing_to_learn() -> None:
    with pytest.warns(UserWarning, match="a probability of 0, from which nothing can be learned"):
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
