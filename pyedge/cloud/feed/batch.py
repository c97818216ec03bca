"""One batch from any loader: images float [n, c, h, w] and labels int64 [n].

Batches are pairs, longer tuples, dicts, named tuples, dataclasses. What can only mean one thing is
taken; anything else is refused, with the name of the argument that it came from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyedge.images.labels import check_range, ids_or_names

IMAGE_KEYS = ("image", "images", "img", "imgs", "x", "input", "inputs", "pixel_values")
LABEL_KEYS = ("label", "labels", "y", "target", "targets")


@dataclass(frozen=True)
class Source:
    """Where batches come from, for messages: the function called, and its argument."""

    title: str
    argument: str = "loader"

    def __str__(self) -> str:
        return f"{self.title}: {self.argument}"

    @property
    def images(self) -> str:
        """What a message about images begins with."""
        return str(self) if self.argument == "images" else f"{self}: images"

    @property
    def labels(self) -> str:
        """What a message about labels begins with."""
        return f"{self}: labels"


def split(batch: Any, source: Source, *, labels: bool = True) -> tuple[Any, Any]:
    """Return the images and the labels of a batch, unchanged; None if there are no labels.

    A pair or a longer tuple is (images, labels, ...); a mapping, a named tuple or a dataclass is
    read by the names in IMAGE_KEYS and LABEL_KEYS. Without `labels`, labels are not touched. Raises
    TypeError for anything else, ValueError if names could mean two things.
    """
    named = _named(batch)
    if named is not None:
        image = _one_of(named, IMAGE_KEYS, source, "images")
        return named[image], _labels_by_name(named, source) if labels else None
    if isinstance(batch, (Tensor, np.ndarray)):
        return batch, None
    if not isinstance(batch, (tuple, list)) or not batch:
        raise TypeError(
            f"{source}: wanted (images, labels) or images, got {_kind(batch)}; a dict with "
            'keys such as "image" and "label" will do, too'
        )
    if _is_sample(batch[0]):
        raise TypeError(
            f"{source}: wanted batches, got a list of {len(batch)} samples (image, label); "
            "leave collate_fn to the DataLoader, or stack them"
        )
    return batch[0], batch[1] if labels and len(batch) > 1 else None


def _named(batch: Any) -> Mapping[Any, Any] | None:
    """Return the members of a batch by name; None if it has no meaningful names."""
    if isinstance(batch, Mapping):
        return batch
    fields: Mapping[Any, Any] | None = None
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        fields = dict(zip(batch._fields, batch, strict=True))
        if not any(name in IMAGE_KEYS for name in fields):
            return None  # by position, as any other tuple
    elif dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = {each.name: getattr(batch, each.name) for each in dataclasses.fields(batch)}
    return fields


def _one_of(named: Mapping[Any, Any], keys: tuple[str, ...], source: Source, what: str) -> str:
    found = [key for key in keys if key in named]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{source} yields batches with {' and '.join(found)}: which are {what}?")
    raise ValueError(
        f"{source} yields batches with {', '.join(map(repr, named)) or 'no keys'}; {what} are "
        f"looked for under {', '.join(keys)}"
    )


def _labels_by_name(named: Mapping[Any, Any], source: Source) -> Any:
    rest = [key for key in named if key not in IMAGE_KEYS]
    if not rest:
        return None
    return named[_one_of(named, LABEL_KEYS, source, "labels")]


def _is_sample(item: Any) -> bool:
    """Tell whether a batch's first member is (image, label) or such a dict, of a single image."""
    if isinstance(item, Mapping):
        return True
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        return False
    first, second = item[0], item[1]
    return hasattr(first, "shape") and len(np.shape(second)) == 0


def _kind(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"an empty {type(value).__name__}"
    return type(value).__name__


def images_of(given: Any, source: Source, *, finite: bool = True) -> Tensor:
    """Return a batch's images as a float tensor n c h w, of the dtype that they have.

    Arrays and lists of images of one size become one tensor. Raises TypeError for whole numbers and
    for anything that is not a tensor, ValueError for other shapes and, with `finite`, for NaN and
    infinity.
    """
    x = _tensor(given, source)
    if x.dim() == 3:
        raise ValueError(
            f"{source.images}: wanted n c h w, got shape {tuple(x.shape)}, as of a single image; "
            "torch.utils.data.DataLoader(dataset, batch_size=64) makes batches of a Dataset"
        )
    if x.dim() != 4:
        raise ValueError(f"{source.images}: wanted n c h w, got shape {tuple(x.shape)}")
    if not x.is_floating_point():
        raise TypeError(
            f"{source.images}: wanted floating point, as the network takes them, got {x.dtype}; "
            "pyedge.data.BatchLoader standardises uint8 images"
        )
    if finite and x.device.type == "cpu" and (words := not_finite(x)):
        raise ValueError(f"{source.images} {words}")
    return x


def not_finite(images: Tensor) -> str:
    """Say which image of a batch holds NaN or infinity, in one pass; "" for none."""
    if torch.isfinite(images.sum(dtype=torch.float32)):
        return ""
    good = torch.isfinite(images).flatten(1).all(dim=1)
    if bool(good.all()):
        return ""
    return f"hold NaN or infinity, in image {int(good.int().argmin())} of a batch of {len(images)}"


def _tensor(given: Any, source: Source) -> Tensor:
    if isinstance(given, Tensor):
        return given
    if isinstance(given, np.ndarray):
        if np.ma.is_masked(given):
            raise TypeError(
                f"{source.images} have masked pixels, {np.ma.count_masked(given)} in a batch; fill "
                "them, as with images.filled(0)"
            )
        if given.dtype.kind not in "fiub":
            raise TypeError(f"{source.images}: wanted n c h w of numbers, got {given.dtype}")
        # torch neither takes strides below 0 and foreign byte orders, nor what it may not write
        native = given.astype(given.dtype.newbyteorder("="), copy=not given.flags.writeable)
        return torch.from_numpy(np.ascontiguousarray(native))
    if isinstance(given, (list, tuple)) and given:
        parts = [_tensor(each, source) for each in given]
        shapes = sorted({tuple(part.shape) for part in parts})
        if len(shapes) > 1:
            raise ValueError(
                f"{source.images} of a batch: wanted all of one size, got {shapes[0]} and "
                f"{shapes[1]}; a transform such as Resize makes them equal"
            )
        return torch.stack(parts)
    if hasattr(given, "getbands"):
        raise TypeError(
            f"{source.images}: wanted tensors n c h w, got a PIL image; a transform makes tensors "
            "of them, or pyedge.data.load_dataset and BatchLoader do"
        )
    raise TypeError(f"{source.images}: wanted tensors n c h w, got {type(given).__name__}")


def labels_of(given: Any, count: int, source: Source, classes: int | None = None) -> Tensor:
    """Return a batch's labels, whole numbers of any type, as int64 [count].

    classes: how many the network knows, if known. Raises TypeError and ValueError for labels that
    are missing, not class ids, too many or too few, or out of range.
    """
    if given is None:
        raise ValueError(
            f"{source} yields images without labels; labelled=False learns from the teacher alone"
            if source.title in ("transfer", "fitnet")
            else f"{source} yields images without labels, wanted (images, labels)"
        )
    if isinstance(given, Tensor) and given.dtype == torch.int64 and given.shape == (count,):
        check_range(given, source.labels, classes)
        if classes is None and count and int(given.min()) < 0:
            raise ValueError(f"{source.labels}: wanted ids from 0, got {int(given.min())}")
        return given
    found = ids_or_names(given, source.labels, count=count, classes=classes)
    if found.dtype.kind == "U":
        raise TypeError(
            f"{source.labels}: wanted class ids, whole numbers from 0, got names such as "
            f"{str(found[0])!r}; the network does not know its classes by name"
        )
    return torch.from_numpy(found)


def logits_of(output: Any, count: int, title: str) -> Tensor:
    """Check that a network gave logits [count, classes], and return them.

    A network that squeezes its maps gives [classes] for a single image, which becomes one row.
    """
    if not isinstance(output, Tensor):
        raise TypeError(
            f"{title}: wanted logits n classes of the network, one tensor, got "
            f"{type(output).__name__}; wrap it in a module that returns the logits alone"
        )
    if count == 1 and output.dim() == 1:
        output = output.unsqueeze(0)
    if output.dim() != 2 or len(output) != count:
        raise ValueError(
            f"{title}: wanted logits n classes of the network for {count} images, got shape "
            f"{tuple(output.shape)}"
        )
    return output
