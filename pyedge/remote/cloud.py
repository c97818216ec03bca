"""Cloud: a device's connection to the service that learns from many devices."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

from pyedge.arguments import checked_path, choice, flag, kind_of, real, shown, whole
from pyedge.edge.students import AnyStudent, student_of
from pyedge.errors import RefusedError
from pyedge.files.atomic import write_atomically
from pyedge.keywords import keywords
from pyedge.knowledge.format import DTYPES
from pyedge.knowledge.pack import Knowledge
from pyedge.remote.asking import Question, fetch
from pyedge.remote.connection import Address, Connection
from pyedge.remote.contributing import histories, less, own_share, served_as
from pyedge.remote.downloads import download
from pyedge.remote.giving import given_of
from pyedge.remote.kept import Kept
from pyedge.remote.outbox import Entry, Outbox, copied
from pyedge.remote.replies import (
    Contributed,
    RemoteCategory,
    RemoteImages,
    RemoteStudent,
    checked_name,
    listed,
)
from pyedge.statistics.category_file import read_category
from pyedge.statistics.statistics_file import read_statistics, write_statistics
from pyedge.statistics.sums import Statistics


class Cloud:
    """A cloud's service, as a device sees it; with numpy and the standard library alone.

    `url`: https://HOST:PORT; http:// only for this machine, or with `plain=True`. `token`: of
    `pyedge serve token add`; by default the environment's PYEDGE_TOKEN. `folder`: where downloads,
    packs and what is to be sent are kept; by default ~/.local/state/pyedge/HOST_PORT. `timeout`:
    seconds without a byte from the service. `tries`: of each request, after growing and random
    pauses. `ca`: a file of certificates (PEM) to trust instead of the system's.

    Nothing is sent before the first call. Calls raise OfflineError if the service cannot be
    reached, RefusedError if it refuses. Threads may share a Cloud, and processes a folder.

    Raises ValueError and TypeError for arguments that do not fit, OSError for a bad `ca`.
    """

    @keywords(title="Cloud")
    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        folder: str | os.PathLike[str] | None = None,
        timeout: float = 20.0,
        tries: int = 5,
        ca: str | os.PathLike[str] | None = None,
        plain: bool = False,
    ) -> None:
        address = Address.of(url, flag(plain, "Cloud: plain"))
        timeout = real(timeout, "Cloud: timeout", above=0)
        tries = whole(tries, "Cloud: tries", 1)
        token = os.environ.get("PYEDGE_TOKEN") if token is None else token
        if token is not None and (not isinstance(token, str) or not token.isascii()):
            raise ValueError("Cloud: token: wanted one of pyedge serve token add, got another text")
        if folder is None:
            state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
            folder = Path(state) / "pyedge" / address.folder_name
        checked_path(folder, "Cloud: folder")
        self.folder = Path(os.fsdecode(folder))
        self._connection = Connection(
            address,
            token,
            timeout=timeout,
            tries=tries,
            ca=None if ca is None else os.fspath(ca),
        )
        self._outbox = Outbox(self.folder / "outbox")
        self._kept = Kept(self.folder, self._outbox)

    def __repr__(self) -> str:
        return f"Cloud({str(self._connection.address)!r})"

    def __enter__(self) -> Cloud:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a later call opens it again."""
        self._connection.close()

    def students(self) -> tuple[RemoteStudent, ...]:
        """Return the students that the service has, each in its newest version."""
        told = self._connection.json("GET", "/v1/students")
        return tuple(map(RemoteStudent.of, listed(told, "students")))

    @keywords()
    def download(self, student: str, path: str | os.PathLike[str] | None = None) -> Path:
        """Download a student in its newest version, and return the path of its file.

        student: its name. It is kept in the folder, since `contribute` compares with it; nothing
        is downloaded twice. `path`: a copy is also written there, atomically, and its path
        returned.
        """
        checked_name(student, "download")
        if path is not None:
            checked_path(path, "download")
        found = RemoteStudent.of(self._connection.json("GET", f"/v1/students/{student}"))
        kept = self._kept.student(found.name, found.version)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with self._outbox.alone():
            address = f"/v1/students/{found.name}/file?version={found.version}"
            download(self._connection, address, found.digest, found.bytes, kept)
            self._kept.forget_old(found.name)
        if path is None:
            return kept
        with kept.open("rb") as source:
            write_atomically(path, lambda file: shutil.copyfileobj(source, file))
        return Path(os.fsdecode(path))

    @keywords()
    def categories(self, student: str) -> tuple[RemoteCategory, ...]:
        """Return the category files that devices have offered for a student, the newest first."""
        checked_name(student, "categories")
        told = self._connection.json("GET", f"/v1/students/{student}/categories")
        return tuple(map(RemoteCategory.of, listed(told, "categories")))

    @keywords()
    def category(self, name: str, student: str | None = None) -> Path:
        """Download the newest category file of a class, for `EdgeLearner.add_category`.

        name: of the class. student: whose catalogue; by default that of the only student that has
        the class. Raises RefusedError if none has it, ValueError if several have.
        """
        if not isinstance(name, str):
            raise TypeError(f"category: name: wanted text, got {kind_of(name)}")
        among = [each.name for each in self.students()] if student is None else [student]
        offers = [(of, each) for of in among for each in self.categories(of) if each.name == name]
        owners = sorted({of for of, _ in offers})
        if not offers:
            known = sorted({each.name for of in among for each in self.categories(of)})
            raise RefusedError(
                f"category: wanted a class of the catalogue ({', '.join(known) or 'it is empty'}), "
                f"got {shown(name)}",
                404,
                "not_found",
            )
        if len(owners) > 1:
            raise ValueError(
                f"category: student: wanted one of {', '.join(owners)}, which all have "
                f"{shown(name)}, got None"
            )
        of, offer = offers[0]
        path = self._kept.category(offer.digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        address = f"/v1/students/{of}/categories/{offer.digest}"
        with self._outbox.alone():
            download(self._connection, address, offer.digest, offer.bytes, path)
        read_category(path)
        return path

    @keywords()
    def offer(self, path: str | os.PathLike[str], student: str) -> Contributed:
        """Offer a category file of `pyedge.make_category` to all devices with a student.

        It is put into the outbox first, and sent at once if that can be; else its state is
        "waiting". Raises FormatError for a file that is no category, RefusedError.
        """
        checked_path(path, "offer")
        checked_name(student, "offer")
        read_category(path)
        with self._outbox.alone():
            entry = self._outbox.put("categories", student, copied(Path(os.fsdecode(path))))
        return self._sent(entry)

    @keywords()
    def contribute(
        self,
        learner: AnyStudent,
        *,
        since: Statistics | AnyStudent | None = None,
        student: str | None = None,
    ) -> Contributed | None:
        """Send what a learner's statistics have beyond what the service knows: sums, no images.

        Not counted are the sums of the student that it was downloaded as, of category files of
        this service that it was given, and of what was contributed before. Returns None if nothing
        is left. It is put into the outbox first, and sent at once if that can be; else its state
        is "waiting".

        `since`: statistics (or a student with some) not to count, for a learner that was not
        downloaded from this service, or that has others' sums; `student` then names the service's.

        Raises ValueError for sums of unknown origin, RefusedError if the service refuses them.
        """
        given = student_of(learner, "contribute")
        served = served_as(given)
        if student is not None:
            served = checked_name(student, "contribute"), 0
        if served is None:
            raise ValueError(
                "contribute: learner: wanted one that began as a student of Cloud.download, got "
                "another; give since= and student="
            )
        name, version = served
        with self._outbox.alone():
            history = histories(given)
            sent = [
                read_statistics(self._outbox.body(each))
                for each in self._outbox.entries()
                if (each.kind, each.student) == ("contributions", name)
                and each.history in history
                and each.state != "refused"
            ]
            if since is None:
                mine = own_share(given, self._kept.base(name, version), self._kept.fetched, sent)
            else:
                mine = less(_statistics_of(given), [_statistics_of(since), *sent])
            if mine is not None:
                entry = self._outbox.put(
                    "contributions",
                    name,
                    lambda path: write_statistics(mine, path),
                    version=version,
                    history=history[-1],
                )
        if mine is None:
            self.flush()  # what was contributed before may still wait
            return None
        return self._sent(entry)

    @keywords()
    def withdraw(self, digest: str, student: str) -> Contributed:
        """Take an own contribution out of everybody's classifier again, to the last bit."""
        checked_name(student, "withdraw")
        address = f"/v1/students/{student}/contributions/{_checked_digest(digest, 'withdraw')}"
        return Contributed.of(self._connection.json("DELETE", address))

    @keywords()
    def give_images(
        self, images: Any, labels: Any, student: AnyStudent, *, consent: bool
    ) -> Contributed:
        """Give labelled images that the cloud may keep, look at and train on.

        images: as `EdgeLearner.learn` takes them, of 8 bits. labels: names of classes, new ones
        too, or ids of the student's. student: of `download`, or a learner that began as one.
        consent: must be True: whoever may decide about the images has agreed. They are put into the
        outbox first, and sent at once if that can be; else the state is "waiting". Once "given",
        the outbox has no copy. `withdraw_images` with the digest takes them back.

        Raises ValueError without consent, and for images and labels that do not fit; RefusedError,
        also for a token without the scope "images".
        """
        if not flag(consent, "give_images: consent"):
            raise ValueError("give_images: consent: wanted True, got False; nothing was kept")
        file = student_of(student, "give_images")
        served = served_as(file)
        if served is None:
            raise ValueError("give_images: student: wanted one of Cloud.download, got another")
        write = given_of(file, images, labels)
        with self._outbox.alone():
            entry = self._outbox.put("images", served[0], write)
        return self._sent(entry)

    @keywords()
    def given_images(self, student: str) -> tuple[RemoteImages, ...]:
        """Return what this device has given for a student and not withdrawn, the oldest first."""
        checked_name(student, "given_images")
        told = self._connection.json("GET", f"/v1/students/{student}/images")
        return tuple(map(RemoteImages.of, listed(told, "images")))

    @keywords()
    def withdraw_images(self, digest: str, student: str) -> Contributed:
        """Take given images back: out of the outbox, and out of the service's store.

        The service keeps a file that another device has given as well. What was trained on the
        images before is not made anew. Raises RefusedError for images that nobody gave.
        """
        checked_name(student, "withdraw_images")
        address = f"/v1/students/{student}/images/{_checked_digest(digest, 'withdraw_images')}"
        with self._outbox.alone():
            kept = [
                each
                for each in self._outbox.entries()
                if (each.kind, each.student, each.digest) == ("images", student, digest)
            ]
            for entry in kept:
                self._outbox.remove(entry)
        try:
            self._connection.request("DELETE", address, read=lambda answer: answer.read())
        except RefusedError as error:
            if error.status != 404 or not kept:
                raise
        return Contributed(digest, student, "withdrawn", "by its device")

    def waiting(self) -> tuple[Contributed, ...]:
        """Return what is in the outbox and not sent yet, the oldest first."""
        return tuple(e.outcome() for e in self._outbox.entries() if e.state == "waiting")

    def flush(self) -> tuple[Contributed, ...]:
        """Send what waits, and return what became of each; what cannot be sent goes on waiting."""
        with self._outbox.alone():
            return tuple(each.outcome() for each in self._outbox.send(self._connection))

    @keywords()
    def knowledge(
        self,
        student: AnyStudent,
        images: Any,
        *,
        maps: bool = True,
        dtype: str = "float16",
    ) -> Knowledge:
        """Ask the teacher in the cloud what it knows of images, and return that as a pack.

        student: one that was downloaded from this service. images: as `EdgeLearner.predict` takes
        them; their pixels are sent, and the service forgets them. maps: besides the logits, the
        maps that steps learn from, in `dtype`; from statistics, logits are enough. The pack is kept
        in the folder: the same images are not sent again.
        """
        choice(dtype, "knowledge: dtype", DTYPES)
        question = Question.of(student_of(student, "knowledge"), images, maps, dtype)
        path = self.folder / "packs" / question.key
        with self._outbox.alone():
            if not path.is_dir():
                fetch(self._connection, question, path)
        return Knowledge(path)

    def _sent(self, entry: Entry) -> Contributed:
        """Send what waits, and return what became of one entry; raise what refused it."""
        with self._outbox.alone():
            sent = {each.name: each for each in self._outbox.send(self._connection)}
        found = sent.get(entry.name, entry).outcome()
        if found.state == "refused":
            raise RefusedError(found.reason, 422, "refused")
        return found


def _checked_digest(digest: Any, where: str) -> str:
    if not isinstance(digest, str) or not (digest.isascii() and digest.isalnum()):
        raise ValueError(f"{where}: digest: wanted that of something sent, got {shown(digest)}")
    return digest


def _statistics_of(given: Any) -> Statistics:
    if isinstance(given, Statistics):
        return given
    found = student_of(given, "contribute").statistics
    if found is None:
        raise ValueError("contribute: wanted a student with statistics, got one without")
    return found
