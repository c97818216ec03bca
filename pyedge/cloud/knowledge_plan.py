"""What a pack will hold, before a teacher is asked: its manifest, and by that its size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pyedge._version import __version__
from pyedge.cloud.knowledge_inputs import Pair
from pyedge.images.digests import Digests, set_digest
from pyedge.images.edge_images import EdgeImages
from pyedge.knowledge.format import Manifest

_UNKNOWN = "0" * 64  # a digest that is not needed


def planned(pair: Pair, images: int, dtype: str, views: int, *, maps: bool = True) -> Manifest:
    """Return the part of a pack's manifest that decides its size.

    maps: without them the pack has the teacher's logits alone, which is enough for labels.
    """
    return Manifest(
        images=images,
        views=views,
        classes=tuple(map(str, range(pair.logits))),
        dtype=dtype,
        input_shape=pair.student.input_shape,
        groups=pair.groups if maps else (),
        student=pair.structure,
        teacher=_UNKNOWN,
        image_set=_UNKNOWN,
    )


def full_manifest(
    pair: Pair,
    images: EdgeImages,
    digests: Digests | None,
    *,
    classes: tuple[str, ...],
    teacher: str,
    dtype: str,
    views: int,
    settings: Mapping[str, Any],
    maps: bool = True,
) -> Manifest:
    """Return a pack's manifest without its files. teacher: its digest.

    digests: of the images; None if they are not known before the pack is finished.
    """
    pixels = images.array.dtype == np.uint8
    return replace(
        planned(pair, len(images), dtype, views, maps=maps),
        classes=classes,
        teacher=teacher,
        image_set=_UNKNOWN if digests is None else set_digest(digests),
        settings={
            "pyedge": __version__,
            "preprocessing": dict(pair.student.preprocessing) if pixels else None,
            **settings,
        },
    )


def bytes_of(manifest: Manifest) -> int:
    """Return the bytes of a pack without its manifest."""
    return sum(spec.file_bytes for spec in manifest.arrays().values())
