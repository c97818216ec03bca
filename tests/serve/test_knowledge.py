"""What a teacher in the cloud knows of a device's images: packs over HTTP, in shared batches."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import pyedge
from pyedge.edge.learner import EdgeLearner
from tests.support.edge_student import CLASSES

pytest.importorskip("torch")
pytest.importorskip("fastapi")
import torch
from torch import nn

from pyedge.cloud.network_file import NetworkInfo, load_network, save_network
from pyedge.serve.limits import Limits
from tests.support.cloud_service import NAME, Running, running
from tests.support.knowledge_case import pixels
from tests.support.raw_http import ask, fault

ARRAYS = ("logits.npy", "maps.0.0.npy", "maps.1.1.npy", "norms.0.npy", "images.npy")


def build() -> nn.Module:
    """Build the teacher of the tiny student, as a user's own code would."""
    from tests.support.tiny_pair import pair

    return pair(seed=3)[1].eval()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("knowledge")
    with running(folder, Limits(knowledge_images=50)) as found:
        student = found.service.students.base(found.service.students.row(NAME))
        with pytest.MonkeyPatch.context() as patch:
            # the file of a teacher with own code cannot be opened by a service
            patch.setattr("pyedge.serve.teaching.load_network", lambda path: (build(), _info()))
            found.service.begin_teaching().open(NAME, student, "teacher.pt")
        with found.service.store.database.writing() as connection:
            connection.exec_driver_sql("UPDATE students SET teacher = 'teacher.pt'")
        yield found


def _info() -> NetworkInfo:
    return NetworkInfo(builder="x", classes=CLASSES, input_shape=(1, 8, 8))


def same_packs(one: Path, other: Path, names: tuple[str, ...] = ARRAYS) -> bool:
    # another batch may round otherwise
    return all(
        np.allclose(np.load(one / name).astype(float), np.load(other / name).astype(float),
                    rtol=2e-3, atol=1e-3)
        for name in names
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_pack_of_a_service_is_that_of_make_knowledge(
    service: Running, tmp_path: Path, dtype: str
) -> None:
    cloud, images = service.cloud(), pixels(20)
    path = cloud.download(NAME)
    made = pyedge.make_knowledge(
        path, build(), images, tmp_path / "pack", dtype=dtype, progress=False
    )
    found = cloud.knowledge(path, images, dtype=dtype)
    assert (found.count, found.classes, found.dtype) == (made.count, made.classes, dtype)
    if dtype == "float16":
        assert same_packs(found.path, made.path)
    assert np.allclose(np.load(found.path / "logits.npy"), np.load(made.path / "logits.npy"),
                       atol=1e-4)  # fmt: skip
    assert cloud.knowledge(path, images, dtype=dtype).path == found.path  # not asked again


def test_learner_asks_the_teacher_for_labels(service: Running) -> None:
    cloud, images = service.cloud("labels"), pixels(40, seed=2)
    learner = EdgeLearner(cloud.download(NAME))
    result = learner.learn(images, cloud=cloud)
    assert result.steps == 0
    assert learner.student.record[-1]["labels"] is False
    (pack,) = (cloud.folder / "packs").iterdir()
    assert pyedge.Knowledge(pack).groups == ()  # logits alone
    assert sum(f.stat().st_size for f in pack.iterdir()) / 40 < 1000
    known = learner.statistics
    assert known is not None
    assert int(known.counts.sum()) == 280


def test_learner_takes_steps_from_the_teacher(service: Running) -> None:
    cloud, images = service.cloud("steps"), pixels(40, seed=3)
    learner = EdgeLearner(cloud.download(NAME))
    with pytest.warns(UserWarning, match="statistics"):
        result = learner.learn(images, cloud=cloud, steps=6, lr=0.01, progress=False)
    assert {"J_1", "J_b"} <= result.history[-1].keys()


def test_requests_share_the_teachers_batches(service: Running) -> None:
    cloud = service.cloud("first")
    path = cloud.download(NAME)
    metrics = service.service.metrics
    before = metrics.batches._value.get(), metrics.images._value.get()
    clouds = [service.cloud(f"c{i}") for i in range(12)]
    packs: dict[int, Path] = {}

    def run(number: int) -> None:
        packs[number] = clouds[number].knowledge(path, pixels(10, seed=number), maps=False).path

    teaching = service.service.begin_teaching()
    with teaching._changed:  # the thread waits, so requests gather
        threads = [threading.Thread(target=run, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        teaching._changed.wait(0.7)
    for thread in threads:
        thread.join()
    after = metrics.batches._value.get(), metrics.images._value.get()
    assert after[1] - before[1] == 120
    assert after[0] - before[0] <= 10
    with torch.no_grad():
        for number, pack in packs.items():
            alone = pyedge.make_knowledge(
                path, build(), pixels(10, seed=number), service.folder / f"p{number}",
                progress=False,
            )  # fmt: skip
            assert same_packs(pack, alone.path, ("logits.npy", "images.npy"))
    assert list(service.service.store.work.iterdir()) == []  # nothing of the images is kept


def test_bad_images_are_refused_and_others_are_answered(service: Running) -> None:
    token = service.token("bad")
    address = f"/v1/students/{NAME}/knowledge"
    one = bytes(64)
    for query, body, wanted in (
        ("images=2", one, (422, "invalid")),
        ("images=51", bytes(64 * 51), (413, "too_large")),
        ("images=0", b"", (422, "invalid")),
        ("images=1&dtype=float64", one, (422, "invalid")),
        ("images=1&pixels=float32", np.full(64, np.nan, "<f4").tobytes(), (422, "invalid")),
    ):
        assert fault(ask(service.url, "POST", f"{address}?{query}", token, body)) == wanted
    assert ask(service.url, "POST", f"{address}?images=1", token, one)[0] == 200


def test_fuzzed_images_never_make_it_fail(service: Running) -> None:
    random = np.random.default_rng(2)
    token = service.token("fuzz")
    seen = set()
    for _ in range(150):
        count = int(random.choice([0, 1, 2, 50, 51, 10**30]))
        pixels = str(random.choice(["uint8", "float32", "int64"]))
        size = min(count, 60) * 64 * (4 if pixels == "float32" else 1) + int(
            random.choice([0, 0, 1])
        )
        query = f"images={count}&pixels={pixels}&maps={random.choice(['true', 'false', '2'])}"
        headers = {"Accept_Encoding": str(random.choice(["gzip", "gzip;q=0", "*", "br"]))}
        body = random.bytes(size)  # as float32: NaN, infinity and numbers beyond any image
        address = f"/v1/students/{NAME}/knowledge?{query}"
        status, _, content = ask(service.url, "POST", address, token, body, **headers)
        seen.add(status)
        assert status < 500, (query, content)
    assert {200, 413, 422} <= seen
    assert list(service.service.store.work.iterdir()) == []


def test_learning_goes_on_without_a_network_where_labels_are(tmp_path: Path) -> None:
    cloud = pyedge.Cloud("http://127.0.0.1:9", tries=1, folder=tmp_path)
    from tests.support.cloud_service import described_student

    learner = EdgeLearner(described_student(tmp_path / "s.pyedge"))
    student = learner.student
    served = {"command": "serve", "student": NAME, "version": 1}
    learner = EdgeLearner(type(student)(**{**vars(student), "record": (*student.record, served)}))
    images = pixels(12)
    with pytest.raises(pyedge.OfflineError, match=r"127\.0\.0\.1:9 cannot be reached"):
        learner.learn(images, cloud=cloud)
    learner.learn(images, np.arange(12) % 3, cloud=cloud)  # statistics ask no teacher
    with (
        pytest.warns(UserWarning, match="statistics"),
        pytest.warns(UserWarning, match="learned from their labels alone"),
    ):
        learner.learn(images, np.arange(12) % 3, cloud=cloud, steps=2, progress=False)


def test_service_opens_the_teacher_of_a_file(tmp_path: Path) -> None:
    from pyedge import models

    teacher = models.create("wrn_16_1", num_classes=3, in_channels=1).eval()
    info = NetworkInfo(
        builder="wrn_16_1",
        options={"num_classes": 3, "in_channels": 1},
        classes=CLASSES,
        input_shape=(1, 8, 8),
    )
    save_network(tmp_path / "teacher.pt", teacher, info)
    assert load_network(tmp_path / "teacher.pt")[1].classes == CLASSES
    student = pyedge.compress(teacher, 1.0, torch.rand(8, 1, 8, 8))
    pyedge.export(student, tmp_path / "plain.pyedge", classes=CLASSES)
    pyedge.write_student(
        pyedge.add_statistics(tmp_path / "plain.pyedge", pixels(60), np.arange(60) % 3),
        tmp_path / "s.pyedge",
    )
    from pyedge.serve.opening import open_service
    from pyedge.serve.store import Store
    from pyedge.serve.students import add_student

    store = Store(tmp_path / "store")
    add_student(store, tmp_path / "s.pyedge", "wrn", str(tmp_path / "teacher.pt"))
    store.close()
    service = open_service(tmp_path / "store")
    assert service.teaching is not None
    assert service.teaching.shape("wrn") == (1, 8, 8)
    service.teaching.close()
    service.store.close()


def test_threads_share_a_request_and_a_teacher(service: Running) -> None:
    teaching = service.service.begin_teaching()
    student = service.service.students.base(service.service.students.row(NAME))
    from pyedge.images.edge_images import EdgeImages
    from pyedge.serve.lessons import Wanted
    from pyedge.serve.metrics import Metrics
    from pyedge.serve.teaching import Teaching

    images = pixels(50)
    given = EdgeImages.of(images, student.input_shape, labelled=None, preprocessing={})
    wanted = Wanted(given, True, "int8")
    alone = teaching.ask(NAME, wanted).result()
    together = Teaching(service.folder, Metrics(), 100, workers=3)
    together._known = teaching._known
    answers = [together.ask(NAME, wanted) for _ in range(8)]
    for answer in answers:
        found = answer.result()
        assert found.keys() == alone.keys()
        assert found["images.npy"] == alone["images.npy"]
        assert np.allclose(_logits(found), _logits(alone), atol=1e-4)
    together.close()
    assert together._metrics.images._value.get() == 8 * 50
    assert together._metrics.batches._value.get() >= 13


def test_what_nobody_waits_for_is_not_computed(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    teaching = service.service.begin_teaching()
    student = service.service.students.base(service.service.students.row(NAME))
    from pyedge.images.edge_images import EdgeImages
    from pyedge.serve.lessons import Wanted
    from pyedge.serve.metrics import Metrics
    from pyedge.serve.teaching import Teaching

    given = EdgeImages.of(pixels(200), student.input_shape, labelled=None, preprocessing={})
    begun, go_on = threading.Event(), threading.Event()
    teach = Teaching._teach

    def slowly(self: Teaching, shares: list[object]) -> None:
        begun.set()
        go_on.wait(60)
        teach(self, shares)

    monkeypatch.setattr(Teaching, "_teach", slowly)
    alone = Teaching(service.folder, Metrics(), 100, workers=1)
    alone._known = teaching._known
    answers = [alone.ask(NAME, Wanted(given, True, "float16")) for _ in range(3)]
    assert begun.wait(60)
    for answer in answers:
        assert answer.cancel()
    go_on.set()
    alone.close()
    assert alone._metrics.images._value.get() < 200  # the batch that ran, of 600 images
    assert not list(service.folder.glob("pack-*"))


@pytest.mark.parametrize(
    ("processors", "workers"), [(1, 1), (2, 2), (3, 3), (6, 3), (7, 1), (16, 4)]
)
def test_threads_that_teach_leave_no_processor_idle(processors: int, workers: int) -> None:
    from pyedge.serve.teaching import _workers

    assert _workers(processors) == workers


def _logits(pack: Mapping[str, bytes]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.load(io.BytesIO(pack["logits.npy"]))
    return found
