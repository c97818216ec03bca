"""Images as the device takes them: arrays of pixels, with or without labels.

Two dtypes: uint8 pixels, which the engine preprocesses on their way in, and float32 images that
are preprocessed already (`doubts` warns if they do not look so). Two layouts: [n, c, h, w]
and [n, h, w, c], told apart by the student's input shape. Neither is copied, so a memory-mapped
array may be larger than memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyedge.classes.matching import absent, listing, nearly, places, quoted, unknown, warn_of_ids
from pyedge.images.arrays import array_of, at_size, rows_of
from pyedge.images.labels import ids_or_names, refuse_masked
from pyedge.images.layout import Shape, checked_dtype, checked_shape, one_or_more, place
from pyedge.images.resize import Resize
from pyedge.keywords import keywords

_CHUNK_BYTES = 1 << 24  # what a pass over all images holds at a time


@dataclass(frozen=True, eq=False)
class EdgeImages:
    """Images, and what is known of them.

    array: uint8 or float32, C-contiguous, [n, c, h, w], or [n, h, w, c] with channels_last.
    labels: int64 [n], or None. class_names: what the labels stand for, if known. span: the lowest
    and the highest value of float32 images, if known.

    Make one with `of`, which checks everything.
    """

    array: NDArray[Any]
    channels_last: bool
    labels: NDArray[np.int64] | None = None
    class_names: tuple[str, ...] | None = None
    span: tuple[float, float] | None = None

    @classmethod
    @keywords(title="EdgeImages.of")
    def of(
        cls,
        source: Any,
        input_shape: Shape,
        labels: Any = None,
        *,
        channels_last: bool | None = None,
        labelled: bool | None = True,
        preprocessing: Mapping[str, Any] | None = None,
    ) -> EdgeImages:
        """Take images in any form, for a student of `input_shape` c h w.

        source: an array (`from_array`), or an array in another form (`arrays.array_of`); a folder
        of class folders, an archive of one, or one image file (`from_folder`), which need labels
        unless `labelled` is False, or None (labels if there are any); an array file (.npy, .npz);
        paths of image files, alone or as (path, label) (`pyedge.images.named_files`); an iterable
        of (image, label), (images, labels), or images alone (`from_iterable`); a data set like
        torch's, such as an ImageSet; or EdgeImages. labels: for arrays, paths, EdgeImages and
        images alone. preprocessing: the student's, which may say how pictures are resized: files,
        images of Pillow, and uint8 arrays that have not the student's size.
        """
        resize = resize_of(preprocessing)
        if isinstance(source, EdgeImages):
            if source.shape != checked_shape(input_shape):
                raise ValueError(
                    f"EdgeImages: images: wanted those of {list(input_shape)} c h w for this "
                    f"student, got {list(source.shape)}"
                )
            return source if labels is None else source.labelled(labels)
        if isinstance(source, np.ndarray) and source.dtype.kind not in "UO":
            return cls._from_array(source, input_shape, labels, channels_last, resize)
        from pyedge.images import named_files

        if named_files.is_array_file(source):
            source, its_labels = named_files.read_arrays(
                source, named=labels is None and bool(labelled)
            )
            labels = its_labels if labels is None and labelled is not False else labels
        kind = type(source).__name__
        if is_dataset(source):
            found = cls._from_dataset(source, input_shape, channels_last, resize)
            if labels is not None and found.labels is not None:
                raise _two_labels(kind)
            return found if labels is None else found.labelled(labels)
        source = named_files.paths_in(source)
        if isinstance(source, named_files.Paths):
            read, given = named_files.read_paths(
                *(source, checked_shape(input_shape), labels), resize=resize
            )
            found = cls(read, True)
            return found if given is None else found.labelled(given)
        if isinstance(source, (str, os.PathLike)):
            if labels is None:
                return cls._from_folder(source, input_shape, labelled, None, resize)
            raise ValueError(
                f"EdgeImages: images at a path ({os.fspath(source)}) get their labels from their "
                f"class folders; for other labels, pass a list of paths with the labels"
            )
        array = array_of(source, checked_shape(input_shape)[0], resize)
        if array is not None:
            if hasattr(source, "getbands"):  # one image of Pillow's
                array = array[None]
            return cls._from_array(array, input_shape, labels, channels_last, resize)
        if isinstance(source, Iterable):
            found = cls._from_iterable(source, input_shape, channels_last, resize)
            if labels is None:
                return found
            if found.labels is not None:
                raise _two_labels(kind)
            return found.labelled(labels)
        raise TypeError(
            f"EdgeImages: images: wanted an array, a folder or an iterable of (image, label), "
            f"got {kind}"
        )

    @classmethod
    @keywords(title="EdgeImages.from_array")
    def from_array(
        cls,
        array: NDArray[Any],
        input_shape: Shape,
        labels: Any = None,
        *,
        channels_last: bool | None = None,
    ) -> EdgeImages:
        """Take an array uint8 or float32, [n, c, h, w] or [n, h, w, c] (for grey also [n, h, w]).

        channels_last tells the layout if the shape does not. labels: whole numbers [n], or names.
        The array is not copied, unless it has gaps, such as every second image of another, or the
        other byte order. Raises TypeError for other dtypes, ValueError for shapes that do not fit
        the student, NaN and infinity, and labels that do not fit the images.
        """
        return cls._from_array(array, input_shape, labels, channels_last, None)

    @classmethod
    def _from_array(
        cls,
        array: NDArray[Any],
        input_shape: Shape,
        labels: Any,
        channels_last: bool | None,
        resize: Resize | None,
    ) -> EdgeImages:
        shape = checked_shape(input_shape)
        given = array_of(array, shape[0])
        array = array if given is None else given
        if getattr(array, "ndim", 0) == 4:
            array, channels_last = at_size(array, shape, resize, channels_last)
        placed = place(checked_dtype(array), shape, channels_last)
        images = cls(placed.array, placed.channels_last)
        images = replace(images, span=images._checked_span())
        return images if labels is None else images.labelled(labels)

    @classmethod
    @keywords(title="EdgeImages.from_folder")
    def from_folder(
        cls,
        path: str | os.PathLike[str],
        input_shape: Shape,
        *,
        labelled: bool | None = True,
        splits: bool | None = None,
        preprocessing: Mapping[str, Any] | None = None,
    ) -> EdgeImages:
        """Read class folders, <class>/<image>, or an archive of them; see `read_folder`.

        preprocessing: the student's, as in `of`.
        """
        return cls._from_folder(path, input_shape, labelled, splits, resize_of(preprocessing))

    @classmethod
    def _from_folder(
        cls,
        path: str | os.PathLike[str],
        input_shape: Shape,
        labelled: bool | None,
        splits: bool | None,
        resize: Resize | None,
    ) -> EdgeImages:
        from pyedge.images.folder import read_folder

        shape = checked_shape(input_shape)
        found = read_folder(path, shape, labelled=labelled, splits=splits, resize=resize)
        return cls(found.array, True, found.labels, found.class_names)

    @classmethod
    @keywords(title="EdgeImages.from_iterable")
    def from_iterable(
        cls, items: Iterable[Any], input_shape: Shape, *, channels_last: bool | None = None
    ) -> EdgeImages:
        """Collect (image, label), (images, labels), or images alone, each as in `from_array`.

        An image may be anything that numpy makes an array of. All images are held in memory, so the
        iterable must be finite. Raises as `from_array`, and ValueError if only some of the items
        have labels or if there are no items.
        """
        return cls._from_iterable(items, input_shape, channels_last, None)

    @classmethod
    def _from_iterable(
        cls,
        items: Iterable[Any],
        input_shape: Shape,
        channels_last: bool | None,
        resize: Resize | None,
    ) -> EdgeImages:
        shape = checked_shape(input_shape)
        arrays: list[NDArray[Any]] = []
        labels: list[NDArray[Any]] = []
        for item in items:
            paired = isinstance(item, (tuple, list)) and len(item) == 2
            images, label = item if paired else (item, None)
            array = array_of(images, shape[0], resize)
            if array is None and isinstance(images, (str, bytes, os.PathLike, dict)):
                raise TypeError(
                    f"EdgeImages: item {len(arrays)} of images: wanted an array, got "
                    f"{type(images).__name__} {str(images)[:60]!r}; image files are read from a "
                    "folder or an archive"
                )
            if array is None:
                array = np.asarray(images)
            array, last = at_size(array, shape, resize, channels_last)
            part = one_or_more(array, shape, last)
            planar = part.array.transpose(0, 3, 1, 2) if part.channels_last else part.array
            arrays.append(planar.copy())  # a camera's loop fills one buffer again and again
            if label is not None:
                refuse_masked(label, "EdgeImages: labels")
                labels.append(np.atleast_1d(np.asarray(label)).copy())
                if len(labels[-1]) != len(part.array):
                    raise ValueError(
                        f"EdgeImages: item {len(arrays) - 1} has {len(part.array)} images and "
                        f"{len(labels[-1])} labels"
                    )
        if not arrays:
            raise ValueError("EdgeImages: images: wanted at least one, got none")
        if labels and len(labels) != len(arrays):
            raise ValueError(
                f"EdgeImages: {len(labels)} of {len(arrays)} items have labels, wanted all or none"
            )
        if len({a.dtype for a in arrays}) > 1:
            raise TypeError("EdgeImages: some items are uint8 and some float32, wanted one dtype")
        whole = np.concatenate(arrays)
        return cls.from_array(
            whole, shape, np.concatenate(labels) if labels else None, channels_last=False
        )

    @classmethod
    def _from_dataset(
        cls, source: Any, shape: Shape, channels_last: bool | None, resize: Resize | None
    ) -> EdgeImages:
        """Take an ImageSet as a whole, with its classes; other data sets image by image."""
        if not all(hasattr(source, each) for each in ("images", "labels", "classes")):
            items = (source[i] for i in range(len(source)))
            return cls._from_iterable(items, shape, channels_last, resize)
        array = array_of(source.images, checked_shape(shape)[0])
        found = cls._from_array(
            source.images if array is None else array,
            *(shape, source.labels, channels_last, resize),
        )
        return replace(found, class_names=tuple(source.classes))

    def __len__(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> Shape:
        """Channels, height, width."""
        a, b, c = self.array.shape[1:]
        return (c, a, b) if self.channels_last else (a, b, c)

    def labelled(self, labels: Any) -> EdgeImages:
        """Return the images with labels: whole numbers from 0, [n], or the names of their classes.

        They come in an array, a list, or a column of a table, taken by position. Raises TypeError
        for labels of another kind, ValueError for another number of labels than images.
        """
        given = ids_or_names(labels, "EdgeImages: labels", count=len(self))
        if given.dtype.kind != "U":
            return replace(self, labels=given, class_names=None)
        names, ids = np.unique(given, return_inverse=True)
        return replace(
            self, labels=ids.astype(np.int64), class_names=tuple(map(str, names.tolist()))
        )

    def with_classes(self, classes: Sequence[str]) -> EdgeImages:
        """Return the images with a student's ids as labels, matched by name if names are known.

        Raises ValueError for a class that the student does not know and for labels out of range.
        """
        known = tuple(classes)
        if self.labels is None:
            return self
        if self.class_names is None:
            if len(self) and int(self.labels.max()) >= len(known):
                raise ValueError(
                    f"EdgeImages: labels: wanted ids in 0..{len(known) - 1}, the student's "
                    f"{len(known)} classes, got {int(self.labels.max())}"
                )
            warn_of_ids("EdgeImages", known)
            return replace(self, class_names=known)
        missing = absent(self.class_names, known)
        if missing:
            raise ValueError(f"EdgeImages: the student knows no class {unknown(missing, known)}")
        ids = np.array(places(self.class_names, known), dtype=np.int64)
        return replace(self, labels=ids[self.labels], class_names=known)

    def only_classes(self, names: Sequence[str]) -> EdgeImages:
        """Return a copy of the images of these classes; ValueError for an unknown name."""
        return self.subset(self.rows_of_classes(names))

    def rows_of_classes(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the places of the images of these classes; ValueError for an unknown name."""
        if self.labels is None or self.class_names is None:
            raise ValueError("EdgeImages: these images have no class names to choose by")
        if isinstance(names, str):
            raise TypeError(f"EdgeImages: wanted a list of names, got the text {names!r}")
        if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"EdgeImages: only_classes: wanted a list of names, got {names!r:.80}")
        for name in absent(names, self.class_names):
            raise ValueError(
                f"EdgeImages: no class is named {quoted(name)}; there are "
                f"{listing(self.class_names)}{nearly(name, self.class_names)}"
            )
        ids = places(names, self.class_names)
        return np.flatnonzero(np.isin(self.labels, ids))

    def subset(self, rows: Any) -> EdgeImages:
        """Return a copy of the images at these places, in this order, or where a mask is True."""
        rows = rows_of(rows, len(self), "EdgeImages.subset")
        labels = None if self.labels is None else self.labels[rows]
        return replace(self, array=self.array[rows], labels=labels, span=None)

    def planar(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Return the images at these places, C-contiguous [n, c, h, w], in their own dtype."""
        part = self.array[rows]
        return np.ascontiguousarray(part.transpose(0, 3, 1, 2) if self.channels_last else part)

    def chunks(self) -> list[slice]:
        """Yield the places of all images, a few at a time."""
        length = max(1, _CHUNK_BYTES // max(1, self.array[:1].nbytes))
        return [slice(i, i + length) for i in range(0, len(self), length)]

    def _checked_span(self) -> tuple[float, float] | None:
        """Return the lowest and the highest value; ValueError for NaN and infinity."""
        if self.array.dtype != np.float32 or not len(self):
            return None
        ends = []
        for part in self.chunks():
            rows = self.array[part].reshape(len(self.array[part]), -1)
            with np.errstate(invalid="ignore"):
                low, high = rows.min(axis=1), rows.max(axis=1)
            good = np.isfinite(low) & np.isfinite(high)  # both hand NaN on
            if not good.all():
                raise ValueError(
                    f"EdgeImages: image {part.start + int(good.argmin())} holds NaN or infinity"
                )
            ends += [low.min(), high.max()]
        return float(min(ends)), float(max(ends))


def is_dataset(source: Any) -> bool:
    """Tell whether a source is a data set like torch's, which gives one item after another."""
    return (
        hasattr(source, "__len__")
        and hasattr(source, "__getitem__")
        and not isinstance(source, Iterable)
        and not hasattr(source, "__array__")
    )


def _two_labels(kind: str) -> ValueError:
    return ValueError(
        f"EdgeImages: labels come with an array of images, not with {kind}, which has its own"
    )


def resize_of(preprocessing: Mapping[str, Any] | None) -> Resize | None:
    """Return how a student's preprocessing resizes pictures, if it says so."""
    found = None if preprocessing is None else preprocessing.get("resize")
    return None if found is None else Resize.of(found, "EdgeImages: preprocessing: resize")
