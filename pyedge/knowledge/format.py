"""What a knowledge pack holds: its manifest, and the .npy files that follow from it.

A pack is a folder. manifest.json names everything; the arrays lie in files that `numpy.load` opens,
for V views of N images, row v * N + i for view v of image i:

    logits.npy          float32 [V*N, classes]          the teacher's answers
    maps.<g>.<k>.npy    float16 or int8 [V*N, h, w, c]  block k of group g, at kept channels
    scales.<g>.<k>.npy  float32 [V*N]                   what a map is multiplied by; int8 always,
                                                        float16 only if a map does not fit
    norms.<g>.npy       float64 [k, V*N]                squared norms of the maps in full width
    shift.npy           int32 [V*N, 2], flip.npy bool [V*N]   how a view is made from its image
    images.npy          uint8 [N, 16]                   digests that identify the images

A pack without groups has logits alone: a teacher's labels, at some 40 bytes an image.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from pyedge.errors import FormatError
from pyedge.images.digests import DIGEST_BYTES

FORMAT = "pyedge-knowledge"
VERSION = 1
MANIFEST = "manifest.json"
DTYPES = ("float16", "int8")

_LONGEST_MANIFEST = 1 << 24  # bytes; ImageNet's class names take 30 kB
_MOST = 1 << 40  # of anything that is counted: products of a few stay far from nonsense
_MOST_GROUPS = 64
_MOST_BLOCKS = 1024


class Spec(NamedTuple):
    """The dtype and shape of a file's array."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """The bytes of the array without its header."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def header(self) -> bytes:
        """The .npy header, the same for equal dtype and shape; data begin at a multiple of 64."""
        descr = np.dtype(self.dtype).newbyteorder("<").str
        text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {self.shape}, }}"
        length = -(-(10 + len(text) + 1) // 64) * 64
        body = text.encode().ljust(length - 11) + b"\n"
        return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body

    @property
    def file_bytes(self) -> int:
        """The bytes of the file."""
        return len(self.header) + self.nbytes


class GroupSpec(NamedTuple):
    """One group: its number of candidate blocks, and their maps: h, w and c of their channels."""

    blocks: int
    shape: tuple[int, int, int]


class FileRecord(NamedTuple):
    """A file's size and its SHA-256 in hexadecimal."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a pack says of itself.

    classes: names of the teacher's classes, in the order of its logits. input_shape: c h w of the
    images. student, teacher, image_set: digests of the student's structure, of the teacher's
    weights and of the images. settings: how the pack was made, plain values.
    """

    images: int
    views: int
    classes: tuple[str, ...]
    dtype: str
    input_shape: tuple[int, int, int]
    groups: tuple[GroupSpec, ...]
    student: str
    teacher: str
    image_set: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, FileRecord] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Views times images."""
        return self.views * self.images

    def arrays(self) -> dict[str, Spec]:
        """Return every file that the pack must have: all but the scales of float16 maps."""
        found = {
            "logits.npy": Spec("float32", (self.rows, len(self.classes))),
            "shift.npy": Spec("int32", (self.rows, 2)),
            "flip.npy": Spec("bool", (self.rows,)),
            "images.npy": Spec("uint8", (self.images, DIGEST_BYTES)),
        }
        for g, group in enumerate(self.groups):
            found[f"norms.{g}.npy"] = Spec("float64", (group.blocks, self.rows))
        for name, shape in self._maps():
            found[f"maps.{name}.npy"] = Spec(self.dtype, (self.rows, *shape))
        return found | (self.scales() if self.dtype == "int8" else {})

    def scales(self) -> dict[str, Spec]:
        """Return the files of scales, of which a float16 pack has only those that it needs."""
        return {f"scales.{name}.npy": Spec("float32", (self.rows,)) for name, _ in self._maps()}

    def _maps(self) -> Iterator[tuple[str, tuple[int, int, int]]]:
        for g, group in enumerate(self.groups):
            for k in range(group.blocks):
                yield f"{g}.{k}", group.shape

    def to_json(self) -> str:
        """Return the text of manifest.json."""
        return json.dumps(
            {
                "format": FORMAT,
                "version": VERSION,
                "images": self.images,
                "views": self.views,
                "classes": list(self.classes),
                "dtype": self.dtype,
                "input_shape": list(self.input_shape),
                "groups": [{"blocks": g.blocks, "map": list(g.shape)} for g in self.groups],
                "student": self.student,
                "teacher": self.teacher,
                "image_set": self.image_set,
                "settings": dict(self.settings),
                "files": {name: record._asdict() for name, record in sorted(self.files.items())},
            },
            indent=1,
            ensure_ascii=False,
            allow_nan=False,
        )


def read_manifest(folder: Path) -> tuple[Manifest, bytes]:
    """Read and check a pack's manifest; return it with its bytes.

    Raises FormatError for anything that is not in a pack of this version, FileNotFoundError if
    there is no such folder.
    """
    path = folder / MANIFEST
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: there is no such folder; wanted a knowledge pack")
    if not path.is_file():
        raise FormatError(f"{folder}: not a knowledge pack (no {MANIFEST} in it)")
    with path.open("rb") as file:
        data = file.read(_LONGEST_MANIFEST + 1)
    if len(data) > _LONGEST_MANIFEST:
        raise FormatError(f"{path}: too large for a manifest")
    try:
        content = json.loads(data.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: cannot be read: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FormatError(f"{path}: not the manifest of a knowledge pack")
    if content.get("version") != VERSION:
        raise FormatError(
            f"{path}: a pack of version {content.get('version')!r}; this pyedge reads version "
            f"{VERSION}"
        )
    return _checked(path, content), data


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _checked(path: Path, content: dict[str, Any]) -> Manifest:
    wanted = {
        "images": _count(content.get("images")),
        "views": _count(content.get("views")),
        "classes": _names(content.get("classes")),
        "dtype": content.get("dtype") in DTYPES,
        "input_shape": _counts(content.get("input_shape"), 3),
        "groups": _groups(content.get("groups")),
        "student": _digest(content.get("student")),
        "teacher": _digest(content.get("teacher")),
        "image_set": _digest(content.get("image_set")),
        "settings": isinstance(content.get("settings"), dict),
        "files": _files(content.get("files")),
    }
    for name, good in wanted.items():
        if not good:
            raise FormatError(f"{path}: {name} has a value that a knowledge pack cannot have")
    unknown = sorted(content.keys() - wanted.keys() - {"format", "version"})
    if unknown:
        raise FormatError(f"{path}: has an unknown entry {unknown[0]!r}")
    c, h, w = content["input_shape"]
    manifest = Manifest(
        images=content["images"],
        views=content["views"],
        classes=tuple(content["classes"]),
        dtype=content["dtype"],
        input_shape=(c, h, w),
        groups=tuple(GroupSpec(g["blocks"], tuple(g["map"])) for g in content["groups"]),
        student=content["student"],
        teacher=content["teacher"],
        image_set=content["image_set"],
        settings=content["settings"],
        files={name: FileRecord(**record) for name, record in content["files"].items()},
    )
    needed, possible = manifest.arrays(), manifest.arrays() | manifest.scales()
    for name in sorted(needed.keys() - manifest.files.keys()):
        raise FormatError(f"{path}: lacks {name}")
    for name, record in manifest.files.items():
        if name not in possible or record.bytes != possible[name].file_bytes:
            raise FormatError(f"{path}: {name} of {record.bytes} bytes is not part of this pack")
    return manifest


def _count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _MOST


def _counts(value: Any, length: int) -> bool:
    return isinstance(value, list) and len(value) == length and all(map(_count, value))


def _names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(name, str) for name in value)
        and len(set(value)) == len(value)
        and not any("\ud800" <= letter <= "\udfff" for name in value for letter in name)
    )


def _groups(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= _MOST_GROUPS and all(map(_group, value))


def _group(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"blocks", "map"}
        and _count(value["blocks"])
        and value["blocks"] <= _MOST_BLOCKS
        and _counts(value["map"], 3)
    )


def _digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def _files(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_record, value.values()))


def _record(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"bytes", "sha256"}
        and type(value["bytes"]) is int
        and _digest(value["sha256"])
    )
