"""Images in memory: readers, splits, standardisation, augmentation, batches."""

from __future__ import annotations

from pyedge.data.augment import Augment, standardise
from pyedge.data.batch_loader import BatchLoader
from pyedge.data.digits import load_digits
from pyedge.data.imageset import ImageSet
from pyedge.data.load import load_cifar10, load_dataset, load_folder
from pyedge.data.splits import class_incremental, unseen_split
from pyedge.images.preprocessing import Preprocessing
from pyedge.images.resize import Resize

__all__ = [
    "Augment",
    "BatchLoader",
    "ImageSet",
    "Preprocessing",
    "Resize",
    "class_incremental",
    "load_cifar10",
    "load_dataset",
    "load_digits",
    "load_folder",
    "standardise",
    "unseen_split",
]
