"""How a picture of any size becomes the square that a network sees, as torchvision and timm do it.

The shorter side is resized, and the centre cut out. Both of them hand a picture to Pillow, whose
filters widen where it shrinks (antialias) and round to whole pixels, and so does this, on computers
and devices alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line reads the names below before numpy is wanted
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

INTERPOLATIONS = ("bilinear", "bicubic")
MOST = 1 << 14  # pixels of a side
_FIELDS = {"size", "shorter", "interpolation"}


def require_pillow() -> None:
    """Raise ImportError with the install command if Pillow is missing."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'images need Pillow, to be read or resized: pip install "pyedge[images]"'
        ) from error


@dataclass(frozen=True)
class Resize:
    """Resize a picture's shorter side to `shorter` pixels, and cut a square out of its centre.


    size: of the square. `size` / `shorter` is the crop fraction: 224 of 256 is 0.875.
    """

    size: int
    shorter: int
    interpolation: str = "bilinear"

    @classmethod
    def of(cls, given: Resize | Mapping[str, Any], where: str = "resize") -> Resize:
        """Take a Resize, or a dict with size, shorter and interpolation.

        Raises ValueError for numbers that do not fit, TypeError for another type. `where` begins
        the message.
        """
        if isinstance(given, Resize):
            made = given
        elif isinstance(given, Mapping):
            if not {"size", "shorter"} <= given.keys() <= _FIELDS:
                raise ValueError(
                    f"{where}: wanted size, shorter and perhaps interpolation, got {given!r:.200}"
                )
            made = cls(**given)
        else:
            raise TypeError(f"{where}: wanted a Resize or a dict, got {given!r:.80}")
        for name in ("size", "shorter"):
            value, least = getattr(made, name), 1 if name == "size" else made.size
            if type(value) is not int:
                raise TypeError(f"{where}: {name}: wanted a whole number, got {value!r:.80}")
            if not least <= value <= MOST:
                raise ValueError(f"{where}: {name}: wanted {least} to {MOST} pixels, got {value}")
        if made.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"{where}: interpolation: wanted {' or '.join(INTERPOLATIONS)}, got "
                f"{made.interpolation!r:.80}"
            )
        return made

    @classmethod
    def of_fraction(cls, size: int, fraction: float, interpolation: str = "bilinear") -> Resize:
        """Make one by its crop fraction, above 0 and up to 1, as timm does: size / fraction."""
        if not 0 < fraction <= 1:
            raise ValueError(f"crop: wanted a fraction above 0, up to 1, got {fraction!r:.80}")
        # 224 / (224 / 232) must give 232, not 231
        return cls.of(cls(size, math.floor(size / fraction + 1e-6), interpolation), "crop")

    def picture(self, image: Image.Image) -> Image.Image:
        """Return the square of a Pillow image."""
        from PIL import Image

        w, h = image.size
        long = int(self.shorter * max(w, h) / min(w, h))
        resized = (self.shorter, long) if w <= h else (long, self.shorter)
        if image.size != resized:
            resample = Image.Resampling[self.interpolation.upper()]
            image = image.resize(resized, resample)
        left, top = (round((side - self.size) / 2) for side in resized)
        return image.crop((left, top, left + self.size, top + self.size))

    def arrays(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the squares of pixels [n, c, h, w] of 1 or 3 channels.

        Raises ValueError for other channels, ImportError without Pillow.
        """
        import numpy as np

        require_pillow()
        from PIL import Image

        n, c = images.shape[:2]
        if c not in (1, 3):
            raise ValueError(f"resize: wanted images of 1 or 3 channels, got {c}")
        made = np.empty((n, c, self.size, self.size), np.uint8)
        for i, image in enumerate(images):
            pixels = np.ascontiguousarray(image[0] if c == 1 else image.transpose(1, 2, 0))
            cut = np.asarray(self.picture(Image.fromarray(pixels)))
            made[i] = cut[None] if c == 1 else cut.transpose(2, 0, 1)
        return made

    def to_dict(self) -> dict[str, Any]:
        """As files have it."""
        return asdict(self)

    def __str__(self) -> str:
        if self.size == self.shorter:
            return f"resized to {self.size} ({self.interpolation})"
        return f"{self.size} of a shorter side of {self.shorter} ({self.interpolation})"
