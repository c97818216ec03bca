"""What is known of a graph without running it: shapes, parameters, MACs, against torch."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyedge.cloud.exporting.interpret import interpret, tensors_of
from pyedge.files.npy_archive import ArraySpec
from pyedge.student.graph import infer_layers
from pyedge.student.operators import OPERATORS
from tests.support.paths import ROOT
from tests.support.student_files import every_operator

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))
PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


def test_student_graph_shapes_are_those_that_running_gives() -> None:
    student = every_operator()
    values = interpret(student.nodes, tensors_of(student.arrays), torch.randn(2, 1, 8, 6).double())
    for layer, value in zip(student.layers(), values, strict=True):
        assert tuple(value.shape[1:]) == layer.shape


def test_student_graph_counts_parameters_and_multiplications() -> None:
    layers = {layer.name: layer for layer in every_operator().layers()}
    assert layers["stem"].params == 4 * 9
    assert layers["stem"].macs == 4 * 9 * 48
    assert layers["a.conv"].params == 4 * 2 * 9 + 4
    assert layers["a.conv"].macs == 4 * 2 * 9 * 48
    assert layers["bn"].params == 8  # running statistics are no parameters
    assert layers["classifier"].params == 3 * 6 + 3
    assert layers["classifier"].macs == 18
    assert layers["wide"].params == layers["wide"].macs == 0
    assert every_operator().params == sum(layer.params for layer in layers.values())


def test_student_graph_document_names_every_operator_and_field() -> None:
    text = (ROOT / "docs" / "format.md").read_text()
    table = text.partition("| `op` |")[2].partition("\n\n")[0]
    rows = {name: row for row in table.splitlines() for name in _words(row.split("|")[1])}
    assert rows.keys() == OPERATORS.keys()
    for op, operator in OPERATORS.items():
        assert set(operator.fields) == _words(rows[op].split("|")[2]), op


def _words(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


def graph(op: str, **fields: object) -> list[dict]:
    return [
        {"op": "input", "name": "input", "inputs": []},
        {"op": op, "name": "x", "inputs": [0], **fields},
    ]


@settings(max_examples=80, deadline=None)
@given(size=SIZES, kernel=PAIRS, stride=PAIRS, dilation=PAIRS, padding=SIZES)
def test_student_graph_convolution_has_the_shape_that_torch_gives(
    size: tuple, kernel: tuple, stride: tuple, dilation: tuple, padding: tuple
) -> None:
    fields = {"stride": stride, "padding": padding, "dilation": dilation}
    nodes = graph("conv2d", weight="w", bias=None, groups=1, **fields)
    specs = {"w": ArraySpec("float32", (2, 1, *kernel))}
    conv = torch.nn.Conv2d(1, 2, kernel, bias=False, **fields)
    try:
        expected = tuple(conv(torch.zeros(1, 1, *size)).shape[1:])
    except RuntimeError:  # the window does not fit
        with pytest.raises(ValueError, match=r"node 'x' \('conv2d'\): .*window of \d+"):
            infer_layers(nodes, specs, (1, *size))
        return
    assert infer_layers(nodes, specs, (1, *size))[1].shape == expected


@settings(max_examples=80, deadline=None)
@given(size=SIZES, kernel=PAIRS, stride=PAIRS, data=st.data())
def test_student_graph_pool_has_the_shape_that_torch_gives(
    size: tuple, kernel: tuple, stride: tuple, data: st.DataObject
) -> None:
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    nodes = graph("max_pool", kernel=kernel, stride=stride, padding=padding)
    pool = torch.nn.MaxPool2d(kernel, stride, padding)
    try:
        expected = tuple(pool(torch.zeros(1, 1, *size)).shape[1:])
    except RuntimeError:
        with pytest.raises(ValueError, match=r"node 'x' \('max_pool'\): .*window of \d+"):
            infer_layers(nodes, {}, (1, *size))
        return
    assert infer_layers(nodes, {}, (1, *size))[1].shape == expected
