"""How a picture of any size becomes what a network sees, as torchvision and timm do it.

Both of them hand a picture to Pillow, whose filters widen where it shrinks (antialias) and round to
whole pixels, and so does this, on computers and devices alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line reads the names below before numpy is wanted
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

INTERPOLATIONS = ("bilinear", "bicubic")
MODES = ("center", "squash", "border")  # timm's words
MOST = 1 << 14  # pixels of a side
_FIELDS = {"size", "shorter", "interpolation", "mode", "fill"}

Sides = int | tuple[int, int]  # of a square, or height and width


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
    """Resize a picture to `shorter` pixels, and cut `size` out of its centre.

    size: of what the network sees, a side or (height, width); shorter: what is resized to, also one
    or two numbers. `size` / `shorter` is the crop fraction: 224 of 256 is 0.875. mode: "center":
    the picture keeps its proportions and covers `shorter`, so that a square's shorter side has so
    many pixels; "squash": each side becomes `shorter`, whatever the proportions; "border": the
    picture keeps them and lies within `shorter`, and what lacks of `size` around it gets `fill`, a
    colour of one or three numbers from 0 to 255 (none: black).
    """

    size: Sides
    shorter: Sides
    interpolation: str = "bilinear"
    mode: str = "center"
    fill: tuple[int, ...] = ()

    @classmethod
    def of(cls, given: Resize | Mapping[str, Any], where: str = "resize") -> Resize:
        """Take a Resize, or a dict with size and shorter, and perhaps interpolation, mode and fill.

        Raises ValueError for numbers that do not fit, TypeError for another type. `where` begins
        the message.
        """
        if isinstance(given, Resize):
            made = given
        elif isinstance(given, Mapping):
            if not {"size", "shorter"} <= given.keys() <= _FIELDS:
                raise ValueError(
                    f"{where}: wanted size, shorter and perhaps interpolation, mode and fill, got "
                    f"{given!r:.200}"
                )
            made = cls(**given)
        else:
            raise TypeError(f"{where}: wanted a Resize or a dict, got {given!r:.80}")
        size = _pair(made.size, (1, 1), f"{where}: size")
        shorter = _pair(made.shorter, size, f"{where}: shorter")
        for name, value, words in (
            ("interpolation", made.interpolation, INTERPOLATIONS),
            ("mode", made.mode, MODES),
        ):
            if value not in words:
                wanted = f"{', '.join(words[:-1])} or {words[-1]}"
                raise ValueError(f"{where}: {name}: wanted {wanted}, got {value!r:.80}")
        fill = _colour(made.fill, f"{where}: fill")
        if fill and made.mode != "border":
            raise ValueError(f"{where}: fill: wanted none for mode {made.mode!r}, got {fill}")
        return cls(_alone(size), _alone(shorter), made.interpolation, made.mode, fill)

    @classmethod
    def of_fraction(
        cls,
        size: Sides,
        fraction: float,
        interpolation: str = "bilinear",
        mode: str = "center",
        fill: Sequence[int] = (),
    ) -> Resize:
        """Make one by its crop fraction, above 0 and up to 1, as timm does: size / fraction."""
        if not 0 < fraction <= 1:
            raise ValueError(f"crop: wanted a fraction above 0, up to 1, got {fraction!r:.80}")
        # 224 / (224 / 232) must give 232, not 231
        h, w = (math.floor(side / fraction + 1e-6) for side in _pair(size, (1, 1), "crop: size"))
        return cls.of(cls(size, (h, w), interpolation, mode, tuple(fill)), "crop")

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of what the network sees."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    @property
    def fraction(self) -> float:
        """The crop fraction."""
        shorter = self.shorter if isinstance(self.shorter, int) else self.shorter[0]
        return self.sides[0] / shorter

    def picture(self, image: Image.Image) -> Image.Image:
        """Return what the network sees of a Pillow image in grey or RGB."""
        from PIL import Image

        resized = self._resized(*image.size)
        if image.size != resized:
            resample = Image.Resampling[self.interpolation.upper()]
            image = image.resize(resized, resample)
        h, w = self.sides
        if self.mode == "border":
            image = self._bordered(image)
        left, top = round((image.width - w) / 2), round((image.height - h) / 2)
        return image.crop((left, top, left + w, top + h))

    def _resized(self, w: int, h: int) -> tuple[int, int]:
        """Return width and height of a picture of w x h before the crop."""
        if self.mode == "center" and isinstance(self.shorter, int):  # torchvision's Resize
            long = int(self.shorter * max(w, h) / min(w, h))
            return (self.shorter, long) if w <= h else (long, self.shorter)
        down, across = _pair(self.shorter, (1, 1), "shorter")
        if self.mode == "squash":
            return across, down
        ratios = h / down, w / across
        ratio = max(ratios) if self.mode == "border" else min(ratios)
        return max(1, round(w / ratio)), max(1, round(h / ratio))

    def _bordered(self, image: Image.Image) -> Image.Image:
        """Put an image into the middle of a larger one, where it is smaller than the crop."""
        from PIL import Image

        (w, h), (down, across) = image.size, self.sides
        if w >= across and h >= down:
            return image
        around = Image.new(image.mode, (max(w, across), max(h, down)), self._fill_of(image.mode))
        around.paste(image, (max(0, across - w) // 2, max(0, down - h) // 2))
        return around

    def _fill_of(self, mode: str) -> int | tuple[int, ...]:
        fill = self.fill or (0,)
        if mode == "RGB":
            return fill if len(fill) == 3 else fill * 3
        if len(fill) == 1:
            return fill[0]
        return (19595 * fill[0] + 38470 * fill[1] + 7471 * fill[2] + 32768) >> 16  # the brightness

    def arrays(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what the network sees of pixels [n, c, h, w] of 1 or 3 channels.

        Raises ValueError for other channels, ImportError without Pillow.
        """
        import numpy as np

        require_pillow()
        from PIL import Image

        n, c = images.shape[:2]
        if c not in (1, 3):
            raise ValueError(f"resize: wanted images of 1 or 3 channels, got {c}")
        made = np.empty((n, c, *self.sides), np.uint8)
        for i, image in enumerate(images):
            pixels = np.ascontiguousarray(image[0] if c == 1 else image.transpose(1, 2, 0))
            cut = np.asarray(self.picture(Image.fromarray(pixels)))
            made[i] = cut[None] if c == 1 else cut.transpose(2, 0, 1)
        return made

    def to_dict(self) -> dict[str, Any]:
        """As files have it; what older ones have not stands there only where it says something."""
        pairs = {"size": self.size, "shorter": self.shorter}
        content: dict[str, Any] = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in pairs.items()
        }
        content["interpolation"] = self.interpolation
        if self.mode != "center":
            content["mode"] = self.mode
        if self.fill:
            content["fill"] = list(self.fill)
        return content

    def __str__(self) -> str:
        size, shorter = _shown(self.size), _shown(self.shorter)
        how = {
            "center": f"{size} of a shorter side of {shorter}",
            "squash": f"{size} of {shorter}, squashed",
            "border": f"{size} of {shorter} with a border",
        }[self.mode]
        if self.size == self.shorter and self.mode == "center":
            how = f"resized to {size}"
        return f"{how} ({self.interpolation})"


def _pair(value: Any, least: tuple[int, int], where: str) -> tuple[int, int]:
    """Return a side, or two, as two. Raises as `Resize.of`."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(values) != 2 or any(type(each) is not int for each in values):
        raise TypeError(f"{where}: wanted a whole number, or two, got {value!r:.80}")
    for each, lowest in zip(values, least, strict=True):
        if not lowest <= each <= MOST:
            raise ValueError(f"{where}: wanted {lowest} to {MOST} pixels, got {each}")
    return values[0], values[1]


def _alone(pair: tuple[int, int]) -> Sides:
    return pair[0] if pair[0] == pair[1] else pair


def _colour(fill: Any, where: str) -> tuple[int, ...]:
    given = tuple(fill) if isinstance(fill, (list, tuple)) else None
    if given is None or any(type(each) is not int for each in given):
        raise TypeError(f"{where}: wanted a list of whole numbers, got {fill!r:.80}")
    if len(given) not in (0, 1, 3) or not all(0 <= each <= 255 for each in given):
        raise ValueError(f"{where}: wanted one or three numbers from 0 to 255, got {list(given)}")
    return given


def _shown(sides: Sides) -> str:
    return str(sides) if isinstance(sides, int) else f"{sides[0]}x{sides[1]}"
