"""A lesson: what a device asks of a teacher, and the pack that becomes its answer."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from pyedge.cloud.knowledge_inputs import Pair
from pyedge.cloud.knowledge_plan import bytes_of, full_manifest
from pyedge.cloud.knowledge_recorder import Recorder
from pyedge.cloud.knowledge_views import Views
from pyedge.images.digests import image_digests
from pyedge.images.edge_images import EdgeImages
from pyedge.serve.packing import Pack

_SMALL = 1 << 20  # bytes of a pack that stays in memory


@dataclass(frozen=True)
class Wanted:
    """What a device asks of a teacher. maps: besides the logits, in dtype."""

    images: EdgeImages
    maps: bool
    dtype: str


@dataclass(frozen=True, eq=False)
class Taught:
    """A teacher that fits a student, and what a pack says of it."""

    pair: Pair
    classes: tuple[str, ...]
    digest: str


class OpenPack:
    """The pack of a request until it is whole: in memory if it is small, else in a folder.

    Write its answers by `recorder`; then `finish` or `drop` it.
    """

    def __init__(self, taught: Taught, wanted: Wanted, work: Path) -> None:
        self._digests = image_digests(wanted.images)
        manifest = full_manifest(
            taught.pair,
            wanted.images,
            self._digests,
            classes=taught.classes,
            teacher=taught.digest,
            dtype=wanted.dtype,
            views=1,
            settings={"teacher_batch_norm": "frozen"},
            maps=wanted.maps,
        )
        small = bytes_of(manifest) <= _SMALL
        self._folder = None if small else Path(mkdtemp(prefix="pack-", dir=work))
        self._opened = ExitStack()
        recorder = Recorder(self._folder, manifest, durable=False)
        try:
            self.recorder = self._opened.enter_context(recorder)
        except BaseException:
            self.drop()
            raise

    def finish(self) -> Pack:
        """Write what is left to write, and return the pack, whose folder the caller removes."""
        self.recorder.finish(Views.plain(len(self._digests)), self._digests)
        self._opened.close()
        return self._folder or self.recorder.contents

    def drop(self) -> None:
        """Leave nothing of it."""
        self._opened.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
