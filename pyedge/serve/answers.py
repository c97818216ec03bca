"""What the service answers, as JSON; the OpenAPI document is made of these."""

from __future__ import annotations

from pydantic import BaseModel

from pyedge.serve.categories import Offer
from pyedge.serve.contributions import Contribution
from pyedge.serve.gifts import Gift
from pyedge.serve.students import Release


class Fault(BaseModel):
    """Why a request was not answered. code: for programs. message: for people."""

    code: str
    message: str


class Error(BaseModel):
    """The body of every answer of status 400 and above."""

    error: Fault


class StudentAnswer(BaseModel):
    """A student. digest, bytes: of its file. teacher: whether its teacher answers here.

    replaces: the student that this one was made after. replaced_by: the newest made after this one.
    """

    name: str
    version: int
    digest: str
    bytes: int
    features: str
    structure: str
    classes: list[str]
    contributions: int
    images: int
    teacher: bool
    created: float
    replaces: str | None = None
    replaced_by: str | None = None

    @classmethod
    def of(cls, found: Release) -> StudentAnswer:
        """Tell of a release; the path of its teacher is the service's own affair."""
        told = {**vars(found), "teacher": found.teacher is not None}
        return cls(**{**told, "classes": list(found.classes)})


class StudentList(BaseModel):
    """All students."""

    students: list[StudentAnswer]


class OfferAnswer(BaseModel):
    """A category file of the catalogue; its address is its digest."""

    digest: str
    name: str
    detail: str
    images: int
    bytes: int
    device: str
    created: float

    @classmethod
    def of(cls, found: Offer) -> OfferAnswer:
        """Tell of an offer."""
        return cls(**vars(found))


class OfferList(BaseModel):
    """A student's catalogue."""

    categories: list[OfferAnswer]


class ContributionAnswer(BaseModel):
    """What became of a contribution. state: counted, held, rejected or withdrawn."""

    digest: str
    student: str
    state: str
    reason: str
    images: int
    classes: list[str]

    @classmethod
    def of(cls, found: Contribution) -> ContributionAnswer:
        """Tell of a contribution."""
        return cls(
            digest=found.digest,
            student=found.student,
            state=found.state,
            reason=found.reason,
            images=found.images,
            classes=list(found.classes),
        )


class GiftAnswer(BaseModel):
    """A file of images that a device gave. classes: how many images of each."""

    digest: str
    student: str
    images: int
    classes: dict[str, int]
    bytes: int
    created: float

    @classmethod
    def of(cls, found: Gift) -> GiftAnswer:
        """Tell of a gift to its giver, who knows its own name."""
        return cls(**{name: getattr(found, name) for name in cls.model_fields})


class GiftList(BaseModel):
    """What a device has given for a student."""

    images: list[GiftAnswer]


class Offset(BaseModel):
    """How much of an upload is here. complete: all of it, and its digest is right."""

    offset: int
    complete: bool


class Health(BaseModel):
    """Whether the service works."""

    status: str
