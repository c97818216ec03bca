"""pyedge.compress on networks from outside, in every dialect of `tests/support/dialects`.

Each network either works in full (the tests below) or is refused in one sentence that says why.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import pyedge
from pyedge.cloud.compression.plan import Plan
from pyedge.cloud.compression.recorded_student import build_student, record_student
from pyedge.cloud.compression.student import Student
from pyedge.cloud.exporting.export import export
from pyedge.cloud.exporting.interpret import interpret, tensors_of
from pyedge.errors import ExportError
from pyedge.student.archive import read_student
from pyedge.student.operators import OPERATORS
from tests.support.dialects import DIALECTS, Dialect, get

# batch norm without running statistics answers so, and is told
pytestmark = pytest.mark.filterwarnings("ignore:plan. the network answers an image alone")

REFUSED = [dialect.name for dialect in DIALECTS if dialect.refuses is not None]
STOCHASTIC = [dialect.name for dialect in DIALECTS if dialect.stochastic]
# one of each family: what does not depend on how a network is written is tested on these
FAMILIES = [
    "torchvision_basic",
    "torchvision_bottleneck",
    "timm_resnet_d",
    "cifar_slice_pad_centre",
    "cifar_projection",
    "wrn_equal_in_out",
    "wrn_pool_pad",
    "preact_basic",
    "vgg_torchvision_bn",
    "vgg_timm",
    "vgg_cifar_plain",
    "layout_flat",
    "mobilenet_v1",
    "gate_linear_expand_as",
    "smooth_slopes",
]
# and one of each spelling that has code of its own; all others are a sweep
SPELLINGS = [
    "torchvision_resnext",
    "torchvision_quantizable",
    "timm_drop_path",
    "timm_squeeze_excite",
    "cifar_cat_zeros",
    "cifar_identity_padding",
    "vgg_cifar_log_softmax",
    "vgg_lp_pool",
    "vgg_written_out",
    "add_torch_add_alpha",
    "add_learned_scale",
    "relu_relu6_module",
    "relu_threshold",
    "head_mean_and_max",
    "head_power_mean",
    "head_logsumexp",
    "gate_conv_hard_in_place",
    "smooth_gelu",
    "smooth_hardswish",
    "smooth_leaky_relu",
    "smooth_prelu",
    "smooth_silu_in_place",
    "mobilenet_v2",
    "mobilenet_v3",
    "conv_reflection_pad",
    "conv_weight_norm",
    "norm_none",
    "norm_instance",
    "norm_no_statistics",
    "forward_checkpoint",
    "block_returns_pair",
    "state_compiled",
    "state_half",
    "state_normalised",
]
TAKEN = [
    dialect.name
    if dialect.name in (*FAMILIES, *SPELLINGS)
    else pytest.param(dialect.name, marks=pytest.mark.exhaustive)
    for dialect in DIALECTS
    if dialect.refuses is None
]

# what a device's engine does not have; every other student can be exported
STAYS_HERE = {
    "vgg_lp_pool": "LPPool2d at",
    "head_power_mean": "pow ",
    "head_logsumexp": "logsumexp ",
    "norm_no_statistics": "BatchNorm2d at .* has no running statistics",
    "norm_instance": "InstanceNorm2d at",
    "state_normalised": "normalize ",
}

# a layer of their author's own stays in the student, which network files do not hold
UNRECORDED = {"timm_drop_path": "DropPath", "timm_drop_path_bottleneck": "DropPath"}


@dataclass
class Case:
    """A network, the plan for it at P = 0.7, and the student."""

    dialect: Dialect
    model: nn.Module
    images: Tensor
    plan: Plan
    student: Student
    before: dict[str, object]
    after: dict[str, object]
    logits: Tensor

    def inputs(self, n: int, seed: int = 5) -> Tensor:
        """Images in the student's precision, in a batch of another size than the plan's."""
        dtype = next(self.student.parameters()).dtype
        return self.dialect.images(n, seed).to(dtype)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def case(name: str) -> Case:
    dialect = get(name)
    model, images = dialect.make(), dialect.images(8)
    before, logits = snapshot(model), eval_logits(model, images)
    plan = pyedge.plan(model, 0.7, images)
    student = plan.build()
    return Case(dialect, model, images, plan, student, before, snapshot(model), logits)


# of module scope, so that pytest runs all tests of one network before it makes the next
@pytest.fixture(scope="module", params=TAKEN)
def taken(request):
    return case(request.param)


@pytest.fixture
def dialect(name):
    return get(name)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


def eval_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Logits in eval mode; every module's mode is as before afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad():
        logits = model(images)
    for module, mode in modes.items():
        module.training = mode
    return logits


def train_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Logits from batch statistics, which do not depend on what the norms remember."""
    model = copy.deepcopy(model).train()
    torch.manual_seed(3)
    with torch.no_grad():
        return model(images)


def snapshot(model: nn.Module) -> dict[str, object]:
    """Everything about a network that compression must leave alone."""
    seen: dict[str, object] = {"state": copy.deepcopy(model.state_dict())}
    seen["modes"] = [module.training for module in model.modules()]
    seen["frozen"] = [parameter.requires_grad for parameter in model.parameters()]
    seen["gradients"] = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    seen["identities"] = [id(parameter) for parameter in model.parameters()]
    seen["hooks"] = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    seen["modules"] = [(name, type(module)) for name, module in model.named_modules()]
    return seen


def assert_same(before: object, after: object) -> None:
    if isinstance(before, Tensor):
        assert before.dtype == after.dtype
        assert torch.equal(before, after)
    elif isinstance(before, dict):
        assert list(before) == list(after)
        for key in before:
            assert_same(before[key], after[key])
    elif isinstance(before, list):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            assert_same(one, other)
    else:
        assert before == after


def test_dialects_structure_is_found(taken):
    structure = taken.plan.structure
    blocks = tuple(len(group.blocks) for group in structure.groups)
    assert blocks == taken.dialect.blocks
    assert len(structure.groups) == taken.dialect.groups


def test_dialects_student_runs_forward_and_backward_at_once(taken):
    student, images = copy.deepcopy(taken.student), taken.inputs(3)
    wanted = eval_logits(taken.model, taken.dialect.images(3)).shape
    with torch.no_grad():
        assert student(images).shape == wanted
    student.train()
    logits = student(images)
    assert logits.shape == wanted
    assert logits.isfinite().all()
    logits.square().sum().backward()
    missing = [n for n, p in student.named_parameters() if p.grad is None]
    assert not missing
    assert all(p.grad.isfinite().all() for p in student.parameters())


def test_dialects_student_is_smaller_with_one_block_a_group(taken):
    deep = max(taken.dialect.blocks) > 1
    assert parameters(taken.student) < parameters(taken.model) or not deep
    assert len(taken.student.last_convs) == taken.dialect.groups
    expected = taken.dialect.convs_kept
    if expected is None and taken.dialect.shallow is not None and taken.dialect.same_shallow:
        expected = (
            None if taken.plan.structure.hidden else len(convolutions(taken.dialect.shallow()))
        )
    if expected is not None:
        assert len(convolutions(taken.student)) == expected


def test_dialects_student_is_built_again_from_its_record(taken):
    student, shape = copy.deepcopy(taken.student).float(), taken.dialect.input_shape[-3:]
    if taken.dialect.name in UNRECORDED:
        with pytest.raises(ValueError, match=f"a layer is a {UNRECORDED[taken.dialect.name]}"):
            record_student(student, shape)
        return
    record = record_student(student, shape)
    again = build_student(record, shape).to_empty(device="cpu")
    again.load_state_dict(student.state_dict())
    assert record_student(again, shape) == record
    images = taken.dialect.images(3).float()
    with torch.no_grad():
        (logits, maps), (wanted, theirs) = again.forward_taps(images), student.forward_taps(images)
        assert torch.equal(again(images), student(images))
    assert torch.equal(logits, wanted)
    assert all(map(torch.equal, maps, theirs))


def test_dialects_teacher_is_untouched(taken):
    assert_same(taken.before, taken.after)
    assert torch.equal(eval_logits(taken.model, taken.images), taken.logits)


def test_dialects_plan_counts_what_is_built(taken):
    student = copy.deepcopy(taken.student)
    assert taken.plan.params == parameters(student)
    macs = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        if isinstance(module, nn.Conv2d):
            taps = module.in_channels // module.groups * math.prod(module.kernel_size)
            macs += output[0].numel() * taps
        else:
            macs += output[0].numel() * module.in_features

    for module in student.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with torch.no_grad():
        student(taken.inputs(1))
    assert taken.plan.macs == macs
    for conv, width in taken.plan.widths.items():
        assert student.net.get_submodule(conv).out_channels == width


def test_dialects_state_dict_loads_into_a_fresh_copy(taken):
    # other weights, the same widths: everything that counts must travel in the state_dict
    fresh = dataclasses.replace(taken.plan, init="fresh").build()
    fresh.load_state_dict(taken.student.state_dict())
    images = taken.inputs(4)
    with torch.no_grad():
        assert torch.equal(fresh.eval()(images), taken.student.eval()(images))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_dialects_student_is_exported_and_read_back(taken, tmp_path):
    path, name = tmp_path / "student.pyedge", taken.dialect.name
    needs = taken.dialect.needs
    if needs is not None and needs not in OPERATORS:
        with pytest.raises(ExportError, match="cannot be exported: a student file has"):
            export(taken.student, path)
        return
    if name in STAYS_HERE:
        with pytest.raises(ExportError, match=f"operator {STAYS_HERE[name]}"):
            export(taken.student, path)
        return
    export(taken.student, path)  # compares the engine's logits and gradients with torch's
    file = read_student(path)
    images = taken.inputs(3, seed=9)
    with torch.no_grad():
        logits, taps = taken.student.forward_taps(images)
        values = interpret(file.nodes, tensors_of(file.arrays), images.double())
    found = [values[file.output], *(values[tap] for tap in file.taps)]
    for got, wanted in zip(found, [logits, *taps], strict=True):
        torch.testing.assert_close(got.float(), wanted.float(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_dialects_keeping_everything_is_the_identity(name, dialect):
    model = dialect.make_shallow()
    student = pyedge.compress(model, images=dialect.images(8), widths={}, head="keep")
    images = dialect.images(5, seed=6)
    with torch.no_grad():
        torch.testing.assert_close(student(images), model(images), rtol=1e-4, atol=1e-4)


def test_dialects_first_blocks_at_full_width_are_the_shallow_network(taken):
    dialect, deep = taken.dialect, taken.model
    if taken.plan.structure.hidden:
        student = pyedge.compress(deep, images=dialect.images(8), widths={}, head="keep")
    else:
        full = tuple(each.filters for each in taken.plan.sets)
        student = dataclasses.replace(taken.plan, P=None, set_widths=full).build()
    assert parameters(student) <= parameters(deep)
    if dialect.shallow is None or not dialect.same_shallow:
        return
    shallow = dialect.make_shallow(settled=False)
    assert parameters(student) == used_parameters(shallow, dialect)
    if dialect.nested:
        weights = deep.state_dict()
        shallow.load_state_dict({key: weights[key] for key in shallow.state_dict()})
        images = dialect.images(5, seed=6)
        torch.testing.assert_close(
            train_logits(student, images), train_logits(shallow, images), rtol=1e-3, atol=1e-4
        )


def used_parameters(model: nn.Module, dialect: Dialect) -> int:
    """Parameters that forward reads; a network may hold others."""
    model.zero_grad()
    model(dialect.images(4)).square().sum().backward()
    return sum(p.numel() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_dialects_random_layers_follow_the_mode(name, dialect):
    student = pyedge.compress(dialect.make(), 0.7, dialect.images(8), head="keep")
    images = dialect.images(16)
    with torch.no_grad():
        assert torch.equal(student(images), student(images))
        student.train()
        assert not torch.equal(student(images), student(images))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("options", [{"keep": "last"}, {"init": "fresh"}, {"round_to": 4}], ids=str)
def test_dialects_options_work_in_every_family(name, options):
    dialect = get(name)
    model, images = dialect.make(), dialect.images(8)
    plan = pyedge.plan(model, 0.7, images, **options)
    student = plan.build()
    assert plan.params == parameters(student)
    assert parameters(student) < parameters(model)
    with torch.no_grad():
        assert student(images).isfinite().all()
        assert student(images).shape == model(images).shape
    logits, taps = student.forward_taps(images)
    assert logits.shape == (8, 10)
    assert len(taps) == dialect.groups
    for group, tap in enumerate(taps):
        assert tap.shape[1] == len(student.kept(group))
    if "round_to" in options:
        shared = {width % 4 for width in plan.widths.values()}
        assert shared == {0}


@pytest.mark.parametrize("name", REFUSED)
def test_dialects_refusal_says_why_in_one_sentence(name):
    dialect = get(name)
    model = dialect.make()
    before = snapshot(model) if not lazy(model) else None
    with pytest.raises((pyedge.StructureError, TypeError, ValueError)) as caught:
        pyedge.compress(model, P=0.7, images=dialect.images(4))
    message = str(caught.value)
    assert re.search(dialect.refuses, message), message
    assert "\n" not in message
    assert 20 < len(message) < 400, message
    if before is not None:
        assert_same(before, snapshot(model))


def lazy(model: nn.Module) -> bool:
    return any(nn.parameter.is_lazy(parameter) for parameter in model.parameters())
