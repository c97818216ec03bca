"""EdgeLearner: what it learns, what it answers, and that nothing bad gets into it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyedge import kernels
from pyedge.edge.learn_options import LearnOptions
from pyedge.edge.learner import EdgeLearner
from pyedge.errors import DivergedError
from pyedge.student.archive import read_student, write_student
from pyedge.student.builder import GraphBuilder
from pyedge.student.file import StudentFile
from tests.support.edge_student import CLASSES, changed, images, tiny_student

LAST = {"groups.0.1.0.weight", "groups.1.1.0.weight", "head.weight", "head.bias"}
QUICK = LearnOptions(epochs=3, batch_size=16, lr=0.1, progress=False)


def arrays_of(learner: EdgeLearner) -> dict[str, Any]:
    return {name: learner._engine.array(name).copy() for name in learner.student.arrays}


def test_edge_learn_from_labels_lowers_the_loss_and_moves_the_last_layers_alone() -> None:
    learner = EdgeLearner(tiny_student())
    pixels, labels = images()
    before = learner.evaluate(pixels, labels)
    result = learner.learn(pixels, labels, options=QUICK, epochs=12)
    assert result.history[-1]["loss"] < 0.8 * result.history[0]["loss"]
    assert result.steps == 36
    assert "J_1" not in result.history[0]
    assert changed(tiny_student(), learner.student) == LAST
    after = learner.evaluate(*images(seed=2))
    assert after.accuracy > max(0.9, before.accuracy)
    assert after.per_class[0] > 0.7
    assert after.old_and_new([2])["weighted"] == after.accuracy


@pytest.mark.parametrize(
    ("trainable", "moved"),
    [
        ("classifier", {"head.weight", "head.bias"}),
        (("groups.1",), {f"groups.1.{i}.{j}.weight" for i in (0, 1) for j in (0, 1)}
         | {f"groups.1.{i}.1.bias" for i in (0, 1)}),
        (("groups.0.1.0",), {"groups.0.1.0.weight"}),
        ("all", {name for name in tiny_student().arrays if "running" not in name}),
    ],
)  # fmt: skip
def test_edge_learn_moves_what_trainable_names(trainable: Any, moved: set[str]) -> None:
    learner = EdgeLearner(tiny_student())
    learner.learn(*images(), options=QUICK, epochs=1, trainable=trainable)
    assert changed(tiny_student(), learner.student) == moved
    assert learner.trainable == ("groups.0.1.0", "groups.1.1.0", "head")


def test_edge_learn_with_batch_statistics_moves_the_running_ones() -> None:
    learner = EdgeLearner(tiny_student())
    learner.learn(*images(), options=QUICK, steps=2, batch_norm="batch")
    running = {name for name in tiny_student().arrays if "running" in name}
    assert changed(tiny_student(), learner.student) == LAST | running


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_edge_learn_ends_in_the_same_bits_for_any_number_of_threads(optimizer: str) -> None:
    states = []
    for threads in (1, 2, 3):
        learner = EdgeLearner(tiny_student(), threads=threads)
        before = kernels.num_threads()
        learner.learn(
            *images(), options=QUICK, optimizer=optimizer, lr=0.01, crop_padding=1, flip=True
        )
        assert kernels.num_threads() == before
        states.append(learner.student)
    assert changed(tiny_student(), states[0]) == LAST
    assert not changed(states[0], states[1])
    assert not changed(states[0], states[2])


def test_edge_learn_depends_on_the_seed() -> None:
    students = []
    for seed in (0, 1):
        learner = EdgeLearner(tiny_student())
        learner.learn(*images(), options=QUICK, seed=seed)
        students.append(learner.student)
    assert changed(*students) == LAST


def test_edge_learn_keeps_the_best_weights_and_stops_early() -> None:
    learner = EdgeLearner(tiny_student())
    scores = iter([0.1, 0.9, 0.3, 0.2, 1.0])
    steady = QUICK.replace(schedule="constant")
    result = learner.learn(
        *images(), val=images(seed=2), score=lambda _: next(scores), options=steady, epochs=9,
        patience=2, eval_every=2,
    )  # fmt: skip
    assert (result.best_step, result.best_score) == (4, 0.9)
    assert result.stopped_early
    assert result.steps == 8
    assert [row["val_score"] for row in result.history] == [0.1, 0.9, 0.3, 0.2]
    now = arrays_of(learner)
    assert np.array_equal(learner.student.arrays["head.weight"], now["head.weight"])
    for steps in (4, 8):  # of runs that end where the best evaluation was, and where this one did
        other = EdgeLearner(tiny_student())
        other.learn(*images(), options=steady, steps=steps)
        assert changed(other.student, learner.student) == (set() if steps == 4 else LAST)


def test_edge_learn_holds_back_a_share_of_each_class() -> None:
    learner = EdgeLearner(tiny_student())
    result = learner.learn(*images(), val=0.25, options=QUICK, epochs=1)
    assert learner.student.record[-1]["images"] == 36
    assert 0 <= result.history[0]["val_accuracy"] <= 1
    with pytest.raises(ValueError, match=r"val=0\.01 of 48 images .*back 0"):
        learner.learn(*images(), val=0.01, options=QUICK)


def test_edge_predict_gives_ids_and_probabilities_in_any_batches() -> None:
    learner = EdgeLearner(tiny_student())
    pixels, _ = images()
    whole, parts = learner.predict(pixels), learner.predict(pixels, batch_size=5)
    assert np.array_equal(whole.ids, parts.ids)
    assert np.allclose(whole.probabilities, parts.probabilities, atol=1e-6)
    assert whole.probabilities.shape == (48, 3)
    assert np.allclose(whole.probabilities.sum(axis=1), 1, atol=1e-6)
    assert np.array_equal(whole.ids, whole.probabilities.argmax(axis=1))
    nothing = learner.predict(pixels[:0])
    assert nothing.ids.shape == (0,)
    assert nothing.probabilities.shape == (0, 3)
    channels_last = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    assert np.array_equal(learner.logits(channels_last), learner.logits(pixels))


def test_edge_add_classes_changes_no_answer_and_no_id() -> None:
    learner = EdgeLearner(tiny_student())
    pixels, labels = images()
    learner.learn(pixels, labels, options=QUICK, epochs=8)
    before = learner.logits(pixels)
    learner.add_classes(["mug", "cup"])
    assert learner.classes == ("low", "middle", "high", "mug", "cup")
    after = learner.logits(pixels)
    assert np.array_equal(after[:, :3], before)
    assert np.allclose(after[:, 3], before.mean(axis=1), atol=1e-5)
    assert np.array_equal(learner.predict(pixels).ids, before.argmax(axis=1))
    labels = np.where(labels == 2, 4, labels)
    learner.learn(pixels, labels, options=QUICK, epochs=12)
    found = learner.evaluate(pixels, [learner.classes[label] for label in labels])
    assert found.confusion.shape == (5, 5)
    assert found.accuracy_on([4]) > 0.9


@pytest.mark.parametrize(
    ("names", "message"),
    [(["low"], "knows 'low' already"), (["a", "a"], "stands twice"), ([""], "shows nothing")],
)
def test_edge_add_classes_refuses_names_that_would_confuse(names: Any, message: str) -> None:
    learner = EdgeLearner(tiny_student())
    with pytest.raises(ValueError, match=message):
        learner.add_classes(names)
    with pytest.raises(TypeError, match="wanted a list of names"):
        learner.add_classes("mug")
    assert learner.classes == ("low", "middle", "high")


def test_edge_save_and_load_go_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    pixels, labels = images()
    learner = EdgeLearner(tiny_student())
    learner.learn(pixels, labels, options=QUICK)
    learner.save(tmp_path / "student.pyedge")
    loaded = EdgeLearner(tmp_path / "student.pyedge")
    assert not changed(learner.student, loaded.student)
    assert np.array_equal(loaded.logits(pixels), learner.logits(pixels))
    cold = EdgeLearner(tmp_path / "student.pyedge")
    cold.learn(pixels, labels, options=QUICK)
    for each in (learner, loaded):
        each.learn(pixels, labels, options=QUICK, warm_start=True)
    assert not changed(learner.student, loaded.student)
    assert changed(cold.student, loaded.student) == LAST
    assert [entry["command"] for entry in loaded.student.record] == ["learn", "learn"]


def test_edge_warm_start_refuses_momentum_of_other_layers() -> None:
    learner = EdgeLearner(tiny_student())
    learner.learn(*images(), options=QUICK)
    with pytest.raises(ValueError, match=r"warm_start .*other layers"):
        learner.learn(*images(), options=QUICK, warm_start=True, trainable="classifier")
    with pytest.raises(ValueError, match=r"warm_start .*sgd with adam"):
        learner.learn(*images(), options=QUICK, warm_start=True, optimizer="adam")


def test_edge_max_memory_makes_batches_smaller_and_says_so() -> None:
    learner = EdgeLearner(tiny_student())
    limit = learner.memory_bytes(9)
    assert limit > learner.memory_bytes(8)
    assert learner.memory_bytes(9, training=False) < limit
    small = EdgeLearner(tiny_student(), max_memory=limit)
    with pytest.warns(UserWarning, match="9 images, not of 16"):
        result = small.learn(*images(), options=QUICK)
    assert result.batch_size == 9
    assert result.steps == 3 * 6
    learner.learn(*images(), options=QUICK, batch_size=9)
    assert not changed(learner.student, small.student)


@pytest.mark.parametrize(("batch_norm", "least"), [("frozen", 1), ("batch", 2)])
def test_edge_max_memory_too_small_for_one_image_is_an_error(batch_norm: str, least: int) -> None:
    learner = EdgeLearner(tiny_student(), max_memory=1000)
    with pytest.raises(ValueError, match=f"max_memory=1,000 .*no batch of {least}"):
        learner.learn(*images(), options=QUICK, batch_norm=batch_norm)
    with pytest.raises(ValueError, match=r"no batch of 1, .*[\d,]+ to predict"):
        learner.predict(images()[0])


def test_edge_one_image_and_one_class_are_learned_from() -> None:
    pixels, labels = images()
    learner = EdgeLearner(tiny_student())
    result = learner.learn(pixels[:1], labels[:1], options=QUICK, epochs=5)
    assert result.steps == 5
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    learner = EdgeLearner(tiny_student())
    result = learner.learn(pixels[labels == 1], labels[labels == 1], options=QUICK, epochs=20)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert (learner.predict(pixels).ids == 1).mean() > 0.5


def test_edge_a_rest_of_one_image_is_left_out_under_batch_statistics() -> None:
    pixels, labels = images(33)
    learner = EdgeLearner(tiny_student())
    assert learner.learn(pixels, labels, options=QUICK, epochs=1).steps == 3
    assert learner.learn(pixels, labels, options=QUICK, epochs=1, batch_norm="batch").steps == 2
    with pytest.raises(ValueError, match=r"2 images .*got batch_size=16 of 1"):
        learner.learn(pixels[:1], labels[:1], options=QUICK, batch_norm="batch")


def bad(**fields: Any) -> dict[str, Any]:
    pixels, labels = images()
    return {"images": pixels, "labels": labels, **fields}


def nan_image() -> Any:
    pixels = images()[0].astype(np.float32) / 255
    pixels[7, 0, 3, 3] = np.nan
    return pixels


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (bad(labels=None), ValueError, "wanted labels, knowledge, or both"),
        (bad(images=nan_image()), ValueError, "image 7 holds NaN or infinity"),
        (bad(labels=np.full(48, 3)), ValueError, r"labels: wanted ids in 0\.\.2"),
        (bad(labels=np.full(48, -1)), ValueError, "wanted ids from 0"),
        (bad(labels=images()[1][:5]), ValueError, r"labels: wanted shape \(48,\)"),
        (bad(labels=["low"] * 47 + ["mug"]), ValueError, "knows no class mug"),
        (bad(labels=images()[1] + 0.5), TypeError, "whole numbers or names"),
        (
            bad(images=images()[0][:0], labels=images()[1][:0]),
            ValueError,
            "images: wanted at least one, got none",
        ),
        (bad(images=images()[0][:, :, :5]), ValueError, "images: wanted"),
        (bad(val=(images()[0], images()[1][:3])), ValueError, "labels: wanted shape"),
        (bad(val=1.5), ValueError, "wanted a share between 0 and 1"),
        (bad(knowledge=3), TypeError, "knowledge: wanted a Knowledge"),
        (bad(knowledge="nowhere"), FileNotFoundError, "nowhere"),
        (bad(trainable="last"), ValueError, "trainable: wanted .*last_conv"),
        (bad(trainable=("stem",)), ValueError, "no layer 'stem'"),
        (bad(lambdas=(1, 10, 0)), ValueError, "leave no loss without knowledge"),
        (bad(lambdas=(1, 10)), ValueError, "three finite weights"),
        (bad(patience=3), ValueError, "val: wanted .*patience"),
        (bad(score=lambda _: 1.0), ValueError, "val: wanted .*score"),
        (bad(lr=-1.0), ValueError, "lr: wanted a number above 0"),
        (bad(momentun=0.9), TypeError, "got 'momentun' .did you mean momentum"),
        (bad(resume=True), ValueError, "checkpoint: wanted the file to resume from"),
        (bad(lr=1e30, clip=None), DivergedError, "was not finite at step"),
        (bad(checkpoint="/nowhere/at/all"), OSError, "nowhere"),
    ],
)
def test_edge_learn_refuses_what_is_bad_and_stays_as_it_was(
    given: dict[str, Any], error: type[Exception], message: str
) -> None:
    learner = EdgeLearner(tiny_student())
    learner.learn(*images(), options=QUICK, epochs=1)
    student, weights, memory = learner.student, arrays_of(learner), learner.memory_bytes(16)
    with pytest.raises(error, match=message):
        learner.learn(**{"options": QUICK, **given})
    assert learner.student is student
    now = arrays_of(learner)
    assert all(np.array_equal(weights[name], now[name]) for name in weights)
    assert learner.memory_bytes(16) == memory


def test_edge_learn_that_is_interrupted_leaves_the_learner_as_it_was() -> None:
    learner = EdgeLearner(tiny_student())
    before = arrays_of(learner)

    def score(evaluation: Any) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learner.learn(*images(), val=images(seed=2), score=score, options=QUICK, batch_norm="batch")
    now = arrays_of(learner)
    assert all(np.array_equal(before[name], now[name]) for name in before)
    once = EdgeLearner(tiny_student())
    for each in (learner, once):
        each.learn(*images(), options=QUICK)
    assert not changed(once.student, learner.student)


def test_edge_evaluate_refuses_images_without_labels_and_none_at_all() -> None:
    learner = EdgeLearner(tiny_student())
    pixels, labels = images()
    with pytest.raises(ValueError, match=r"evaluate: .*labels of 48 images"):
        learner.evaluate(pixels)
    with pytest.raises(ValueError, match="evaluate: images: wanted at least one, got none"):
        learner.evaluate(pixels[:0], labels[:0])


def test_edge_save_on_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "student.pyedge"
    learner = EdgeLearner(tiny_student())
    learner.save(path)
    old = path.read_bytes()
    learner.learn(*images(), options=QUICK, epochs=1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            learner.save(path)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["student.pyedge"]
    learner.save(path)
    assert not changed(learner.student, read_student(path))


def test_edge_learner_refuses_senseless_settings() -> None:
    with pytest.raises(TypeError, match="threads: wanted a whole number"):
        EdgeLearner(tiny_student(), threads=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_memory: wanted a whole number from 1"):
        EdgeLearner(tiny_student(), max_memory=0)


def test_edge_learner_takes_a_student_without_batch_norm_or_groups() -> None:
    head = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)
    build = GraphBuilder((1, 8, 8))
    x = build.add("flatten", "flatten", [0])
    x = build.add("linear", "head", [x], weight=head, bias=np.zeros(3, np.float32))
    plain: StudentFile = dataclasses.replace(
        tiny_student(),
        nodes=tuple(build.nodes),
        arrays=build.arrays,
        output=x,
        taps=(),
        kept=(),
        teacher_channels=(),
        last_convs=(),
        trainable=("head",),
    )
    learner = EdgeLearner(plain)
    result = learner.learn(*images(), options=QUICK, epochs=10, batch_norm="batch", batch_size=1)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert learner.evaluate(*images()).accuracy > 0.9


def test_edge_learn_takes_pairs_of_image_and_label_and_uses_labels_when_told() -> None:
    pixels, labels = images(12)
    pairs = [(image[0], CLASSES[label]) for image, label in zip(pixels, labels, strict=True)]
    learner, other = EdgeLearner(tiny_student()), EdgeLearner(tiny_student())
    with pytest.raises(ValueError, match="labelled=True takes the labels that images carry"):
        learner.learn(pairs, options=QUICK)
    learner.learn(pairs, labelled=True, options=QUICK)
    other.learn(pixels, labels, options=QUICK)
    assert changed(tiny_student(), learner.student) == LAST
    assert not changed(learner.student, other.student)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own count")
def test_edge_learn_stays_within_what_memory_told(tmp_path: Path) -> None:
    write_student(tiny_student(), tmp_path / "student.pyedge")
    pixels, labels = images(4096)
    np.savez(tmp_path / "data.npz", images=pixels, labels=labels)
    code = (
        "import sys, numpy as np\n"
        "from pyedge.edge.learner import EdgeLearner\n"
        "def peak():\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return next(int(l.split()[1]) * 1024 for l in lines if l.startswith('VmHWM'))\n"
        "data = np.load('data.npz'); images, labels = data['images'], data['labels']\n"
        "learner = EdgeLearner('student.pyedge', threads=2)\n"
        "learner.learn(images[:8], labels[:8], batch_size=8, epochs=1)\n"  # all code is loaded
        "before, told = peak(), learner.memory_bytes(4096)\n"
        "learner.learn(images, labels, batch_size=4096, steps=2)\n"
        "print(before, told, peak())\n"
    )
    command = [sys.executable, "-c", code]
    taken = []
    for _ in range(2):  # what the allocator's threads take beside it varies, and never helps
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        before, told, after = map(int, done.stdout.split())
        taken.append(after - before)
    assert told > 8_000_000
    # beside: what Python and the allocator take, whatever the batch
    assert 0.5 * told < min(taken) < told + 3_000_000
