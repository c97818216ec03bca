"""The record of a cut: it gives the student that cutting gives, and a false one is refused."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pyedge
from pyedge import models
from pyedge.cloud.compression.recorded_student import build_student, record_student
from pyedge.cloud.compression.student import Student
from pyedge.cloud.network_file import (
    NetworkInfo,
    OwnCodeError,
    StudentSettings,
    load_network,
    save_network,
)

CLASSES = ("cat", "dog", "mug")
WRN = {"depth": 16, "widths": [8, 12, 16], "stem": 8, "num_classes": 3}
VGG = {"num_classes": 3, "input_size": 32, "hidden": 8, "width": 8}
FAMILIES: dict[str, tuple[str, dict[str, Any], int]] = {
    "wrn": ("wrn", WRN, 8),
    "wrn projected": ("wrn", {**WRN, "shortcut": "projection", "dropout": 0.1}, 8),
    "cifar resnet": ("resnet20", {"num_classes": 3, "width": 8}, 8),
    "resnet": ("resnet18", {"num_classes": 3, "small_input": True, "width": 8}, 8),
    "vgg": ("vgg11_bn", VGG, 32),
    "vgg of one linear layer": ("vgg11", {**VGG, "hidden": None}, 32),
}


def settled(model: nn.Module, size: int) -> nn.Module:
    model.train()(torch.randn(32, 3, size, size))  # running statistics that are not 0 and 1
    return model.eval()


def plain_settings(model: nn.Module) -> list[Any]:
    """Every setting of every module that torch keeps as a plain attribute."""
    return [
        (name, type(module).__name__, {k: v for k, v in vars(module).items() if k[0] != "_"})
        for name, module in model.named_modules()
        if not hasattr(module, "graph") and name
    ]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("keep", ["first", "last"])
def test_recorded_student_is_the_one_that_cutting_gives(
    family: str, keep: Any, tmp_path: Path
) -> None:
    builder, options, size = FAMILIES[family]
    torch.manual_seed(0)
    teacher = settled(models.create(builder, **options), size)
    images = torch.randn(16, 3, size, size)
    plan = pyedge.plan(teacher, 0.5, images, keep=keep)
    path, old = tmp_path / "n.pt", tmp_path / "old.pt"
    drops = False
    for P in (0.3, 0.5, 0.8):
        at = plan.at(P)
        info = NetworkInfo(
            builder=builder,
            options=options,
            classes=CLASSES,
            input_shape=(3, size, size),
            student=StudentSettings.of(at, keep=keep),
        )
        made = at.build()
        save_network(path, made, info)
        content = torch.load(path, weights_only=True)
        del content["cut"]
        torch.save({**content, "version": 1}, old)
        again, told = load_network(path)
        by_cutting, told_too = load_network(old)
        assert told == told_too == info
        for other in (by_cutting, made):
            assert isinstance(again, Student)
            assert again.net.code == other.net.code
            assert type(again.net).__name__ == type(other.net).__name__
            assert plain_settings(again) == plain_settings(other)
            assert (again.last_convs, again.classifier) == (other.last_convs, other.classifier)
            assert again.teacher_channels == other.teacher_channels
            assert list(again.state_dict()) == list(other.state_dict())
            assert all(map(torch.equal, again.state_dict().values(), other.state_dict().values()))
            found, wanted = again.forward_taps(images), other.forward_taps(images)
            assert torch.equal(found[0], wanted[0])
            assert all(map(torch.equal, found[1], wanted[1]))
        assert all(p.requires_grad and p.is_leaf and not p.is_meta for p in again.parameters())
        assert not again.training
        save_network(tmp_path / "twice.pt", again, told)
        assert (tmp_path / "twice.pt").read_bytes() == path.read_bytes()
        pads = [v for name, v in again.state_dict().items() if name.endswith("position")]
        drops = drops or any(bool((position < 0).any()) for position in pads)
    assert drops == (family in ("wrn", "cifar resnet"))  # the hard case is among them


def test_recorded_student_learns_and_can_be_cut_and_exported(tmp_path: Path) -> None:
    builder, options, size = FAMILIES["wrn"]
    torch.manual_seed(0)
    teacher = settled(models.create(builder, **options), size)
    images, labels = torch.randn(16, 3, size, size), torch.arange(16) % 3
    plan = pyedge.plan(teacher, 0.5, images)
    made = plan.build()
    info = NetworkInfo(
        builder=builder,
        options=options,
        classes=CLASSES,
        input_shape=(3, size, size),
        student=StudentSettings.of(plan),
    )
    save_network(tmp_path / "n.pt", made, info)
    again, _ = load_network(tmp_path / "n.pt")
    before = copy.deepcopy(again.state_dict())
    for student in (made, again):
        pyedge.transfer(student, teacher, [(images, labels)], epochs=2, seed=0, progress=False)
    after = again.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(map(torch.equal, after.values(), made.state_dict().values()))
    wanted, found = (pyedge.compress(each, 0.5, images) for each in (made, again))
    assert torch.equal(found(images), wanted(images))
    for name, student in (("made", made), ("again", again)):
        pyedge.export(student, tmp_path / f"{name}.pyedge", classes=CLASSES, input_shape=(3, 8, 8))
    assert (tmp_path / "made.pyedge").read_bytes() == (tmp_path / "again.pyedge").read_bytes()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of a wrn, with pads that drop channels."""
    builder, options, size = FAMILIES["wrn"]
    torch.manual_seed(0)
    teacher = settled(models.create(builder, **options), size)
    plan = pyedge.plan(teacher, 0.5, torch.randn(16, 3, size, size))
    path = tmp_path_factory.mktemp("recorded") / "student.pt"
    info = NetworkInfo(
        builder=builder,
        options=options,
        classes=CLASSES,
        input_shape=(3, size, size),
        student=StudentSettings.of(plan),
    )
    save_network(path, plan.build(), info)
    return path


def test_recorded_student_is_opened_without_torch_pruning_and_tracing(saved: Path) -> None:
    code = (
        "import sys; sys.modules['torch_pruning'] = None\n"
        "from pyedge.cloud.network_file import load_network, save_network\n"
        "import torch\n"
        "student, info = load_network(sys.argv[1])\n"
        "assert student(torch.zeros(2, 3, 8, 8)).shape == (2, 3)\n"
        "save_network(sys.argv[2], student, info)\n"
        "never = ('compress', 'surgery', 'coupling', 'profile', 'plan')\n"
        "folder = 'pyedge.cloud.compression.'\n"
        "loaded = [name for name in never if folder + name in sys.modules]\n"
        "assert not loaded, loaded\n"
        "assert 'pyedge.cloud.graph.trace' not in sys.modules\n"
    )
    again = saved.with_name("again.pt")
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved), str(again)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert again.read_bytes() == saved.read_bytes()


class Halves(nn.Module):
    """Gives half of its input in training: no layer of torch's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 2 * torch.rand(1).ceil() if self.training else x


def with_halves() -> nn.Module:
    torch.manual_seed(0)
    model = models.wrn(**WRN)
    model.relu = nn.Sequential(model.relu, Halves())
    return settled(model, 8)


def test_recorded_student_with_a_layer_of_own_code_is_cut_again_and_told(tmp_path: Path) -> None:
    images = torch.randn(16, 3, 8, 8)
    plan = pyedge.plan(with_halves(), 0.5, images)
    info = NetworkInfo(
        builder="nets.py:with_halves",
        classes=CLASSES,
        input_shape=(3, 8, 8),
        student=StudentSettings.of(plan),
    )
    student = plan.build()
    told = "save_network: the student is written without its cut.*a layer is a Halves, which files"
    with pytest.warns(UserWarning, match=told):
        save_network(tmp_path / "n.pt", student, info)
    with pytest.raises(OwnCodeError, match="pass the builder"):
        load_network(tmp_path / "n.pt")
    again, _ = load_network(tmp_path / "n.pt", build=with_halves)
    assert torch.equal(again(images), student(images))
    assert any(isinstance(module, Halves) for module in again.modules())


def node(content: dict[str, Any], op: str, place: int = 0) -> list[Any]:
    return [row for row in content["cut"]["nodes"] if row[1] == op][place]


def cut(name: str, value: Any) -> Any:
    return lambda content: content["cut"].update({name: value})


def changed(op: str, part: int, value: Any, place: int = 0) -> Any:
    return lambda content: node(content, op, place).__setitem__(part, value)


def added(row: list[Any]) -> Any:
    """A node before the output, which nothing reads."""
    return lambda content: content["cut"]["nodes"].insert(-1, row)


def setting(name: str, value: Any, layer: str = "stem") -> Any:
    return lambda content: content["cut"]["layers"][layer][1].update({name: value})


def weight(name: str, value: Any) -> Any:
    return lambda content: content["state"].update({name: value(content["state"][name])})


PAD = "net.pyedge_channel_pad.position"
INPUT = {"node": "x"}
CODE = "__import__('os').mkdir('harmed')"
DEEP: list[Any] = []
for _ in range(50):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["cut"].pop("layers"), "wanted the fields name, nodes, layers"),
        (cut("more", 1), "wanted the fields name, nodes, layers, tensors, got"),
        (cut("nodes", {}), "nodes: wanted a list, got {}"),
        (cut("nodes", []), "wanted one input, the first node, and one output"),
        (cut("name", f"A({CODE})"), "wanted a plain name, got"),
        (cut("classifier", "stem"), "wanted the name of a Linear, got 'stem'"),
        (cut("last_convs", ["stem", "bn", "stem"]), "wanted the name of a Conv2d, got 'bn'"),
        (cut("last_convs", ["stem"]), "one entry each for every group, got 1, 3 and 3"),
        (
            cut("kept", [1, 2, 10**9]),
            "wanted channels kept of those of the teacher, got 1000000000",
        ),
        (cut("kept", [1, 2, True]), "wanted channels kept of those of the teacher, got True"),
        (cut("kept", [1, 1, 1]), r"maps of \[1, 1, 1\] channels, got"),
        (cut("tensors", {"stem.weight": ["parameter", "float32", [3]]}), "wanted a free name"),
        (cut("tensors", {"a": ["parameter", "float32", [-3]]}), "tensor 'a': wanted .* sizes"),
        (cut("tensors", {"a": ["buffer", "float1", [3]]}), "wanted a dtype .*, got 'float1'"),
        (cut("tensors", {"forward": ["buffer", "bool", [3]]}), "wanted a dotted name .*'forward'"),
        (cut("tensors", {"__class__": ["buffer", "bool", [3]]}), "wanted a dotted name"),
        (cut("layers", {}), "node model_stem: wanted the name of one of the layers, got stem"),
        (changed("placeholder", 2, f"x={CODE}"), "wanted a plain name, got"),
        (changed("placeholder", 0, f"x={CODE}"), "wanted a plain name, got"),
        (changed("placeholder", 3, [1]), "wanted an operation of torch.fx and its arguments"),
        (changed("call_module", 0, "x"), "node x: wanted a name of its own"),
        (changed("call_module", 0, "print"), "node print: wanted a name of its own"),
        (changed("call_module", 1, "exec"), "wanted an operation of torch.fx"),
        (changed("call_module", 2, f'stem", {CODE})'), "wanted a dotted name .* got 'stem"),
        (changed("call_module", 2, "groups"), "wanted the name of one of the layers, got groups"),
        (changed("call_module", 3, [{"node": "later"}]), "a node that came before, got"),
        (changed("call_module", 3, [DEEP]), "wanted values at most 8 deep"),
        (changed("call_module", 3, [{"set": [1]}]), "wanted a plain value or a node"),
        (changed("call_module", 3, []), "node model_stem"),
        (changed("call_module", 4, {f"x={CODE}": 1}), "wanted a plain name, got"),
        (changed("call_module", 4, [1]), "wanted a list and a dict of arguments"),
        (
            lambda content: next(
                row for row in content["cut"]["nodes"] if row[2] == "pyedge_channel_pad"
            )[4].update(more=1),
            "wanted one map, got 1 arguments and 1 keywords",
        ),
        (changed("output", 3, [INPUT]), "wanted the output, the logits and maps of"),
        (added(["a", "call_function", "os.system", [CODE], {}]), "an operation that pyedge knows"),
        (added(["a", "call_function", "torch.load", ["f"], {}]), "an operation that pyedge knows"),
        (added(["a", "call_function", "getattr", [INPUT, "__class__"], {}]), "wanted getattr of"),
        (added(["a", "call_method", "numpy", [INPUT], {}]), "a method of tensors that pyedge"),
        (added(["a", "call_method", f"abs(), {CODE}", [INPUT], {}]), "a method of tensors"),
        (added(["a", "get_attr", "stem", [], {}]), "wanted the name of a tensor, got stem"),
        (
            added(["a", "call_method", "repeat", [INPUT, 1, 1, 10**4, 10**4], {}]),
            "too large to be true",
        ),
        (added(["a", "call_function", "operator.pow", [10, 10**9], {}]), "wanted a tensor"),
        (added(["a", "call_function", "operator.mul", [[1, 1], 10**9], {}]), "wanted numbers"),
        (added(["a", "call_function", "operator.mod", ["%999999999d", 1], {}]), "wanted numbers"),
        (added(["a", "call_method", "view", [INPUT, 7], {}]), r"node a \(call_method view\): "),
        (added(["a", "call_method", "view", [INPUT, 1 << 70], {}]), "wanted a plain value"),
        (added(["a"]), r"wanted \[name, op, target, args, kwargs\], got \['a'\]"),
        (
            lambda content: content["cut"]["layers"].update(stem=["Exec", {}]),
            "a kind of layer that",
        ),
        (lambda content: content["cut"]["layers"].update(stem=[]), r"wanted \[kind, settings\]"),
        (setting("out_channels", 1 << 40), "Conv2d: wanted sizes of at most 1048576"),
        (setting("out_channels", -1), "Conv2d cannot be made of"),
        (setting("kernel_size", "large"), "Conv2d cannot be made of"),
        (setting("more", 1), "Conv2d cannot be made of .*wanted the settings in_channels"),
        (setting("in_channels", 4), r"node model_stem \(call_module stem\): "),
        (setting("out_channels", 1 << 20), "node model_|too many to be true"),
        (setting("inputs", 3, "pyedge_channel_pad"), "wanted 3 channels, got"),
        (setting("outputs", 1 << 19, "pyedge_channel_pad"), "node add"),
        (weight(PAD, lambda p: p + 100), f"{PAD}: wanted a place of its own below"),
        (weight(PAD, lambda p: p - 100), f"{PAD}: wanted a place of its own below"),
        (weight(PAD, torch.zeros_like), f"{PAD}: wanted a place of its own below"),
        (weight("kept_0", lambda p: p.flip(0)), "kept_0 is not a rising list of channels below 8"),
        (weight("kept_2", lambda p: p + 9), "kept_2 is not a rising list of channels below 16"),
        (weight("net.stem.weight", lambda w: w[:1]), r"net\.stem\.weight: .*float32"),
        (weight("net.stem.weight", lambda w: w.double()), r"net\.stem\.weight: .*float32"),
    ],
)
def test_recorded_student_that_is_false_is_refused_and_nothing_runs(
    change: Any, message: str, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, bad = torch.load(saved, weights_only=True), tmp_path / "bad.pt"
    change(content)
    torch.save(content, bad)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pyedge.FormatError, match=message) as caught:
        load_network(bad)
    assert str(caught.value).startswith(f"{bad}: ")
    assert len(str(caught.value)) < 1000
    assert not (tmp_path / "harmed").exists()


def test_recorded_student_of_a_teacher_s_file_is_refused(saved: Path, tmp_path: Path) -> None:
    content, bad = torch.load(saved, weights_only=True), tmp_path / "bad.pt"
    torch.save({**content, "student": None}, bad)
    with pytest.raises(pyedge.FormatError, match="cut has a value that"):
        load_network(bad)


def test_recorded_student_says_what_it_cannot_hold(saved: Path) -> None:
    student, info = load_network(saved)
    assert isinstance(student, Student)

    def refused(change: Any, match: str) -> None:
        other = copy.deepcopy(student)
        change(other)
        with pytest.raises(ValueError, match=match):
            record_student(other, info.input_shape)

    def shares(other: Student) -> None:
        norms = [m for m in other.modules() if isinstance(m, nn.BatchNorm2d)]
        norms[0].bias = norms[0].weight

    def calls_hypot(other: Student) -> None:
        last = next(each for each in other.net.graph.nodes if each.op == "output")
        with other.net.graph.inserting_before(last):
            other.net.graph.call_function(torch.hypot, (last.args[0][0], last.args[0][1]))
        other.net.recompile()

    def hides_a_buffer(other: Student) -> None:
        other.net.stem.register_buffer("hidden", torch.zeros(3), persistent=False)

    refused(shares, "two layers share their weights")
    refused(calls_hypot, "the operation hypot is none that a file may name")
    refused(hides_a_buffer, "buffers that are not in its state_dict")
    refused(lambda other: other.net.stem.register_buffer("more", torch.zeros(1)), "net.stem.more")


def test_recorded_student_leaves_the_default_dtype_and_the_random_state_alone(saved: Path) -> None:
    student, info = load_network(saved)
    state = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        again, _ = load_network(saved)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, again.state_dict().values(), student.state_dict().values()))
    assert dataclasses.asdict(info)["builder"] == "wrn"
    assert isinstance(student, Student)
    record = record_student(student, info.input_shape)
    assert build_student(record, info.input_shape).net.code == student.net.code
