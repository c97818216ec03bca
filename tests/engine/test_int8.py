"""Answers in 8 bits: near float32 where a path has them, refused with a reason where it has not."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import pyedge
from pyedge import kernels
from pyedge.cli import main
from pyedge.edge.answers import learners_logits
from pyedge.edge.learner import EdgeLearner
from pyedge.images.edge_images import EdgeImages
from pyedge.kernels import Engine
from pyedge.student.archive import write_student
from pyedge.student.file import StudentFile
from tests.support.edge_student import changed, images, tiny_student
from tests.support.engine_graphs import GraphMaker
from tests.support.precisions import check_threads_and_batches, off, paths, vectors
from tests.support.vector_file import FAMILIES, Vectors

# in norm, of six to twelve convolutions one after another (docs/int8.md)
LOGITS = 6e-2


PATHS, WITHOUT = paths(kernels.int8_type)


@pytest.fixture(autouse=True)
def path() -> Iterator[None]:
    before = kernels.isa()
    yield
    kernels.set_isa(before)


@cache
def student() -> StudentFile:
    return pyedge.add_int8(tiny_student(), images()[0])


def scales_of(engine: Engine, pixels: np.ndarray) -> dict[str, tuple[float, int]]:
    found = {}
    for name, ends in engine.input_ranges(pixels).items():
        low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
        scale = (high - low) / 255
        found[name] = scale, round(-low / scale)
    return found


def int8_engine(stored: Vectors) -> Engine:
    engine = stored.graph.engine()
    engine.set_input_scales(scales_of(engine, stored.images))
    engine.set_precision("int8")
    return engine


def test_int8_is_on_the_plain_path_of_every_machine() -> None:
    assert "reference" in PATHS
    kernels.set_isa("reference")
    assert kernels.int8_type() == "emulated"


@pytest.mark.parametrize("isa", PATHS)
@pytest.mark.parametrize("family", FAMILIES)
def test_int8_logits_are_near_torch_in_float64(family: str, isa: str) -> None:
    kernels.set_isa(isa)
    stored = vectors(family)
    found = int8_engine(stored).predict(stored.images)
    assert 1e-4 < off(found, stored.logits) < LOGITS  # and it is no float32


@pytest.mark.parametrize("isa", PATHS)
def test_int8_answers_do_not_depend_on_threads_or_batch(isa: str) -> None:
    kernels.set_isa(isa)
    stored = vectors("wrn")
    check_threads_and_batches(int8_engine(stored), stored.images)


@pytest.mark.parametrize("isa", PATHS)
def test_int8_features_and_steps_are_those_of_float32(isa: str) -> None:
    kernels.set_isa(isa)
    pixels, labels = images(12)
    engines = {each: student().engine(each) for each in ("float32", "int8")}
    features = {each: engine.features(pixels) for each, engine in engines.items()}
    assert np.array_equal(features["int8"][0], features["float32"][0])
    assert np.array_equal(features["int8"][1], features["float32"][1])
    rows = np.arange(len(pixels))
    steps = {each: engine.step(pixels, rows, labels=labels) for each, engine in engines.items()}
    assert steps["int8"] == steps["float32"]
    answers = {each: engine.predict(pixels) for each, engine in engines.items()}
    assert not np.array_equal(answers["int8"], answers["float32"])


@pytest.mark.parametrize("isa", PATHS)
def test_int8_can_be_left_again_and_scales_be_changed(isa: str) -> None:
    kernels.set_isa(isa)
    stored = vectors("resnet")
    engine = stored.graph.engine()
    plain = engine.predict(stored.images)
    scales = scales_of(engine, stored.images)
    engine.set_input_scales(scales)
    for precision, same in (("int8", False), ("float32", True), ("int8", False)):
        engine.set_precision(precision)
        assert engine.precision == precision
        assert np.array_equal(engine.predict(stored.images), plain) == same
    fine = engine.predict(stored.images)
    engine.set_input_scales({name: (2 * scale, zero) for name, (scale, zero) in scales.items()})
    coarse = engine.predict(stored.images)
    engine.set_input_scales(scales)
    assert np.array_equal(engine.predict(stored.images), fine)
    assert off(coarse, plain) > off(fine, plain)


@pytest.mark.parametrize("isa", PATHS)
def test_int8_follows_the_weights_that_change(isa: str) -> None:
    kernels.set_isa(isa)
    engine = student().engine("int8")
    pixels, _ = images(6)
    engine.predict(pixels)
    changes = {name: 0.5 * each for name, each in student().arrays.items() if each.ndim == 4}
    for name, weight in changes.items():
        engine.set_array(name, weight)
    other = dataclasses.replace(student(), arrays={**student().arrays, **changes})
    assert np.array_equal(engine.predict(pixels), other.engine("int8").predict(pixels))


def test_ranges_hold_every_number_and_zero() -> None:
    engine = tiny_student().engine()
    pixels, _ = images(5)
    ranges = engine.input_ranges(pixels)
    assert set(ranges) == {"groups.0.0.0", "groups.0.1.0", "groups.1.0.0", "groups.1.1.0", "head"}
    flat = pixels.reshape(5, -1).astype(np.float32)
    plain = (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)
    assert ranges["groups.0.0.0"][:, 0] == pytest.approx(plain.min(1), abs=1e-5)
    assert ranges["groups.0.0.0"][:, 1] == pytest.approx(plain.max(1), abs=1e-5)
    assert (ranges["groups.0.1.0"][:, 0] == 0).all()  # behind a ReLU
    features, _ = engine.features(pixels)
    assert np.array_equal(ranges["head"][:, 1], features.max(1))
    one = engine.input_ranges(pixels, rows=np.array([3]))
    assert np.array_equal(one["head"][0], ranges["head"][3])


@pytest.mark.parametrize("family", FAMILIES)
def test_ranges_are_also_those_of_maps_that_are_hidden_otherwise(family: str) -> None:
    stored = vectors(family)
    names = {node["name"] for node in stored.graph.nodes if node["op"] in ("conv2d", "linear")}
    grouped = {node["name"] for node in stored.graph.nodes if node.get("groups", 1) > 1}
    engine = stored.graph.engine()
    before = engine.predict(stored.images)
    assert set(engine.input_ranges(stored.images)) == names - grouped
    assert np.array_equal(engine.predict(stored.images), before)


@pytest.mark.parametrize("isa", PATHS)
def test_learner_in_int8_learns_in_float32_and_goes_on_in_int8(isa: str) -> None:
    kernels.set_isa(isa)
    pixels, labels = images()
    options = {"batch_size": 16, "lr": 0.05, "steps": 24, "progress": False}
    learned = {}
    for precision in ("int8", "float32"):
        learner = EdgeLearner(student(), precision=precision)
        learner.learn(pixels, labels, **options)
        assert changed(student(), learner.student) >= {"head.weight", "groups.0.1.0.weight"}
        learned[precision] = learner
    one, other = (learned[each].student for each in ("int8", "float32"))
    assert not changed(one, other)
    assert one.input_scales == other.input_scales
    # the learner's own engine, and one that is made of its student
    again = EdgeLearner(one, precision="int8")
    assert np.array_equal(learned["int8"].logits(pixels), again.logits(pixels))
    assert 1e-4 < off(again.logits(pixels), learned["float32"].logits(pixels)) < LOGITS


def test_scales_widen_with_what_is_learned_and_are_the_old_ones_after_an_error() -> None:
    kernels.set_isa("reference")
    pixels, labels = images()
    narrow = {name: (scale / 4, zero) for name, (scale, zero) in student().input_scales.items()}
    learner = EdgeLearner(dataclasses.replace(student(), input_scales=narrow), precision="int8")
    before = learner.logits(pixels)
    with pytest.raises(pyedge.DivergedError):
        learner.learn(pixels, labels, lr=1e30, steps=9, clip=None, progress=False)
    assert np.array_equal(learner.logits(pixels), before)
    learner.learn(pixels, labels, lr=1e-6, steps=1, progress=False)
    for name, (scale, _) in learner.student.input_scales.items():
        assert scale == pytest.approx(student().input_scales[name][0], rel=0.02)
    once = learner.student.input_scales
    learner.learn(pixels, labels, lr=1e-9, steps=1, progress=False)
    assert learner.student.input_scales == once


def test_scales_widen_with_what_is_in_the_memory() -> None:
    kernels.set_isa("reference")
    pixels, labels = images(60)
    new = labels == 2
    dark = pixels[~new] // 8  # standardised like all others, but for noise
    narrow = {name: (scale / 9, zero) for name, (scale, zero) in student().input_scales.items()}
    known = dataclasses.replace(student(), input_scales=narrow)
    memory = pyedge.Memory(per_class=4)
    memory.add(known, dark, labels[~new])
    learned = []
    for kept in (None, memory):
        learner = EdgeLearner(known, precision="int8")
        options = {"batch_size": 12, "lr": 1e-9, "steps": 1, "progress": False}
        learner.learn(pixels[new][:1], labels[new][:1], memory=kept, **options)
        learned.append(learner.student.input_scales)
    one, more = learned
    assert all(more[name][0] >= one[name][0] >= scale for name, (scale, _) in narrow.items())
    assert more != one


def test_learners_logits_are_float32s() -> None:
    kernels.set_isa("reference")
    pixels, _ = images(6)
    given = EdgeImages.of(pixels, student().input_shape, labelled=False)
    engine = student().engine("int8")
    found = learners_logits(engine, given, 4, 3)
    assert np.array_equal(found, student().engine().predict(pixels))
    assert engine.precision == "int8"
    assert not np.array_equal(found, engine.predict(pixels))


def test_precision_is_kept_when_learners_logits_are_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernels.set_isa("reference")
    pixels, _ = images(6)
    given = EdgeImages.of(pixels, student().input_shape, labelled=False)
    engine = student().engine("int8")

    def interrupted(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pyedge.edge.answers.logits_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        learners_logits(engine, given, 4, 3)
    assert engine.precision == "int8"


def test_learner_in_int8_learns_from_float32_features() -> None:
    kernels.set_isa("reference")
    pixels, labels = images(60)
    known = pyedge.add_statistics(student(), pixels, labels)
    learners = {each: EdgeLearner(known, precision=each) for each in ("float32", "int8")}
    for learner in learners.values():
        learner.add_classes(["other"])
        learner.learn(255 - pixels, ["other"] * len(pixels))
    one, other = (learner.student for learner in learners.values())
    assert not changed(one, other)
    near, far = (each.predict(pixels, unknown=True).distances for each in learners.values())
    assert np.array_equal(near, far)


@pytest.mark.parametrize("isa", WITHOUT)
def test_int8_is_refused_where_the_path_has_none(isa: str) -> None:
    kernels.set_isa(isa)
    with pytest.raises(ValueError, match=f"set_precision: precision: .*{isa} path .*8 bits"):
        int8_engine(vectors("wrn"))
    with pytest.raises(ValueError, match=f"EdgeLearner: precision: .*{isa} path .*8 bits"):
        EdgeLearner(student(), precision="int8")


def test_int8_is_refused_without_scales() -> None:
    kernels.set_isa("reference")
    with pytest.raises(ValueError, match=r"set_precision: precision: .*no input has a scale"):
        tiny_student().engine("int8")
    with pytest.raises(ValueError, match=r"EdgeLearner: precision: .*without scales .*int8"):
        EdgeLearner(tiny_student(), precision="int8")


@pytest.mark.parametrize(
    ("scales", "told"),
    [
        ({"none": (0.1, 0)}, "no conv2d or linear node is called 'none'"),
        ({"groups.0.0.1": (0.1, 0)}, "no conv2d or linear node"),  # a batch norm
        ({"head": (0.0, 0)}, "'head': wanted a scale above 0"),
        ({"head": (float("nan"), 0)}, "'head': wanted a scale above 0"),
        ({"head": (1e-45, 0)}, "'head': wanted a scale above 0"),
        ({"head": (1e39, 0)}, "'head': wanted a scale above 0"),
        ({"head": (0.1, 256)}, "zero point from 0 to 255, got 0.1.* and 256"),
        ({"head": (0.1, -1)}, "zero point from 0 to 255"),
    ],
)
def test_scales_that_do_not_fit_are_refused(
    scales: dict[str, tuple[float, int]], told: str
) -> None:
    engine = tiny_student().engine()
    with pytest.raises(ValueError, match=f"set_input_scales: .*{told}"):
        engine.set_input_scales(scales)


def test_scales_cannot_be_taken_away_in_int8() -> None:
    kernels.set_isa("reference")
    engine = student().engine("int8")
    with pytest.raises(ValueError, match="set_input_scales: scales: wanted one at least"):
        engine.set_input_scales({})
    engine.set_precision("float32")
    engine.set_input_scales({})
    with pytest.raises(ValueError, match="no input has a scale"):
        engine.set_precision("int8")


def test_learner_keeps_int8_in_copies() -> None:
    kernels.set_isa("reference")
    pixels, _ = images(6)
    learner = EdgeLearner(student(), precision="int8")
    found = learner.logits(pixels)
    assert not np.array_equal(found, EdgeLearner(student()).logits(pixels))
    for other in (copy.copy(learner), pickle.loads(pickle.dumps(learner))):
        assert np.array_equal(other.logits(pixels), found)


def test_command_predicts_in_int8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kernels.set_isa("reference")
    pixels, _ = images(3)
    np.save(tmp_path / "x.npy", pixels)
    write_student(student(), tmp_path / "s.pyedge")
    told = {}
    for precision in ("float32", "int8"):
        line = ["predict", str(tmp_path / "s.pyedge"), str(tmp_path / "x.npy")]
        assert main([*line, "--json", "--precision", precision]) == 0
        told[precision] = capsys.readouterr().out
    assert told["int8"] != told["float32"]


def test_range_of_what_reads_nan_has_no_end() -> None:
    net = GraphMaker((3, 4, 4), 0)
    net.conv(4, (1, 1), bias=True, name="front")
    net.conv(4, (3, 3), (1, 1), (1, 1), name="behind")
    net.global_avg_pool()
    net.linear(3)
    net.arrays["front.bias"][2] = np.nan
    pixels = np.zeros((2, 3, 4, 4), np.uint8)
    low, high = net.engine().input_ranges(pixels)["behind"].T
    assert np.isinf(high).all(), (low, high)
