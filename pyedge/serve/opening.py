"""Opening a service: its store, brought up to date, and its teachers."""

from __future__ import annotations

import os
from collections.abc import Callable

from pyedge.serve.limits import Limits
from pyedge.serve.service import Service, Teachers
from pyedge.serve.store import Store
from pyedge.serve.students import clear_work


def open_service(
    folder: str | os.PathLike[str],
    url: str | None = None,
    limits: Limits | None = None,
    begin: Callable[[Service], Teachers] | None = None,
) -> Service:
    """Open the service of a store. torch is loaded only if some student has a teacher.

    The teachers are opened now, so that a file that is missing or does not fit stops the start and
    not a device's request. begin: as in `Service`. Raises as `Store`, `load_network` and `fit`.
    """
    store = Store(folder, url)
    clear_work(store)
    service = Service.of(store, limits or Limits())
    service.begin = begin
    try:
        if begin is not None:  # in this thread: what it starts ends with the thread that did
            service.begin_teaching()
        for row in map(service.students.row, service.students.names()):
            if row.teacher:
                teaching = service.begin_teaching()
                teaching.open(row.name, service.students.base(row), row.teacher)
    except BaseException:
        if service.teaching is not None:
            service.teaching.close()
        raise
    return service
