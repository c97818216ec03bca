"""The paper's two settings on the device: classes that arrive, and classes never shown."""

from __future__ import annotations

from collections.abc import Sequence

from pyedge.data.imageset import ImageSet


def class_incremental(dataset: ImageSet, new: Sequence[int | str]) -> tuple[ImageSet, ImageSet]:
    """Split into images of old classes and images of `new` ones (ids or names): (old, new).

    Sec. 5.3: nine old classes and a new one. Ids and class names are those of `dataset` in both.
    Raises ValueError unless some, but not all, classes are new.
    """
    rest, chosen = _by_class(dataset, new, "class_incremental", "new")
    return rest, chosen


def unseen_split(dataset: ImageSet, seen: Sequence[int | str]) -> tuple[ImageSet, ImageSet]:
    """Split into images of the `seen` classes (ids or names) and of all others: (seen, unseen).

    Sec. 5.4: two seen classes, eight unseen. Ids and class names are those of `dataset` in both.
    Raises ValueError unless some, but not all, classes are seen.
    """
    rest, chosen = _by_class(dataset, seen, "unseen_split", "seen")
    return chosen, rest


def _by_class(
    dataset: ImageSet, wanted: Sequence[int | str], function: str, argument: str
) -> tuple[ImageSet, ImageSet]:
    ids = set(dataset.class_ids(wanted))
    others = [i for i in range(len(dataset.classes)) if i not in ids]
    if not ids or not others:
        raise ValueError(
            f"{function}: {argument}: wanted some, but not all, of the "
            f"{len(dataset.classes)} classes, got {list(wanted)!r}"
        )
    return dataset.only_classes(others), dataset.only_classes(sorted(ids))
