"""The measures of `bench.unknown`, on scores whose figures can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")  # bench.learning's images

from bench.unknown import auroc, false_positives


def test_auroc_counts_pairs() -> None:
    known, unknown = np.array([1.0, 2.0, 3.0, 5.0]), np.array([2.0, 4.0, 6.0])
    pairs = [(u > k) + 0.5 * (u == k) for u in unknown for k in known]
    assert auroc(known, unknown) == pytest.approx(np.mean(pairs))
    assert auroc(known, known + 10) == 1
    assert auroc(known + 10, known) == 0
    assert auroc(known, known) == pytest.approx(0.5)


def test_false_positives_are_unknown_images_below_what_most_known_reach() -> None:
    known = np.arange(100.0)
    assert false_positives(known, np.array([10.0, 94.0, 95.0, 96.0, 200.0])) == pytest.approx(0.6)
