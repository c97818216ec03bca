"""The two memory layouts of images, [n, c, h, w] and [n, h, w, c], told apart by their shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]  # c h w


class Placed(NamedTuple):
    """An array without gaps, and which of its axes holds the channels."""

    array: NDArray[Any]
    channels_last: bool


def checked_shape(input_shape: Sequence[int]) -> Shape:
    """Return c h w as a tuple; ValueError for anything else."""
    try:
        shape = tuple(int(side) for side in input_shape)
    except (TypeError, ValueError):
        raise TypeError(
            f"EdgeImages: input_shape: wanted c h w, three whole numbers, got {input_shape!r:.80}"
        ) from None
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"EdgeImages: input_shape: wanted c h w, each from 1, got {input_shape}")
    return shape


def checked_dtype(array: Any) -> NDArray[Any]:
    """Return an array of uint8 or float32 in this machine's byte order; TypeError for others.

    Other dtypes are not converted, since their numbers may mean anything; the message says what
    they are and what to do.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"EdgeImages: images: wanted a numpy array, got {type(array).__name__}")
    if array.dtype == np.uint8 or array.dtype == np.float32:
        return array
    if array.dtype.kind == "f" and array.dtype.itemsize == 4:
        return array.astype(np.float32)
    raise TypeError(
        f"EdgeImages: images: wanted uint8 pixels, or float32 and preprocessed, "
        f"got {array.dtype}{_advice(array)}"
    )


def _advice(array: NDArray[Any]) -> str:
    if not array.size or array.dtype.kind not in "biuf":
        return ""
    if array.dtype.kind == "b":
        return "; for black and white pass images * np.uint8(255)"
    low, high = array.min(), array.max()
    seen = f" from {low:.4g} to {high:.4g}"
    if array.dtype.kind == "f":
        pixels = low >= 0 and 2 < high <= 255
        return seen + (
            "; if they are pixels, pass images.round().astype(np.uint8)"
            if pixels
            else "; if they are preprocessed, pass images.astype(np.float32)"
        )
    if low >= 0 and high <= 255:
        return seen + "; if they are pixels, pass images.astype(np.uint8)"
    return seen + "; scale them to 0..255 and pass them as uint8"


def place(array: NDArray[Any], shape: Shape, channels_last: bool | None) -> Placed:
    """Find which axis holds the channels, and make sure that the memory has no gaps."""
    c, h, w = shape
    first, last = array.shape[1:] == (c, h, w), array.shape[1:] == (h, w, c)
    if array.shape[1:] == (h, w) and c == 1:
        array, first = array[:, None], True
    if channels_last is not None:
        first, last = first and not channels_last, last and channels_last
    if not (first or last):
        grey = f" or [n, {h}, {w}]" if c == 1 else ""
        hint = "; a single image is image[None]" if array.ndim == 3 or array.shape == (h, w) else ""
        raise ValueError(
            f"EdgeImages: images: wanted [n, {c}, {h}, {w}] or [n, {h}, {w}, {c}]{grey} for this "
            f"student, got {list(array.shape)}{hint}"
        )
    if first and last and shape != (1, 1, 1):
        raise ValueError(
            f"EdgeImages: images of {c} x {h} x {w} do not tell which axis is the channels; pass "
            f"channels_last=True or False"
        )
    if first and array.flags.c_contiguous:
        return Placed(array, False)
    # pixels [n, h, w, c] that are seen as [n, c, h, w], or the other way round
    seen = array.transpose(0, 2, 3, 1) if first else array.transpose(0, 3, 1, 2)
    if seen.flags.c_contiguous:
        return Placed(seen, first)
    return Placed(np.ascontiguousarray(array), not first)


def one_or_more(array: NDArray[Any], shape: Shape, channels_last: bool | None) -> Placed:
    """Take an item of an iterable: a batch, or one image."""
    array = checked_dtype(array)
    c, h, w = shape
    one = array.shape in ((c, h, w), (h, w, c)) or (c == 1 and array.shape == (h, w))
    return place(array[None] if one else array, shape, channels_last)
