"""Half precision: near float64 where a path has it, refused with a reason where it has not."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pyedge import kernels
from pyedge.cli import main
from pyedge.edge.learner import EdgeLearner
from pyedge.kernels import Engine
from pyedge.student.archive import write_student
from tests.support.edge_student import changed, images, tiny_student
from tests.support.precisions import check_threads_and_batches, off, paths, vectors
from tests.support.vector_file import FAMILIES, Vectors

# in norm, of six to twelve convolutions one after another (docs/half.md)
LOGITS = GRADIENTS = 2e-2
COSINE = 0.999


PATHS, WITHOUT = paths(kernels.half_type)


@pytest.fixture(autouse=True)
def path() -> Iterator[None]:
    before = kernels.isa()
    yield
    kernels.set_isa(before)


def half_engine(stored: Vectors, layers: tuple[str, ...] = ()) -> Engine:
    engine = stored.graph.engine(list(layers))
    engine.set_precision("half")
    return engine


def test_half_is_on_the_plain_path_of_every_machine() -> None:
    assert "reference" in PATHS
    kernels.set_isa("reference")
    assert kernels.half_type() == "bf16"


@pytest.mark.parametrize("isa", PATHS)
@pytest.mark.parametrize("family", FAMILIES)
def test_half_logits_are_near_torch_in_float64(family: str, isa: str) -> None:
    kernels.set_isa(isa)
    stored = vectors(family)
    found = half_engine(stored).predict(stored.images)
    assert 1e-5 < off(found, stored.logits) < LOGITS  # and it is no float32


@pytest.mark.parametrize("isa", PATHS)
def test_half_answers_do_not_depend_on_threads_or_batch(isa: str) -> None:
    kernels.set_isa(isa)
    stored = vectors("wrn")
    check_threads_and_batches(half_engine(stored), stored.images)


@pytest.mark.parametrize("isa", PATHS)
def test_half_can_be_left_again(isa: str) -> None:
    kernels.set_isa(isa)
    stored = vectors("resnet")
    engine = stored.graph.engine()
    plain = engine.predict(stored.images)
    assert engine.precision == "float32"
    for precision, same in (("half", False), ("float32", True), ("half", False)):
        engine.set_precision(precision)
        assert engine.precision == precision
        assert np.array_equal(engine.predict(stored.images), plain) == same


@pytest.mark.parametrize("isa", PATHS)
@pytest.mark.parametrize("family", FAMILIES)
def test_half_gradients_of_what_learns_are_near_torch_in_float64(family: str, isa: str) -> None:
    kernels.set_isa(isa)
    stored = vectors(family)
    engine = half_engine(stored, tuple(stored.layers["last_conv"]))
    engine.step(stored.images, np.arange(len(stored.images)), **stored.lesson.keywords)
    answers = stored.answers["last_conv"].gradients
    # of what the first convolutions learn by: rounded on its way through all behind them
    assert max(off(engine.gradient(name), wanted) for name, wanted in answers.items()) > 1e-4
    for name, wanted in answers.items():
        found = engine.gradient(name)
        assert off(found, wanted) < GRADIENTS, name
        product = np.vdot(found, wanted) / (np.linalg.norm(found) * np.linalg.norm(wanted))
        assert product > COSINE, name


@pytest.mark.parametrize("isa", PATHS)
def test_learner_learns_in_half_and_to_the_same_bits_on_any_number_of_threads(isa: str) -> None:
    kernels.set_isa(isa)
    pixels, labels = images()
    learned = {}
    for precision, threads in (("half", 1), ("half", 3), ("float32", 1)):
        learner = EdgeLearner(tiny_student(), threads=threads, precision=precision)
        options = {"batch_size": 16, "lr": 0.05, "progress": False}
        losses = [
            learner.learn(pixels, labels, steps=steps, **options).history[-1]["loss"]
            for steps in (1, 24)
        ]
        assert losses[1] < losses[0]
        assert changed(tiny_student(), learner.student) >= {"head.weight", "groups.0.1.0.weight"}
        learned[precision, threads] = learner.logits(pixels)
    assert np.array_equal(learned["half", 1], learned["half", 3])
    # steps lead apart what rounding has begun to
    assert 1e-5 < off(learned["half", 1], learned["float32", 1]) < 5 * LOGITS


@pytest.mark.parametrize("isa", WITHOUT)
def test_half_is_refused_where_the_path_has_none(isa: str) -> None:
    kernels.set_isa(isa)
    with pytest.raises(ValueError, match=f"set_precision: precision: .*{isa} path .*no half"):
        half_engine(vectors("wrn"))
    with pytest.raises(ValueError, match=f"EdgeLearner: precision: .*{isa} path .*no half"):
        EdgeLearner(tiny_student(), precision="half")


def test_precision_is_one_of_two() -> None:
    with pytest.raises(ValueError, match=r"precision: wanted .*got 'double'"):
        EdgeLearner(tiny_student(), precision="double")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"set_precision: precision"):
        tiny_student().engine("double")


def test_learner_keeps_its_precision_in_copies() -> None:
    kernels.set_isa("reference")
    pixels, _ = images(6)
    plain = EdgeLearner(tiny_student()).logits(pixels)
    learner = EdgeLearner(tiny_student(), precision="half")
    found = learner.logits(pixels)
    assert 1e-5 < off(found, plain) < LOGITS
    for other in (copy.copy(learner), pickle.loads(pickle.dumps(learner))):
        assert np.array_equal(other.logits(pixels), found)


def test_command_predicts_in_half(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kernels.set_isa("reference")
    pixels, _ = images(3)
    np.save(tmp_path / "x.npy", pixels)
    write_student(tiny_student(), tmp_path / "s.pyedge")
    told = {}
    for precision in ("float32", "half"):
        line = ["predict", str(tmp_path / "s.pyedge"), str(tmp_path / "x.npy")]
        assert main([*line, "--json", "--precision", precision]) == 0
        told[precision] = capsys.readouterr().out
    assert told["half"] != told["float32"]
