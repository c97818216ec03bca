"""Networks as people have them: graph modules, students again, squeezes, a last batch of one."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils.data import DataLoader, TensorDataset

import pyedge
from pyedge.cloud.compression.student import Student
from pyedge.cloud.compression.surgery import recalibrate
from pyedge.cloud.graph.siblings import facing
from pyedge.cloud.graph.taps import tap_teacher
from pyedge.cloud.graph.trace import trace
from pyedge.cloud.network_file import NetworkInfo, StudentSettings, save_network
from tests.support.tiny_nets import images, settled, tiny_resnet, tiny_vgg, tiny_wrn

X, LABELS = images(24, seed=2), torch.arange(24) % 5
QUIET = {"progress": False, "lr": 0.02}


def student_of(network: nn.Module, P: float = 0.6, x: Tensor = X) -> Student:
    """Compress, and see that the network is as it was."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    student = pyedge.compress(network, P, x)
    assert list(before) == list(network.state_dict())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert modes == [module.training for module in network.modules()]
    return student


def check_on_a_device(student: Student, folder: Path, x: Tensor = X) -> None:
    """The same answers to one, two and many images, in torch and on the device."""
    pyedge.export(student, folder / "student.pyedge")
    learner = pyedge.EdgeLearner(folder / "student.pyedge")
    wanted = student(x).detach()
    for count in (1, 2, 24):
        assert torch.allclose(student(x[:count]), wanted[:count], atol=1e-5)
        got = learner.logits(x[:count].numpy())
        assert got == pytest.approx(wanted[:count].numpy(), abs=1e-4)


class Inside(nn.Module):
    """A graph module as a part of another network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.head, network.classifier = network.classifier, nn.Identity()
        self.body = fx.symbolic_trace(network)

    def forward(self, x):
        return self.head(self.body(x))


class Shifted(nn.Module):
    """Constants of every kind: a tensor made in forward, a parameter, a buffer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.scale = nn.Parameter(torch.full((1, 3, 1, 1), 0.5))
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1))

    def forward(self, x):
        x = x * torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
        return self.network((x - self.mean) * self.scale)


class Called(nn.Module):
    """Methods of tensors in the place of modules."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.stem, self.groups, self.bn = network.stem, network.groups, network.bn
        self.head = network.classifier

    def forward(self, x):
        x = self.stem(x)
        for group in self.groups:
            for block in group:
                x = block(x)
        return self.head(self.bn(x).relu().mean([2, 3]))


def plain(graph: fx.GraphModule) -> fx.GraphModule:
    """Without annotations, which pickle cannot hold where they are text."""
    for node in graph.graph.nodes:
        node.type = None
    graph.graph._codegen = fx.graph.CodeGen()
    graph.recompile()
    return graph


SPELLINGS = {
    "traced": (lambda: fx.symbolic_trace(tiny_wrn()), tiny_wrn),
    "traced with residual blocks": (lambda: fx.symbolic_trace(tiny_resnet()), tiny_resnet),
    "copied": (lambda: copy.deepcopy(fx.symbolic_trace(tiny_wrn())), tiny_wrn),
    "pickled": (
        lambda: pickle.loads(pickle.dumps(plain(fx.symbolic_trace(Called(tiny_wrn()).eval())))),
        tiny_wrn,
    ),
    "a part of another": (lambda: Inside(tiny_wrn()).eval(), tiny_wrn),
    "with calls of methods": (lambda: fx.symbolic_trace(Called(tiny_wrn()).eval()), tiny_wrn),
    "with constants": (
        lambda: fx.symbolic_trace(Shifted(tiny_wrn()).eval()),
        lambda: Shifted(tiny_wrn()).eval(),
    ),
    "with constants, inside": (
        lambda: Shifted(fx.symbolic_trace(Shifted(tiny_wrn()).eval())).eval(),
        lambda: Shifted(Shifted(tiny_wrn())).eval(),
    ),
}


@pytest.mark.parametrize(("spelled", "original"), SPELLINGS.values(), ids=SPELLINGS)
def test_network_graph_modules_are_cut_as_what_they_were_traced_from(
    spelled: Any, original: Any, tmp_path: Path
) -> None:
    student, wanted = student_of(spelled()), student_of(original())
    assert student.params == wanted.params
    assert torch.allclose(student(X), wanted(X), atol=1e-4)
    check_on_a_device(student, tmp_path)


def test_network_fused_by_fx_is_cut(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates what it imports there
        from torch.fx.experimental.optimization import fuse
    network = fuse(tiny_resnet())
    plan, wanted = pyedge.plan(network, 0.6, X), pyedge.plan(tiny_resnet(), 0.6, X)
    assert plan.widths == wanted.widths
    # what has no batch norm any more is not recalibrated
    same = dataclasses.replace(wanted, calibration=()).build()
    assert torch.allclose(plan.build()(X), same(X), atol=1e-4)
    check_on_a_device(student_of(network), tmp_path)


def test_network_constants_of_one_name_stay_apart() -> None:
    class Named(nn.Module):
        """A buffer called as torch.fx calls the constants that it finds."""

        def __init__(self) -> None:
            super().__init__()
            self.network = tiny_wrn()
            self.register_buffer("_tensor_constant0", torch.full((1, 3, 1, 1), 0.3))

        def forward(self, x):
            return self.network(x * torch.full((1, 3, 1, 1), 2.0) - self._tensor_constant0)

    network = Named().eval()
    assert torch.allclose(trace(network, X[:2])(X), network(X), atol=1e-5)


@pytest.mark.parametrize("make", [tiny_wrn, tiny_resnet, tiny_vgg])
def test_network_student_is_cut_again_and_again(make: Any, tmp_path: Path) -> None:
    x = torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first = student_of(make(), 0.8, x)
    second = student_of(first.train(), 0.6, x)
    third = student_of(second, 0.5, x)
    assert first.params > second.params > third.params
    for student, teacher in ((second, first), (third, second)):
        assert list(student.widths) == list(teacher.widths)  # no prefix at each cut
        assert student.last_convs == teacher.last_convs
        assert student.teacher_channels == tuple(
            len(teacher.kept(group)) for group in range(teacher.groups)
        )
        for group in range(student.groups):
            assert int(student.kept(group).max()) < student.teacher_channels[group]
    check_on_a_device(third, tmp_path, x)


def test_network_student_cut_at_its_own_widths_is_the_same_student() -> None:
    first = student_of(tiny_wrn(), 0.8)
    again = pyedge.plan(first, widths=first.widths, images=X).build()
    assert again.widths == first.widths
    assert torch.allclose(again(X), first(X), atol=1e-5)
    assert all(k.tolist() == list(range(len(k))) for k in map(again.kept, range(again.groups)))


def test_network_student_teaches_a_smaller_one_on_both_sides(tmp_path: Path) -> None:
    first = student_of(tiny_wrn(), 0.8)
    second = student_of(first, 0.6)
    before = {name: value.clone() for name, value in first.state_dict().items()}
    loader = [(X, LABELS)]
    for call in (pyedge.transfer, pyedge.fitnet):
        result = call(copy.deepcopy(second), first.train(), loader, epochs=8, **QUIET)
        assert result.history[-1]["loss"] < result.history[0]["loss"]
        assert first.training
    assert all(torch.equal(before[k], v) for k, v in first.state_dict().items())
    pyedge.export(second, tmp_path / "second.pyedge")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 16, 16), dtype=np.uint8)
    pack = pyedge.make_knowledge(
        tmp_path / "second.pyedge", first, pixels, tmp_path / "pack", progress=False
    )
    learner = pyedge.EdgeLearner(tmp_path / "second.pyedge")
    assert learner.learn(pixels, knowledge=pack, steps=2, progress=False).steps == 2


def test_network_students_of_one_teacher_teach_each_other_where_their_filters_were() -> None:
    teacher = tiny_wrn()
    wide, thin = student_of(teacher, 0.9), student_of(teacher, 0.5)
    tapped = tap_teacher(wide, X[:2])
    found = facing(tapped, thin.teacher_channels)(X)[1]
    for group, ((laid_out,), (own,)) in enumerate(zip(found, tapped(X)[1], strict=True)):
        assert laid_out.shape[1] == thin.teacher_channels[group]
        assert torch.equal(laid_out[:, wide.kept(group)], own)
        assert laid_out.count_nonzero() == own.count_nonzero()
    for student, other in ((thin, wide), (wide, thin)):
        taught = copy.deepcopy(student)
        result = pyedge.transfer(taught, other, [(X, LABELS)], epochs=8, **QUIET)
        assert result.history[-1]["J_b"] < result.history[0]["J_b"]


def test_network_student_as_its_own_teacher_tells_a_device_what_it_knows(tmp_path: Path) -> None:
    student = student_of(tiny_wrn())
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 16, 16), dtype=np.uint8)
    pack = pyedge.make_knowledge(student, student, pixels, tmp_path / "pack", progress=False)
    assert len(pack.groups) == 3
    with pytest.raises(ValueError, match="transfer: teacher: wanted no weights of the student's, "):
        pyedge.transfer(student, student, [(X, LABELS)], epochs=1, **QUIET)


def test_network_files_refuse_a_student_that_was_cut_again(tmp_path: Path) -> None:
    options = {"depth": 16, "num_classes": 5, "widths": [16, 24, 32], "stem": 8}
    info = NetworkInfo(
        builder="wrn", options=options, classes=tuple("abcde"), input_shape=(3, 16, 16)
    )
    first = student_of(tiny_wrn(), 0.8)
    with pytest.raises(ValueError, match=r"StudentSettings: .*plan .*student again"):
        StudentSettings.of(pyedge.plan(first, 0.6, X))
    with pytest.raises(ValueError, match=r"info\.student: .*got None for a Student"):
        save_network(tmp_path / "student.pt", first, info)
    assert not (tmp_path / "student.pt").exists()


SQUEEZES = {
    "x.squeeze()": lambda y, x: F.adaptive_avg_pool2d(y, 1).squeeze(),
    "torch.squeeze(x)": lambda y, x: torch.squeeze(F.adaptive_avg_pool2d(y, 1)),
    "x.squeeze_()": lambda y, x: F.adaptive_avg_pool2d(y, 1).squeeze_(),
    "squeeze twice": lambda y, x: F.adaptive_avg_pool2d(y, 1).squeeze(-1).squeeze(-1),
    "squeeze of a mean": lambda y, x: y.mean((2, 3), keepdim=True).squeeze(),
    "squeeze of a pool": lambda y, x: F.avg_pool2d(y, y.shape[2:]).squeeze(),
    "squeeze of a flat map": lambda y, x: y.flatten(2).mean(2, keepdim=True).squeeze(),
    "squeeze of features": lambda y, x: y.mean((2, 3)).squeeze(),
    "view": lambda y, x: F.adaptive_avg_pool2d(y, 1).view(x.size(0), -1),
    "view with a width": lambda y, x: F.adaptive_avg_pool2d(y, 1).view(-1, 32),
    "reshape by len": lambda y, x: F.adaptive_avg_pool2d(y, 1).reshape(len(x), -1),
    "index": lambda y, x: F.adaptive_avg_pool2d(y, 1)[:, :, 0, 0],
}


class Squeezing(Called):
    def __init__(self, name: str) -> None:
        super().__init__(tiny_wrn())
        self.name = name

    def forward(self, x):
        y = self.stem(x)
        for group in self.groups:
            for block in group:
                y = block(y)
        return self.head(SQUEEZES[self.name](self.bn(y).relu(), x))


@pytest.mark.parametrize("name", SQUEEZES)
def test_network_squeezes_answer_one_image_as_they_answer_many(name: str, tmp_path: Path) -> None:
    network = Squeezing(name).eval()
    student = student_of(network)
    assert torch.allclose(student(X), student_of(tiny_wrn())(X), atol=1e-4)
    check_on_a_device(student, tmp_path)
    loader = [(X[:23], LABELS[:23]), (X[23:], LABELS[23:])]
    assert pyedge.evaluate(network, loader).count == 24
    assert torch.equal(
        pyedge.evaluate(network, loader).confusion,
        pyedge.evaluate(network, [(X, LABELS)]).confusion,
    )
    # one image first, which the taps are found with
    turned = [loader[1], loader[0]]
    assert pyedge.transfer(student, network, turned, epochs=1, **QUIET).steps == 2
    assert pyedge.train(network, turned, epochs=1, **QUIET).steps == 2


class Normed(nn.Module):
    """Batch norm of features, which torch does not train on one image."""

    def __init__(self) -> None:
        super().__init__()
        network = tiny_wrn()
        self.head, network.classifier = network.classifier, nn.Identity()
        self.body, self.norm = network, nn.BatchNorm1d(32)

    def forward(self, x):
        return self.head(self.norm(self.body(x)))


LAST_OF_ONE = [(X[:12], LABELS[:12]), (X[12:23], LABELS[12:23]), (X[23:], LABELS[23:])]


def test_network_last_batch_of_one_is_left_out_with_a_word() -> None:
    network, straight = settled(Normed()), settled(Normed())
    with pytest.warns(UserWarning, match=r"train: loader ends .*one image") as told:
        result = pyedge.train(network, LAST_OF_ONE, epochs=2, schedule="constant", **QUIET)
    assert len(told) == 1
    assert result.steps == 6
    pyedge.train(straight, LAST_OF_ONE[:2], epochs=2, schedule="constant", **QUIET)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name  # statistics, too


def test_network_last_batch_of_one_is_learned_from_where_it_can_be() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network, straight = tiny_wrn(), tiny_wrn()
        pyedge.train(network, LAST_OF_ONE, epochs=1, schedule="constant", **QUIET)
        pyedge.train(straight, LAST_OF_ONE[:2], epochs=1, schedule="constant", **QUIET)
        assert not torch.equal(network.classifier.weight, straight.classifier.weight)
        frozen = settled(Normed())
        assert pyedge.train(frozen, LAST_OF_ONE, epochs=1, batch_norm="frozen", **QUIET).steps == 3


def test_network_last_batch_of_one_in_transfer_and_fitnet() -> None:
    teacher = settled(Normed())
    for call in (pyedge.transfer, pyedge.fitnet):
        student = student_of(teacher)
        with pytest.warns(UserWarning, match=f"{call.__name__}: loader ends .*one"):
            assert call(student, teacher, LAST_OF_ONE, epochs=2, **QUIET).steps == 6


def test_network_batches_of_one_throughout_are_refused() -> None:
    network = settled(Normed())
    single = DataLoader(TensorDataset(X, LABELS), 1)
    with pytest.raises(ValueError, match=r"^train: loader .*one image, .* 2 or"):
        pyedge.train(network, single, epochs=1, **QUIET)


def test_network_is_recalibrated_on_images_that_come_one_by_one() -> None:
    network = settled(Normed())
    whole = student_of(network)
    single = pyedge.compress(network, 0.6, DataLoader(TensorDataset(X, LABELS), 1))
    assert torch.allclose(single(X), whole(X), atol=1e-5)
    before = copy.deepcopy(whole.state_dict())
    recalibrate(whole, [X[:1]])  # of which there are no statistics
    assert all(torch.equal(before[k], v) for k, v in whole.state_dict().items())


def test_network_in_any_mode_and_wrapper_is_cut_alike() -> None:
    wanted = student_of(tiny_wrn())
    hooked = tiny_wrn()
    hooked.stem.register_forward_hook(lambda module, args, output: output + 0.0)
    for network in (
        tiny_wrn().train(),
        tiny_wrn().requires_grad_(False),
        nn.DataParallel(tiny_wrn()),
        hooked,
    ):
        student = student_of(network)
        assert torch.allclose(student(X), wanted(X), atol=1e-5)
        assert all(p.requires_grad for p in student.parameters())


def test_network_in_training_mode_is_evaluated_and_exported_as_in_the_other(tmp_path: Path) -> None:
    network = tiny_wrn()
    wanted = pyedge.evaluate(network, [(X, LABELS)]).loss
    assert pyedge.evaluate(network.train(), [(X, LABELS)]).loss == wanted
    assert network.training
    student = student_of(network).train()
    pyedge.export(student, tmp_path / "student.pyedge")
    assert student.training
    check_on_a_device(student.eval(), tmp_path)
