"""Preprocessing: what becomes of an image's pixels before a network sees them. numpy alone.

It is part of a network as its weights are: one that was trained with the mean and deviation of a
data set's channels answers nonsense for images that are standardised one by one, and no error
tells. So loaders, network files and student files carry it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pyedge.images.resize import MODES, Resize

if TYPE_CHECKING:  # the command line reads the names below before numpy is wanted
    import numpy as np
    from numpy.typing import NDArray

KINDS = ("image", "none", "channel")
COLOURS = ("rgb", "grey")

# of pixels over 255. imagenet: as torchvision's and most of timm's weights want it. cifar10: of the
# 50,000 training images.
_NAMED: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}
NAMES = ("image", "none", *_NAMED)
_WANTED = (
    '"image" (each image standardised), "none" (pixels over 255), '
    f'{", ".join(map(repr, _NAMED)).replace(chr(39), chr(34))} or {{"kind": "channel", '
    '"mean": [...], "deviation": [...]}, and perhaps "resize" and "colour"'
)
_FIELDS = {"kind", "mean", "deviation", "resize", "colour"}


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become what a network takes.

    kind "image": each image less its mean, over its deviation (paper, Sec. 5); "none": pixels over
    255; "channel": pixels over 255, less the channel's mean, over its deviation, numbers for each
    channel.

    resize: how pictures of any size become the network's square before that; None: readers cut the
    largest square, and resize it. colour: "rgb" (grey images have three equal channels), "grey"
    (colours become their brightness, after resizing), or "" for images as they are.
    """

    kind: str = "image"
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    resize: Resize | None = None
    colour: str = ""

    @classmethod
    def of(
        cls, given: PreprocessingLike, channels: int | None = None, where: str = "preprocessing"
    ) -> Preprocessing:
        """Take a Preprocessing, a name of `NAMES`, or a dict with kind, mean, deviation and more.

        A dict may have resize (`Resize.of`) and colour; a timm network's `pretrained_cfg` is taken,
        too. channels: the network's. Raises ValueError
        where it is none of these, or does not fit `channels`; TypeError for another type. `where`
        begins the message.
        """
        if isinstance(given, Preprocessing):
            made = given
        elif isinstance(given, str):
            if given not in NAMES:
                raise ValueError(f"{where}: wanted {_WANTED}, got {given!r:.80}")
            made = cls("channel", *_NAMED[given]) if given in _NAMED else cls(given)
        elif isinstance(given, Mapping) and {"std", "input_size"} <= given.keys():
            made = _of_timm(given, where)
        elif isinstance(given, Mapping):
            unknown = given.keys() - _FIELDS
            if given.get("kind") not in KINDS or unknown:
                raise ValueError(f"{where}: wanted {_WANTED}, got {given!r:.200}")
            numbers = {
                name: _numbers(name, given.get(name, ()), where) for name in ("mean", "deviation")
            }
            resize = given.get("resize")
            if resize is not None:
                resize = Resize.of(resize, f"{where}: resize")
            made = cls(given["kind"], **numbers, resize=resize, colour=given.get("colour", ""))
        else:
            raise TypeError(f"{where}: wanted {_WANTED}, got {given!r:.80}")
        made._check(channels, where)
        return made

    def _check(self, channels: int | None, where: str) -> None:
        if self.colour not in ("", *COLOURS):
            raise ValueError(
                f"{where}: colour: wanted {' or '.join(COLOURS)}, got {self.colour!r:.80}"
            )
        if channels is None and self.colour:
            channels = self.channels(0)
        elif channels is not None and self.channels(channels) != channels:
            raise ValueError(
                f"{where}: colour {self.colour!r}: wanted a network of {self.channels(channels)} "
                f"channels, got one of {channels}"
            )
        for name, values in (("mean", self.mean), ("deviation", self.deviation)):
            if self.kind != "channel":
                wanted, good = "no numbers", not values
            elif channels is None:
                wanted, good = "a number for each channel", len(values) == len(self.mean) > 0
            else:
                wanted, good = f"{channels} numbers", len(values) == channels
            if not good:
                raise ValueError(
                    f"{where} of kind {self.kind!r}: wanted {wanted} in {name}, got {list(values)}"
                )
        if not all(value > 0 for value in self.deviation):
            raise ValueError(
                f"{where}: deviation: wanted numbers above 0, got {list(self.deviation)}"
            )

    def check_shape(self, shape: tuple[int, int, int], where: str) -> None:
        """Raise ValueError if it does not give images of `shape` c h w."""
        self._check(shape[0], where)
        if self.resize is not None and shape[1:] != self.resize.sides:
            h, w = self.resize.sides
            raise ValueError(
                f"{where}: resize: size: wanted {shape[1]}x{shape[2]}, as the network has it, "
                f"got {h}x{w}"
            )

    def channels(self, given: int) -> int:
        """Return how many channels images of `given` channels have afterwards."""
        return {"rgb": 3, "grey": 1}.get(self.colour, given)

    def agrees(self, other: Preprocessing) -> bool:
        """Whether two make the same of pixels; one that says nothing of sizes takes any."""
        sizes = self.resize, other.resize
        same = self.kind == other.kind and self.mean == other.mean
        same = same and self.deviation == other.deviation
        return same and (sizes[0] == sizes[1] or None in sizes)

    def with_sizes_of(self, other: Preprocessing | None) -> Preprocessing:
        """Return this one with another's resize and colour, if it has neither."""
        if other is None or self.resize is not None or self.colour:
            return self
        return replace(self, resize=other.resize, colour=other.colour)

    def fit(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize pixels [n, c, h, w] and give them the colour; those that fit stay as they are.

        Images of the network's size have been resized, by a reader or by the caller. Raises
        ValueError for images of other than 1 or 3 channels, ImportError without Pillow.
        """
        if self.resize is not None and images.shape[2:] != self.resize.sides:
            images = self.resize.arrays(images)
        return coloured(images, self.channels(images.shape[1]))

    def apply(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Preprocess pixels from 0 to 255, [n, c, h, w] of any type -> float32, on one thread.

        What does not `fit` is resized first. Raises ValueError for another number of channels than
        there are means, and as `fit`.
        """
        import numpy as np

        images = self.fit(images)
        if self.kind == "image":
            return standardise_array(images)
        x = images.astype(np.float32) / np.float32(255)
        if self.kind == "none":
            return x
        if images.shape[1] != len(self.mean):
            raise ValueError(
                f"preprocessing: mean: wanted {images.shape[1]} numbers, one for each channel of "
                f"the images, got {list(self.mean)}"
            )
        mean, deviation = (
            np.asarray(values, np.float32)[:, None, None] for values in (self.mean, self.deviation)
        )
        return (x - mean) / deviation

    def to_dict(self) -> dict[str, Any]:
        """As files have it."""
        numbers = {"mean": list(self.mean), "deviation": list(self.deviation)}
        content: dict[str, Any] = {"kind": self.kind, **numbers}
        if self.resize is not None:  # files without it are what they were before there was one
            content["resize"] = self.resize.to_dict()
        if self.colour:
            content["colour"] = self.colour
        return content

    def __str__(self) -> str:
        more = [str(self.resize)] if self.resize is not None else []
        more += [self.colour] if self.colour else []
        return ", ".join([self._numbers_in_words(), *more])

    def _numbers_in_words(self) -> str:
        if self.kind != "channel":
            return self.kind
        for name, numbers in _NAMED.items():
            if (self.mean, self.deviation) == numbers:
                return name
        said = [", ".join(f"{v:g}" for v in values) for values in (self.mean, self.deviation)]
        return f"mean {said[0]} and deviation {said[1]} of each channel"


PreprocessingLike = Preprocessing | str | Mapping[str, Any]


def standardise_array(images: NDArray[Any]) -> NDArray[np.float32]:
    """Standardise each image (`pyedge.data.standardise`), on the calling thread alone.

    The loader's thread must not start a second pool of torch threads beside the training's.
    """
    import numpy as np

    n, pixels = images.shape[0], math.prod(images.shape[1:])
    x = images.reshape(n, pixels).astype(np.float32)
    # Pixels of uint8 and their sums up to 2^24 are exact in float32; numpy adds pairwise.
    x -= x.mean(axis=1, keepdims=True)
    # After the mean is gone: E[x^2] - E[x]^2 would cancel for images of little contrast.
    norm = np.sqrt(np.einsum("ij,ij->i", x, x))
    root = math.sqrt(max(pixels, 1))
    x *= (root / np.maximum(norm, 1.0))[:, None]  # max(norm / root, 1 / root) = max(norm, 1) / root
    return x.reshape(images.shape)


def _of_timm(cfg: Mapping[str, Any], where: str) -> Preprocessing:
    """Read the pretrained_cfg of a timm network. Raises as `Preprocessing.of`."""
    sides = tuple(cfg["input_size"])[1:]
    if len(sides) != 2:
        raise ValueError(
            f"{where}: input_size: wanted three numbers, got {cfg['input_size']!r:.80}"
        )
    mode = cfg.get("crop_mode") or "center"
    if mode not in MODES:
        raise ValueError(f"{where}: crop_mode: wanted {', '.join(MODES)}, got {mode!r:.80}")
    mean, deviation = (_numbers(name, cfg.get(name) or (), where) for name in ("mean", "std"))
    # timm's own defaults
    share, interpolation = cfg.get("crop_pct") or 0.875, cfg.get("interpolation") or "bilinear"
    try:
        fill = [round(255 * value) for value in mean] if mode == "border" else ()
        resize = Resize.of_fraction((sides[0], sides[1]), share, interpolation, mode, fill)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return Preprocessing("channel", mean, deviation, resize)


def coloured(images: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Turn pixels [n, c, h, w] of 1 or 3 channels into `channels`; ValueError for others."""
    import numpy as np

    from pyedge.images.decode import brightness

    c = images.shape[1]
    if c == channels:
        return images
    if {c, channels} != {1, 3}:
        raise ValueError(f"colour: wanted images of {channels} or 1 or 3 channels, got {c}")
    if c == 1:
        return np.repeat(images, 3, axis=1)
    return np.ascontiguousarray(brightness(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))


def _numbers(name: str, values: Any, where: str) -> tuple[float, ...]:
    try:
        if isinstance(values, (str, bytes)) or any(isinstance(v, (str, bytes)) for v in values):
            raise TypeError
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"{where}: {name}: wanted a list of numbers, one for each channel, got {values!r:.80}"
        ) from None
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{where}: {name}: wanted finite numbers, got {list(numbers)}")
    return numbers
