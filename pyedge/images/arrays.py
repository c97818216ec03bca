"""Images as other libraries and plain Python hold them, as numpy arrays; no library is imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyedge.images.preprocessing import coloured
from pyedge.images.resize import Resize


def array_of(source: Any, channels: int, resize: Resize | None = None) -> NDArray[Any] | None:
    """Return `source` as a numpy array if it is an array in another form, else None.

    Tensors on any device, with or without gradients; pandas series of arrays; Pillow images, as
    their files would be read, and resized; lists of numbers, whole ones from 0 to 255 as uint8 and
    others as float32. Raises TypeError for what looks like images but cannot be: tables, masked
    pixels.
    """
    if isinstance(source, np.ma.MaskedArray):
        if np.ma.is_masked(source):
            raise TypeError(
                f"EdgeImages: {np.ma.count_masked(source)} pixels of images are masked; fill them, "
                "as with images.filled(0)"
            )
        return np.asarray(np.ma.getdata(source))
    if isinstance(source, np.ndarray):
        return _together(list(source), channels, resize) if source.dtype.hasobject else source
    if hasattr(source, "getbands"):  # Pillow's
        return _picture(source, channels, resize)
    if hasattr(source, "detach"):  # torch's
        return _tensor(source)
    if type(source).__module__.partition(".")[0] == "pandas":
        if getattr(source, "ndim", 0) != 1:
            raise TypeError(
                f"EdgeImages: images: wanted an array, got a table, {type(source).__name__}, with "
                f"no height and width; pass table.to_numpy().reshape(n, c, h, w)"
            )
        return array_of(source.to_numpy(), channels, resize)
    if isinstance(source, (list, tuple)):
        return _numbers(source)
    if hasattr(source, "__array__"):  # JAX's, TensorFlow's, CuPy's word for itself
        return np.asarray(source)
    return None


def at_size(
    array: NDArray[Any], shape: tuple[int, int, int], resize: Resize | None, last: bool | None
) -> tuple[NDArray[Any], bool | None]:
    """Resize uint8 pictures of another size, [n, h, w, c], [n, c, h, w] or one of them, for c h w.

    `last`: whether the channels are, None if only the shape tells. Returns the images, [n, c, h, w]
    if they have been resized, and that; other arrays as they are.
    """
    c, h, w = shape
    if resize is None or not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        return array, last
    kind = array.shape[-3:]
    if array.ndim not in (3, 4) or not array.size or kind in ((c, h, w), (h, w, c)):
        return array, last
    if array.ndim == 3 and kind[1:] == (h, w) and c == 1:  # grey images [n, h, w]
        return array, last
    at_end, in_front = kind[2] in (1, 3), kind[0] in (1, 3)
    if last is None and at_end != in_front:
        last = at_end
    if last is None or not (at_end if last else in_front):
        return array, last
    batch = array if array.ndim == 4 else array[None]
    planar = batch.transpose(0, 3, 1, 2) if last else batch
    if planar.shape[2:] != (h, w):  # those of the size have been cut
        planar = resize.arrays(planar)
    return coloured(planar, c), False


def rows_of(rows: Any, count: int, where: str) -> NDArray[np.int64]:
    """Return places among `count`, in the order given, or where a mask [count] is True.

    Raises TypeError for anything else, ValueError for another shape and places out of range.
    """
    given = _tensor(rows) if hasattr(rows, "detach") else np.asarray(rows)
    if given.dtype.kind == "b":
        if given.shape != (count,):
            raise ValueError(f"{where}: wanted a mask of shape ({count},), got {given.shape}")
        return np.flatnonzero(given)
    if given.size and given.dtype.kind not in "iu":
        raise TypeError(
            f"{where}: wanted places, whole numbers, or a mask of True and False, got {rows!r:.80}"
        )
    if given.ndim != 1:
        raise ValueError(f"{where}: wanted places of shape (n,), got {given.shape}")
    found = given.astype(np.int64)
    if len(found) and not -count <= int(found.min()) <= int(found.max()) < count:
        raise ValueError(
            f"{where}: wanted places in 0..{count - 1}, got {found.min()}..{found.max()}"
        )
    return found


def _tensor(source: Any) -> NDArray[Any]:
    tensor = source.detach().cpu()
    try:
        return np.asarray(tensor)
    except TypeError:  # bfloat16 and the like, which numpy does not know
        return np.asarray(tensor.float())


def _picture(source: Any, channels: int, resize: Resize | None) -> NDArray[np.uint8]:
    """Return one Pillow image as uint8 [h, w, c]."""
    from pyedge.images.decode import brightness, pixels_of

    try:
        pixels = pixels_of(source, resize)
    except ValueError as error:
        raise TypeError(f"EdgeImages: a Pillow image {error}") from error
    return pixels if channels != 1 else brightness(pixels)


def _together(parts: Sequence[Any], channels: int, resize: Resize | None) -> NDArray[Any]:
    arrays = [array_of(part, channels, resize) for part in parts]
    if not all(isinstance(each, np.ndarray) and each.dtype != object for each in arrays):
        raise TypeError("EdgeImages: images: wanted numbers or arrays, not Python objects")
    shapes = sorted({each.shape for each in arrays if each is not None})
    if len(shapes) > 1:
        raise ValueError(
            f"EdgeImages: images: wanted all of one shape, got {list(shapes[0])} and "
            f"{list(shapes[1])}"
        )
    return np.stack([each for each in arrays if each is not None])


def _numbers(source: Sequence[Any]) -> NDArray[Any] | None:
    """Return nested lists of Python numbers, which have no dtype, as an array."""
    depth, leaf = 0, source
    while isinstance(leaf, list) and leaf:
        depth, leaf = depth + 1, leaf[0]
    if depth < 2 or type(leaf) not in (int, float):
        return None
    try:
        array = np.array(source)
    except (ValueError, OverflowError):  # of uneven lengths: perhaps pairs of image and label
        return None
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    small = array.dtype.kind in "iu" and array.min() >= 0 and array.max() <= 255
    return array.astype(np.uint8) if small else array
