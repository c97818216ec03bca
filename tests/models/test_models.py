"""Teachers: parameter counts of the literature, tracing, memory formats, errors."""

from __future__ import annotations

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from pyedge import models
from pyedge.models.layers import PadShortcut

COUNTS = [
    ("wrn_28_10", {}, 36_220_634),  # Table 1 of the paper: 36.22M
    ("wrn_28_10", {"shortcut": "projection"}, 36_479_194),  # Zagoruyko & Komodakis: 36.5M
    ("wrn_40_4", {"shortcut": "projection"}, 8_949_210),  # the same: 8.9M
    ("wrn_small", {}, 579_290),
    ("wrn_small", {"shortcut": "projection"}, 586_202),
    ("resnet18", {}, 11_689_512),
    ("resnet34", {}, 21_797_672),
    ("resnet20", {}, 269_722),  # He et al., Table 6: 0.27M, 0.85M, 1.7M
    ("resnet56", {}, 853_018),
    ("resnet110", {}, 1_727_962),
    ("vgg11", {}, 132_863_336),
    ("vgg16", {}, 138_357_544),
    ("vgg16_bn", {}, 138_365_992),
    ("vgg16", {"num_classes": 102}, 134_678_438),  # Table 1 of the paper: 134M
]

SMALL = [
    ("wrn_10_1", {}, 32),
    ("wrn_10_1", {"shortcut": "projection", "dropout": 0.3}, 32),
    ("wrn", {"depth": 16, "widths": (8, 12, 20), "stem": 4}, 32),
    ("wrn_10_1", {"in_channels": 1}, 8),
    ("resnet20", {"width": 4}, 32),
    ("resnet18", {"width": 4, "num_classes": 10}, 64),
    ("resnet34", {"width": 4, "num_classes": 10, "small_input": True}, 32),
    ("vgg11", {"width": 4, "num_classes": 10, "input_size": 64, "hidden": 16}, 64),
    ("vgg16_bn", {"width": 4, "num_classes": 10, "input_size": 32, "hidden": None}, 32),
]


def small_model(name: str, options: dict) -> nn.Module:
    torch.manual_seed(0)
    return models.create(name, **options)


@pytest.mark.parametrize(("name", "options", "count"), COUNTS)
def test_models_parameters_as_published(name, options, count):
    with torch.device("meta"):  # counts need no memory
        model = models.create(name, **options)
    assert models.count_parameters(model) == count


@pytest.mark.parametrize(("name", "options", "size"), SMALL)
def test_models_trace_gives_same_logits(name, options, size):
    model = small_model(name, options).eval()
    x = torch.randn(2, options.get("in_channels", 3), size, size)
    traced = fx.symbolic_trace(model)
    assert model(x).shape == (2, 10)
    torch.testing.assert_close(traced(x), model(x), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "options", "size"), SMALL)
def test_models_channels_last_gives_same_logits(name, options, size):
    model = small_model(name, options).eval()
    x = torch.randn(2, options.get("in_channels", 3), size, size)
    expected = model(x)
    got = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    # Another order of summation in float32, through some ten layers.
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "options", "size"), SMALL)
def test_models_every_parameter_gets_a_gradient(name, options, size):
    model = small_model(name, options)
    x = torch.randn(4, options.get("in_channels", 3), size, size)
    F.cross_entropy(model(x), torch.arange(4)).backward()
    for name_, parameter in model.named_parameters():
        assert parameter.grad is not None, name_
        assert torch.isfinite(parameter.grad).all(), name_


def test_models_maps_keep_their_scale_at_initialisation():
    torch.manual_seed(0)
    logits = models.wrn(16, 2)(torch.randn(8, 3, 32, 32))
    assert 0.1 < logits.std() < 10


def test_models_relus_are_distinct_and_not_in_place():
    model = models.wrn(10, 1)
    called: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            assert not module.inplace
            module.register_forward_hook(lambda m, _i, _o: called.append(m))
    model(torch.randn(1, 3, 8, 8))
    assert len(called) == len({id(m) for m in called}) == 7  # 3 groups of 2, and the last one


@pytest.mark.parametrize("size", [8, 7, 5])
def test_models_pad_shortcut_averages_and_appends_zeros(size):
    x = torch.randn(2, 3, size, size)
    y = PadShortcut(3, 5, 2)(x)
    half = (size + 1) // 2
    assert y.shape == (2, 5, half, half)
    assert not y[:, 3:].any()
    torch.testing.assert_close(y[:, :3, 0, 0], x[:, :, :2, :2].mean((2, 3)))


def test_models_pad_shortcut_option_a_takes_every_second_pixel():
    x = torch.randn(2, 3, 7, 6)
    y = PadShortcut(3, 4, 2, pool=False)(x)
    assert torch.equal(y[:, :3], x[:, :, ::2, ::2])


@pytest.mark.parametrize("name", ["wrn_10_1", "resnet20", "resnet18"])
def test_models_take_odd_sizes(name):
    model = models.create(name, num_classes=3)
    assert model(torch.randn(2, 3, 45, 33)).shape == (2, 3)


def test_models_names_all_build():
    with torch.device("meta"):
        for name in models.names():
            assert isinstance(models.create(name, num_classes=7), nn.Module)


def test_models_seed_makes_weights_repeatable():
    a, b = small_model("wrn_10_1", {}), small_model("wrn_10_1", {})
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("wrn_27_10", {}, r"wrn: depth: wanted 6 n \+ 4 .*3 groups"),
        ("wrn_16_1", {"shortcut": "conv"}, "shortcut: wanted"),
        ("wrn_16_1", {"dropout": 1.0}, "dropout"),
        ("wrn_16_1", {"widths": (16, 8, 32)}, "never shrink"),
        ("wrn_16_1", {"num_classes": 0}, "num_classes: wanted positive"),
        ("wrn_16_1", {"widths": (16, 32.0, 64)}, "widths: wanted positive whole"),
        ("vgg16", {"input_size": 28}, "input_size: .*at least 32"),
        ("vgg16", {"hidden": 0}, "hidden"),
        ("resnet18", {"in_channels": -1}, "in_channels"),
        ("alexnet", {}, "create: name: wanted"),
    ],
)
def test_models_bad_argument_is_named(name, options, words):
    with pytest.raises(ValueError, match=words):
        models.create(name, **options)


def test_models_cifar_depth_is_checked():
    with pytest.raises(ValueError, match=r"6 n \+ 2"):
        models.cifar_resnet(21)


def test_create_wants_a_name():
    with pytest.raises(TypeError, match=r"create: name: .*text .*got None"):
        models.create(None)


def test_cifar_resnet_pads_shortcuts_behind_or_around() -> None:
    x = torch.randn(2, 4, 6, 6)
    behind, around = PadShortcut(4, 8, 2, pool=False), PadShortcut(4, 8, 2, pool=False, around=True)
    taken = x[:, :, ::2, ::2]
    assert torch.equal(behind(x)[:, :4], taken)
    assert torch.equal(around(x)[:, 2:6], taken)
    assert not around(x)[:, [0, 1, 6, 7]].any()
    model = models.cifar_resnet(8, width=4, padding="around").eval()
    other = models.cifar_resnet(8, width=4).eval()
    other.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 8, 8)
    assert not torch.allclose(model(images), other(images))
    with pytest.raises(ValueError, match=r"padding: .*'behind' or 'around', got 'both'"):
        models.cifar_resnet(8, padding="both")
