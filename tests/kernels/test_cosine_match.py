"""cosine_match and its gradient against float64 numpy, on every path that this CPU has."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from pyedge import kernels

SIZES = (0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64)
Layout = Callable[[np.ndarray], np.ndarray]


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


# 1, 3, 8, 17 and 33 are about the widths of vectors; the rest is a sweep
channels = pytest.mark.parametrize(
    "c",
    [
        c if c in (1, 3, 8, 17, 33) else pytest.param(c, marks=pytest.mark.exhaustive)
        for c in SIZES[1:]
    ],
)
layouts = pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
norms = pytest.mark.parametrize("norms", ["batch", "image"])


@pytest.fixture(params=kernels.available_isas(), autouse=True)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = kernels.isa()
    kernels.set_isa(request.param)
    yield request.param
    kernels.set_isa(before)


def make_maps(shape, width, k, seed=0):
    """Return a student of `width` channels that leans to teachers[0], k teachers, and kept."""
    rng = np.random.default_rng(seed)
    teachers = [rng.standard_normal(shape, dtype=np.float32) for _ in range(k)]
    kept = np.sort(rng.choice(shape[1], width, replace=False)).astype(np.int64)
    student = rng.standard_normal((shape[0], width, *shape[2:]), dtype=np.float32)
    return student + teachers[0][:, kept], teachers, kept


def reference(student, teacher, kept, norms):
    """Return cosine, norms and distance as the paper has them: padded, normalised, float64."""
    axes = (0, 1, 2, 3) if norms == "batch" else (1, 2, 3)
    t = teacher.astype(np.float64)
    s = np.zeros_like(t)
    s[:, kept] = student
    t_norm, s_norm = (np.sqrt((x**2).sum(axes, keepdims=True)) for x in (t, s))
    unit_t, unit_s = (
        np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)
        for x, norm in ((t, t_norm), (s, s_norm))
    )
    distance = np.sqrt(((unit_t - unit_s) ** 2).sum(axes))
    return (unit_t * unit_s).sum(axes), t_norm.squeeze(axes), s_norm.squeeze(axes), distance


@norms
@layouts
@channels
def test_cosine_match_equals_float64(c: int, layout: Layout, norms: str) -> None:
    for hw in SIZES[1:]:
        student, teachers, kept = make_maps((2, c, 1, hw), (c + 1) // 2, 1 + hw % 6, hw)
        match = kernels.cosine_match(
            layout(student), [layout(t) for t in teachers], kept, norms=norms
        )
        for q, teacher in enumerate(teachers):
            cosine, t_norm, s_norm, _ = reference(student, teacher, kept, norms)
            # Products are exact in float64; sums of at most 8192 terms of either sign err by some
            # ulps: 1e-14 is 45 of them.
            np.testing.assert_allclose(match.cosine[q], cosine, rtol=0, atol=1e-14)
            np.testing.assert_allclose(match.teacher_norm[q], t_norm, rtol=1e-14)
            np.testing.assert_allclose(match.student_norm, s_norm, rtol=1e-14)
            np.testing.assert_array_equal(match.distance[q], np.sqrt(2 - 2 * match.cosine[q]))


@norms
@layouts
@channels
def test_cosine_match_gradient_equals_float64(c: int, layout: Layout, norms: str) -> None:
    for hw in SIZES[1:]:
        student, (teacher,), kept = make_maps((2, c, hw, 1), (c + 1) // 2, 1, hw)
        match = kernels.cosine_match(layout(student), [layout(teacher)], kept, norms=norms)
        gradient = kernels.cosine_match_gradient(
            layout(student),
            layout(teacher),
            kept,
            match.cosine[0],
            match.teacher_norm[0],
            match.student_norm,
            scale=3.0,
        )
        assert gradient.dtype == np.float32
        assert gradient.strides == layout(student).strides
        cos, t_norm, s_norm, distance = (
            np.reshape(x, (-1, 1, 1, 1)) for x in reference(student, teacher, kept, norms)
        )
        t, s = teacher[:, kept].astype(np.float64), student.astype(np.float64)
        scale = 3.0 / len(cos)
        # At distance 0 (both maps of one value) there is no direction; the quotient is not used.
        safe = np.where(distance > 1e-7, distance, 1.0)
        want = -scale * (t / t_norm - cos * s / s_norm) / (safe * s_norm)
        want = np.where(distance > 1e-7, want, 0.0)
        # One rounding to float32 (6e-8), and the cosine's error (1e-15) over the distance. Two
        # maps of one value have a cosine within an ulp of 1, and a gradient within 1e-16 of 0.
        atol = 1e-9 * np.abs(want).max() + 1e-15
        np.testing.assert_allclose(gradient, want, rtol=1e-6, atol=atol)


@layouts
def test_cosine_match_gradient_is_the_slope(layout: Layout) -> None:
    student, (teacher,), kept = make_maps((3, 10, 5, 5), 6, 1)
    match = kernels.cosine_match(layout(student), [layout(teacher)], kept)
    gradient = kernels.cosine_match_gradient(
        layout(student), layout(teacher), kept, match.cosine[0], match.teacher_norm[0],
        match.student_norm,
    )  # fmt: skip
    step = np.random.default_rng(5).standard_normal(student.shape) * 1e-5
    after, before = (
        reference(student + sign * step, teacher, kept, "batch")[3] for sign in (1, -1)
    )
    # The quotient errs by step^2 relative to the curvature, the gradient by its float32 rounding.
    assert (gradient * step).sum() == pytest.approx((after - before) / 2, rel=1e-6)


@layouts
@pytest.mark.parametrize("distance", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
def test_cosine_match_near_one_does_not_cancel(distance: float, layout: Layout) -> None:
    rng = np.random.default_rng(7)
    teacher = rng.standard_normal((2, 20, 9, 9), dtype=np.float32)
    # A student at this angle: the float32 of its values limits how near it comes.
    noise = rng.standard_normal(teacher.shape)
    student = (teacher * (1 + distance * noise)).astype(np.float32)
    kept = np.arange(20)
    match = kernels.cosine_match(layout(student), [layout(teacher)])
    want = reference(student, teacher, kept, "batch")[3]
    # The cosine comes of 3240 terms, one after another in the reference path: a random walk of
    # sqrt(3240) = 57 half ulps of 1, which is 6e-15. J_b is off by that over J_b.
    assert match.distance[0] == pytest.approx(want, rel=1e-6, abs=6e-15 / want)
    gradient = kernels.cosine_match_gradient(
        layout(student), layout(teacher), None, match.cosine[0], match.teacher_norm[0],
        match.student_norm,
    )  # fmt: skip
    # |dJ_b/ds| |s| = cos(theta / 2), which is 1 here but for 1e-3 at the largest distance; at the
    # smallest the error of J_b itself shows.
    assert np.linalg.norm(gradient) * float(match.student_norm) == pytest.approx(1, rel=2e-3)


@norms
@layouts
@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_cosine_match_at_distance_zero_has_gradient_zero(
    factor: float, layout: Layout, norms: str
) -> None:
    student, (teacher,), kept = make_maps((3, 37, 7, 5), 17, 1)
    teacher[:] = 0
    teacher[:, kept] = factor * student
    match = kernels.cosine_match(layout(student), [layout(teacher)], kept, norms=norms)
    np.testing.assert_array_equal(match.cosine, 1.0)
    np.testing.assert_array_equal(match.distance, 0.0)
    gradient = kernels.cosine_match_gradient(
        layout(student), layout(teacher), kept, match.cosine[0], match.teacher_norm[0],
        match.student_norm,
    )  # fmt: skip
    np.testing.assert_array_equal(gradient, 0.0)


@norms
@pytest.mark.parametrize("zero", ["student", "teacher"])
def test_cosine_match_of_a_zero_map_is_defined(zero: str, norms: str) -> None:
    student, (teacher,), kept = make_maps((2, 8, 3, 3), 5, 1)
    (student if zero == "student" else teacher)[0 if norms == "image" else slice(None)] = 0
    match = kernels.cosine_match(student, [teacher], kept, norms=norms)
    first = 0 if norms == "image" else ...
    assert match.cosine[0][first] == 0
    assert match.distance[0][first] == math.sqrt(2)
    gradient = kernels.cosine_match_gradient(
        student, teacher, kept, match.cosine[0], match.teacher_norm[0], match.student_norm
    )
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[0], 0.0)


def test_cosine_match_finds_the_best_teacher() -> None:
    student, teachers, kept = make_maps((4, 12, 6, 6), 7, 5)
    order = [teachers[i] for i in (3, 1, 0, 4, 2)]
    for norms in ("batch", "image"):
        assert kernels.cosine_match(student, order, kept, norms=norms).best == 2


def test_cosine_match_keeps_the_first_channels_by_default() -> None:
    student, teachers, _ = make_maps((2, 9, 4, 4), 5, 2)
    prefix = kernels.cosine_match(student, teachers, np.arange(5))
    default = kernels.cosine_match(student, teachers)
    for a, b in zip(prefix, default, strict=True):
        np.testing.assert_array_equal(a, b)


@layouts
@pytest.mark.parametrize("shape", [(5, 70, 24, 24), (1, 40, 90, 90)])
def test_cosine_match_same_bits_from_any_number_of_threads(shape, layout: Layout) -> None:
    student, teachers, kept = make_maps(shape, shape[1] // 2, 2)
    student, teachers = layout(student), [layout(t) for t in teachers]
    before = kernels.num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            kernels.set_num_threads(threads)
            match = kernels.cosine_match(student, teachers, kept)
            gradient = kernels.cosine_match_gradient(
                student, teachers[0], kept, match.cosine[0], match.teacher_norm[0],
                match.student_norm,
            )  # fmt: skip
            results.append(b"".join(np.asarray(x).tobytes() for x in (*match, gradient)))
    finally:
        kernels.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_cosine_match_gradient_memory_is_used_again_only_when_free() -> None:
    student, (teacher,), kept = make_maps((4, 80, 32, 32), 78, 1)
    match = kernels.cosine_match(student, [teacher], kept)
    numbers = (match.cosine[0], match.teacher_norm[0], match.student_norm)
    first = kernels.cosine_match_gradient(student, teacher, kept, *numbers)
    view, address, copy = first[1:], first.ctypes.data, first.copy()
    del first
    second = kernels.cosine_match_gradient(student, teacher, kept, *numbers, scale=2.0)
    assert second.ctypes.data != address
    np.testing.assert_array_equal(view, copy[1:])
    del view
    third = kernels.cosine_match_gradient(student, teacher, kept, *numbers)
    assert third.ctypes.data == address


def test_cosine_match_names_the_map_with_nan_or_infinity() -> None:
    student, teachers, kept = make_maps((3, 6, 4, 4), 4, 2)
    for bad in (np.nan, np.inf):
        teachers[1][2, 5, 0, 0] = bad
        with pytest.raises(ValueError, match=r"teachers\[1\]: .*finite.*image 2"):
            kernels.cosine_match(student, teachers, kept)
    student[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"cosine_match: student: .*finite.*image 0"):
        kernels.cosine_match(student, teachers[:1], kept)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"teachers": []}, ValueError, "teachers: .*at least one"),
        ({"teachers": np.zeros((1, 1, 1, 1))}, TypeError, "teachers: .*a sequence"),
        ({"norms": "row"}, ValueError, 'norms: .*"batch" or "image", got \'row\''),
        ({"kept": np.array([0, 2, 2, 3])}, ValueError, r"kept: .*rising .* in \[0, 6\), got \["),
        ({"kept": np.array([0, 1, 2, 6])}, ValueError, r"kept: .*rising .* in \[0, 6\), got \["),
        ({"kept": np.array([-1, 1, 2, 3])}, ValueError, r"kept: .*rising .* in \[0, 6\), got \["),
        ({"kept": np.arange(3)}, ValueError, r"kept: .*shape \(4,\)"),
        ({"kept": [0, 1, 2, 3]}, TypeError, "kept: .*an int64 array or None, got list"),
        ({"kept": np.arange(4.0)}, TypeError, "kept: .*an int64 array or None, got float64"),
        ({"student": np.zeros((2, 7, 3, 3), np.float32)}, ValueError, "6 channels, got 7"),
        ({"student": np.zeros((2, 4, 3, 2), np.float32)}, ValueError, r"teachers\[0\]: wanted"),
        ({"student": np.zeros((2, 4, 3, 3))}, TypeError, "student: .*float32, got float64"),
    ],
)
def test_cosine_match_says_what_is_wrong(change, error, message) -> None:
    rng = np.random.default_rng(0)
    arguments = {
        "student": rng.standard_normal((2, 4, 3, 3), dtype=np.float32),
        "teachers": [rng.standard_normal((2, 6, 3, 3), dtype=np.float32)],
        "kept": np.arange(4),
    }
    with pytest.raises(error, match=rf"cosine_match: .*{message}"):
        kernels.cosine_match(**{**arguments, **change})


def test_cosine_match_refuses_mixed_layouts() -> None:
    student, teachers, kept = make_maps((2, 6, 4, 4), 4, 2)
    with pytest.raises(TypeError, match=r"teachers\[1\]: .*memory layout"):
        kernels.cosine_match(student, [teachers[0], channels_last(teachers[1])], kept)


def test_cosine_match_gradient_says_what_is_wrong() -> None:
    student, (teacher,), kept = make_maps((2, 6, 4, 4), 4, 1)
    good = {"cosine": 0.5, "teacher_norm": 1.0, "student_norm": 1.0}
    out = np.zeros_like(student)
    out.flags.writeable = False
    for change, message in (
        ({"cosine": 1.5}, "cosine: wanted -1 to 1, got 1.5"),
        ({"cosine": np.zeros(3)}, r"cosine: wanted a scalar, or shape \(2,\)"),
        ({"student_norm": np.zeros(2)}, "student_norm: wanted a scalar"),
        ({"teacher_norm": np.nan}, "teacher_norm: wanted finite"),
        ({"scale": np.inf}, "scale: wanted a finite"),
        ({"out": np.zeros((2, 4, 4, 5), np.float32)}, "out: wanted the student's shape"),
        ({"out": channels_last(student)}, "memory layout"),
        ({"out": out}, "out: .*a read-only one"),
    ):
        with pytest.raises(ValueError, match=message):
            kernels.cosine_match_gradient(student, teacher, kept, **{**good, **change})


@norms
def test_cosine_match_of_nothing(norms: str) -> None:
    empty = np.zeros((0, 4, 3, 3), np.float32)
    match = kernels.cosine_match(empty[:, :2], [empty, empty], norms=norms)
    assert match.cosine.shape == ((2,) if norms == "batch" else (2, 0))
    assert match.best == 0
