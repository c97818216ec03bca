"""What a device keeps of a service: the students and category files that it has downloaded."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pyedge.remote.downloads import digest_of
from pyedge.remote.outbox import Outbox
from pyedge.statistics.category_file import read_category
from pyedge.statistics.sums import Statistics
from pyedge.student.archive import read_student

if TYPE_CHECKING:
    from pyedge.student.file import StudentFile

# of a student, what is kept beside what was used lately: a learner may have begun from it
_KEPT_VERSIONS = 8
_UNUSED_SECONDS = 30 * 24 * 3600.0


class Kept:
    """The downloads in a folder. outbox: has what was contributed from old versions."""

    def __init__(self, folder: Path, outbox: Outbox) -> None:
        self._folder = folder
        self._outbox = outbox

    def student(self, name: str, version: int) -> Path:
        """Return where a student lies in a version, whether it is there or not."""
        return self._folder / "students" / f"{name}.{version}.pyedge"

    def category(self, digest: str) -> Path:
        """Return where a category file lies, whether it is there or not."""
        return self._folder / "categories" / f"{digest}.category"

    def base(self, name: str, version: int) -> StudentFile:
        """Read a student that a learner began from; ValueError if it is not there."""
        path = self.student(name, version)
        if not path.exists():
            raise ValueError(
                f"contribute: learner: wanted one that began as a student in {self._folder}, got "
                f"version {version} of {name}, which is not there; since= says what not to count"
            )
        found = read_student(path)
        os.utime(path)  # it is in use, so it is not forgotten
        return found

    def fetched(self, digest: str) -> Statistics | None:
        """Return the statistics of a category file that was fetched from here, or None."""
        known = {path.stem: path for path in (self._folder / "categories").glob("*.category")}
        path = known.get(digest)
        return None if path is None or digest_of(path) != digest else read_category(path)

    def forget_old(self, name: str) -> None:
        """Forget old versions of a student that are out of use, and what was sent from them."""
        for old in self._versions(name)[:-_KEPT_VERSIONS]:
            path = self.student(name, old)
            if time.time() - path.stat().st_mtime < _UNUSED_SECONDS:
                continue
            path.unlink()
            for entry in self._outbox.entries():
                same = (entry.kind, entry.student, entry.version) == ("contributions", name, old)
                if same and entry.state != "waiting":
                    self._outbox.remove(entry)

    def _versions(self, name: str) -> Sequence[int]:
        found = (self._folder / "students").glob(f"{name}.*.pyedge")
        numbers = [path.name[len(name) + 1 : -len(".pyedge")] for path in found]
        return sorted(int(each) for each in numbers if each.isdecimal())
