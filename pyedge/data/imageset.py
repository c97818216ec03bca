"""A set of labelled images, held in memory as one uint8 tensor."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pyedge.classes.matching import listing, nearly, places, quoted
from pyedge.classes.names import checked_names
from pyedge.images.arrays import rows_of
from pyedge.images.parts import stratified_split


class ImageSet(Dataset):
    """Hold images uint8 [n, c, h, w], labels int64 [n] and the names of the classes.

    A map-style torch Dataset: `images[i]` is (uint8 [c, h, w], label). Parts of it (`subset`,
    `only_classes`, `split`) keep the class names and the ids, so that a label means the same
    everywhere. Raises TypeError for other dtypes, ValueError for shapes and labels that do not fit,
    and for names that `pyedge.classes.names` refuses.
    """

    def __init__(self, images: Tensor, labels: Tensor, classes: Sequence[str]) -> None:
        for name, given in (("images", images), ("labels", labels)):
            if not isinstance(given, Tensor):
                hint = f"; torch.from_numpy({name})" if isinstance(given, np.ndarray) else ""
                raise TypeError(
                    f"ImageSet: {name}: wanted a torch tensor, got {type(given).__name__}{hint}"
                )
        if images.dtype != torch.uint8 or labels.dtype != torch.int64:
            raise TypeError(
                f"ImageSet: wanted uint8 images and int64 labels, got {images.dtype} "
                f"and {labels.dtype}"
            )
        if images.dim() != 4 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"ImageSet: wanted images [n, c, h, w] and labels [n], got "
                f"{list(images.shape)} and {list(labels.shape)}"
            )
        names = checked_names(classes, "ImageSet: classes")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(names):
            raise ValueError(
                f"ImageSet: labels: wanted ids in 0..{len(names) - 1} for {len(names)} classes, "
                f"got {int(labels.min())}..{int(labels.max())}"
            )
        self.images = images
        self.labels = labels
        self.classes = names

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])

    def __repr__(self) -> str:
        n, c, h, w = self.images.shape
        return f"ImageSet({n} images {c}x{h}x{w}, {len(self.classes)} classes)"

    @property
    def counts(self) -> tuple[int, ...]:
        """Count the images of each class."""
        return tuple(torch.bincount(self.labels, minlength=len(self.classes)).tolist())

    def class_ids(self, wanted: Sequence[int | str]) -> tuple[int, ...]:
        """Turn class ids or names into ids, in the order given; ValueError for an unknown one."""
        if isinstance(wanted, str):
            raise TypeError(f"ImageSet: wanted a list of classes, got the text {wanted!r}")
        if not isinstance(wanted, Iterable):
            raise TypeError(f"ImageSet: wanted a list of classes, got {wanted!r}")
        ids = []
        for item in wanted:
            if isinstance(item, str):
                place = places([item], self.classes)[0]
                if place < 0:
                    raise ValueError(
                        f"ImageSet: no class is named {quoted(item)}; there are "
                        f"{listing(self.classes)}{nearly(item, self.classes)}"
                    )
                ids.append(place)
            elif 0 <= _class_id(item) < len(self.classes):
                ids.append(_class_id(item))
            else:
                raise ValueError(
                    f"ImageSet: class ids lie in 0..{len(self.classes) - 1}, got {item!r}"
                )
        return tuple(ids)

    def subset(self, indices: Sequence[int] | np.ndarray | Tensor) -> ImageSet:
        """Return a copy of the images at these positions, in order, or where a mask is True."""
        index = torch.from_numpy(rows_of(indices, len(self), "ImageSet.subset"))
        return ImageSet(self.images[index], self.labels[index], self.classes)

    def only_classes(self, ids: Sequence[int | str]) -> ImageSet:
        """Return the images of these classes (ids or names); ids and class names do not change."""
        wanted = torch.tensor(self.class_ids(ids), dtype=torch.int64)
        return self.subset(torch.isin(self.labels, wanted).nonzero().flatten())

    def split(self, fraction: float, seed: int = 0) -> tuple[ImageSet, ImageSet]:
        """Split by class: `train, val = images.split(0.1)` puts a tenth of each class into val.

        The second set gets `fraction` of each class, rounded, but at least one image and never all
        (a class of a single image stays in the first). The choice depends only on the seed.
        """
        first, second = stratified_split(self.labels.numpy(), fraction, seed)
        return self.subset(first), self.subset(second)


def _class_id(item: Any) -> int:
    dtype = str(getattr(item, "dtype", ""))
    try:
        if isinstance(item, bool) or "bool" in dtype:
            raise TypeError
        return operator.index(item)
    except TypeError:
        raise TypeError(f"ImageSet: class: wanted a whole number or a name, got {item!r}") from None
