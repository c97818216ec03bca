"""A pack that is copied, sent to other processes, or read by several learners at once."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyedge.cloud.make_knowledge import make_knowledge
from pyedge.edge.learner import EdgeLearner
from pyedge.errors import FormatError
from pyedge.knowledge.pack import Knowledge
from tests.support.edge_student import changed, tiny_student
from tests.support.knowledge_case import loud_teacher, pixels
from tests.support.together import QUICK, SOON_S, in_threads

COUNT = 24
WAYS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
}


@pytest.fixture
def pack(tmp_path: Path) -> Knowledge:
    return make_knowledge(tiny_student(), loud_teacher(), pixels(COUNT), tmp_path / "pack")


def learn_from(learner: EdgeLearner, pack: Knowledge) -> EdgeLearner:
    learner.learn(pixels(COUNT), np.arange(COUNT) % 3, knowledge=pack, options=QUICK)
    return learner


@pytest.mark.parametrize("way", WAYS)
def test_copy_of_a_pack_reads_the_same_files(way: str, pack: Knowledge) -> None:
    other = WAYS[way](pack)
    rows = np.arange(COUNT)
    assert (other.digest, other.classes, other.nbytes) == (pack.digest, pack.classes, pack.nbytes)
    assert np.array_equal(other.locate(pixels(COUNT)), rows)
    assert np.array_equal(other.batch(rows)["logits"], pack.batch(rows)["logits"])
    assert other._maps[0][0][0] is not pack._maps[0][0][0]


def test_pickle_of_a_pack_holds_its_place_and_no_maps(
    pack: Knowledge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps(Knowledge("pack"))
    assert len(content) < 1000 < pack.nbytes
    monkeypatch.chdir("/")
    assert pickle.loads(content).digest == pack.digest


def test_pickle_of_a_pack_that_is_another_now_is_refused(pack: Knowledge, tmp_path: Path) -> None:
    content = pickle.dumps(pack)
    shutil.rmtree(tmp_path / "pack")
    with pytest.raises((FormatError, OSError), match="pack"):
        pickle.loads(content)
    make_knowledge(tiny_student(), loud_teacher(), pixels(COUNT, seed=1), tmp_path / "pack")
    with pytest.raises(FormatError, match="another pack than the one that was copied"):
        pickle.loads(content)


def test_learners_in_several_threads_learn_from_one_pack(pack: Knowledge) -> None:
    want = learn_from(EdgeLearner(tiny_student()), Knowledge(pack.path)).student
    found = in_threads(
        *[lambda n=n: learn_from(EdgeLearner(tiny_student(), threads=n), pack) for n in (1, 2, 3)]
    )
    assert [changed(want, learner.student) for learner in found] == [set()] * 3


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_learner_and_pack_go_to_another_process_and_teach_there(
    method: str, pack: Knowledge
) -> None:
    want = learn_from(EdgeLearner(tiny_student()), pack).student
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        taught = pool.submit(learn_from, EdgeLearner(tiny_student()), pack).result(2 * SOON_S)
    assert not changed(want, taught.student)
