"""Recorder: writes the teacher's answers to each batch into the files of a pack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyedge.cloud.knowledge_inputs import Pair
from pyedge.cloud.knowledge_maps import StoredMap, store_map
from pyedge.cloud.knowledge_views import Views
from pyedge.cloud.knowledge_writer import NpyWriter
from pyedge.files.atomic import write_atomically
from pyedge.images.digests import set_digest
from pyedge.knowledge.format import MANIFEST, FileRecord, Manifest, Spec


class Answers(NamedTuple):
    """A teacher's answers as a pack stores them: logits float32 [n, classes], maps[group][block].

    They hold arrays alone, so that another process can give them.
    """

    logits: NDArray[np.float32]
    maps: list[list[StoredMap]]


@torch.no_grad()
def stored(
    pair: Pair, logits: Tensor, maps: Sequence[Sequence[Tensor]], manifest: Manifest
) -> Answers:
    """Cut a teacher's answers to what a pack stores of them; the maps only where it has groups."""
    found = []
    for g, blocks in enumerate(maps[: len(manifest.groups)]):
        kept = torch.tensor(pair.student.kept[g], device=pair.device)
        found.append([store_map(block, kept, manifest.dtype) for block in blocks])
    return Answers(logits.float().cpu().numpy(), found)


class Recorder:
    """Write the pack that `manifest` describes into `folder`; without one, into `contents`.

    Maps and logits go to the disk at once. Norms and scales, 12 bytes for a map of thousands of
    values, stay in memory to the end. durable: whether the pack must survive a power cut; one that
    is sent and removed need not, and waiting for the disk took a service four fifths of its time.
    """

    def __init__(self, folder: Path | None, manifest: Manifest, *, durable: bool = True) -> None:
        self.contents: dict[str, bytes] = {}
        self._folder = folder
        self._manifest = manifest
        self._durable = durable
        self._writers: dict[str, NpyWriter] = {}
        rows = manifest.rows
        self._norms = [np.empty((group.blocks, rows)) for group in manifest.groups]
        self._scales = {name: np.ones(rows, dtype=np.float32) for name in manifest.scales()}

    def __enter__(self) -> Recorder:
        for name, spec in self._manifest.arrays().items():
            if name.startswith(("maps", "logits")):
                self._writers[name] = self._writer(name, spec)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for writer in self._writers.values():
            writer.close()

    def write(
        self, pair: Pair, logits: Tensor, maps: Sequence[Sequence[Tensor]], rows: NDArray[np.int64]
    ) -> None:
        """Write a teacher's answers as these rows; the maps only where the pack has groups.

        Raises ValueError for an answer that is not finite.
        """
        self.put(stored(pair, logits, maps, self._manifest), rows)

    def put(self, answers: Answers, rows: NDArray[np.int64]) -> None:
        """Write answers that are cut already. Raises as `write`."""
        finite = np.isfinite(answers.logits).all(axis=1)
        self._writers["logits.npy"].put(rows, answers.logits)
        for g, blocks in enumerate(answers.maps):
            for k, block in enumerate(blocks):
                finite &= np.isfinite(block.squares)
                self._norms[g][k, rows] = block.squares
                self._scales[f"scales.{g}.{k}.npy"][rows] = block.scales
                self._writers[f"maps.{g}.{k}.npy"].put(rows, block.values)
        if not finite.all():
            first = int(rows[int(finite.argmin())]) % self._manifest.images
            raise ValueError(
                f"make_knowledge: the teacher's answer to image {first} holds NaN or infinity"
            )

    def finish(self, views: Views, digests: NDArray[np.uint8]) -> None:
        """Write the small files and the manifest, and flush everything. digests: of the images.

        Without a folder, `contents` has the files by their names from here on.
        """
        self._manifest = replace(self._manifest, image_set=set_digest(digests))
        small: dict[str, NDArray[Any]] = {
            "shift.npy": views.shift,
            "flip.npy": views.flip,
            "images.npy": digests,
        }
        small |= {f"norms.{g}.npy": norms for g, norms in enumerate(self._norms)}
        for name, scales in self._scales.items():
            if self._manifest.dtype == "int8" or (scales != 1).any():
                small[name] = scales
        for name, array in small.items():
            self._writers[name] = self._writer(name, Spec(array.dtype.name, array.shape))
            self._writers[name].put(np.arange(len(array)), array)
        files = {
            name: writer.finish(durable=self._durable) for name, writer in self._writers.items()
        }
        self._write_manifest(files)

    def _write_manifest(self, files: dict[str, FileRecord]) -> None:
        content = replace(self._manifest, files=files).to_json().encode()
        if self._folder is None:
            self.contents = {name: writer.content() for name, writer in self._writers.items()}
            self.contents[MANIFEST] = content
        elif self._durable:
            write_atomically(self._folder / MANIFEST, lambda file: file.write(content))
        else:
            (self._folder / MANIFEST).write_bytes(content)

    def _writer(self, name: str, spec: Spec) -> NpyWriter:
        path = Path(name) if self._folder is None else self._folder / name
        return NpyWriter(path, spec, in_memory=self._folder is None)
