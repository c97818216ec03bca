"""The stored answers are those that torch gives today for the stored students and lessons."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.support.vector_file import FAMILIES, FOLDER, WAYS, read_vectors

TOOL = ROOT / "tools" / "make_vectors.py"


@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_are_what_their_script_makes(family: str) -> None:
    tool = make_vectors()
    stored = read_vectors(FOLDER / f"{family}.npz")
    for way, how in WAYS.items():
        learned = stored.layers[way]
        answer, kink = tool.solve(stored.graph, learned, how, stored.images, stored.lesson)
        wanted = stored.answers[way]
        assert kink > tool.KINK
        assert answer.pairs == wanted.pairs
        assert answer.losses == pytest.approx(wanted.losses, rel=1e-9)
        assert answer.last_loss == pytest.approx(wanted.last_loss, rel=1e-9)
        for found, kept in (
            (answer.gradients, wanted.gradients),
            (answer.weights, wanted.weights),
        ):
            assert set(found) == set(kept)
            for name, value in found.items():
                # stored in float32, which rounds at 6e-8; 1e-9 for float64's own zeros
                np.testing.assert_allclose(kept[name], value, rtol=1e-6, atol=1e-9, err_msg=name)


def test_vectors_are_small_enough_to_keep() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 300_000


def make_vectors():
    spec = importlib.util.spec_from_file_location("make_vectors", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module
