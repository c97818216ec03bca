"""Images whose features a student's file describes, in any form that the cloud side has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from os import PathLike
from os.path import isdir
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pyedge.arguments import flag
from pyedge.classes.matching import classes_of, numbered, quoted
from pyedge.cloud.compression.student import Student
from pyedge.cloud.feed.batch import Source, labels_of, split
from pyedge.cloud.feed.loaders import Feed, check_loader, nothing
from pyedge.cloud.shown import classes_learned
from pyedge.data.batch_loader import BatchLoader
from pyedge.data.imageset import ImageSet
from pyedge.edge.add_statistics import with_described
from pyedge.edge.labelled import labelled_images
from pyedge.edge.masks import refuse_masked_labels
from pyedge.images.edge_images import EdgeImages, resize_of
from pyedge.images.listed_files import listed_folder
from pyedge.student.expansion import Expand
from pyedge.student.file import StudentFile
from pyedge.warning import warn

_DRAWS = 4  # of one image, to see whether it differs: a flip alone escapes one time in eight
_NEAR = 0.05  # of mean 0 and deviation 1


def check_arguments(
    statistics: Any, held: Any, expand: Any, forgettable: Any, format: str, int8: Any = None
) -> None:
    """Refuse arguments that need statistics without them, and statistics and int8 in ONNX files."""
    if int8 is not None and format == "onnx":
        raise ValueError(
            'export: format: wanted "pyedge" for int8, got "onnx", whose files have no scales of '
            "ours"
        )
    flag(forgettable, "export: forgettable")
    if statistics is None:
        told = {
            "held": held is not None,
            "expand": expand not in ("auto", None),
            "forgettable": forgettable,
        }
        for name, there in told.items():
            if there:
                raise ValueError(
                    f"export: statistics: wanted images to describe, for {name}, got None"
                )
    elif format == "onnx":
        raise ValueError(
            'export: format: wanted "pyedge" for statistics, got "onnx", whose files cannot learn'
        )


def with_statistics_of(
    student: Student,
    file: StudentFile,
    statistics: Any,
    held: Any,
    *,
    expand: Expand,
    seed: int,
    forgettable: bool,
    workers: int | None,
) -> StudentFile:
    """Return the file with the statistics of images, as in `export`; errors name its argument."""
    with contextlib.ExitStack() as opened:
        describing = None
        if workers is not None:
            from pyedge.cloud.jobs.describe import describing_with

            describing = opened.enter_context(describing_with(workers, "export"))
            statistics, held = (_listed(file, each) for each in (statistics, held))
        return with_described(
            file,
            _labelled(student, file, statistics, "statistics"),
            None if held is None else _labelled(student, file, held, "held"),
            expand=expand,
            seed=seed,
            forgettable=forgettable,
            where="export: statistics",
            describing=describing,
        )


def _listed(file: StudentFile, given: Any) -> Any:
    """Return a folder's images without reading them; anything else as it is."""
    if not isinstance(given, (str, PathLike)) or not isdir(given):
        return given
    return listed_folder(given, file.input_shape, resize=resize_of(file.preprocessing))


def _labelled(student: Student, file: StudentFile, given: Any, argument: str) -> EdgeImages:
    """Return images with labels as ids of the file's classes."""
    title = f"export: {argument}"
    source = Source("export", argument)
    _check_classes(student, file, classes_of(given), title)
    if isinstance(given, Tensor):
        raise ValueError(f"{title}: wanted (images, labels), got no labels")
    if isinstance(given, tuple) and len(given) == 2 and not is_batch(given[0]):
        images, labels = (as_array(each) for each in given)
        found = labelled_images(file, images, labels, title)
    elif isinstance(given, ImageSet) or not _yields_batches(given):
        found = labelled_images(file, given, None, title)
    else:
        found = _collected(file, given, source)
    refuse_masked_labels(file, found)
    return found


def _check_classes(
    student: Student, file: StudentFile, names: tuple[str, ...] | None, title: str
) -> None:
    """Refuse ids that cannot be matched by name and that meant other classes in training."""
    known = classes_learned(student)
    if names is None or not known or not numbered(file.classes):
        return
    for place, (mine, given) in enumerate(zip(known, names, strict=False)):
        if mine != given:
            raise ValueError(
                f"{title}: class {place} is {quoted(given)}, and was {quoted(mine)} when the "
                "network was trained; export(classes=...) names the classes, and images are then "
                "matched by name"
            )


def _yields_batches(given: Any) -> bool:
    """Tell whether this is a loader or a torch data set that a device does not take."""
    if isinstance(given, (Dataset, DataLoader, BatchLoader)):
        return True
    return isinstance(given, list) and bool(given) and is_batch(given[0])


def is_batch(item: Any) -> bool:
    """Tell whether this is (images, labels) or a mapping of them, as in a list of batches."""
    if isinstance(item, (tuple, list)) and len(item) > 1:
        return len(getattr(item[0], "shape", ())) == 4
    return isinstance(item, dict)


def _collected(file: StudentFile, given: Any, source: Source) -> EdgeImages:
    """Go once through a loader or a data set, and keep all that it yields."""
    title = str(source)
    single = isinstance(given, Dataset) and not hasattr(given, "__iter__")
    if not single:
        check_loader(given, source)
    _tell_of_dropped(given, title)
    changing = _changes(given)
    if changing:
        warn(
            f"{title}: the images differ each time that they are read (augmentation?), so the "
            "statistics, and what counts as unknown, are not those of the images that a device "
            "sees; better pass a loader that does not change them"
        )
    arrays, labels = [], []
    for item in Feed(_items(given) if single else given, source):
        x, y = split(item, source)
        images = as_float32(as_array(x))
        if single:
            images, y = images[None], np.atleast_1d(as_array(y)) if y is not None else None
        arrays.append(np.array(images))  # a loader may fill one buffer again and again
        labels.append(labels_of(y, len(images), source).numpy().copy())
    if not arrays:
        raise ValueError(nothing(given, source, "images"))
    shapes = sorted({each.shape[1:] for each in arrays})
    if len(shapes) > 1:
        raise ValueError(
            f"{title}: images: wanted all of one size, got {list(shapes[0])} and {list(shapes[1])}"
        )
    names = classes_of(given)
    ids = np.concatenate(labels)
    images = np.concatenate(arrays)
    if not changing:
        _tell_of_other_scale(file, images, title)
    pair = images, ids
    if names is None or numbered(file.classes):
        return labelled_images(file, *pair, title)
    return labelled_images(file, _Named(*pair, names), None, title)


class _Named(Dataset):
    """Images, ids and the names of the classes: like an ImageSet, but of any dtype."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> None:
        self.images, self.labels, self.classes = images, labels, classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.images[index], int(self.labels[index])


def _items(given: Any) -> Iterator[Any]:
    for i in range(len(given)):
        yield given[i]


def as_array(given: Any) -> Any:
    if isinstance(given, Tensor):
        given = given.detach().cpu()
        return (given.float() if given.dtype == torch.bfloat16 else given).numpy()
    return given


def as_float32(images: Any) -> np.ndarray:
    """Return floats of any kind as the float32 that a student takes; uint8 pixels unchanged."""
    array = np.asarray(images)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _tell_of_dropped(given: Any, title: str) -> None:
    size, images = getattr(given, "batch_size", None), getattr(given, "dataset", None)
    if not getattr(given, "drop_last", False) or not size or not hasattr(images, "__len__"):
        return
    count = len(images)  # type: ignore[arg-type]
    if count % size and count > size:
        warn(
            f"{title}: drop_last=True leaves {count % size} of {count} images out; without it all "
            "of them are described"
        )


def _changes(given: Any) -> bool:
    """Tell whether an image differs each time it is read; torch's random state is restored."""
    if isinstance(given, BatchLoader):
        return given.augment is not None
    images = given if isinstance(given, Dataset) else getattr(given, "dataset", None)
    if images is None or not hasattr(images, "__getitem__") or not hasattr(images, "__len__"):
        return False
    source = Source("export", "statistics")
    # what fails here fails again when the images are read, and is told there
    with torch.random.fork_rng([]), contextlib.suppress(Exception):
        drawn = [np.asarray(as_array(split(images[0], source)[0])) for _ in range(_DRAWS)]
        return any(not np.array_equal(each, drawn[0]) for each in drawn[1:])
    return False


def _tell_of_other_scale(file: StudentFile, images: np.ndarray, title: str) -> None:
    """Warn of floats that are standardised, but not image by image as the device does it."""
    if images.dtype != np.float32 or file.preprocessing["kind"] != "image":
        return
    some = images[np.unique(np.linspace(0, len(images) - 1, 256).astype(np.int64))]
    flat = some.reshape(len(some), -1)
    if not np.isfinite(flat).all():
        return  # told, with the image's number, where it is taken
    deviation = flat.std(axis=1)
    mean = float(np.median(np.abs(flat.mean(axis=1))))
    spread = float(np.median(np.abs(deviation - 1)))
    plausible = flat.min() < 0 and 0.1 < float(np.median(deviation)) < 10
    if plausible and max(mean, spread) > _NEAR:  # others are told of as what they look like
        warn(
            f"{title}: the device standardises each image, to mean 0 and deviation 1, and these "
            f"are not so (they are off by {mean:.2f} and {spread:.2f}): the features will be "
            "others there; pass the pixels as uint8, or preprocessing= to export"
        )
