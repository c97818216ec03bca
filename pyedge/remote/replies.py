"""What the service answers, checked before it is believed: names become parts of paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyedge.arguments import shown
from pyedge.errors import FormatError

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST_BYTES = 1 << 34


@dataclass(frozen=True)
class RemoteStudent:
    """A student that a service has. digest, bytes: of its file. teacher: whether one answers.

    replaces: the student that the cloud made this one after; replaced_by: the newest that was made
    after this one, which a device should download instead. None where there is none.
    """

    name: str
    version: int
    digest: str
    bytes: int
    classes: tuple[str, ...]
    contributions: int
    images: int
    teacher: bool
    replaces: str | None = None
    replaced_by: str | None = None

    @classmethod
    def of(cls, told: Any) -> RemoteStudent:
        """Check what was answered; FormatError for anything else."""
        return cls(
            name=_text(told, "name", _NAME),
            version=_whole(told, "version", 1 << 31),
            digest=_text(told, "digest", _DIGEST),
            bytes=_whole(told, "bytes", _MOST_BYTES),
            classes=tuple(_texts(told, "classes")),
            contributions=_whole(told, "contributions", 1 << 53),
            images=_whole(told, "images", 1 << 53),
            teacher=_field(told, "teacher") is True,
            replaces=_name_or_none(told, "replaces"),
            replaced_by=_name_or_none(told, "replaced_by"),
        )


@dataclass(frozen=True)
class RemoteCategory:
    """A category file that a service has. name: of the class. detail: as in `make_category`."""

    name: str
    digest: str
    detail: str
    images: int
    bytes: int

    @classmethod
    def of(cls, told: Any) -> RemoteCategory:
        """Check what was answered; FormatError for anything else."""
        return cls(
            name=_text(told, "name"),
            digest=_text(told, "digest", _DIGEST),
            detail=_text(told, "detail"),
            images=_whole(told, "images", 1 << 53),
            bytes=_whole(told, "bytes", _MOST_BYTES),
        )


@dataclass(frozen=True)
class RemoteImages:
    """Images that this device has given. classes: how many of each. created: seconds since 1970."""

    digest: str
    student: str
    images: int
    classes: Mapping[str, int]
    bytes: int
    created: float

    @classmethod
    def of(cls, told: Any) -> RemoteImages:
        """Check what was answered; FormatError for anything else."""
        classes = _field(told, "classes")
        if not isinstance(classes, Mapping):
            raise _wrong("classes", "a number of each", classes)
        created = _field(told, "created")
        if type(created) not in (int, float):
            raise _wrong("created", "a time", created)
        return cls(
            digest=_text(told, "digest", _DIGEST),
            student=_text(told, "student", _NAME),
            images=_whole(told, "images", 1 << 53),
            classes={name: _whole(classes, name, 1 << 53) for name in classes},
            bytes=_whole(told, "bytes", _MOST_BYTES),
            created=float(created),
        )


@dataclass(frozen=True)
class Contributed:
    """What became of something sent.

    state: "waiting" for the service to be reached, "offered" (a category), "given" (images),
    "counted", "held" for review, "rejected" or "withdrawn" (a contribution), "refused". reason:
    why, in words.
    """

    digest: str
    student: str
    state: str
    reason: str = ""

    @classmethod
    def of(cls, told: Any) -> Contributed:
        """Check what was answered; FormatError for anything else."""
        return cls(
            digest=_text(told, "digest", _DIGEST),
            student=_text(told, "student", _NAME),
            state=_text(told, "state"),
            reason=_text(told, "reason"),
        )


def listed(told: Any, name: str) -> list[Any]:
    """Return the list of an answer."""
    found = _field(told, name)
    if not isinstance(found, list):
        raise _wrong(name, "a list", found)
    return found


def offset_of(told: Any) -> tuple[int, bool]:
    """Return how much of an upload the service has, and whether that is all."""
    return _whole(told, "offset", _MOST_BYTES), _field(told, "complete") is True


def checked_name(name: Any, where: str) -> str:
    """Return the name of a student; ValueError for one that no student can have."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{where}: student: wanted a name of letters, digits, '.', '_' and '-', got "
            f"{shown(name)}"
        )
    return name


def _field(told: Any, name: str) -> Any:
    if not isinstance(told, Mapping) or name not in told:
        raise FormatError(f"the service's answer lacks {name!r}")
    return told[name]


def _text(told: Any, name: str, pattern: re.Pattern[str] | None = None) -> str:
    found = _field(told, name)
    if not isinstance(found, str) or (pattern is not None and pattern.fullmatch(found) is None):
        raise _wrong(name, "text of its kind", found)
    return found


def _name_or_none(told: Any, name: str) -> str | None:
    # a service of the version before says nothing of it
    return _text(told, name, _NAME) if told.get(name) is not None else None


def _texts(told: Any, name: str) -> list[str]:
    found = listed(told, name)
    if not all(isinstance(each, str) for each in found):
        raise _wrong(name, "a list of text", found)
    return found


def _whole(told: Any, name: str, most: int) -> int:
    found = _field(told, name)
    if type(found) is not int or not 0 <= found <= most:
        raise _wrong(name, "a whole number", found)
    return found


def _wrong(name: str, wanted: str, got: Any) -> FormatError:
    return FormatError(f"the service's answer: {name}: wanted {wanted}, got {shown(got)}")
