"""Asking a teacher about a batch of images: what one process does, and what each of many does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pyedge.cloud.knowledge_inputs import Pair
from pyedge.cloud.knowledge_recorder import Answers, stored
from pyedge.cloud.knowledge_views import Views, preprocess
from pyedge.cloud.training.trainable import teaching_mode
from pyedge.images.digests import Digests, image_digests
from pyedge.images.edge_images import EdgeImages
from pyedge.knowledge.format import Manifest


class Answered(NamedTuple):
    """What a teacher says of the rows of a pack, int64 [n]; and, in the first view, the digests."""

    rows: NDArray[np.int64]
    answers: Answers
    digests: Digests | None


@dataclass(frozen=True)
class Asking:
    """All that is needed to fill a pack, but for the file; it may be sent to another process."""

    pair: Pair
    images: EdgeImages
    views: Views
    manifest: Manifest
    batch_norm: str

    @torch.no_grad()
    def do(self, rows: NDArray[np.int64]) -> Answered:
        """Answer some rows, which are of one view. Raises FormatError for a broken image."""
        count = self.manifest.images
        images = self.images.subset(rows % count)  # which may have to be read
        x = preprocess(images, np.arange(len(rows)), self.pair.student.preprocessing)
        with teaching_mode(self.pair.teacher, self.batch_norm):
            logits, maps = self.pair.answer(self.views.apply(x, rows))
        digests = image_digests(images) if rows[0] < count else None
        return Answered(rows, stored(self.pair, logits, maps, self.manifest), digests)

    def all(self, batches: Iterable[NDArray[np.int64]]) -> Iterator[Answered]:
        """Answer batch after batch, in this process."""
        return map(self.do, batches)
