"""bench/networks: a row is a student that ran, or a sentence."""

from __future__ import annotations

import pytest

from bench import networks


def test_networks_row_counts_what_was_built() -> None:
    found = networks.row("dialect:mobilenet_v2", 0.5, 64)
    assert found["refused"] is None
    assert found["after"] < found["before"]
    assert found["ratio"] == pytest.approx(found["before"] / found["after"])
    assert found["blocks"] == [1, 2, 2]
    assert found["sets"] == [12, 12]


def test_networks_row_of_a_refusal_is_the_sentence() -> None:
    found = networks.row("dialect:refused_dense_connections", 0.5, 64)
    assert found["refused"].startswith("the network concatenates feature maps")
    assert "refused_dense_connections: the network" in networks.text([found], 0.5)


def test_networks_table_has_a_line_for_each() -> None:
    rows = [networks.row(f"dialect:{kind}", 0.5, 64) for kind in ("mobilenet_v1", "timm_resnext")]
    lines = networks.text(rows, 0.5).splitlines()
    assert [line.split()[0] for line in lines[2:]] == [
        "dialect:mobilenet_v1",
        "dialect:timm_resnext",
    ]


def test_networks_name_says_where_it_comes_from() -> None:
    with pytest.raises(ValueError, match="name: wanted torchvision:NAME"):
        networks.make("resnet18", 64)
