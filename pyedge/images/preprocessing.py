"""Preprocessing: what becomes of an image's pixels before a network sees them. numpy alone.

It is part of a network as its weights are: one that was trained with the mean and deviation of a
data set's channels answers nonsense for images that are standardised one by one, and no error
tells. So loaders, network files and student files carry it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line reads the names below before numpy is wanted
    import numpy as np
    from numpy.typing import NDArray

KINDS = ("image", "none", "channel")

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
    '"mean": [...], "deviation": [...]}'
)


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become what a network takes.

    kind "image": each image less its mean, over its deviation (paper, Sec. 5); "none": pixels over
    255; "channel": pixels over 255, less the channel's mean, over its deviation, numbers for each
    channel.
    """

    kind: str = "image"
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    @classmethod
    def of(
        cls, given: PreprocessingLike, channels: int | None = None, where: str = "preprocessing"
    ) -> Preprocessing:
        """Take a Preprocessing, a name of `NAMES`, or a dict with kind, mean and deviation.

        Raises ValueError where it is none of these, or has not a number for each of `channels`;
        TypeError for another type. `where` begins the message.
        """
        if isinstance(given, Preprocessing):
            made = given
        elif isinstance(given, str):
            if given not in NAMES:
                raise ValueError(f"{where}: wanted {_WANTED}, got {given!r:.80}")
            made = cls("channel", *_NAMED[given]) if given in _NAMED else cls(given)
        elif isinstance(given, Mapping):
            unknown = given.keys() - {"kind", "mean", "deviation"}
            if given.get("kind") not in KINDS or unknown:
                raise ValueError(f"{where}: wanted {_WANTED}, got {given!r:.200}")
            numbers = {
                name: _numbers(name, given.get(name, ()), where) for name in ("mean", "deviation")
            }
            made = cls(given["kind"], **numbers)
        else:
            raise TypeError(f"{where}: wanted {_WANTED}, got {given!r:.80}")
        made._check(channels, where)
        return made

    def _check(self, channels: int | None, where: str) -> None:
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

    def apply(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Preprocess pixels from 0 to 255, [n, c, h, w] of any type -> float32, on one thread.

        Raises ValueError for another number of channels than there are means.
        """
        import numpy as np

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
        return {"kind": self.kind, "mean": list(self.mean), "deviation": list(self.deviation)}

    def __str__(self) -> str:
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
