"""The report: tables that line up, pictures that show something."""

from __future__ import annotations

import pytest
import torch
from matplotlib.image import imread

import pyedge
from pyedge.cloud.compression.report import figure_activation_maps, save_pictures
from pyedge.cloud.tables import count, text_table
from tests.support.dialects import get
from tests.support.tiny_nets import images, tiny_resnet, tiny_wrn


def test_report_table_has_a_line_for_every_convolution():
    plan = pyedge.plan(tiny_wrn(), 0.7, images())
    text = str(plan)
    for layer in plan.layers:
        line = next(line for line in text.splitlines() if line.startswith(layer.conv + " "))
        assert line.split()[1:3] == [str(layer.filters), str(layer.width)]
    assert f"{plan.params:,}" in text
    assert f"{plan.teacher.macs:,}" in text
    assert "P = 0.7, zeros counted on 16 images" in text


def test_report_table_says_which_filters_are_tied_and_whose_weights_they_are():
    text = str(pyedge.plan(tiny_resnet(), 0.7, images(), keep="last"))
    assert "tied to" in text
    assert "weights of" in text
    assert "given widths" in str(pyedge.plan(tiny_wrn(), images=images(), widths={}))


def test_report_names_what_is_near_zero_apart_from_zeros():
    dialect = get("mobilenet_v3")
    plan = pyedge.plan(dialect.make(), 0.5, dialect.images(4), near_zero=0.1)
    text = str(plan)
    assert "near zero: at most 0.1 of the layer's largest value" in text
    head = next(line for line in text.splitlines() if line.startswith("convolution"))
    assert head.split()[3:] == ["zero", "fraction", "near-zero", "fraction"]
    measured = [layer for layer in plan.layers if layer.near_zero_fraction is not None]
    assert measured
    assert all(layer.zero_fraction is None for layer in measured)
    assert plan.to_dict()["near_zero"] == 0.1
    assert "near" not in str(pyedge.plan(tiny_wrn(), 0.7, images()))
    assert pyedge.plan(tiny_wrn(), 0.7, images()).to_dict()["near_zero"] is None


def test_report_pictures_of_smooth_activations_show_what_is_near_zero(tmp_path):
    dialect = get("efficientnet")
    plan = pyedge.plan(dialect.make(), 0.5, dialect.images(4))
    figure = figure_activation_maps(plan, dialect.images(1)[0], plan.layers[0].conv)
    titles = [axes.get_title() for sub in figure.subfigs for axes in sub.axes]
    assert any(title.endswith("% near zero") for title in titles)
    assert "grey: near zero" in figure.get_suptitle()
    assert len(save_pictures(plan, tmp_path)) == 2


def test_report_text_table_aligns_numbers_to_the_right():
    text = text_table(("name", "n"), [("a", 5), ("long", 1234)])
    assert text.splitlines() == ["name     n", "----  ----", "a        5", "long  1234"]


def test_report_counts_are_short():
    assert [count(n) for n in (5, 1234, 2_000_968, 5.2e9)] == ["5", "1.23k", "2M", "5.2G"]


@pytest.mark.parametrize("make", [tiny_wrn, tiny_resnet])
def test_report_pictures_are_written_and_show_something(make, tmp_path):
    plan = pyedge.plan(make(), 0.7, images())
    paths = save_pictures(plan, tmp_path / "new" / "folder", images(1)[0])
    names = [path.name for path in paths]
    assert names == ["zero_fractions.png", "costs.png", "activation_maps.png"]
    for path in paths:
        picture = imread(path)
        assert min(picture.shape[:2]) > 200
        assert picture[..., :3].std() > 0.02


def test_report_maps_only_what_was_measured():
    plan = pyedge.plan(tiny_wrn(), 0.7, images())
    figure_activation_maps(plan, images(1)[0], "groups.1.0.conv1")
    with pytest.raises(ValueError, match=r"conv: .*stem, groups\.0\.0\.conv1.*got 'fc'"):
        figure_activation_maps(plan, images(1)[0], "fc")


def test_report_maps_a_grey_image(tmp_path):
    model = pyedge.models.cifar_resnet(20, num_classes=3, in_channels=1).eval()
    x = torch.randn(4, 1, 16, 16)
    paths = save_pictures(pyedge.plan(model, 0.9, x), tmp_path, x[0])
    assert all(path.stat().st_size > 5000 for path in paths)
