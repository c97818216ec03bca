"""Image files to uint8 arrays, many at a time: Pillow over a pool of threads."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from pyedge.edge.colours import UnclearError, to_rgb
from pyedge.edge.sources import Entry
from pyedge.errors import FormatError
from pyedge.warning import warn

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")

# What the bytes may be, whatever the name says: Pillow would hand EPS to an installed Ghostscript.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")

_Result = tuple[str, np.ndarray, tuple[str, ...]]

_ODDITIES = {
    "frames": "has several frames or pages, of which only the first is taken",
    "clear": "is transparent all over, which is taken for white",
    "dim": "has 16 bits a pixel and nothing above 4095, so it becomes nearly black; images of 12 "
    "bits must be multiplied by 16, or saved with 8",
    "bits": "no pixel of these images is above 1 where 255 is white; save images of 0 and 1 with "
    "255 in place of 1",
}

# A task of one 32x32 JPEG (60 us) would be mostly hand-over.
_TASK = 64


def is_image(name: str) -> bool:
    """Tell by its suffix whether a file is an image."""
    return name.lower().endswith(SUFFIXES)


def require_pillow() -> None:
    """Raise ImportError with the install line where Pillow is missing."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'reading image files needs Pillow: pip install "pyedge[images]"'
        ) from error


def decode(name: str, data: bytes, size: int | None = None) -> np.ndarray:
    """Decode one image file to uint8 [h, w, 3].

    Greyscale, palette, CMYK and LAB images become RGB, 16 bits become 8 by division by 256 (12 by
    16), transparent images lie on white, the camera's orientation is applied, and of several frames
    the first is taken; colour profiles are not. With `size`, the shorter side is resized to it and
    the centre size x size is cut out. Raises FormatError that names the file where it is broken,
    claims more pixels than Pillow calls safe (PIL.Image.MAX_IMAGE_PIXELS), or has numbers that do
    not say which of them is white: 32 bits, floats.
    """
    return _decoded(name, data, size)[0]


def _decoded(name: str, data: bytes, size: int | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Do as `decode`, and tell what was left out or looks odd: keys of `_ODDITIES`."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            most = Image.MAX_IMAGE_PIXELS
            if most is not None and image.width * image.height > most:
                raise UnclearError(
                    f"claims {image.width} x {image.height} pixels, and more than {most} may be "
                    "an attack (PIL.Image.MAX_IMAGE_PIXELS)"
                )
            if size is not None:
                # JPEG decodes at 1/2, 1/4, 1/8 for less work; twice the size keeps the quality.
                image.draft(None, (2 * size, 2 * size))
            odd = ["frames"] if _has_frames(image) else []
            rgb, found = to_rgb(image)
            array = np.asarray(_fit(_upright(rgb, image), size))
    except UnclearError as error:
        raise FormatError(f"{name} {error}") from error
    # A decoder that is fed foreign bytes raises what it likes: OSError, SyntaxError, struct.error,
    # ZeroDivisionError, DecompressionBombError, ...
    except Exception as error:
        raise FormatError(f"{name}: not an image, or a broken one: {error}") from error
    if found is not None:
        odd.append(found)
    if int(array.max(initial=0)) == 1:
        odd.append("bits")
    return array, tuple(odd)


def _has_frames(image: Image.Image) -> bool:
    """Tell whether there are more frames than the first.

    The second image of a photo (MPO) is a preview or a depth map, and nobody's loss.
    """
    return image.format != "MPO" and bool(getattr(image, "is_animated", False))


def _upright(rgb: Image.Image, original: Image.Image) -> Image.Image:
    from PIL import Image

    if not original.info.get("exif") and "xmp" not in original.info:
        return rgb  # getexif() costs as much as decoding a small image
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    turn = turns.get(original.getexif().get(0x0112, 1))
    return rgb if turn is None else rgb.transpose(turn)


def _fit(image: Image.Image, size: int | None) -> Image.Image:
    from PIL import Image

    if size is None or image.size == (size, size):
        return image
    w, h = image.size
    # The largest centred square, resized at once: the same as resizing the shorter side and then
    # cropping, without the pixels that would be cut off.
    side = min(w, h)
    left, top = (w - side) / 2, (h - side) / 2
    return image.resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )


def decode_all(
    entries: Iterable[Entry], size: int | None = None, threads: int | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Decode files as they come: yields (name, uint8 [h, w, 3]) in the order of `entries`.

    `threads` defaults to the number of cores (8 at most): Pillow lets go of the GIL while it
    decodes. Only a few tasks are in flight, so an archive is not held in memory.
    """
    require_pillow()

    def task(batch: list[Entry]) -> list[_Result]:
        return [(e.name, *_decoded(e.name, e.read(), size)) for e in batch if e.read is not None]

    odd: dict[str, list[str]] = {}
    count = 0

    def told(results: list[_Result]) -> Iterator[tuple[str, np.ndarray]]:
        nonlocal count
        for name, array, keys in results:
            count += 1
            for key in keys:
                odd.setdefault(key, []).append(name)
            yield name, array

    workers = threads or min(8, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="pyedge-decode")
    running: deque[Future[list[_Result]]] = deque()
    batch: list[Entry] = []
    try:
        for entry in entries:
            batch.append(entry)
            if len(batch) == _TASK:
                running.append(pool.submit(task, batch))
                batch = []
            if len(running) > 2 * workers:
                yield from told(running.popleft().result())
        running.append(pool.submit(task, batch))
        while running:
            yield from told(running.popleft().result())
        _tell(odd, count)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _tell(odd: dict[str, list[str]], count: int) -> None:
    """Warn once of each oddity, with the number of files and the first of them."""
    for key, names in odd.items():
        if key == "bits" and (len(names) < count or count < 4):
            continue  # dark photos
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        warn(f"{names[0]}{more}: {_ODDITIES[key]}")


def brightness(image: np.ndarray) -> np.ndarray:
    """Turn [h, w, 3] to [h, w, 1] as Pillow does: ITU-R 601, rounded; grey stays what it is."""
    r, g, b = (image[..., i].astype(np.uint32) for i in range(3))
    grey = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16
    return grey.astype(np.uint8)[..., None]


def pixels_of(image: Image.Image) -> np.ndarray:
    """Return an image of Pillow's as a file of it would be read, uint8 [h, w, 3].

    Raises ValueError for numbers that do not say which of them is white.
    """
    return np.asarray(to_rgb(image)[0])
