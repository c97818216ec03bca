"""What the edge engine takes from a teacher: J_1, J_b and J_3 in every form, against autograd."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from tests.support.engine_graphs import GraphMaker
from tests.support.engine_lessons import Lesson, make_images, make_lesson
from tests.support.engine_oracle import TorchGraph, gradient_errors, relative

N = 4


def taught() -> GraphMaker:
    """Three groups; their maps are a sum, a normed one after ReLU, and one after ReLU6."""
    net = GraphMaker((3, 6, 5))
    first = net.conv(5, (3, 3), padding=(1, 1), bias=True, name="stem")
    net.conv(5, (3, 3), padding=(1, 1), name="conv1")
    net.add("add", [net.x, first])
    net.tap()
    net.conv(17, (3, 3), padding=(1, 1), name="conv2")
    net.batch_norm("norm")
    net.add("relu")
    net.tap()
    net.conv(6, (1, 1), stride=(2, 2), name="conv3")
    net.add("relu6")
    net.tap()
    net.linear(4)
    return net


NET = taught()
LAYERS = NET.with_weights()
IMAGES = make_images(NET, N, seed=3)


def check(lesson: Lesson, images: np.ndarray = IMAGES) -> dict[str, Any]:
    """Compare the engine with torch in float64, return what it found."""
    learned = NET.learned(LAYERS)
    torch_net = TorchGraph(NET, learned)
    solution = torch_net.solve(images, lesson)
    assert solution.kink > 1e-5
    engine = NET.engine(LAYERS)
    found = engine.step(images, np.arange(len(images)), **lesson.keywords)
    assert found["pairs"] == solution.pairs
    for name, loss in solution.losses.items():
        assert found[name] == pytest.approx(loss, rel=1e-5, abs=1e-9), name
    errors = gradient_errors(engine, solution, learned, share=1e-2)
    assert max(errors.values()) < 2e-5, errors
    return found


@pytest.mark.parametrize("by_image", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("blocks", [1, 4])
def test_maps_of_every_type(dtype: str, by_image: bool, blocks: int) -> None:
    lesson = make_lesson(NET, N, 0, blocks, dtype, spare_rows=5)
    check(dataclasses.replace(lesson, norms_by_image=by_image))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_maps_with_scales_of_their_own(dtype: str) -> None:
    lesson = make_lesson(NET, N, 0, 2, dtype)
    assert lesson.maps is not None
    assert lesson.norms is not None
    scales = np.array([0.5, 2.0, 1.0, 3.0], np.float32)
    scaled = [[(maps, scales) for maps, _ in group] for group in lesson.maps]
    norms = [squares * scales.astype(float) ** 2 for squares in lesson.norms]
    check(dataclasses.replace(lesson, maps=scaled, norms=norms))


def test_each_image_may_choose_rows_and_rows_may_repeat() -> None:
    lesson = make_lesson(NET, N, 0, 2, spare_rows=2)
    assert lesson.maps is not None
    rows = np.array([5, 0, 5, 3])
    squares = [
        2.0 * np.stack([np.square(m[rows], dtype=float).sum((1, 2, 3)) for m, _ in group])
        for group in lesson.maps
    ]
    check(dataclasses.replace(lesson, map_rows=rows, norms=squares))


@pytest.mark.parametrize("parts", ["1", "b", "3", "1b", "13", "b3"])
def test_losses_that_are_left_out_are_zero_and_have_no_gradient(parts: str) -> None:
    lesson = make_lesson(NET, N)
    gone: dict[str, Any] = {}
    if "1" not in parts:
        gone["logits"] = None
    if "3" not in parts:
        gone["labels"] = None
    if "b" not in parts:
        gone |= {"maps": None, "map_rows": None, "norms": None}
    found = check(dataclasses.replace(lesson, **gone))
    for name in ("1", "b", "3"):
        assert (found[f"J_{name}"] > 0) == (name in parts)
    assert bool(found["pairs"]) == ("b" in parts)


@pytest.mark.parametrize("lambdas", [(0.0, 1.0, 0.0), (2.0, 0.0, 0.5), (0.3, 7.0, 4.0)])
def test_lambdas_weigh_the_losses(lambdas: tuple[float, float, float]) -> None:
    found = check(dataclasses.replace(make_lesson(NET, N), lambdas=lambdas))
    parts = (found[name] for name in ("J_1", "J_b", "J_3"))
    total = sum(weight * part for weight, part in zip(lambdas, parts, strict=True))
    assert found["loss"] == pytest.approx(total, rel=1e-12)


def own_maps(n: int = N) -> list[np.ndarray]:
    """The student's own maps, as it computes them in float32: what a perfect teacher has."""
    taps = TorchGraph(NET)(IMAGES[:n])[1]
    return [tap.detach().permute(0, 2, 3, 1).contiguous().float().numpy() for tap in taps]


def lesson_of(maps: list[np.ndarray], norms: list[np.ndarray] | None = None) -> Lesson:
    n = len(maps[0])
    if norms is None:
        norms = [np.square(m, dtype=float).sum((1, 2, 3))[None] for m in maps]
    return Lesson(maps=[[(m, None)] for m in maps], map_rows=np.arange(n), norms=norms)


def test_a_teacher_like_the_student_is_chosen_and_leaves_next_to_no_distance() -> None:
    own, lesson = own_maps(), make_lesson(NET, N)
    assert lesson.maps is not None
    assert lesson.norms is not None
    for group, maps in enumerate(own):
        lesson.maps[group].append((maps, None))
        squares = np.square(maps, dtype=float).sum((1, 2, 3))[None]
        lesson.norms[group] = np.concatenate([lesson.norms[group], squares])
    engine = NET.engine(LAYERS)
    found = engine.step(IMAGES, np.arange(N), **lesson.keywords)
    assert found["pairs"] == [2, 2, 2]
    # maps differ by float32 roundings: an angle of some 1e-7 in each of three groups
    assert 0 <= found["J_b"] < 3e-6


@pytest.mark.parametrize("by_image", [False, True])
@pytest.mark.parametrize("whose", ["teacher", "student"])
def test_a_map_of_zeros_has_distance_sqrt_2_and_no_gradient(whose: str, by_image: bool) -> None:
    net = GraphMaker((2, 4, 4))
    net.conv(3, (3, 3), padding=(1, 1), name="conv")
    net.tap()
    net.linear(3)
    images = make_images(net, 2)
    maps = make_lesson(net, 2).maps
    assert maps is not None
    teacher = maps[0][0][0].copy()
    (teacher if whose == "teacher" else images)[:] = 0
    lesson = dataclasses.replace(lesson_of([teacher]), norms_by_image=by_image)
    engine = net.engine(["conv", "head"])
    found = engine.step(images, np.arange(2), **lesson.keywords)
    assert found["J_b"] == pytest.approx(2**0.5, rel=1e-12)
    assert found["gradient_norm"] == 0


def test_logits_equal_to_the_teachers_give_no_gradient() -> None:
    engine = NET.engine(LAYERS)
    logits = engine.predict(IMAGES)
    found = engine.step(IMAGES, np.arange(N), logits=logits)
    assert found["J_1"] == found["gradient_norm"] == 0


def test_losses_of_large_logits_stay_finite() -> None:
    net = GraphMaker((1, 1, 1))
    net.linear(3)
    images = np.full((2, 1, 1, 1), 1e4, np.float32)
    net.arrays["head.weight"][:] = [[1.0], [-1.0], [0.5]]
    found = net.engine(["head"]).step(images, np.arange(2), labels=np.array([0, 1]))
    assert found["J_3"] == pytest.approx(1e4, rel=1e-3)
    assert np.isfinite(found["gradient_norm"])


def test_a_batch_of_one_and_of_one_class() -> None:
    lesson = make_lesson(NET, 1)
    check(lesson, IMAGES[:1])
    net = GraphMaker((2, 3, 3))
    net.conv(3, name="conv")
    net.linear(1)
    engine = net.engine(["conv", "head"])
    found = engine.step(make_images(net, 2), np.arange(2), labels=np.zeros(2, np.int64))
    assert found["J_3"] == found["gradient_norm"] == 0


def test_maps_may_be_memory_mapped_and_are_only_read(tmp_path: Any) -> None:
    lesson = make_lesson(NET, N, dtype="float16")
    assert lesson.maps is not None
    mapped = []
    for g, group in enumerate(lesson.maps):
        mapped.append([])
        for k, (maps, _) in enumerate(group):
            np.save(tmp_path / f"{g}.{k}.npy", maps)
            mapped[-1].append((np.load(tmp_path / f"{g}.{k}.npy", mmap_mode="r"), None))
    engine = NET.engine(LAYERS)
    found = engine.step(IMAGES, np.arange(N), **lesson.keywords)
    gradient = engine.gradient("conv2.weight")
    again = dataclasses.replace(lesson, maps=mapped)
    assert engine.step(IMAGES, np.arange(N), **again.keywords) == found
    assert relative(engine.gradient("conv2.weight"), gradient) == 0
