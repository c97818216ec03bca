"""Weights of other people's files go to the right layers of a network, or not at all."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import pyedge
from pyedge import models
from pyedge.cli import networks
from pyedge.cloud.weights.load import Loaded, load_weights
from pyedge.errors import FormatError
from pyedge.models import create
from tests.support.dialects.cifar_resnet import CifarResNet, slice_pad_end
from tests.support.weights_case import (
    TORCHVISION,
    State,
    cifar,
    downsampled,
    lively,
    prefixed,
    renamed,
    same,
)


def loaded(content: Any, path: Path, fresh: nn.Module) -> Loaded:
    """Save, load into a network of other values, with warnings allowed."""
    torch.save(content, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_weights(fresh, path)


CONTAINERS: dict[str, Callable[[State], Any]] = {
    "plain": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model": lambda s: {"model": s, "optimizer": {"state": {}, "param_groups": []}},
    "net": lambda s: {"net": prefixed("module.", s), "acc": 95.1},
    "model_state_dict": lambda s: {"model_state_dict": s, "loss": 0.1},
    "module (DeepSpeed)": lambda s: {"module": s, "dp_world_size": 1},
    "params": lambda s: {"params": s},
    "any word": lambda s: {"weights_of_tuesday": s},
    "nested twice": lambda s: {"checkpoint": {"model": {"state_dict": s}}},
    "Lightning": lambda s: {
        "state_dict": prefixed("model.", s),
        "pytorch-lightning_version": "2.1",
        "callbacks": {},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}],
    },
    "mmcv": lambda s: {
        "meta": {"CLASSES": ["a"], "epoch": 1},
        "state_dict": prefixed("backbone.", s),
    },
    "list": lambda s: [s, {"state": {}, "param_groups": []}],
    "tuple": lambda s: (s, 17),
    "fastai": lambda s: {"model": s, "opt": {"state": [], "hypers": []}},
    "metric beside": lambda s: {"state_dict": s, "loss": torch.tensor(0.3), "mean": torch.ones(3)},
}
PREFIXES = (
    "module.",
    "_orig_mod.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "model.",
    "net.",
    "backbone.",
    "encoder.",
    "network.module.",
    "student.",
    "some.thing.else.",
    "_forward_module.model.",
)


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_weights_are_found_in_any_container(tmp_path: Path, container: Callable[..., Any]) -> None:
    theirs, mine = cifar(), cifar(1)
    found = loaded(container(theirs.state_dict()), tmp_path / "w", mine)
    assert same(mine, theirs)
    assert (found.taken, found.afresh) == (len(theirs.state_dict()), ())


@pytest.mark.parametrize("prefix", PREFIXES)
def test_weights_are_found_behind_any_prefix(tmp_path: Path, prefix: str) -> None:
    theirs, mine = cifar(), cifar(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing to tell: the names are the network's
        torch.save(prefixed(prefix, theirs.state_dict()), tmp_path / "w")
        assert load_weights(mine, tmp_path / "w").afresh == ()
    assert same(mine, theirs)


def test_weights_are_found_with_wrappers_inside_their_names(tmp_path: Path) -> None:
    theirs, mine = cifar(), cifar(1)
    state = renamed(
        theirs.state_dict(),
        ("groups.0.", "groups.0._checkpoint_wrapped_module."),
        ("groups.1.", "groups._orig_mod.1._fsdp_wrapped_module."),
    )
    assert loaded(state, tmp_path / "w", mine).afresh == ()
    assert same(mine, theirs)


def test_weights_of_a_whole_pickled_network_are_taken_and_its_code_is_not_run(
    tmp_path: Path,
) -> None:
    theirs, mine = cifar(), cifar(1)
    torch.save({"net": nn.DataParallel(theirs), "opt": torch.optim.SGD(theirs.parameters(), lr=1)},
               tmp_path / "w")  # fmt: skip
    assert load_weights(mine, tmp_path / "w").afresh == ()
    assert same(mine, theirs)


def test_weights_go_to_the_names_of_torchvision_and_back(tmp_path: Path) -> None:
    options = {"num_classes": 5, "width": 8}
    theirs = lively(create("resnet18", **options))
    state = downsampled(renamed(theirs.state_dict(), *TORCHVISION))
    assert "layer2.0.downsample.0.weight" in state
    for content in (state, {"state_dict": prefixed("module.", state)}):
        mine = lively(create("resnet18", **options), 1)
        torch.save(content, tmp_path / "w")
        with pytest.warns(UserWarning, match=r"names are others: 41 layers, stem from .*conv1"):
            found = load_weights(mine, tmp_path / "w")
        assert found.afresh == ()
        assert same(mine, theirs, 64)
    assert found.sources["groups.1.0.shortcut.1.running_var"].endswith(
        "layer2.0.downsample.1.running_var"
    )


def test_weights_of_another_program_s_network_give_its_answers(tmp_path: Path) -> None:
    """Akamaster's and kuangliu's names, from a forward that is not pyedge's."""
    theirs = lively(CifarResNet((2, 2, 2), slice_pad_end, (8, 16, 32)))
    mine = cifar(1, num_classes=10)
    assert (
        loaded({"net": prefixed("module.", theirs.state_dict())}, tmp_path / "w", mine).afresh == ()
    )
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        # the same operations, but a different mean over the last maps
        torch.testing.assert_close(mine(x), theirs(x), rtol=1e-4, atol=1e-4)


def test_weights_with_names_of_nobody_are_taken_in_their_order(tmp_path: Path) -> None:
    theirs = lively(create("vgg11_bn", num_classes=3, width=8, input_size=32))
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in theirs.state_dict()))
    state = {
        f"blocks.unit_{modules.index(name.rpartition('.')[0])}.{name.rpartition('.')[2]}": value
        for name, value in theirs.state_dict().items()
    }
    mine = lively(create("vgg11_bn", num_classes=3, width=8, input_size=32), 1)
    torch.save(state, tmp_path / "w")
    with pytest.warns(UserWarning, match=r"names are others .*order is the same: .* layers"):
        assert load_weights(mine, tmp_path / "w").afresh == ()
    assert same(mine, theirs, 32)


def test_weights_of_other_classes_leave_the_classifier_as_it_is(tmp_path: Path) -> None:
    theirs, mine = cifar(num_classes=9), cifar(1)
    before = mine.get_parameter("classifier.weight").clone()
    for state in (theirs.state_dict(), renamed(theirs.state_dict(), *TORCHVISION)):
        found = loaded(state, tmp_path / "w", mine)
        assert found.afresh == ("classifier.bias", "classifier.weight")
        assert torch.equal(mine.get_parameter("classifier.weight"), before)
        assert torch.equal(mine.get_parameter("stem.weight"), theirs.get_parameter("stem.weight"))


def test_weights_without_a_classifier_leave_it_as_it_is(tmp_path: Path) -> None:
    theirs, mine = cifar(), cifar(1)
    state = {n: v for n, v in theirs.state_dict().items() if not n.startswith("classifier")}
    state |= {"projector.0.weight": torch.ones(7, 3), "projector.0.bias": torch.ones(7)}
    torch.save(prefixed("backbone.", state), tmp_path / "w")
    with pytest.warns(UserWarning, match=r"2 tensors .*left out: .*projector"):
        found = load_weights(mine, tmp_path / "w")
    assert found.afresh == ("classifier.bias", "classifier.weight")


def test_classifier_beside_the_backbone_is_found(tmp_path: Path) -> None:
    theirs, mine = cifar(), cifar(1)
    state = renamed(
        prefixed("backbone.", theirs.state_dict()), ("backbone.classifier.", "cls_head.fc.")
    )
    torch.save({"state_dict": state}, tmp_path / "w")
    with pytest.warns(UserWarning, match=r"classifier comes from state_dict\.cls_head\.fc"):
        assert load_weights(mine, tmp_path / "w").afresh == ()
    assert same(mine, theirs)


def test_auxiliary_heads_and_losses_are_left_out_with_a_word(tmp_path: Path) -> None:
    theirs, mine = cifar(), cifar(1)
    state = dict(theirs.state_dict())
    state |= {"aux.conv.weight": torch.ones(3, 8, 1, 1), "criterion.weight": torch.ones(4)}
    torch.save(state, tmp_path / "w")
    with pytest.warns(UserWarning, match=r"2 tensors .*left out: aux\.conv\.weight"):
        assert load_weights(mine, tmp_path / "w").afresh == ()
    assert same(mine, theirs)


def test_moving_averages_of_torch_are_taken_for_what_they_average(tmp_path: Path) -> None:
    theirs, mine = cifar(), cifar(1)
    torch.save(torch.optim.swa_utils.AveragedModel(theirs).state_dict(), tmp_path / "w")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # its counter n_averaged matters to nobody
        load_weights(mine, tmp_path / "w")
    assert same(mine, theirs)


def test_wide_resnets_of_another_program_are_taken_in_their_order(tmp_path: Path) -> None:
    """Pre-activation blocks, and a shortcut under its own name in each group."""
    options = {"depth": 10, "widths": (8, 16, 32), "stem": 8, "num_classes": 4}
    theirs = lively(models.wrn(shortcut="projection", **options))
    state = renamed(
        {n.replace(".shortcut.", ".convShortcut."): v for n, v in theirs.state_dict().items()},
        ("stem.", "conv1."),
        ("bn.", "bn1."),
        *((f"groups.{i}.", f"block{i + 1}.layer.") for i in range(3)),
        ("classifier.", "fc."),
    )
    assert "block2.layer.0.convShortcut.weight" in state
    mine = lively(models.wrn(shortcut="projection", **options), 1)
    torch.save({"state_dict": state}, tmp_path / "w")
    with pytest.warns(UserWarning, match="the order is the same"):
        assert load_weights(mine, tmp_path / "w").afresh == ()
    assert same(mine, theirs)


def test_tensors_of_a_preprocessing_beside_the_network_are_told(tmp_path: Path) -> None:
    theirs, mine = cifar(), cifar(1)
    state = {"0.mean": torch.ones(3), "0.std": torch.ones(3), **prefixed("1.", theirs.state_dict())}
    torch.save(state, tmp_path / "w")
    with pytest.warns(UserWarning, match=r"2 tensors .*left out: 0\.mean, 0\.std"):
        load_weights(mine, tmp_path / "w")
    assert same(mine, theirs)


@pytest.mark.parametrize("extra", [False, True])
def test_counters_of_batches_may_lack_or_be_too_many(tmp_path: Path, extra: bool) -> None:
    theirs, mine = cifar(), cifar(1)
    state = {n: v for n, v in theirs.state_dict().items() if not n.endswith("num_batches_tracked")}
    if extra:
        state = {**theirs.state_dict(), "stem.num_batches_tracked": torch.tensor(3)}
    found = loaded(state, tmp_path / "w", mine)
    assert found.afresh == ()
    assert same(mine, theirs)
    assert int(mine.get_buffer("bn.num_batches_tracked")) == 7


def test_averaged_weights_are_not_taken_for_the_plain_ones(tmp_path: Path) -> None:
    theirs, averaged = cifar(), cifar(2)
    for content in (
        {"state_dict": theirs.state_dict(), "state_dict_ema": averaged.state_dict()},
        {"model_ema": averaged.state_dict(), "model": theirs.state_dict()},
        prefixed("ema_model.module.", averaged.state_dict())
        | prefixed("model.", theirs.state_dict()),
    ):
        mine = cifar(1)
        torch.save(content, tmp_path / "w")
        with pytest.warns(UserWarning, match=r"weights of .*, not the averaged ones of .*ema"):
            load_weights(mine, tmp_path / "w")
        assert same(mine, theirs)
    mine = cifar(1)
    loaded({"ema": averaged.state_dict(), "step": 3}, tmp_path / "w", mine)
    assert same(mine, averaged)


def test_two_parts_that_fit_are_refused_unless_they_are_the_same(tmp_path: Path) -> None:
    one, other, mine = cifar(), cifar(2), cifar(1)
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    content = {"teacher": one.state_dict(), "student": other.state_dict()}
    with pytest.raises(FormatError, match=r"several parts .*\(teacher, student\)"):
        loaded(content, tmp_path / "w", mine)
    assert all(torch.equal(value, before[name]) for name, value in mine.state_dict().items())
    loaded({"last": one.state_dict(), "best": one.state_dict()}, tmp_path / "w", mine)
    assert same(mine, one)
    larger = cifar(3, width=16)
    loaded({"teacher": larger.state_dict(), "student": other.state_dict()}, tmp_path / "w", mine)
    assert same(mine, other)


def test_cli_load_weights_tells_how_many_and_which(tmp_path: Path) -> None:
    torch.save(cifar(num_classes=9).state_dict(), tmp_path / "w")
    taken, afresh = networks.load_weights(cifar(1), str(tmp_path / "w"))
    assert taken == len(cifar().state_dict()) - 2
    assert afresh == ["classifier.bias", "classifier.weight"]


def test_safetensors_are_read_by_name_whatever_the_file_is_called(tmp_path: Path) -> None:
    """They come sorted by name, so that other names must be those of a known family."""
    theirs = lively(create("resnet18", num_classes=5, width=8))
    for name, state in {
        "w.safetensors": theirs.state_dict(),
        "w.pth": prefixed("module.", theirs.state_dict()),
        "w.bin": downsampled(renamed(theirs.state_dict(), *TORCHVISION)),
    }.items():
        mine = lively(create("resnet18", num_classes=5, width=8), 1)
        save_file({n: v.clone() for n, v in state.items()}, tmp_path / name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert load_weights(mine, tmp_path / name).afresh == ()
        assert same(mine, theirs, 64)


def test_safetensors_under_names_of_nobody_are_refused(tmp_path: Path) -> None:
    state = renamed(cifar().state_dict(), ("groups", "parts"), ("stem", "first"), ("bn", "second"))
    save_file({n: v.clone() for n, v in state.items()}, tmp_path / "w")
    with pytest.raises(FormatError, match=r"safetensors keeps no order"):
        load_weights(cifar(1), tmp_path / "w")
    torch.save(state, tmp_path / "w")
    with pytest.warns(UserWarning, match="the order is the same"):
        assert load_weights(cifar(1), tmp_path / "w").afresh == ()


def test_averaged_weights_in_any_form_are_told_of(tmp_path: Path) -> None:
    theirs = cifar()
    state, parameters = theirs.state_dict(), [p.detach() for p in cifar(2).parameters()]
    named = dict(zip((n for n, _ in theirs.named_parameters()), parameters, strict=True))
    for content, place in (
        ({"model": state, "ema": named}, "ema"),
        ({"model": state, "ema": {"decay": 0.9, "shadow_params": parameters}}, "ema"),
        (
            {
                "state_dict": prefixed("model.", state),
                "callbacks": {"EMACallback": {"ema_weights": parameters}},
            },
            r"callbacks\.EMACallback",
        ),
        ({"model": state, "swa": torch.cat([p.flatten() for p in parameters])}, "swa"),
        ({**state, **prefixed("model_ema.", named)}, "model_ema"),
    ):
        mine = cifar(1)
        torch.save(content, tmp_path / "w")
        with pytest.warns(UserWarning, match=rf"not the averaged ones of {place}$") as told:
            load_weights(mine, tmp_path / "w")
        assert len(told) == 1
        assert same(mine, theirs)
    torch.save({"model": state, "ema": dict(theirs.named_parameters())}, tmp_path / "w")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the same values: no choice was made
        load_weights(cifar(1), tmp_path / "w")


def test_classifier_of_a_1x1_convolution_is_taken(tmp_path: Path) -> None:
    theirs, mine = cifar(), cifar(1)
    state = dict(theirs.state_dict())
    state["classifier.weight"] = state["classifier.weight"][:, :, None, None]
    torch.save(renamed(state, *TORCHVISION), tmp_path / "w")
    with pytest.warns(UserWarning, match=r"classifier\.weight .*4x32 here .*4x32x1x1"):
        assert load_weights(mine, tmp_path / "w").afresh == ()
    assert same(mine, theirs)


def test_advice_on_parts_that_fit_works(tmp_path: Path) -> None:
    one, other = cifar().state_dict(), cifar(2).state_dict()
    path = tmp_path / "w"
    for content in (
        {"state_dict": prefixed("online.", one) | prefixed("target.", other)},
        [one, other],
        {"teacher": one, "student": other},
        {"a.b": one, "nets": {3: {"state": prefixed("module.net.", other)}}},
        {**one, **prefixed("target.", other)},
        {"one": cifar(), "other": cifar(2)},
    ):
        with pytest.raises(FormatError, match="several parts") as raised:
            loaded(content, path, cifar(1))
        advice = str(raised.value).rpartition("torch.save(")[2].removesuffix(", new)")
        mine = cifar(1)
        loaded(
            eval(advice, {"torch": torch, "pyedge": pyedge, "path": path}), tmp_path / "new", mine
        )
        assert any(
            torch.equal(mine.state_dict()["stem.weight"], s["stem.weight"]) for s in (one, other)
        )


def test_load_weights_refuses_a_name_for_the_network(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"load_weights: model: .*torch\.nn\.Module, got str"):
        load_weights("resnet18", tmp_path / "w")  # type: ignore[arg-type]
