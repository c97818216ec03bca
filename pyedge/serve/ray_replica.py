"""A replica: a teacher in a process of Ray Serve, which makes as many as there is work for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from ray import serve

from pyedge.cloud.knowledge_inputs import fit
from pyedge.cloud.knowledge_plan import planned
from pyedge.cloud.knowledge_recorder import Answers, stored
from pyedge.cloud.knowledge_views import preprocess
from pyedge.cloud.network_file import load_network
from pyedge.cloud.training.trainable import teaching_mode
from pyedge.images.edge_images import EdgeImages
from pyedge.student.file import StudentFile

MOST_IMAGES = 128  # of a batch, and so of what is asked in one piece
_WAIT_SECONDS = 0.02  # for more, from the first; a batch of 128 takes longer


class Asked(NamedTuple):
    """Images for a teacher, up to MOST_IMAGES, and what is wanted of it."""

    images: EdgeImages
    maps: bool
    dtype: str


def size_of(asked: Sequence[Asked]) -> int:
    """Return how many images there are: what a batch is measured by."""
    return sum(len(each.images) for each in asked)


class Replica:
    """A student's teacher, read from its file, which every machine of the cluster can read."""

    def __init__(self, path: str, student: StudentFile, cuda: bool) -> None:
        torch.set_num_threads(1)  # more replicas, not more threads
        model, _ = load_network(path)
        self._pair = fit(model.cuda() if cuda else model, student)

    @serve.batch(
        max_batch_size=MOST_IMAGES, batch_wait_timeout_s=_WAIT_SECONDS, batch_size_fn=size_of
    )
    async def teach(self, asked: list[Asked]) -> list[Answers]:
        """Answer several requests in one batch; requests gather while it is computed."""
        return await asyncio.to_thread(self._teach, asked)

    @torch.no_grad()
    def _teach(self, asked: list[Asked]) -> list[Answers]:
        pair = self._pair
        parts = [
            preprocess(each.images, np.arange(len(each.images)), pair.student.preprocessing)
            for each in asked
        ]
        with teaching_mode(pair.teacher, "frozen"):
            logits, maps = pair.answer(np.concatenate(parts))
        found, start = [], 0
        for each in asked:
            part = slice(start, start + len(each.images))
            start = part.stop
            cut = [[block[part] for block in blocks] for blocks in maps]
            manifest = planned(pair, len(each.images), each.dtype, 1, maps=each.maps)
            found.append(stored(pair, logits[part], cut, manifest))
        return found
