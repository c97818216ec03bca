"""Images that devices give: kept with consent alone, listed, and taken back exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyedge.cli import main
from pyedge.errors import FormatError, OfflineError, RefusedError
from pyedge.files.npy_archive import write_archive
from pyedge.images.given_file import read_given, write_given
from pyedge.remote.cloud import Cloud

pytest.importorskip("fastapi")
from sqlalchemy import Connection, delete

from pyedge.remote.downloads import digest_of
from pyedge.serve.limits import Limits
from pyedge.serve.tables import gifts
from tests.support.cloud_service import NAME, Running, columns, running
from tests.support.raw_http import ask

MUGS = columns(12, 1, 3)
SCOPES = ("read", "images")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, Limits(given_bytes=4000)) as found:
        yield found


def giver(service: Running, name: str = "giver") -> Cloud:
    return service.cloud(name, token=service.token(name, SCOPES))


def blob(service: Running, digest: str) -> Path:
    return service.service.store.blobs.path(digest)


def uploaded(service: Running, token: str, path: Path) -> str:
    """Upload a file as no device of ours would, and return its digest."""
    content, digest = path.read_bytes(), digest_of(path)
    place = {"Upload_Offset": "0", "Upload_Length": str(len(content))}
    status, _, told = ask(service.url, "PATCH", f"/v1/uploads/{digest}", token, content, **place)
    assert (status, told["complete"]) == (200, True)
    return digest


def kept(folder: Path) -> list[str]:
    """Names of the files of images that a store holds anywhere."""
    found = []
    for path in (folder / "store").rglob("*"):
        try:
            if path.is_file():
                read_given(path)
                found.append(path.name)
        except FormatError:
            continue
    return found


def test_given_images_are_kept_by_digest_with_class_device_and_date(service: Running) -> None:
    cloud = giver(service)
    path = cloud.download(NAME)
    labels = ["mug"] * 8 + ["low"] * 4
    told = cloud.give_images(MUGS, labels, path, consent=True)
    assert told.state == "given"
    (given,) = cloud.given_images(NAME)
    assert (given.digest, given.images, given.classes) == (told.digest, 12, {"low": 4, "mug": 8})
    found = read_given(blob(service, told.digest))
    assert np.array_equal(found.images, MUGS)
    assert [found.classes[each] for each in found.labels] == labels
    assert digest_of(blob(service, told.digest)) == told.digest
    (row,) = service.service.gifts.list()
    assert (row.device, row.student, row.created) == ("giver", NAME, given.created)
    assert cloud.give_images(MUGS, labels, path, consent=True) == told
    assert len(cloud.given_images(NAME)) == 1
    assert not list((cloud.folder / "outbox").glob("*.body"))


def test_images_without_consent_are_kept_nowhere(service: Running, tmp_path: Path) -> None:
    cloud = giver(service)
    path = cloud.download(NAME)
    with pytest.raises(ValueError, match="consent: wanted True, got False"):
        cloud.give_images(MUGS, ["mug"] * 12, path, consent=False)
    assert not list((cloud.folder / "outbox").glob("*.body"))
    write_given(tmp_path / "given", MUGS, np.zeros(12, np.int64), ["mug"])
    token = service.token("raw", SCOPES)
    for query in ("", "?consent=false"):
        digest = uploaded(service, token, tmp_path / "given")
        assert kept(tmp_path) == [digest]
        address = f"/v1/students/{NAME}/images/{digest}{query}"
        status, _, told = ask(service.url, "PUT", address, token)
        assert (status, told["error"]["code"]) == (422, "consent")
        assert kept(tmp_path) == []
    assert service.service.gifts.list() == []


def test_withdrawing_removes_the_file_that_nobody_else_gave(
    service: Running, tmp_path: Path
) -> None:
    one, other = giver(service, "one"), giver(service, "other")
    path = one.download(NAME)
    digests = {each.give_images(MUGS, ["mug"] * 12, path, consent=True).digest
               for each in (one, other)}  # fmt: skip
    (digest,) = digests
    alone = one.give_images(MUGS[:5], ["mug"] * 5, path, consent=True).digest
    assert sorted(kept(tmp_path)) == sorted([digest, alone])
    assert one.withdraw_images(digest, NAME).state == "withdrawn"
    assert [each.digest for each in one.given_images(NAME)] == [alone]
    assert [each.digest for each in other.given_images(NAME)] == [digest]
    assert sorted(kept(tmp_path)) == sorted([digest, alone])
    with pytest.raises(RefusedError, match="none of this name"):
        one.withdraw_images(digest, NAME)  # the other's are not its own
    other.withdraw_images(digest, NAME)
    assert kept(tmp_path) == [alone]
    one.withdraw_images(alone, NAME)
    assert kept(tmp_path) == []


def test_images_wait_for_a_network_and_can_be_withdrawn_before_it_comes(service: Running) -> None:
    cloud = giver(service)
    path = cloud.download(NAME)
    away = Cloud("http://127.0.0.1:9", token="x", folder=cloud.folder, tries=1, timeout=1)
    waiting = away.give_images(MUGS, ["mug"] * 12, path, consent=True)
    unwanted = away.give_images(MUGS[:3], ["mug"] * 3, path, consent=True)
    assert {waiting.state, unwanted.state} == {"waiting"}
    with pytest.raises(OfflineError):  # the service might have it already
        away.withdraw_images(unwanted.digest, NAME)
    assert [each.digest for each in away.waiting()] == [waiting.digest]
    (sent,) = cloud.flush()
    assert (sent.digest, sent.state) == (waiting.digest, "given")
    assert [each.digest for each in cloud.given_images(NAME)] == [waiting.digest]


def test_a_killed_service_ends_with_the_file_and_its_row(
    service: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(path: Path, digest: str) -> None:
        raise OSError("killed")

    cloud = giver(service)
    path = cloud.download(NAME)
    with monkeypatch.context() as patch:
        patch.setattr(service.service.store.blobs, "take", fail)
        assert cloud.give_images(MUGS, ["mug"] * 12, path, consent=True).state == "waiting"
    (sent,) = cloud.flush()
    assert sent.state == "given"
    assert kept(tmp_path) == [sent.digest]
    assert len(cloud.given_images(NAME)) == 1


def test_images_withdrawn_while_they_are_taken_leave_no_file(
    service: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    turns = []

    def withdrawn(connection: Connection) -> None:
        turns.append(connection)
        if len(turns) == 2:  # the row is written, the file not yet moved
            connection.execute(delete(gifts))

    write_given(tmp_path / "given", MUGS, np.zeros(12, np.int64), ["mug"])
    token = service.token("raw", SCOPES)
    digest = uploaded(service, token, tmp_path / "given")
    monkeypatch.setattr("pyedge.serve.gifts._alone", withdrawn)
    address = f"/v1/students/{NAME}/images/{digest}?consent=true"
    status, _, told = ask(service.url, "PUT", address, token)
    assert (status, told["error"]["code"]) == (409, "withdrawn")
    assert kept(tmp_path) == []


def test_a_token_without_the_scope_gives_nothing_and_does_all_else(service: Running) -> None:
    cloud = service.cloud("usual")
    path = cloud.download(NAME)
    with pytest.raises(RefusedError, match="scope images"):
        cloud.give_images(MUGS, ["mug"] * 12, path, consent=True)
    assert cloud.waiting() == ()
    assert service.service.gifts.list() == []


def test_images_that_do_not_fit_are_refused(service: Running, tmp_path: Path) -> None:
    cloud = giver(service)
    path = cloud.download(NAME)
    cloud.give_images(columns(40, 1, 1), ["mug"] * 40, path, consent=True)
    with pytest.raises(RefusedError, match="of a device"):
        cloud.give_images(columns(40, 1, 2), ["mug"] * 40, path, consent=True)
    with pytest.raises(TypeError, match="uint8"):
        cloud.give_images(MUGS.astype(np.float32) / 255, ["mug"] * 12, path, consent=True)
    with pytest.raises(ValueError, match="12"):
        cloud.give_images(MUGS, ["mug"] * 11, path, consent=True)
    write_given(tmp_path / "g", np.zeros((2, 3, 8, 8), np.uint8), np.zeros(2, np.int64), ["mug"])
    token = service.token("raw", SCOPES)
    digest = uploaded(service, token, tmp_path / "g")
    address = f"/v1/students/{NAME}/images/{digest}?consent=true"
    status, _, told = ask(service.url, "PUT", address, token)
    assert (status, told["error"]["message"]) == (
        422,
        "images: shape: wanted [1, 8, 8], got [3, 8, 8]",
    )
    assert digest not in kept(tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"consent": False}, "consent: wanted true, got False"),
        ({"consent": 1}, "consent: wanted true, got 1"),
        ({"classes": ["mug", "mug"]}, "each name once"),
        ({"classes": ["mug", "cup"]}, "each of 2 classes"),
        ({"shape": [3, 1, 8, 9]}, r"images.npy: wanted uint8 \[3, 1, 8, 9\]"),
        ({"shape": [1 << 20, 1 << 20, 1 << 20, 1 << 20]}, "shape"),
        ({"version": 2}, "version 2"),
        ({"more": 1}, "unknown 'more'"),
    ],
)
def test_a_file_that_does_not_fit_together_is_refused(
    tmp_path: Path, change: dict[str, object], match: str
) -> None:
    document = {"format": "pyedge-images", "version": 1, "consent": True, "classes": ["mug"],
                "shape": [3, 1, 8, 8], **change}  # fmt: skip
    arrays = {"images": np.zeros((3, 1, 8, 8), np.uint8), "labels": np.zeros(3, np.int64)}
    write_archive(tmp_path / "g", document, arrays)
    with pytest.raises(FormatError, match=match):
        read_given(tmp_path / "g")


def test_the_owner_lists_given_images_and_takes_them_out(
    service: Running, tmp_path: Path, command: Callable[[str], dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    one, other = giver(service, "one"), giver(service, "other")
    path = one.download(NAME)
    for each in (one, other):
        digest = each.give_images(MUGS, ["mug"] * 12, path, consent=True).digest
    alone = one.give_images(MUGS[:5], ["cup"] * 5, path, consent=True).digest
    store = f"--store {tmp_path / 'store'}"
    listed = command(f"serve images list {store}")["images"]
    assert [(e["digest"], e["device"], e["images"]) for e in listed] == [
        (digest, "one", 12), (digest, "other", 12), (alone, "one", 5)
    ]  # fmt: skip
    assert listed[2]["classes"] == {"cup": 5}
    (mine,) = command(f"serve images list --device other --student {NAME} {store}")["images"]
    assert command(f"serve images list --device {mine['giver']} {store}")["images"] == [mine]
    assert command(f"serve images list --student none {store}")["images"] == []
    token = service.token("watcher", ["watch"])
    page = ask(service.url, "GET", "/", token)[2]
    assert b"Given images (29 in 3 files)" in page

    told = command(f"serve images withdraw {digest} --device one {store}")
    assert (told["digest"], told["left"]) == (digest, 1)
    assert sorted(kept(tmp_path)) == sorted([digest, alone])
    told = command(f"serve images withdraw {digest[:12]} {store}")
    assert ([e["device"] for e in told["withdrawn"]], told["left"]) == (["other"], 0)
    assert kept(tmp_path) == [alone]
    assert other.given_images(NAME) == ()
    assert main(["serve", "images", "withdraw", digest, *store.split()]) == 2
    assert "0 files of given images begin with this" in capsys.readouterr().err
    assert other.give_images(MUGS, ["mug"] * 12, path, consent=True).state == "given"
