"""Image files to uint8 arrays, many at a time: Pillow over a pool of threads."""

from __future__ import annotations

import io
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from pyedge.edge.entries import Entry
from pyedge.edge.file_kinds import HEAD_BYTES, foreign, formats
from pyedge.edge.left_out import LeftOut, shown
from pyedge.edge.png_chunks import without_damage
from pyedge.errors import FormatError

if TYPE_CHECKING:
    from PIL import Image

# A task of one 32x32 JPEG (60 us) would be mostly hand-over.
_TASK = 64
_NAMED = 5  # broken images that an error names

Decoded = list[tuple[str, "np.ndarray | str | FormatError"]]  # str: why it is no image


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

    Greyscale, palette and CMYK images become RGB, transparent ones lie on white, the camera's
    orientation is applied. With `size`, the shorter side is resized to it and the centre
    size x size is cut out. Raises FormatError that names the file.
    """
    if not data:
        raise FormatError(f"{name}: not an image, or a broken one: it is empty")
    reason = foreign(data[:HEAD_BYTES])
    if reason is not None:
        raise FormatError(f"{name}: no image that can be read: {reason}")
    # A decoder that is fed foreign bytes raises what it likes: OSError, SyntaxError, struct.error,
    # ZeroDivisionError, DecompressionBombError, ...
    try:
        return _decoded(data, size)
    except Exception as error:
        mended = without_damage(data)
        if mended is not None:
            with suppress(Exception):
                return _decoded(mended, size)
        raise FormatError(f"{name}: not an image, or a broken one: {_why(error)}") from error


def _decoded(data: bytes, size: int | None) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=formats()) as image:
        if size is not None:
            # JPEG decodes at 1/2, 1/4, 1/8 for less work; twice the size keeps the quality.
            image.draft(None, (2 * size, 2 * size))
        return np.asarray(_fit(_upright(_to_rgb(image), image), size))


def _why(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # whose text is an address in memory
        return "its bytes are of no format that is read"
    return str(error) or type(error).__name__


def _to_rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    image.load()
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16 bits a pixel; convert() would clip instead of scale
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, over).convert("RGB")
    if image.mode in ("1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        return image.convert("RGB")
    raise ValueError(f"images of mode {image.mode} are not supported")


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
    entries: Iterable[Entry],
    size: int | None = None,
    threads: int | None = None,
    left_out: LeftOut | None = None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Decode files as they come: yields (name, uint8 [h, w, 3]) in the order of `entries`.

    `threads` defaults to the number of cores (8 at most): Pillow lets go of the GIL while it
    decodes. Only a few tasks are in flight, so an archive is not held in memory. With `left_out`,
    files that are surely something else than an image (a web page called .jpg) go there; without,
    they raise FormatError as broken images do. That names all of them, after the last.
    """
    require_pillow()
    _warn_of_truncated()

    def one(entry: Entry) -> np.ndarray | str | FormatError:
        assert entry.read is not None  # folders are not decoded
        data = entry.read()
        reason = foreign(data[:HEAD_BYTES]) if left_out is not None else None
        try:
            return decode(entry.name, data, size) if reason is None else reason
        except FormatError as error:
            return error

    def task(batch: list[Entry]) -> Decoded:
        return [(entry.name, one(entry)) for entry in batch]

    broken: list[tuple[str, FormatError]] = []

    def images(done: Future[Decoded]) -> Iterator[tuple[str, np.ndarray]]:
        for name, image in done.result():
            if isinstance(image, FormatError):
                broken.append((name, image))
            elif isinstance(image, str):
                assert left_out is not None
                left_out.add(name, image)
            elif not broken:
                yield name, image

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


def _all_of(broken: Sequence[tuple[str, FormatError]]) -> FormatError:
    """Return one error for all broken images: who mends one would only meet the next."""
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
        warnings.warn(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set in this program: images that break off are "
            "not refused, and are grey where they have no data",
            stacklevel=2,
        )
