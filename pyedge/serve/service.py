"""Service: the parts of one running service, which every route is handed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pyedge.serve.categories import Categories
from pyedge.serve.contributions import Contributions
from pyedge.serve.gifts import Gifts
from pyedge.serve.limits import Limits
from pyedge.serve.metrics import Metrics
from pyedge.serve.rates import AtOnce, Rates
from pyedge.serve.store import Store
from pyedge.serve.students import Students
from pyedge.serve.tokens import Tokens
from pyedge.serve.uploads import Uploads

if TYPE_CHECKING:
    from pyedge.serve.lessons import Wanted
    from pyedge.serve.packing import Pack
    from pyedge.student.file import StudentFile

_FAILURES_PER_MINUTE = 60  # of one address


class Teachers(Protocol):
    """What answers which teacher knows what of images: `Teaching`, or `RayTeaching`."""

    def shape(self, name: str) -> tuple[int, int, int] | None:
        """Return c h w of a student's images, or None if its teacher is not open yet."""

    def open(self, name: str, student: StudentFile, path: str) -> tuple[int, int, int]:
        """Open a student's teacher, and return c h w of their images."""

    async def answer(self, name: str, wanted: Wanted) -> Pack:
        """Return a pack, whose folder, if it is one, the caller removes."""

    def waiting(self) -> int:
        """Return how many requests wait for a teacher."""

    def close(self) -> None:
        """Answer what waits, and end."""


@dataclass
class Service:
    """What a request works with. teaching: None until a teacher is needed.

    begin: what makes it then; None: the teachers are in this process.
    """

    store: Store
    limits: Limits
    tokens: Tokens
    students: Students
    uploads: Uploads
    contributions: Contributions
    categories: Categories
    gifts: Gifts
    metrics: Metrics
    rates: Rates
    failures: Rates
    at_once: AtOnce
    teaching: Teachers | None = None
    begin: Callable[[Service], Teachers] | None = None
    stopping: bool = False
    _beginning: threading.Lock = field(default_factory=threading.Lock)

    def begin_teaching(self) -> Teachers:
        """Return what runs the teachers, begun at the first call: it loads torch."""
        with self._beginning:
            if self.teaching is None and self.begin is not None:
                self.teaching = self.begin(self)
            elif self.teaching is None:
                from pyedge.serve.teaching import Teaching

                self.teaching = Teaching(
                    self.store.work, self.metrics, self.limits.knowledge_at_once
                )
            return self.teaching

    @classmethod
    def of(cls, store: Store, limits: Limits) -> Service:
        """Make the parts of a service on a store."""
        students, uploads = Students(store), Uploads(store, limits)
        return cls(
            store=store,
            limits=limits,
            tokens=Tokens(store.database),
            students=students,
            uploads=uploads,
            contributions=Contributions(store, students, uploads, limits),
            categories=Categories(store, students, uploads, limits),
            gifts=Gifts(store, students, uploads, limits),
            metrics=Metrics(),
            rates=Rates(limits.requests_per_minute),
            failures=Rates(_FAILURES_PER_MINUTE),
            at_once=AtOnce(limits.requests_at_once),
        )
