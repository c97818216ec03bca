"""Warn once of images that look unlike those a student was made for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pyedge.images.pixels import Look, contradicts, limits
from pyedge.warning import warn

if TYPE_CHECKING:
    from pyedge.images.edge_images import EdgeImages

_LOOKED_AT = 16  # a look costs less than a hundredth of what the answers do
_WANTED = {
    "image": "images standardised one by one, to mean 0 and deviation 1",
    "none": "pixels over 255, from 0 to 1",
}


class Doubts:
    """What the caller of one learner was warned of; each kind is told once."""

    def __init__(self, preprocessing: Mapping[str, Any]) -> None:
        self._preprocessing = preprocessing
        self._told: set[str] = set()

    def look(self, images: EdgeImages, function: str) -> None:
        """Warn if images look neither like pixels nor like what the preprocessing makes of them.

        uint8: not above 1, several of them. float32: as `pixels.contradicts` tells.
        """
        kind = images.array.dtype.name
        if kind in self._told or not len(images):
            return
        found = _doubt(images, self._preprocessing)
        if found is None:
            return
        self._told.add(kind)
        warn(f"{function}: images {found}")


def _doubt(images: EdgeImages, preprocessing: Mapping[str, Any]) -> str | None:
    if images.array.dtype == np.uint8:
        if preprocessing["kind"] == "image" or not only_bits(images):
            return None  # standardised, 0 and 1 are the same as 0 and 255
        return (
            "are uint8 and none has a pixel above 1; wanted pixels from 0 to 255; for "
            "images of 0 and 1 pass images * 255"
        )
    rows = np.unique(np.linspace(0, len(images) - 1, _LOOKED_AT).astype(np.int64))
    look = replace(Look.of(images.planar(rows), _LOOKED_AT), images=len(images))
    if not (_outside(images.span, preprocessing) or contradicts(look, preprocessing)):
        return None
    if images.span is not None:
        low, high = images.span
        look = replace(look, low=(*look.low, low), high=(*look.high, high))
    return (
        f"are float32 with {look}, but as float32 this student takes {wanted(preprocessing)}. Pass "
        "the pixels as uint8, from 0 to 255, which are preprocessed on the way in, or floats that "
        "are preprocessed in this way"
    )


def _outside(span: tuple[float, float] | None, preprocessing: Mapping[str, Any]) -> bool:
    """Tell whether any of all the images has a value beyond what the widest channel may hold."""
    if span is None or preprocessing["kind"] == "image":
        return False
    least, most = limits(preprocessing)
    return bool(span[0] < least.min() or span[1] > most.max())


def wanted(preprocessing: Mapping[str, Any]) -> str:
    """Describe what a preprocessing makes of pixels."""
    kind = preprocessing["kind"]
    if kind != "channel":
        return _WANTED[kind]
    numbers = (", ".join(f"{v:.4g}" for v in preprocessing[n]) for n in ("mean", "deviation"))
    return "(pixels / 255 - mean) / deviation with mean {} and deviation {}".format(*numbers)


def only_bits(images: EdgeImages) -> bool:
    """Tell whether uint8 images hold only 0 and 1; with ordinary ones the first image decides."""
    if len(images) < 4:
        return False  # a dark photo or two
    rows = np.unique(np.linspace(0, len(images) - 1, _LOOKED_AT).astype(np.int64))
    if any(int(images.array[row].max(initial=0)) > 1 for row in rows):
        return False
    return int(images.array[rows].max(initial=0)) == 1
