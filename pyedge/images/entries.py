"""The files in a folder or an archive, and which of them are chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pyedge.images import file_kinds
from pyedge.images.left_out import LeftOut


class Entry(NamedTuple):
    """A file (`read` gives its bytes) or a folder (`read` is None); `name` is relative, with /."""

    name: str
    read: Callable[[], bytes] | None


class Choice:
    """Which files are taken: images, and those whose names `also` accepts; the others are noted.

    Folders and archives ask the same questions, so that both give the same images.
    """

    def __init__(self, also: Callable[[str], bool], left_out: LeftOut) -> None:
        self._also = also
        self._entered: dict[str, bool] = {"": True}
        self._taken: set[str] = set()
        self.left_out = left_out

    def enters(self, name: str) -> bool:
        """Tell whether a folder, by its relative name, is looked into."""
        if name not in self._entered:
            above, _, part = name.rpartition("/")
            self._entered[name] = self.enters(above) and not file_kinds.is_junk(part, folder=True)
            if self._entered[name] and file_kinds.is_hidden(part):
                self._entered[name] = False
                self.left_out.add(f"{name}/", "hidden")
        return self._entered[name]

    def looks_at(self, name: str) -> bool:
        """Tell whether a file may be taken, judging by its place and name."""
        folder, _, base = name.rpartition("/")
        if file_kinds.is_junk(base, folder=False) or not self.enters(folder):
            return False
        if file_kinds.is_hidden(base):
            self.left_out.add(name, "hidden")
            return False
        if self.by_name(name):
            return True
        reason = file_kinds.refused_by_name(name)
        if reason is not None:
            self.left_out.add(name, reason)
        return reason is None

    def by_name(self, name: str) -> bool:
        """Tell whether a file is taken by its name alone."""
        return file_kinds.is_image(name) or self._also(name.rpartition("/")[2])

    def takes(self, name: str, head: bytes) -> bool:
        """Tell by its first bytes whether a file that may be taken is taken."""
        reason = None if self.by_name(name) else file_kinds.refused_by_content(name, head)
        if reason is not None:
            self.left_out.add(name, reason)
            return False
        if name in self._taken:  # an archive may hold a name twice: readers go by the name
            self.left_out.add(name, "replaced by a later file of the same name")
        self._taken.add(name)
        return True
