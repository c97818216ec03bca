"""pyedge serve --engine ray: the teacher in replicas of Ray Serve, and the same answers."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import pyedge
from tests.support.edge_student import CLASSES
from tests.support.ray_cluster import NO_RAY, time_limit

pytest.importorskip("torch")
pytest.importorskip("fastapi")
pytest.importorskip("ray", reason=NO_RAY)
import torch

from pyedge import models
from pyedge.cloud.network_file import NetworkInfo, save_network
from pyedge.images.edge_images import EdgeImages
from pyedge.serve.lessons import Wanted
from pyedge.serve.metrics import Metrics
from pyedge.serve.refusals import RefusalError
from pyedge.serve.replicas import Replicas
from pyedge.serve.store import Store
from pyedge.serve.students import add_student
from pyedge.serve.tokens import OF_DEVICES, add_token
from tests.support.cloud_service import Process
from tests.support.knowledge_case import pixels
from tests.support.raw_http import ask, fault

NAME = "grey"
OPTIONS = {"num_classes": 3, "in_channels": 1}
# Ray Serve's own warnings, when it is imported
pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
MANY = 1000  # images of a request, in eight pieces
REPLICA = "ray::ServeReplica:pyedge-"


class Case:
    """A service that runs, its teacher, and how to ask it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        torch.manual_seed(0)
        self.teacher = models.create("wrn_16_1", **OPTIONS).eval()
        self.student = folder / "student.pyedge"
        info = NetworkInfo(
            builder="wrn_16_1", options=OPTIONS, classes=CLASSES, input_shape=(1, 8, 8)
        )
        save_network(folder / "teacher.pt", self.teacher, info)
        cut = pyedge.compress(self.teacher, 1.0, torch.rand(8, 1, 8, 8))
        pyedge.export(cut, folder / "plain.pyedge", classes=CLASSES)
        pyedge.write_student(
            pyedge.add_statistics(folder / "plain.pyedge", pixels(60), np.arange(60) % 3),
            self.student,
        )
        store = Store(folder / "store")
        add_student(store, self.student, NAME, str(folder / "teacher.pt"))
        self.token = add_token(store.database, "device", OF_DEVICES)
        store.close()
        self.process = Process(
            *(folder / "store", 0, "--engine", "ray", "--replicas", "1:2"), log=folder / "log"
        )

    def told(self, images: np.ndarray, device: str = "device", **options: Any) -> Path:
        """Return the pack that the service gives a device; all devices share a token."""
        cloud = pyedge.Cloud(
            self.process.url, token=self.token, folder=self.folder / device, timeout=60, tries=8
        )
        return cloud.knowledge(cloud.download(NAME), images, **options).path

    def made(self, images: np.ndarray, **options: Any) -> Path:
        """Return the pack that one process makes of these images."""
        target = self.folder / f"made-{len(list(self.folder.iterdir()))}"
        return pyedge.make_knowledge(
            self.student, self.teacher, images, target, progress=False, **options
        ).path


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with time_limit(180):
        case = Case(tmp_path_factory.mktemp("ray"))
    yield case
    if case.process.running:
        case.process.kill()


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    with time_limit(120):
        yield


def replicas() -> list[int]:
    """The processes of replicas on this machine."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if place.read_bytes().startswith(REPLICA.encode()):
                found.append(int(place.parent.name))
        except OSError:  # it has ended
            continue
    return found


def arrays(pack: Path) -> dict[str, np.ndarray]:
    return {path.name: np.load(path) for path in sorted(pack.glob("*.npy"))}


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_pack_of_replicas_is_that_of_one_process(service: Case, dtype: str) -> None:
    images = pixels(20, seed=1)
    mine = arrays(service.made(images, dtype=dtype))
    its = arrays(service.told(images, dtype=dtype))
    assert mine.keys() == its.keys()
    for name, array in mine.items():  # one batch there as here: the same bits
        assert np.array_equal(array, its[name]), name


def test_large_request_is_shared_in_pieces(service: Case) -> None:
    images = pixels(300, seed=2)
    found = arrays(service.told(images))
    mine = arrays(service.made(images))
    assert np.array_equal(found["images.npy"], mine["images.npy"])
    assert np.allclose(found["logits.npy"], mine["logits.npy"], atol=1e-4)
    for name in ("maps.0.0.npy", "maps.2.0.npy", "norms.1.npy"):  # other batches round otherwise
        assert np.allclose(found[name].astype(float), mine[name].astype(float), 2e-3, 1e-3)


def test_devices_that_ask_at_once_get_their_own_answers(service: Case) -> None:
    packs: dict[int, Path] = {}

    def run(number: int) -> None:
        images = pixels(5 + number, seed=number)
        packs[number] = service.told(images, f"at-once-{number}", maps=False)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(6):
        mine = arrays(service.made(pixels(5 + number, seed=number)))
        found = arrays(packs[number])
        assert np.array_equal(found["images.npy"], mine["images.npy"])
        assert np.allclose(found["logits.npy"], mine["logits.npy"], atol=1e-4)
    assert list((service.folder / "store" / "work").iterdir()) == []


def test_bad_images_are_refused_as_by_one_process(service: Case) -> None:
    address, one = f"/v1/students/{NAME}/knowledge", bytes(64)
    for query, body, wanted in (
        ("images=2", one, (422, "invalid")),
        ("images=2000", bytes(64 * 2000), (413, "too_large")),
        ("images=1&pixels=float32", np.full(64, np.nan, "<f4").tobytes(), (422, "invalid")),
        ("images=1&pixels=float32", np.full(64, 3e38, "<f4").tobytes(), (422, "invalid")),
    ):
        url = service.process.url
        assert fault(ask(url, "POST", f"{address}?{query}", service.token, body)) == wanted
    assert ask(url, "POST", f"{address}?images=1", service.token, one)[0] == 200


def test_a_busy_service_makes_another_replica(service: Case) -> None:
    assert len(replicas()) == 1
    address = f"/v1/students/{NAME}/knowledge?images={MANY}&maps=true"
    over = threading.Event()
    statuses: set[int] = set()

    def run() -> None:
        while not over.is_set():
            url, body = service.process.url, bytes(64 * MANY)
            statuses.add(ask(url, "POST", address, service.token, body)[0])

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 100  # Ray Serve looks at half a minute of load
    while len(replicas()) < 2 and time.monotonic() < until:
        time.sleep(0.5)
    over.set()
    for thread in threads:
        thread.join()
    assert len(replicas()) == 2
    assert statuses <= {200, 429, 503}
    assert 200 in statuses


def test_replica_that_is_killed_comes_back_and_a_device_waits(service: Case) -> None:
    before = replicas()
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    images = pixels(9, seed=7)
    found, mine = (
        arrays(pack)["logits.npy"]
        for pack in (service.told(images, "patient", maps=False), service.made(images))
    )
    assert np.allclose(found, mine, atol=1e-4)
    assert not set(before) & set(replicas())


def test_service_ends_at_a_signal_and_so_do_its_replicas(service: Case) -> None:
    assert replicas()
    assert service.process.stop() in (0, -signal.SIGTERM)
    until = time.monotonic() + 30
    while replicas() and time.monotonic() < until:
        time.sleep(0.2)
    assert replicas() == []


def test_replica_answers_each_request_of_a_batch_as_it_was_asked() -> None:
    from pyedge.cloud.knowledge_inputs import fit
    from pyedge.serve.ray_replica import Asked, Replica, size_of
    from tests.support.edge_student import tiny_student
    from tests.support.knowledge_case import loud_teacher

    replica = Replica.__new__(Replica)
    replica._pair = fit(loud_teacher(), tiny_student())
    images = [
        EdgeImages.from_array(pixels(count, seed=count), (1, 8, 8), channels_last=False)
        for count in (3, 4, 1)
    ]
    asked = [Asked(images[0], True, "float16"), Asked(images[1], True, "int8")]
    asked.append(Asked(images[2], False, "float16"))
    assert size_of(asked) == 8
    found = replica._teach(asked)
    assert [len(each.logits) for each in found] == [3, 4, 1]
    assert [each.maps[0][0].values.dtype for each in found[:2]] == [np.float16, np.int8]
    assert found[2].maps == []
    for one, answers in zip(asked, found, strict=True):
        (alone,) = replica._teach([one])
        assert np.allclose(answers.logits, alone.logits, atol=1e-5)


def test_gpus_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyedge.serve import ray_teaching

    @contextmanager
    def without_gpu(where: str, workers: int) -> Iterator[Any]:
        yield SimpleNamespace(cluster_resources=lambda: {"CPU": 2.0})

    monkeypatch.setattr(ray_teaching, "cluster", without_gpu)
    service: Any = SimpleNamespace(
        metrics=None,
        store=SimpleNamespace(work=None, folder="store"),
        limits=SimpleNamespace(knowledge_at_once=1),
    )
    with pytest.raises(ValueError, match="gpus_per_replica: wanted 0, since Ray has no GPU here"):
        ray_teaching.RayTeaching(service, Replicas(1, 1, 0.5))


def test_request_of_a_replica_that_dies_is_answered_503(tmp_path: Path) -> None:
    from ray.exceptions import ActorDiedError, RayTaskError

    from pyedge.serve.ray_teaching import RayTeaching

    class Lost:
        """A handle whose requests end with an error."""

        def __init__(self, error: Exception) -> None:
            self.teach = SimpleNamespace(remote=self._remote)
            self.error = error

        async def _remote(self, asked: Any) -> Any:
            raise self.error

    teaching = RayTeaching.__new__(RayTeaching)
    teaching._work, teaching._metrics, teaching._most, teaching._waiting = tmp_path, Metrics(), 1, 0
    images = EdgeImages.from_array(pixels(2), (1, 8, 8), channels_last=False)
    wanted = Wanted(images, False, "float16")
    teacher_failed = RayTaskError("teach", "traceback", ZeroDivisionError("in the teacher"))
    for error, kind in ((ActorDiedError(), RefusalError), (teacher_failed, RayTaskError)):
        teaching._known = {"x": SimpleNamespace(handle=Lost(error))}  # type: ignore[dict-item]
        with pytest.raises(kind) as told:
            asyncio.run(teaching.answer("x", wanted))
        assert list(tmp_path.iterdir()) == []
        assert teaching.waiting() == 0
        if kind is RefusalError:
            assert (told.value.status, told.value.code) == (503, "teacher")
    teaching._most = 0
    with pytest.raises(RefusalError, match="too many requests wait") as told:
        asyncio.run(teaching.answer("x", wanted))
    assert told.value.status == 503


def test_replicas_are_checked() -> None:
    for wrong, match in (
        ({"least": 0}, "replicas: least: wanted a whole number from 1, got 0"),
        ({"least": 3, "most": 2}, "replicas: most: wanted a whole number from 3, got 2"),
        ({"gpus": -1}, "gpus_per_replica: wanted a number from 0, got -1"),
    ):
        with pytest.raises(ValueError, match=match):
            Replicas(**wrong)
