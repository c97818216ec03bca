"""Knowledge: what a teacher knows of a set of images, read from a pack on the device.

A pack (see `pyedge.knowledge.format`) stands in for the teacher, which no device could run. Its
maps are memory-mapped and go to the engine without a copy, so a pack may be larger than memory.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import kind_of
from pyedge.classes.matching import absent, places, unknown
from pyedge.errors import FormatError
from pyedge.files.disk import UNSUPPORTED, Note, shown
from pyedge.images.digests import image_digests, set_digest
from pyedge.images.edge_images import EdgeImages
from pyedge.keywords import keywords
from pyedge.knowledge.format import GroupSpec, Spec, read_manifest

_READ_BYTES = 1 << 20
_THREADED_BYTES = 1 << 24  # below, threads cost more than they save
_CHECK_ROWS = 1 << 16


class DeviceStudent(Protocol):
    """What a pack needs to know of a student; `pyedge.student.archive.StudentFile` has it."""

    @property
    def structure_digest(self) -> str:
        """The digest of the structure, without weights and classes."""
        ...


class Knowledge:
    """A knowledge pack, open for reading.

    Raises FormatError for a pack that is truncated, altered, of a later version, or not a pack at
    all, and FileNotFoundError. To detect changes, every byte is read once; `verify=False` trusts
    the contents of a pack that was verified before, and only checks its manifest against the sizes
    of its files.
    """

    @keywords(title="Knowledge")
    def __init__(self, path: str | os.PathLike[str], *, verify: bool = True) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"Knowledge: path: wanted the folder of a pack, got {kind_of(path)}")
        self.path = Path(path)
        self._manifest, data = read_manifest(self.path)
        self.digest = hashlib.sha256(data).hexdigest()
        specs = self._manifest.arrays() | self._manifest.scales()
        self._arrays = {
            name: _memory_map(self.path / name, specs[name]) for name in self._manifest.files
        }
        self._by_digest: dict[bytes, int] | None = None
        if verify:
            self._verify()
        self._check_small()
        if verify:
            self._check_numbers()
        blocks = [range(group.blocks) for group in self.groups]
        self._maps = [
            [
                (self._arrays[f"maps.{g}.{k}.npy"], self._arrays.get(f"scales.{g}.{k}.npy"))
                for k in ks
            ]
            for g, ks in enumerate(blocks)
        ]

    def __repr__(self) -> str:
        views = "" if self.views == 1 else f", {self.views} views each"
        return (
            f"Knowledge({str(self.path)!r}: {self.count} images{views}, {len(self.classes)} "
            f"classes, {self.dtype})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # of `copy` and `pickle`: a pack may be larger than memory, so the same files are opened
        return _open_same, (os.path.abspath(self.path), self.digest)

    @property
    def count(self) -> int:
        """The number of images."""
        return self._manifest.images

    @property
    def views(self) -> int:
        """The number of views of each image."""
        return self._manifest.views

    @property
    def classes(self) -> tuple[str, ...]:
        """The teacher's classes, in the order of its logits."""
        return self._manifest.classes

    @property
    def dtype(self) -> str:
        """How the maps are stored: float16 or int8."""
        return self._manifest.dtype

    @property
    def groups(self) -> tuple[GroupSpec, ...]:
        """For each group, the number of the teacher's blocks, and h w c of their maps."""
        return self._manifest.groups

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The images' channels, height and width."""
        return self._manifest.input_shape

    @property
    def settings(self) -> dict[str, Any]:
        """How the pack was made, in plain values."""
        return dict(self._manifest.settings)

    @property
    def nbytes(self) -> int:
        """The bytes of the pack's files."""
        return sum(record.bytes for record in self._manifest.files.values())

    def check(self, student: DeviceStudent) -> None:
        """Raise ValueError unless the pack was made for a student of this structure.

        Weights and classes may have changed since: a student goes on learning and gets new classes.
        """
        if student.structure_digest != self._manifest.student:
            raise ValueError(
                f"{self.path}: wanted a student with the layers, widths and kept channels that the "
                f"pack was made for (weights and classes may have changed), got another student"
            )

    def check_images(self, images: Any) -> None:
        """Raise ValueError unless these are the pack's images, in its order.

        images: anything that `EdgeImages.of` takes. `locate` finds images in another order, or only
        some of them.
        """
        given = self._images(images)
        if len(given) != self.count:
            raise ValueError(f"{self.path}: knows {self.count} images, not these {len(given)}")
        digests = image_digests(given)
        if set_digest(digests) != self._manifest.image_set:
            same = (digests == self._arrays["images.npy"]).all(axis=1)
            raise ValueError(
                f"{self.path}: made for other images, or for these in another order or decoded "
                f"otherwise; image {int(same.argmin())} is the first that differs"
            )

    def locate(self, images: Any) -> NDArray[np.int64]:
        """Find images in the pack by their pixels; return the index of each, int64 [n].

        images: anything that `EdgeImages.of` takes, in any order; the pack may know more than
        these.
        Raises ValueError for an image that the pack does not know.
        """
        digests = image_digests(self._images(images))
        known = self._places()
        places = [known.get(digest.tobytes(), -1) for digest in digests]
        found = np.array(places, dtype=np.int64)
        if (found < 0).any():
            unknown = int((found < 0).sum())
            raise ValueError(
                f"{self.path}: does not know {unknown} of these {len(found)} images; image "
                f"{int((found < 0).argmax())} is the first"
            )
        return found

    def columns(self, classes: tuple[str, ...] | list[str]) -> NDArray[np.int64]:
        """Return the place of each of a student's classes in the teacher's logits, int64 [classes].

        Raises ValueError for a class that the teacher does not know.
        """
        missing = absent(classes, self.classes)
        if missing:
            raise ValueError(
                f"{self.path}: the teacher knows no class {unknown(missing, self.classes)}"
            )
        return np.array(places(classes, self.classes), dtype=np.int64)

    def batch(
        self,
        image_index: NDArray[np.int64],
        view: NDArray[np.int64] | int = 0,
        columns: NDArray[np.int64] | None = None,
    ) -> dict[str, Any]:
        """Return what `Engine.step` takes from the teacher for some images, each in one view.

        image_index [n]: places in the pack. view [n], or one for all. columns: the result of
        `columns`, for a student whose classes are not the teacher's in the same order. The result
        has logits [n, classes] and norms (for each group float64 [k, n], squared), shift [n, 2] and
        flip [n], or None if no image is changed, and maps (for each group and block the whole
        memory-mapped array and its scales, or None) with map_rows [n]. Raises TypeError and
        ValueError for a bad index.
        """
        rows = self._rows(image_index, view)
        logits = self._arrays["logits.npy"][rows]
        shift, flip = self._shift[rows], self._flip[rows]
        changed = bool(shift.any() or flip.any())
        return {
            "logits": logits if columns is None else np.ascontiguousarray(logits[:, columns]),
            "maps": [list(blocks) for blocks in self._maps],
            "map_rows": rows,
            "norms": [
                np.ascontiguousarray(self._arrays[f"norms.{g}.npy"][:, rows])
                for g in range(len(self.groups))
            ],
            "shift": shift if changed else None,
            "flip": flip if changed else None,
        }

    def _rows(
        self, image_index: NDArray[np.int64], view: NDArray[np.int64] | int
    ) -> NDArray[np.int64]:
        function = "Knowledge.batch"
        image, views = np.asarray(image_index), np.asarray(view)
        for name, index, end in (("image_index", image, self.count), ("view", views, self.views)):
            if index.dtype.kind not in "iu":
                raise TypeError(f"{function}: {name}: wanted whole numbers, got {index.dtype}")
            if index.size and not 0 <= int(index.min()) <= int(index.max()) < end:
                raise ValueError(
                    f"{function}: {name}: wanted 0..{end - 1}, got "
                    f"{int(index.min())}..{int(index.max())}"
                )
        if image.ndim != 1 or views.shape not in ((), image.shape):
            raise ValueError(
                f"{function}: image_index: wanted shape [n], and view the same or one number, "
                f"got {list(image.shape)} and {list(views.shape)}"
            )
        return views.astype(np.int64) * self.count + image.astype(np.int64)

    def _images(self, images: Any) -> EdgeImages:
        settings = self._manifest.settings.get("preprocessing")
        settings = settings if isinstance(settings, Mapping) else None  # none for float32 images
        return EdgeImages.of(images, self.input_shape, labelled=None, preprocessing=settings)

    def _places(self) -> dict[bytes, int]:
        # no cached_property: before Python 3.12 it has a lock, which a fork may leave held
        if self._by_digest is None:
            digests = self._arrays["images.npy"]
            # of equal images the first counts
            self._by_digest = {digests[i].tobytes(): i for i in reversed(range(self.count))}
        return self._by_digest

    def _verify(self) -> None:
        files = self._manifest.files
        threads = min(4, os.cpu_count() or 1) if self.nbytes > _THREADED_BYTES else 1
        with ThreadPoolExecutor(threads) as pool:  # hashing lets go of the GIL
            for name, found in zip(files, pool.map(self._sha256, files), strict=True):
                if found != files[name].sha256:
                    raise FormatError(f"{self.path / name}: altered since the pack was made")
        if set_digest(self._arrays["images.npy"]) != self._manifest.image_set:
            raise FormatError(f"{self.path}: image_set is not the digest of images.npy")

    def _sha256(self, name: str) -> str:
        digest = hashlib.sha256()
        with (self.path / name).open("rb") as file:
            while data := file.read(_READ_BYTES):
                digest.update(data)
        return digest.hexdigest()

    def _check_small(self) -> None:
        """Check what decides where the engine reads: it must stay inside the images."""
        _, h, w = self.input_shape
        flip = np.array(self._arrays["flip.npy"]).view(np.uint8)
        if (flip > 1).any():
            raise FormatError(f"{self.path}: flip.npy holds truth values other than 0 and 1")
        shift = np.array(self._arrays["shift.npy"])
        if (np.abs(shift.astype(np.int64)) > (h, w)).any():
            raise FormatError(f"{self.path}: shift.npy moves an image of {h} x {w} out of sight")
        self._flip, self._shift = flip.view(bool), shift

    def _check_numbers(self) -> None:
        for name, array in self._arrays.items():
            if not name.startswith(("logits", "norms", "scales")):
                continue
            flat = array.reshape(-1)
            for start in range(0, len(flat), _CHECK_ROWS):
                part = flat[start : start + _CHECK_ROWS]
                good = np.isfinite(part).all() and (name.startswith("logits") or (part >= 0).all())
                if not good:
                    raise FormatError(f"{self.path / name}: holds an impossible number")


def _open_same(path: str, digest: str) -> Knowledge:
    """Open a pack that was verified before, for example in another process."""
    found = Knowledge(path, verify=False)
    if found.digest != digest:
        raise FormatError(f"{path}: another pack than the one that was copied from there")
    return found


def _memory_map(path: Path, spec: Spec) -> NDArray[Any]:
    """Map a file into memory, after checking its size and header."""
    if not path.is_file():
        raise FormatError(f"{path}: is missing")
    size = path.stat().st_size
    if size != spec.file_bytes:
        raise FormatError(f"{path}: has {size} bytes, wanted {spec.file_bytes}; truncated?")
    with path.open("rb") as file:
        if file.read(len(spec.header)) != spec.header:
            raise FormatError(f"{path}: does not begin like a .npy file of {spec.dtype}")
    start = len(spec.header)
    try:
        return np.memmap(path, dtype=spec.dtype, mode="r", offset=start, shape=spec.shape)
    except OSError as error:
        if error.errno not in (errno.ENODEV, *UNSUPPORTED):
            raise
        text = f"{shown(path)} is read into memory: this disk cannot map files ({error.strerror})"
        Note("map", text).tell()
    array = np.fromfile(path, dtype=spec.dtype, offset=start).reshape(spec.shape)
    array.flags.writeable = False
    return array
