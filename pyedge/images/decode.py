"""Image files to uint8 arrays, many at a time: Pillow over a pool of threads."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pyedge.errors import FormatError
from pyedge.images.colours import UnclearError, to_rgb
from pyedge.images.entries import Entry
from pyedge.images.file_kinds import HEAD_BYTES, foreign, formats
from pyedge.images.left_out import LeftOut, shown
from pyedge.images.png_chunks import without_damage
from pyedge.images.resize import Resize, require_pillow
from pyedge.warning import warn

if TYPE_CHECKING:
    from PIL import Image

_ODDITIES = {
    "frames": "has several frames or pages, of which only the first is used",
    "clear": "is transparent all over, and becomes white",
    "dim": "has 16 bits a pixel and nothing above 4095, so it becomes nearly black; images of 12 "
    "bits must be multiplied by 16, or saved with 8",
    "bits": "no pixel of these images is above 1 where 255 is white; save images of 0 and 1 with "
    "255 in place of 1",
}

# A task of one 32x32 JPEG (60 us) would be mostly hand-over.
_TASK = 64
_NAMED = 5  # broken images that an error names

Side = int | Resize | None  # of the square that a picture becomes; None: it stays as it is
Decoded = list[tuple[str, "_Image | str | FormatError"]]  # str: why it is not an image


def decode(name: str, data: bytes, size: Side = None) -> np.ndarray:
    """Decode one image file to uint8 [h, w, 3].

    Greyscale, palette, CMYK and LAB images become RGB; 16 bits become 8 by division by 256 (12 by
    16); transparent images are put on white; the camera's orientation is applied, colour profiles
    are not; of several frames the first is used. With `size`, the shorter side is resized to it and
    the central size x size is cut out; a Resize does the same as torchvision to the last bit.
    Raises FormatError, naming the file, if it is broken, claims
    more pixels than Pillow calls safe (PIL.Image.MAX_IMAGE_PIXELS), or has numbers that do not tell
    which value is white: 32 bits, floats.
    """
    return _decoded(name, data, size).pixels


class _Image(NamedTuple):
    """An image [h, w, 3], and what was left out or looks odd: keys of `_ODDITIES`."""

    pixels: np.ndarray
    odd: tuple[str, ...]


def _decoded(name: str, data: bytes, size: Side) -> _Image:
    """Do the work of `decode`; return the oddities too."""
    if not data:
        raise FormatError(f"{name}: not an image, or a broken one: it is empty")
    reason = foreign(data[:HEAD_BYTES])
    if reason is not None:
        raise FormatError(f"{name}: not an image that can be read: {reason}")
    # A decoder that is fed foreign bytes raises what it likes: OSError, SyntaxError, struct.error,
    # ZeroDivisionError, DecompressionBombError, ...
    try:
        return _opened(data, size)
    except Exception as error:
        if isinstance(error, UnclearError):
            raise FormatError(f"{name} {error}") from error
        mended = without_damage(data)
        if mended is not None:
            with suppress(Exception):
                return _opened(mended, size)
        raise FormatError(f"{name}: not an image, or a broken one: {_why(error)}") from error


def _opened(data: bytes, size: Side) -> _Image:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=formats()) as image:
        most = Image.MAX_IMAGE_PIXELS
        if most is not None and image.width * image.height > most:
            raise UnclearError(
                f"claims {image.width} x {image.height} pixels, and more than {most} may be an "
                "attack (PIL.Image.MAX_IMAGE_PIXELS)"
            )
        if isinstance(size, int):
            # JPEG decodes at 1/2, 1/4, 1/8 for less work; twice the size keeps the quality.
            image.draft(None, (2 * size, 2 * size))
        odd = ["frames"] if _has_frames(image) else []
        rgb, found = to_rgb(image)
        pixels = np.asarray(_fit(_upright(rgb, image), size))
    if found is not None:
        odd.append(found)
    if int(pixels.max(initial=0)) == 1:
        odd.append("bits")
    return _Image(pixels, tuple(odd))


def _why(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # whose text is an address in memory
        return "its bytes are not of a format that is read"
    return str(error) or type(error).__name__


def _has_frames(image: Image.Image) -> bool:
    """Tell whether there are more frames than the first.

    The second image of a photo (MPO) is a preview or a depth map, which nobody misses.
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
    try:
        turn = turns.get(original.getexif().get(0x0112, 1))
    except Exception:  # broken metadata of a good image, which may hold anything
        return rgb
    return rgb if turn is None else rgb.transpose(turn)


def _fit(image: Image.Image, size: Side) -> Image.Image:
    from PIL import Image

    if isinstance(size, Resize):
        return size.picture(image)
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
    entries: Iterable[Entry],
    size: Side = None,
    threads: int | None = None,
    left_out: LeftOut | None = None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Decode files one after another: yield (name, uint8 [h, w, 3]) in the order of `entries`.

    `threads` defaults to the number of cores (at most 8): Pillow releases the GIL while it decodes.
    Only a few tasks are in flight, so an archive is not held in memory. With `left_out`, files that
    are surely not images (a web page named .jpg) go there; without it, they raise FormatError as
    broken images do. The error comes after the last file, and counts all of them.
    """
    require_pillow()
    _warn_of_truncated()

    def one(entry: Entry) -> _Image | str | FormatError:
        assert entry.read is not None  # folders are not decoded
        data = entry.read()
        reason = foreign(data[:HEAD_BYTES]) if left_out is not None else None
        try:
            return _decoded(entry.name, data, size) if reason is None else reason
        except FormatError as error:
            return error

    def task(batch: list[Entry]) -> Decoded:
        return [(entry.name, one(entry)) for entry in batch]

    broken: list[tuple[str, FormatError]] = []
    oddities = _Oddities()

    def images(done: Future[Decoded]) -> Iterator[tuple[str, np.ndarray]]:
        for name, image in done.result():
            if isinstance(image, FormatError):
                broken.append((name, image))
            elif isinstance(image, str):
                assert left_out is not None
                left_out.add(name, image)
            elif not broken:
                oddities.add(name, image.odd)
                yield name, image.pixels

    workers = threads or min(8, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="pyedge-decode")
    running: deque[Future[Decoded]] = deque()
    batch: list[Entry] = []
    try:
        for entry in entries:
            batch.append(entry)
            if len(batch) == _TASK:
                running.append(pool.submit(task, batch))
                batch = []
            if len(running) > 2 * workers:
                yield from images(running.popleft())
        running.append(pool.submit(task, batch))
        while running:
            yield from images(running.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if broken:
        raise _all_of(broken)
    oddities.tell()


class _Oddities:
    """What is odd about the files of one reading: told once, at its end."""

    def __init__(self) -> None:
        self._files = 0
        self._names: dict[str, list[str]] = {}

    def add(self, name: str, keys: Iterable[str]) -> None:
        """Note what is odd about a file."""
        self._files += 1
        for key in keys:
            self._names.setdefault(key, []).append(name)

    def tell(self) -> None:
        """Warn of each oddity, with the number of files and the first of them."""
        for key, names in self._names.items():
            if key == "bits" and (len(names) < self._files or self._files < 4):
                continue  # dark photos
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            warn(f"{shown(names[0])}{more}: {_ODDITIES[key]}")


def brightness(image: np.ndarray) -> np.ndarray:
    """Turn [h, w, 3] into [h, w, 1] as Pillow does: ITU-R 601, rounded; grey does not change."""
    r, g, b = (image[..., i].astype(np.uint32) for i in range(3))
    grey = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16
    return grey.astype(np.uint8)[..., None]


def pixels_of(image: Image.Image, resize: Resize | None = None) -> np.ndarray:
    """Return a Pillow image as its file would be read, and resized, uint8 [h, w, 3].

    Raises ValueError for numbers that do not tell which value is white.
    """
    return np.asarray(_fit(to_rgb(image)[0], resize))


def _all_of(broken: Sequence[tuple[str, FormatError]]) -> FormatError:
    """Return one error for all broken images, since fixing one would only lead to the next."""
    (_, first), *others = broken
    if not others:
        return first
    some = ", ".join(shown(name) for name, _ in others[:_NAMED])
    more = ", ..." if len(others) > _NAMED else ""
    error = FormatError(f"{first}; and {len(others)} more broken ones: {some}{more}")
    error.__cause__ = first.__cause__
    return error


def _warn_of_truncated() -> None:
    from PIL import ImageFile

    if ImageFile.LOAD_TRUNCATED_IMAGES:
        warn(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set in this program: images that break off are "
            "not refused, and are grey where they have no data"
        )
