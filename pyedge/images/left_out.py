"""What is left out when images are read, and the one warning that tells of it."""

from __future__ import annotations

from pyedge.images.file_kinds import suffix_of
from pyedge.warning import warn

_NAMED = 3  # names that are shown for each reason


class LeftOut:
    """Collect files that are left out, each with the reason; `warn` tells of all at once."""

    def __init__(self) -> None:
        self._by_reason: dict[tuple[str, str], list[str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_reason.values()))

    @property
    def names(self) -> list[str]:
        """The names of all of them."""
        return [name for names in self._by_reason.values() for name in names]

    def copy(self) -> LeftOut:
        """Return a copy that can be added to."""
        other = LeftOut()
        other._by_reason = {reason: list(names) for reason, names in self._by_reason.items()}
        return other

    def add(self, name: str, reason: str) -> None:
        """Note a file, by its name relative to what is read; a folder's ends in /."""
        kind = "folder" if name.endswith("/") else suffix_of(name) or "without extension"
        self._by_reason.setdefault((kind, reason), []).append(name)

    def told(self) -> str:
        """Write "1 .heic (why: a/b.heic), 2 .txt (why: ...)"; "" if nothing was left out."""
        parts = []
        for (kind, reason), names in self._by_reason.items():
            some = ", ".join(shown(name) for name in names[:_NAMED])
            more = ", ..." if len(names) > _NAMED else ""
            parts.append(f"{len(names)} {kind} ({reason}: {some}{more})")
        return ", ".join(parts)

    def warn(self, path: str, taken: int) -> None:
        """Warn, once for each reading, if anything was left out."""
        if not self:
            return
        n = len(self)
        warn(
            f"{shown(path)}: {n} of {n + taken} files {'was' if n == 1 else 'were'} left out: "
            f"{self.told()}"
        )


def shown(name: str) -> str:
    """Return a file's name in printable form: bytes that are not UTF-8 become \\xNN."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
