"""The store: tables, blobs, what a kill leaves behind; on SQLite, and on PostgreSQL where it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from pyedge.edge.learner import EdgeLearner
from pyedge.serve.blobs import is_digest
from pyedge.serve.opening import open_service
from pyedge.serve.store import Store
from pyedge.serve.students import Students, add_student
from pyedge.serve.tables import metadata
from pyedge.serve.tokens import add_token, device_of
from tests.support.cloud_service import NAME, columns, described_student, running
from tests.support.postgres_server import MISSING, PROGRAMS, Postgres
from tests.support.statistics_case import same


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A PostgreSQL of these tests' own."""
    if PROGRAMS is None:
        pytest.skip(MISSING)
    pytest.importorskip("psycopg")
    server = Postgres()
    yield server.url
    server.remove()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """A database's URL, emptied; None for SQLite in the store."""
    if request.param == "sqlite":
        yield None
        return
    found = request.getfixturevalue("postgres")
    yield found
    from sqlalchemy import create_engine

    engine = create_engine(found)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


def test_migrations_make_the_tables(tmp_path: Path, url: str | None) -> None:
    store = Store(tmp_path / "store", url)
    store.close()
    store = Store(tmp_path / "store", url)  # and find them made
    with store.database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert set(metadata.tables) | {"alembic_version"} == set(
            inspect(connection).get_table_names()
        )
    assert store.database.answers()
    store.close()


def test_tables_of_the_first_version_are_brought_up_with_what_they_hold(
    tmp_path: Path, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, "0001"))
        store = Store(tmp_path / "store", url)
    with store.database.writing() as connection:
        connection.execute(text("INSERT INTO students VALUES (7,'a','f','s','b',NULL,0)"))
    store.close()
    store = Store(tmp_path / "store", url)
    with store.database.reading() as connection:
        row = connection.execute(text("SELECT id, name, replaces FROM students")).one()
        assert connection.execute(text("SELECT count(*) FROM gifts")).scalar() == 0
    assert tuple(row) == (7, "a", None)
    store.close()


def test_transaction_that_fails_writes_nothing(tmp_path: Path, url: str | None) -> None:
    store = Store(tmp_path / "store", url)

    def fail() -> None:
        with store.database.writing() as connection:
            connection.execute(text("INSERT INTO students VALUES (7,'a','f','s','b',NULL,0,NULL)"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM students")).scalar() == 0
    store.close()


def test_images_are_given_and_withdrawn_on_any_database(tmp_path: Path, url: str | None) -> None:
    with running(tmp_path, url=url) as service:
        clouds = [
            service.cloud(name, token=service.token(name, ("read", "images")))
            for name in ("one", "two")
        ]
        path = clouds[0].download(NAME)
        digest, again = (
            each.give_images(columns(9, 1, 1), ["mug"] * 9, path, consent=True).digest
            for each in clouds
        )
        assert digest == again
        blob = service.service.store.blobs.path(digest)
        for cloud, left in zip(clouds, (True, False), strict=True):
            (given,) = cloud.given_images(NAME)
            assert given.classes == {"mug": 9}
            cloud.withdraw_images(digest, NAME)
            assert cloud.given_images(NAME) == ()
            assert blob.exists() == left


def test_devices_learn_together_on_any_database(tmp_path: Path, url: str | None) -> None:
    with running(tmp_path, url=url) as service:
        cloud = service.cloud()
        learner = EdgeLearner(cloud.download(NAME))
        learner.add_classes(["mug"])
        learner.learn(columns(30, 1, 1), ["mug"] * 30)
        sent = cloud.contribute(learner)
        assert sent is not None
        assert sent.state == "counted"
        after = EdgeLearner(cloud.download(NAME)).statistics
        assert after is not None
        assert learner.statistics is not None
        assert same(after, learner.statistics)
        assert cloud.withdraw(sent.digest, NAME).state == "withdrawn"
        assert "mug" not in EdgeLearner(cloud.download(NAME)).classes
        token = service.token()
    store = Store(tmp_path / "store", url)
    assert device_of(store.database, token) is not None
    store.close()


def test_student_goes_in_with_what_belongs_to_it_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", None)
    known = described_student(tmp_path / "student.pyedge")

    def failing(connection: object, student: int) -> None:
        raise OSError("killed")

    with pytest.raises(OSError, match="killed"):
        add_student(store, known, NAME, along=failing)
    assert Students(store).names() == []
    seen: list[int] = []
    add_student(store, known, NAME, along=lambda _, student: seen.append(student))
    assert seen == [Students(store).row(NAME).id]
    store.close()


def test_student_needs_a_free_name_and_statistics(tmp_path: Path) -> None:
    import pyedge
    from tests.support.edge_student import tiny_student

    store = Store(tmp_path / "store")
    path = described_student(tmp_path / "s.pyedge")
    assert add_student(store, path, NAME).version == 1
    with pytest.raises(ValueError, match=r"name: wanted one that is free, got 'rows'"):
        add_student(store, path, NAME)
    for name in ("", "../x", "a/b", ".x", "a" * 65, "é", "a\n"):
        with pytest.raises(ValueError, match=r"name: wanted letters, digits"):
            add_student(store, path, name)
    pyedge.write_student(tiny_student(), tmp_path / "plain.pyedge")
    with pytest.raises(ValueError, match="the student has no statistics"):
        add_student(store, tmp_path / "plain.pyedge", "plain")
    store.close()


@pytest.mark.parametrize("url", ["nonsense", "unknown://x", "postgresql+nodriver://x"])
def test_database_url_that_cannot_be_used_is_told(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="serve: database: wanted a URL such as"):
        Store(tmp_path / "store", url)


def test_blobs_are_named_by_their_content(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (tmp_path / "a").write_bytes(b"abc")
    digest = store.blobs.add(tmp_path / "a")
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert store.blobs.path(digest).read_bytes() == b"abc"
    assert store.blobs.add(tmp_path / "a") == digest
    store.blobs.remove(digest)
    store.blobs.remove(digest)
    assert not store.blobs.path(digest).exists()
    store.close()
    for text_ in ("", "../" * 21 + "a", digest.upper(), digest + "\n", "g" * 64):
        assert not is_digest(text_)


def test_opening_clears_what_a_killed_process_was_writing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (store.work / "pack-1").mkdir()
    (store.work / "pack-1" / "logits.npy").write_bytes(b"x")
    store.close()
    service = open_service(tmp_path / "store")
    assert list(service.store.work.iterdir()) == []
    service.store.close()


def test_old_releases_are_forgotten(tmp_path: Path) -> None:
    from pyedge.serve.limits import Limits
    from pyedge.serve.service import Service

    store = Store(tmp_path / "store")
    base = described_student(tmp_path / "s.pyedge")
    add_student(store, base, NAME)
    service = Service.of(store, Limits(most_drop=1.0))
    device = device_of(store.database, add_token(store.database, "d"))
    assert device is not None
    import pyedge

    versions = []
    for number in range(10):
        learner = EdgeLearner(base)
        before = learner.statistics
        learner.learn(columns(3, number % 6, number), ["low"] * 3)
        assert before is not None
        assert learner.statistics is not None
        path = tmp_path / "sums"
        pyedge.write_statistics(pyedge.subtract_statistics(learner.statistics, before), path)
        from pyedge.serve.blobs import digest_of

        digest, size = digest_of(path), path.stat().st_size
        part = service.uploads.open(device.id, digest, 0, size, size)
        part.write(path.read_bytes())
        part.close()
        assert service.uploads.finish(device.id, digest, size)
        assert service.contributions.add(NAME, digest, device.id).state == "counted"
        versions.append(service.students.release(NAME))
    assert [each.version for each in versions] == list(range(2, 12))
    kept = [each for each in versions if store.blobs.path(each.digest).exists()]
    assert [each.version for each in kept] == list(range(4, 12))
    assert np.array_equal(
        EdgeLearner(store.blobs.path(kept[-1].digest)).logits(columns(2, 1, 0)),
        EdgeLearner(service.students.file(NAME)[0]).logits(columns(2, 1, 0)),
    )
    store.close()
