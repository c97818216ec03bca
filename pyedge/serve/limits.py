"""Limits: what the service accepts from one device, and from all together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a service accepts; each has an option of `pyedge serve`.

    upload_bytes: of one file. pending_bytes: of a device's uploads that are not used yet.
    body_bytes: of the images of one knowledge request, and knowledge_images their number.
    requests_per_minute, requests_at_once: of one device. knowledge_at_once: requests that wait for
    the teacher, of all devices. silence_seconds: without a byte of a request's body or of its
    head. given_bytes: of all images that one device has given for a student. most_images,
    most_classes: of a contribution, and of a file of given images. most_norm: size of a
    contribution's features over those of the student's own statistics. most_drop: of the accuracy
    on the student's held images, above which a contribution is held for review.
    """

    upload_bytes: int = 64 << 20
    pending_bytes: int = 256 << 20
    body_bytes: int = 64 << 20
    knowledge_images: int = 1024
    requests_per_minute: int = 600
    requests_at_once: int = 8
    knowledge_at_once: int = 256
    silence_seconds: float = 20.0
    given_bytes: int = 1 << 30
    most_images: int = 100_000
    most_classes: int = 100
    most_norm: float = 4.0
    most_drop: float = 0.05
