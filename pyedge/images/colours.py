"""Any colours and depths of an image to 8-bit RGB, or the reason why that is impossible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of TIFF
_SIXTEEN = ("I;16", "I;16L", "I;16B", "I;16N")
_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_OTHERS = ("1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX")


class UnclearError(ValueError):
    """A sound image that is refused anyway; the text continues after its name."""


def to_rgb(image: Image.Image) -> tuple[Image.Image, str | None]:
    """Return an image as RGB, and a word for what is odd about it ("dim", "clear"), or None.

    Raises UnclearError for depths and colours whose numbers do not tell which value is white.
    """
    image.load()
    if image.mode in _SIXTEEN or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _from_sixteen(image)
    if image.mode in ("I", "F"):
        low, high = image.getextrema()
        kind = "whole numbers of 32 bits" if image.mode == "I" else "floats"
        raise UnclearError(
            f"has {kind} (mode {image.mode}) from {low:.6g} to {high:.6g}, which do not tell what "
            "is white; save it with 8 or 16 bits a pixel"
        )
    if image.mode in _ALPHA or "transparency" in image.info:
        return _on_white(image.convert("RGBA"))
    if image.mode == "RGB":
        return image, None
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        raise UnclearError("is CMYK without Adobe's mark, so that 0 may be white or full ink")
    if image.mode in _OTHERS:
        return image.convert("RGB"), None
    raise UnclearError(f"is of mode {image.mode}, which is not supported")


def _from_sixteen(image: Image.Image) -> tuple[Image.Image, str | None]:
    """Divide by 256, where convert() would clip."""
    from PIL import Image

    values = np.asarray(image).astype(np.uint32)
    tags = getattr(image, "tag_v2", {})
    twelve = tags.get(_BITS_PER_SAMPLE) == (12,)
    most = 0xFFF if twelve else 0xFFFF
    clear = image.info.get("transparency")
    if tags.get(_PHOTOMETRIC) == 0:  # white is 0: Pillow turns 8 bits round, but not these
        values = most - values
    brightest = int(values.max(initial=0))
    if not twelve and 0 < brightest < 256:
        raise UnclearError(
            f"has 16 bits a pixel and nothing above {brightest}, where 65535 is white: all of it "
            "would become black; save it with 8 bits a pixel"
        )
    grey = (values >> (4 if twelve else 8)).astype(np.uint8)
    if isinstance(clear, int):
        grey[values == clear] = 255
    dim = not twelve and 0 < brightest < 4096
    return Image.fromarray(grey).convert("RGB"), "dim" if dim else None


def _on_white(over: Image.Image) -> tuple[Image.Image, str | None]:
    from PIL import Image

    alpha: NDArray[np.uint8] = np.asarray(over.getchannel("A"))
    white = Image.new("RGBA", over.size, (255, 255, 255, 255))
    found = Image.alpha_composite(white, over).convert("RGB")
    return found, None if alpha.any() else "clear"
