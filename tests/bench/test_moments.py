"""bench/moments: rows are checked before they are timed."""

from __future__ import annotations

from typing import Any

import pytest

from bench import moments
from pyedge import kernels


def test_moments_measures_ours_beside_blas() -> None:
    found = moments.moments_row(5, 7, 1)
    assert (found["kernel"], found["shape"], found["beside"]) == ("moments", [5, 7], "BLAS")
    assert found["ms"] > 0
    assert found["beside_ms"] > 0


def test_moments_measures_features_beside_predict() -> None:
    found = moments.features_row(2, 1)
    assert (found["kernel"], found["shape"], found["beside"]) == ("features", [2, 498], "predict")


def test_moments_does_not_time_wrong_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any) -> None:
        pass

    monkeypatch.setattr(kernels, "add_second_moments", nothing)
    with pytest.raises(SystemExit, match=r"bench\.moments: moments is wrong"):
        moments.moments_row(5, 7, 1)
