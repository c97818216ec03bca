"""Devices that learn from each other through a service: students, categories, contributions."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import pyedge
from pyedge.edge.analytic import on_grid
from pyedge.edge.learner import EdgeLearner
from pyedge.images.edge_images import EdgeImages
from pyedge.remote.downloads import digest_of
from pyedge.remote.outbox import Entry, send_one
from pyedge.statistics.sums import Statistics, of_values
from tests.support.edge_student import images
from tests.support.statistics_case import same

pytest.importorskip("fastapi")
from pyedge.serve.limits import Limits
from tests.support.cloud_service import CLASSES, NAME, Running, columns, running

PIXELS, LABELS = images(60, seed=8)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as found:
        yield found


def taught(path: Path, name: str, column: int, count: int = 30, seed: int = 1) -> EdgeLearner:
    learner = EdgeLearner(path)
    learner.add_classes([name])
    learner.learn(columns(count, column, seed), [name] * count)
    return learner


def statistics(learner: EdgeLearner) -> Statistics:
    found = learner.statistics
    assert found is not None
    return found


def test_students_are_listed_and_downloaded_once(service: Running) -> None:
    cloud = service.cloud()
    (told,) = cloud.students()
    assert (told.name, told.version, told.classes) == (NAME, 1, CLASSES)
    assert (told.images, told.contributions, told.teacher) == (240, 0, False)
    path = cloud.download(NAME)
    assert path.stat().st_size == told.bytes
    before = path.stat().st_mtime_ns
    assert cloud.download(NAME, service.folder / "copy.pyedge").read_bytes() == path.read_bytes()
    assert path.stat().st_mtime_ns == before
    assert EdgeLearner(path).student.record[-1] == {
        "command": "serve",
        "student": NAME,
        "version": 1,
    }


def test_two_devices_know_what_each_has_learned(service: Running) -> None:
    one, two = service.cloud("one"), service.cloud("two")
    first = taught(one.download(NAME), "mug", 1)
    sent = one.contribute(first)
    assert sent is not None
    assert (sent.state, sent.student) == ("counted", NAME)
    second = taught(two.download(NAME), "cup", 5)
    assert second.classes == (*CLASSES, "mug", "cup")
    assert two.contribute(second).state == "counted"  # type: ignore[union-attr]
    both = EdgeLearner(one.download(NAME))
    assert set(both.classes) == {*CLASSES, "mug", "cup"}
    assert statistics(both).count("mug") == statistics(both).count("cup") == 30
    for name, column in (("mug", 1), ("cup", 5)):
        found = both.evaluate(columns(20, column, 77), [name] * 20)
        assert found.accuracy > 0.8


def test_contribution_counts_each_image_once(service: Running) -> None:
    cloud = service.cloud()
    learner = taught(cloud.download(NAME), "mug", 1)
    assert cloud.contribute(learner) is not None
    assert cloud.contribute(learner) is None
    learner.learn(columns(10, 1, 2), ["mug"] * 10)
    assert cloud.contribute(learner) is not None
    (told,) = cloud.students()
    assert (told.images, told.contributions) == (280, 2)
    whole = EdgeLearner(cloud.download(NAME))
    assert same(statistics(whole), statistics(learner))


def test_contribution_leaves_out_what_came_from_others(service: Running) -> None:
    one, two = service.cloud("one"), service.cloud("two")
    first = taught(one.download(NAME), "mug", 1)
    pyedge.make_category(first, columns(30, 1, 1), "mug", service.folder / "m", detail="full")
    assert one.offer(service.folder / "m", NAME).state == "offered"
    assert one.contribute(first) is not None
    assert [each.name for each in two.categories(NAME)] == ["mug"]
    # another learner of the same student on the same device, to which the category came
    second = EdgeLearner(service.folder / "of-one" / "students" / f"{NAME}.1.pyedge")
    second.add_category(one.category("mug"))
    assert one.contribute(second) is None
    second.learn(columns(7, 6, 3), ["middle"] * 7)
    sent = one.contribute(second)
    assert sent is not None
    assert service.service.contributions.get(NAME, sent.digest).images == 7


def test_contribution_of_unknown_origin_is_not_guessed(service: Running) -> None:
    cloud = service.cloud()
    learner = EdgeLearner(cloud.download(NAME))
    pyedge.make_category(learner, columns(30, 1, 1), "mug", service.folder / "m")
    learner.add_category(service.folder / "m")
    with pytest.raises(ValueError, match=r"learner: .* got class 'mug' from a category file"):
        cloud.contribute(learner)
    foreign = EdgeLearner(service.folder / "student.pyedge")
    with pytest.raises(ValueError, match=r"learner: wanted one that began as a student of Cloud"):
        cloud.contribute(foreign)
    before = statistics(foreign)
    foreign.learn(PIXELS, LABELS)
    sent = cloud.contribute(foreign, since=before, student=NAME)
    assert sent is not None
    assert service.service.contributions.get(NAME, sent.digest).images == 60
    merged = EdgeLearner(cloud.download(NAME))
    merged.merge(pyedge.subtract_statistics(statistics(foreign), before))
    with pytest.raises(ValueError, match=r"learner: .* merged from other devices"):
        cloud.contribute(merged)


def test_withdrawn_contribution_leaves_no_trace(service: Running) -> None:
    one, two = service.cloud("one"), service.cloud("two")
    base = one.download(NAME)
    a, b = taught(base, "mug", 1), taught(base, "cup", 5)
    first = one.contribute(a)
    assert first is not None
    only = EdgeLearner(one.download(NAME))
    two.download(NAME)
    second = two.contribute(b, since=EdgeLearner(base), student=NAME)
    assert second is not None
    assert "cup" in EdgeLearner(one.download(NAME)).classes
    with pytest.raises(pyedge.RefusedError, match="contribution: the service has none"):
        one.withdraw(second.digest, NAME)  # another device's
    assert two.withdraw(second.digest, NAME).state == "withdrawn"
    after = EdgeLearner(one.download(NAME))
    assert after.classes == only.classes
    assert same(statistics(after), statistics(only))
    assert np.array_equal(after.logits(PIXELS), only.logits(PIXELS))
    again = two.contribute(b, since=EdgeLearner(base), student=NAME)
    assert again is None  # it was sent, and what became of it stays


@pytest.fixture
def trusting(tmp_path: Path) -> Iterator[Running]:
    """A service that holds none back: three images may cost some accuracy for a while."""
    with running(tmp_path, Limits(most_drop=1.0)) as found:
        yield found


def test_hundred_contributions_are_the_central_classifier(trusting: Running) -> None:
    """Of 100 devices, in random order and together, a third sent again as after a lost answer."""
    service = trusting
    central = EdgeLearner(service.folder / "student.pyedge")
    random = np.random.default_rng(3)
    pixels, labels = images(300, seed=11)
    student = central.student
    given, rows = EdgeImages.of(pixels, student.input_shape, labels), np.arange(300)
    found = on_grid(student.engine(), student, given, rows, 64, "test")
    entries = []
    for number, part in enumerate(np.array_split(random.permutation(300), 100)):
        path = service.folder / f"{number}.sums"
        sums = of_values(
            *(found.values[part], labels[part], CLASSES),
            digest=found.digest,
            step=found.step,
            pooled=False,
        )
        pyedge.write_statistics(sums, path)
        entries.append((Entry(digest_of(path), "contributions", NAME, number), path))
    devices = [service.cloud(f"device {number}")._connection for number in range(100)]

    def send(number: int) -> str:
        state = send_one(devices[number], *entries[number]).state
        devices[number].close()
        return state

    with ThreadPoolExecutor(4) as pool:
        order = random.permutation([*range(100), *range(0, 100, 3)]).tolist()
        assert set(pool.map(send, order)) == {"counted"}
    central.learn(pixels, labels)
    (told,) = service.cloud("another").students()
    assert (told.contributions, told.images) == (100, 540)
    together = EdgeLearner(service.cloud("another").download(NAME))
    assert np.abs(together.logits(PIXELS) - central.logits(PIXELS)).max() <= 1e-6


def test_harmful_contribution_is_held_until_a_person_decides(service: Running) -> None:
    cloud = service.cloud()
    learner = EdgeLearner(cloud.download(NAME))
    pixels, labels = images(300, seed=4)
    learner.learn(pixels, (labels + 1) % 3)  # all labels wrong
    sent = cloud.contribute(learner)
    assert sent is not None
    assert sent.state == "held"
    assert "would fall from" in sent.reason
    (told,) = cloud.students()
    assert (told.version, told.contributions) == (1, 0)
    contributions = service.service.contributions
    assert [each.digest for each in contributions.list(("held",))] == [sent.digest]
    contributions.move(NAME, sent.digest, "counted", "by a person")
    (told,) = cloud.students()
    assert (told.version, told.contributions) == (2, 1)


@pytest.mark.parametrize(
    ("scale", "count", "message"),
    [
        (50, 30, r"features: wanted a size up to 4 times"),
        (1, 100_001, r"images: wanted from 1 to 100000, got 100001"),
    ],
)
def test_impossible_contribution_is_refused(
    service: Running, scale: int, count: int, message: str
) -> None:
    cloud = service.cloud()
    learner = taught(cloud.download(NAME), "mug", 1)
    mine = pyedge.subtract_statistics(
        statistics(learner), statistics(EdgeLearner(service.folder / "student.pyedge"))
    )
    factor = count // 30
    altered = type(mine)(
        **{
            **vars(mine),
            "counts": mine.counts * factor + count % 30,
            "described": mine.described * factor + count % 30,
            "sums": mine.sums * scale * factor,
            "described_sums": mine.described_sums * scale * factor,
            "moments": mine.moments * scale**2 * max(factor, 1) * 2,
        }
    )
    pyedge.write_statistics(altered, service.folder / "altered")
    with cloud._outbox.alone():
        cloud._outbox.put("contributions", NAME, partial(pyedge.write_statistics, altered))
    (outcome,) = cloud.flush()
    assert outcome.state == "refused"
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(outcome.reason)
    assert cloud.waiting() == ()


def test_category_of_several_students_must_be_chosen(service: Running) -> None:
    from pyedge.serve.students import add_student

    add_student(service.service.store, service.folder / "student.pyedge", "other")
    cloud = service.cloud()
    learner = EdgeLearner(cloud.download(NAME))
    pyedge.make_category(learner, columns(30, 1, 1), "mug", service.folder / "m")
    with pytest.raises(pyedge.RefusedError, match=r"catalogue \(it is empty\), got 'mug'"):
        cloud.category("mug")
    for student in (NAME, "other"):
        assert cloud.offer(service.folder / "m", student).state == "offered"
    with pytest.raises(ValueError, match=r"student: wanted one of other, rows"):
        cloud.category("mug")
    path = cloud.category("mug", "other")
    assert path.read_bytes() == (service.folder / "m").read_bytes()


def test_versions_are_kept_while_a_learner_may_need_them(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = service.cloud()
    monkeypatch.setattr("pyedge.remote.kept._KEPT_VERSIONS", 1)
    learner = EdgeLearner(cloud.download(NAME))
    for number in range(2):
        learner.learn(columns(5, 1, number), ["low"] * 5)
        assert cloud.contribute(learner) is not None
        cloud.download(NAME)
    kept = cloud.folder / "students"
    assert sorted(p.name for p in kept.iterdir()) == [f"{NAME}.{i}.pyedge" for i in (1, 2, 3)]
    assert len(cloud._outbox.entries()) == 2
    monkeypatch.setattr("pyedge.remote.kept._UNUSED_SECONDS", 0)
    cloud.download(NAME)
    assert [p.name for p in kept.iterdir()] == [f"{NAME}.3.pyedge"]
    assert cloud._outbox.entries() == []
