"""Learning from a knowledge pack: as transfer does it in torch, without a teacher on the device."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pyedge.cloud.make_knowledge import make_knowledge  # noqa: E402
from pyedge.cloud.training.train import train  # noqa: E402
from pyedge.cloud.training.transfer import transfer  # noqa: E402
from pyedge.data import Augment, BatchLoader, ImageSet  # noqa: E402
from pyedge.edge.learn_options import LearnOptions  # noqa: E402
from pyedge.edge.learner import EdgeLearner  # noqa: E402
from pyedge.knowledge.pack import Knowledge  # noqa: E402
from pyedge.student.file import StudentFile  # noqa: E402
from tests.support.edge_student import CLASSES, changed, images, tiny_student  # noqa: E402
from tests.support.tiny_pair import Logits, TinyStudent, TinyTeacher, pair  # noqa: E402

LAST = {"groups.0.1.0.weight", "groups.1.1.0.weight", "head.weight", "head.bias"}
PIXELS, LABELS = images()
SETTINGS: dict[str, Any] = {"lr": 0.02, "steps": 10, "seed": 4, "progress": False}
OPTIONS = LearnOptions(batch_size=20, **SETTINGS)


def image_set() -> ImageSet:
    return ImageSet(torch.from_numpy(PIXELS), torch.from_numpy(LABELS), CLASSES)


@pytest.fixture(scope="module")
def teacher() -> TinyTeacher:
    _, teacher = pair()
    loader = BatchLoader(image_set(), 16, seed=0)
    result = train(Logits(teacher), loader, epochs=10, lr=0.1, progress=False)
    assert result.history[-1]["loss"] < 0.2
    return teacher


@pytest.fixture(scope="module")
def pack(teacher: TinyTeacher, tmp_path_factory: pytest.TempPathFactory) -> Knowledge:
    path = tmp_path_factory.mktemp("packs") / "pack"
    return make_knowledge(tiny_student(), teacher, PIXELS, path, progress=False)


def torch_twin(student: StudentFile) -> TinyStudent:
    model, _ = pair()
    state = model.state_dict()
    state.update({name: torch.from_numpy(np.array(v)) for name, v in student.arrays.items()})
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("everything", [False, True])
def test_edge_learn_does_what_transfer_does(
    labels: bool, everything: bool, teacher: TinyTeacher, pack: Knowledge
) -> None:
    how = {"trainable": "last_conv", "batch_norm": "frozen"}
    if everything:
        how = {"trainable": "all", "batch_norm": "batch"}
    model = torch_twin(tiny_student())
    expected = transfer(
        model, teacher, BatchLoader(image_set(), 20, seed=4), labelled=labels, **SETTINGS, **how
    )
    learner = EdgeLearner(tiny_student())
    result = learner.learn(
        PIXELS, LABELS if labels else None, knowledge=pack, options=OPTIONS, **how
    )
    mine, theirs = result.history[-1], expected.history[-1]
    assert set(mine) == set(theirs)
    assert mine["pairs"] == theirs["pairs"]
    # the pack's maps are float16, right to 5e-4; ten steps make no more of it than this
    for name in {"J_1", "J_b", "J_3", "loss"} & set(theirs):
        assert mine[name] == pytest.approx(theirs[name], rel=5e-3, abs=1e-3), name
    first = tiny_student()
    for name, value in model.state_dict().items():
        if name not in first.arrays:
            continue
        start, end = first.arrays[name], learner.student.arrays[name]
        moved = np.abs(value.numpy() - start).max()
        assert np.abs(value.numpy() - end).max() <= 0.02 * moved + 1e-6, name
    assert changed(first, learner.student) >= LAST


def test_edge_learn_without_labels_comes_near_the_teacher(pack: Knowledge) -> None:
    learner = EdgeLearner(tiny_student())
    result = learner.learn(PIXELS, knowledge=pack, options=OPTIONS, lr=0.1, steps=60, val=0.25)
    first, last = result.history[0], result.history[-1]
    assert last["J_1"] < 0.7 * first["J_1"]
    assert last["J_b"] < first["J_b"]
    assert last["val_accuracy"] >= first["val_accuracy"]  # agreement with the teacher
    assert "J_3" not in last


def test_edge_learn_takes_some_of_the_packs_images_in_any_order(pack: Knowledge) -> None:
    order = np.random.default_rng(0).permutation(48)[:20]
    results = []
    for rows in (order, np.sort(order)):
        learner = EdgeLearner(tiny_student())
        learner.learn(PIXELS[rows], knowledge=pack, options=OPTIONS, steps=3)
        results.append(learner.student)
    # one batch holds all 20, so that only the order of its sums differs
    for name in LAST:
        np.testing.assert_allclose(results[0].arrays[name], results[1].arrays[name], atol=1e-4)


def test_edge_learn_matches_a_larger_teachers_classes_by_name(
    teacher: TinyTeacher, pack: Knowledge, tmp_path: Path
) -> None:
    names = ["high", "middle", "more", "low", "other"]
    wide = TinyTeacher()
    wide.load_state_dict(teacher.state_dict())
    wide.classifier = torch.nn.Linear(8, len(names))
    with torch.no_grad():
        for i, name in enumerate(CLASSES):
            wide.classifier.weight[names.index(name)] = teacher.classifier.weight[i]
            wide.classifier.bias[names.index(name)] = teacher.classifier.bias[i]
    larger = make_knowledge(
        tiny_student(), wide, PIXELS, tmp_path / "p", classes=names, progress=False
    )
    students = []
    for knowledge in (pack, larger):
        learner = EdgeLearner(tiny_student())
        learner.learn(PIXELS, knowledge=knowledge, options=OPTIONS)
        students.append(learner.student)
    assert not changed(*students)


def test_edge_learn_needs_a_teacher_that_knows_the_classes(pack: Knowledge) -> None:
    learner = EdgeLearner(tiny_student())
    learner.add_classes(["mug"])
    with pytest.raises(ValueError, match=r"no class mug.* J_1 weight 0 in lambdas"):
        learner.learn(PIXELS, LABELS, knowledge=pack, options=OPTIONS)
    result = learner.learn(PIXELS, LABELS, knowledge=pack, options=OPTIONS, lambdas=(0, 10, 1))
    assert {"J_b", "J_3"} <= set(result.history[0])
    assert "J_1" not in result.history[0]


def test_edge_learn_from_maps_alone_leaves_the_classifier(pack: Knowledge) -> None:
    learner = EdgeLearner(tiny_student())
    learner.learn(PIXELS, knowledge=pack, options=OPTIONS, lambdas=(0, 1, 0))
    assert changed(tiny_student(), learner.student) == {
        "groups.0.1.0.weight", "groups.1.1.0.weight"
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"nothing .*J_b can train"):
        learner.learn(
            PIXELS, knowledge=pack, options=OPTIONS, lambdas=(0, 1, 0), trainable="classifier"
        )


def test_edge_learn_draws_views_from_the_seed(teacher: TinyTeacher, tmp_path: Path) -> None:
    augment = Augment(crop_padding=1, flip=True, cutout=0)
    pack = make_knowledge(
        tiny_student(), teacher, PIXELS, tmp_path / "p", views=3, augment=augment, progress=False
    )
    students = []
    for seed in (1, 1, 2):
        learner = EdgeLearner(tiny_student())
        result = learner.learn(PIXELS, knowledge=pack, options=OPTIONS, seed=seed, steps=30)
        assert result.history[-1]["loss"] < result.history[0]["loss"]
        students.append(learner.student)
    assert not changed(students[0], students[1])
    assert changed(students[0], students[2]) == LAST


def test_edge_learn_refuses_knowledge_of_something_else(pack: Knowledge) -> None:
    other = tiny_student()
    other = dataclasses.replace(other, kept=(np.array([0, 1, 2, 3]), other.kept[1]))
    learner = EdgeLearner(other)
    with pytest.raises(ValueError, match="got another student"):
        learner.learn(PIXELS, knowledge=pack, options=OPTIONS)
    learner = EdgeLearner(tiny_student())
    with pytest.raises(ValueError, match=r"not know 48 of .*48 images"):
        learner.learn(images(seed=9)[0], knowledge=pack, options=OPTIONS)
    with pytest.raises(ValueError, match=r"pack .*several views"):
        learner.learn(PIXELS, knowledge=pack, options=OPTIONS, flip=True)
    with pytest.raises(ValueError, match="leave no loss without labels"):
        learner.learn(PIXELS, knowledge=pack, options=OPTIONS, lambdas=(0, 0, 1))
    assert not changed(tiny_student(), learner.student)


def test_edge_checkpoint_of_other_knowledge_is_refused(
    teacher: TinyTeacher, pack: Knowledge, tmp_path: Path
) -> None:
    path = tmp_path / "run.checkpoint"
    small = make_knowledge(
        tiny_student(), teacher, PIXELS, tmp_path / "p", dtype="int8", progress=False
    )
    learner = EdgeLearner(tiny_student())
    learner.learn(PIXELS, knowledge=pack, options=OPTIONS, checkpoint=path)
    learner = EdgeLearner(tiny_student())
    with pytest.raises(ValueError, match="another run: knowledge is"):
        learner.learn(PIXELS, knowledge=small, options=OPTIONS, checkpoint=path, resume=True)
