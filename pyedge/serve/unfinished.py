"""Unfinished retraining: a folder of the store that keeps its checkpoints until it is done.

It is not among what a starting service clears away, and is gone on from only by a run of the same
images, settings and teacher; whatever else there is of the same student is removed.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyedge.serve.store import Store

try:
    import fcntl
except ImportError:  # no POSIX: two runs of a student at once are its owner's affair
    fcntl = None  # type: ignore[assignment]

_KEY = 16  # digits of what a run is known by


class Unfinished:
    """What runs of one student have left in a store."""

    def __init__(self, store: Store, name: str) -> None:
        self._root = store.folder / "retraining"
        self._name = name

    @contextmanager
    def folder(self, *parts: object) -> Iterator[tuple[Path, bool]]:
        """Yield the folder of the run that `parts` decide, and whether there is something in it.

        It is removed at the end, but not after an error or a kill. Raises ValueError while another
        process has it.
        """
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part if isinstance(part, bytes) else repr(part).encode())
        place = self._root / f"{self._name}.{digest.hexdigest()[:_KEY]}"
        with self._alone():
            for other in self._folders():
                if other != place:
                    shutil.rmtree(other)
            place.mkdir(mode=0o700, exist_ok=True)
            yield place, any(place.iterdir())
            shutil.rmtree(place)

    def forget(self) -> None:
        """Remove all of it."""
        if self._root.exists():
            with self._alone():
                for each in self._folders():
                    shutil.rmtree(each)

    def _folders(self) -> list[Path]:
        # names of students have dots too, digests have none
        found = (path for path in self._root.iterdir() if path.is_dir())
        return [path for path in found if path.name.rpartition(".")[0] == self._name]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._root.mkdir(mode=0o700, exist_ok=True)
        with (self._root / f"{self._name}.lock").open("ab") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise ValueError(
                        f"retrain: student: wanted one that no other process retrains, got "
                        f"{self._name}"
                    ) from None
                except OSError:  # a file system without locks
                    pass
            yield
