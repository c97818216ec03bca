"""What float images look like, and whether a preprocessing can have made them.

A network answers to any numbers. Pixels from 0 to 255, the same divided by 255, and images that are
standardised one by one are all float32, and a network was trained on only one of these. Here is
found what the numbers show for certain; that an image is dark, bright, even or augmented shows
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_LOOKED_AT = 64
_VALUES = 1 << 22  # of all images that are looked at; large ones are looked at fewer times
_FEW = 8  # images from which on an average tells something
_EVEN = 0.02  # deviation below which an image has no contrast to tell by
# Filters that resize floats overshoot: a tenth of the scale with bicubic, less with others.
_OVERSHOOT = 0.25
_SHARES = ("offset", "spread", "standardised", "foreign", "clipped")


@dataclass(frozen=True)
class Look:
    """Figures of float images.

    images: how many there were. uneven: how many of those looked at are not of a single value; the
    figures that follow are of these. low, high: the extremes of each channel, over all. offset: the
    mean of |an image's mean|. spread: the mean of the images' deviations. standardised: the share
    that has mean 0 and deviation 1. foreign: the share that standardising one image cannot give.
    clipped: the share whose lowest value is the lowest of all, as with pixels that are black.
    whole: whether all values are n / 255 for whole n.
    """

    images: int
    uneven: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    offset: float = 0.0
    spread: float = 0.0
    standardised: float = 0.0
    foreign: float = 0.0
    clipped: float = 0.0
    whole: bool = False

    @classmethod
    def of(cls, images: Floats, most: int = _LOOKED_AT) -> Look:
        """Look at up to `most` of the images [n, c, h, w], evenly spaced."""
        n, c = images.shape[:2]
        size = int(np.prod(images.shape[1:]))
        if not n or not size:
            return cls(n, 0, (0.0,) * c, (0.0,) * c)
        count = min(n, most, max(_FEW, _VALUES // size))
        x = np.asarray(images[np.linspace(0, n - 1, count).astype(np.int64)], np.float32)
        low, high = x.min(axis=(0, 2, 3)), x.max(axis=(0, 2, 3))
        found = cls(n, 0, tuple(map(_finite, low)), tuple(map(_finite, high)))
        x = x.reshape(count, size)
        with np.errstate(over="ignore", invalid="ignore"):  # bytes in the wrong order give 1e38
            mean = x.mean(axis=1, dtype=np.float64)
            rest = x - mean[:, None].astype(np.float32)
            deviation = np.sqrt(np.einsum("ij,ij->i", rest, rest, dtype=np.float64) / size)
        uneven = ~(deviation < _EVEN)  # NaN, of sums that overflow, is no small contrast
        if not uneven.any():
            return found
        x, mean, deviation = x[uneven], mean[uneven], deviation[uneven]
        darkest, brightest = x.min(axis=1), x.max(axis=1)
        exact = (np.abs(mean) < 1e-3) & (np.abs(deviation - 1) < 0.01)
        levels = x * np.float32(255) if found.between(0, 1) else None
        return replace(
            found,
            uneven=len(x),
            offset=_finite(np.abs(mean).mean()),
            spread=_finite(deviation.mean()),
            standardised=float(exact.mean()),
            foreign=float(_foreign(mean, deviation, darkest, brightest).mean()),
            clipped=float((darkest <= darkest.min() + 1e-4).mean()),
            whole=levels is not None and bool(np.abs(levels - np.rint(levels)).max() < 0.01),
        )

    @property
    def span(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return min(self.low, default=0.0), max(self.high, default=0.0)

    def between(self, low: float, high: float) -> bool:
        """Tell whether all values lie from low to high, except for rounding."""
        least, most = self.span
        return least >= low - 1e-3 and most <= high + 1e-3

    def __str__(self) -> str:
        least, most = self.span
        return (
            f"values from {least:.4g} to {most:.4g} (by image, |mean| {self.offset:.2g} and "
            f"deviation {self.spread:.2g} on average)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for files."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Any) -> Look | None:
        """Return what `to_dict` gave; None for anything else, such as a later version's."""
        try:
            low, high = (tuple(map(float, values[name])) for name in ("low", "high"))
            shares: list[Any] = [float(values[name]) for name in _SHARES]
            counts = int(values["images"]), int(values["uneven"])
            found = cls(*counts, low, high, *(*shares, bool(values["whole"])))
        except (TypeError, KeyError, ValueError, OverflowError):
            return None
        good = bool(low) and bool(high) and np.isfinite([*shares, *low, *high]).all()
        return found if good else None


def _finite(value: Any) -> float:
    return float(np.nan_to_num(value))  # as files have it


def _foreign(
    mean: NDArray[np.float64], deviation: NDArray[np.float64], low: Floats, high: Floats
) -> NDArray[np.bool_]:
    """Tell which images were not standardised one by one, even if they were augmented afterwards.

    With mean 0 every image has both signs, and with deviation 1 a value of at least 1 or at most
    -1. Padding and cutout, of some quarter of an image each, replace pixels by 0: the mean moves a
    little, and the deviation falls.
    """
    one_sign = (low >= 0) | (high <= 0)
    within = (low >= -1) & (high <= 1) & (deviation < 0.9)
    far = (np.abs(mean) > np.maximum(deviation, 0.5)) | (deviation > 2) | ~np.isfinite(deviation)
    return np.asarray(one_sign | within | far)


def kind_of(look: Look) -> str | None:
    """Tell which preprocessing images come from: "image", "none" (0 to 1), "pixels" (0 to 255).

    "other" is none of these; None if the images do not tell.
    """
    if not look.uneven:
        return None
    low, high = look.span
    if _fits_image(look):
        return "image"
    if look.between(-0.05, 1.05):
        return "none" if high > 0.1 else None
    return "pixels" if low >= -1 and 16 < high <= 256 else "other"


def _fits_image(look: Look) -> bool:
    if look.standardised >= 0.9:
        return True
    near = look.offset <= 0.25 and 0.75 <= look.spread <= 1.25
    return near and not _alike(look) and look.foreign <= 0.5


def _alike(look: Look) -> bool:
    """Pixels that were scaled alike are equally black in many images."""
    return look.clipped >= 0.2 and look.clipped * look.uneven >= 4


def contradicts(look: Look, preprocessing: Mapping[str, Any]) -> bool:
    """Tell whether images certainly do not come from pixels by this preprocessing.

    preprocessing: kind "image", "none" or "channel", with mean and deviation (docs/format.md).
    """
    kind = preprocessing["kind"]
    low, high = look.span
    if 0 < max(-low, high) < 1e-30:
        return True  # nothing is so small but numbers whose bytes are in the wrong order
    if kind == "image":
        moved = look.uneven >= _FEW and look.offset > 0.3
        return look.uneven > 0 and (look.foreign > 0.5 or moved)
    mean, deviation, on_levels = _numbers(preprocessing)
    least, most = limits(preprocessing)
    if (look.low < least).any() or (look.high > most).any():
        return True
    if look.uneven > 2 and look.standardised >= 0.9:
        return True
    brightest = float((np.asarray(look.high) * deviation + mean).max())
    if look.images >= _FEW and 0 < brightest < 1.01 / 255:
        return True  # divided by 255 twice, or where it was not wanted: nothing above a pixel of 1
    black = float((-mean / deviation).min())
    return black < -0.1 and _over_255(look, on_levels)


def _over_255(look: Look, on_levels: bool) -> bool:
    """Tell whether images are pixels over 255, and not bright ones whose black is below 0.

    Those do not end at both 0 and 1, nor do all of their values lie at n / 255. (2x - 1 of a bright
    image does: there, `on_levels`, one image tells nothing.)
    """
    if look.uneven <= (1 if on_levels else 0) or not look.between(0, 1):
        return False
    low, high = look.span
    room = 0.02 if look.uneven >= _FEW // 2 else 0.005
    return look.whole or (low < room and high > 1 - 10 * room)


def limits(preprocessing: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the most that kind "none" or "channel" gives, for each channel.

    This leaves room for overshoots of resizing.
    """
    mean, deviation, _ = _numbers(preprocessing)
    return (-_OVERSHOOT - mean) / deviation, (1 + _OVERSHOOT - mean) / deviation


def _numbers(
    preprocessing: Mapping[str, Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Return mean and deviation, and whether the values that they give are n / 255."""
    mean = np.asarray(preprocessing["mean"] or [0.0], np.float64)
    deviation = np.asarray(preprocessing["deviation"] or [1.0], np.float64)
    steps = np.concatenate([1 / deviation, 255 * mean / deviation])
    return mean, deviation, bool((np.abs(steps - np.rint(steps)) < 1e-3).all())


def differ(known: Look, new: Look) -> bool:
    """Tell whether images are certainly on another scale than those known before."""
    a, b = kind_of(known), kind_of(new)
    if a == b == "other" and _alike(known) and _alike(new):
        ends = [abs(x - y) for x, y in zip(known.span, new.span, strict=True)]
        return max(ends) > _OVERSHOOT * max(np.ptp(known.span), np.ptp(new.span))
    if a is None or b is None or a == b:
        return False
    if "other" not in (a, b):
        return True
    one, other = (known, new) if b == "other" else (new, known)
    if kind_of(one) == "image":
        # augmented ones, or noise, cannot be told; images that were certainly scaled alike can
        return one.standardised >= 0.9 and (other.foreign > 0.5 or _alike(other))
    low, high = other.span
    return low < -_OVERSHOOT and (kind_of(one) == "none" or high < 16)
