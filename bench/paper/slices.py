"""Slices of time: a run that stops by itself at a checkpoint, and goes on in the next slice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyedge.data import BatchLoader
from pyedge.data.batch_loader import Batch


class SliceEndError(BaseException):
    """The slice is over, and what was done is in checkpoints.

    Like KeyboardInterrupt no Exception: it comes out of a loader, whose errors are explained to
    users as errors of their data.
    """


class Slice:
    """seconds: None never ends."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self._end is not None and time.monotonic() >= self._end

    def check(self) -> None:
        """Raise SliceEndError if the time is up."""
        if self.over:
            raise SliceEndError


class SlicedLoader(BatchLoader):
    """A loader that ends the slice at the first checkpoint after its time is up.

    checkpoint: what the training writes (FitNet's first stage adds ".hint"). So no step is lost,
    and each slice gets on by one evaluation at least, however short it is.
    """

    def __init__(self, *args: Any, slice_: Slice, checkpoint: Path, **options: Any) -> None:
        super().__init__(*args, **options)
        self._slice, self._checkpoint = slice_, checkpoint
        self._stamp_when_over: object = None

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            self._check()
            yield batch

    def _check(self) -> None:
        if not self._slice.over:
            return
        now = self._stamp()
        if self._stamp_when_over is None:
            self._stamp_when_over = now
        elif self._stamp_when_over != now:
            raise SliceEndError

    def _stamp(self) -> tuple[int, ...]:
        files = (self._checkpoint, Path(f"{self._checkpoint}.hint"))
        return tuple(each.stat().st_mtime_ns if each.exists() else 0 for each in files)
