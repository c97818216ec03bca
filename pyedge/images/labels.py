"""Labels in any usual form: arrays, lists, columns of a table; ids, names, one-hot rows.

Labels that can only mean one thing are taken; anything else is refused, with its place. Neither
torch nor pandas is needed to take what comes from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set, ValuesView
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def ids_or_names(
    labels: Any, where: str, *, count: int | None = None, classes: int | None = None
) -> NDArray[Any]:
    """Return labels as ids, int64 [n], or as the names of their classes, an array of text [n].

    where: what a message begins with. count: the number of images, if known. classes: the number of
    classes, if known; ids must then be less, one-hot rows must have as many columns, and True and
    False are the ids if there are two. A table's column is taken by position, whatever its index.

    Raises TypeError for labels of another kind, ValueError for shapes, numbers and values that
    labels cannot have.
    """
    given = _flat(_array(labels, where), where, count, classes)
    if given.dtype.kind == "U":
        return given
    ids = _whole(given, where, classes)
    if ids.size and int(ids.min()) < 0:
        raise ValueError(f"{where}: wanted ids from 0, got {int(ids.min())}")
    check_range(ids, where, classes)
    return ids


def check_range(ids: Any, where: str, classes: int | None) -> None:
    """Check that ids, an array or tensor of whole numbers, are less than `classes`."""
    if classes is None or not len(ids):
        return
    least, most = int(ids.min()), int(ids.max())
    if not 0 <= least <= most < classes:
        raise ValueError(
            f"{where}: wanted ids in 0..{classes - 1}, the network's classes, got {least}..{most}"
        )


def refuse_masked(labels: Any, where: str) -> None:
    """Raise TypeError for masked labels in a numpy masked array: nobody knows what they are."""
    parts = labels if isinstance(labels, (list, tuple)) else (labels,)
    masked = sum(int(np.ma.count_masked(part)) for part in parts if np.ma.isMaskedArray(part))
    if masked:
        raise TypeError(
            f"{where}: wanted one for each image, got {masked} that are masked; leave these images "
            "out, as with images[~labels.mask]"
        )


def _array(labels: Any, where: str) -> NDArray[Any]:
    """Return labels as an array, whatever they are in."""
    refuse_masked(labels, where)
    if isinstance(labels, (str, bytes, Mapping, Set, Iterator)) or labels is None:
        raise TypeError(
            f"{where}: wanted an array, a list or a column with one label for each image, got "
            f"{type(labels).__name__}"
        )
    if callable(getattr(labels, "detach", None)):  # a torch tensor, wherever it lies
        labels = labels.detach().cpu()
        labels = (labels.double() if labels.is_floating_point() else labels).numpy()
    elif hasattr(labels, "columns") and len(labels.columns) > 1:
        raise TypeError(
            f"{where}: wanted one column, got a table with {len(labels.columns)}: "
            f"{', '.join(map(str, list(labels.columns)[:6]))}"
        )
    elif callable(getattr(labels, "to_numpy", None)):  # pandas, polars
        labels = labels.to_numpy()
    elif isinstance(labels, (list, tuple, ValuesView)):
        labels = list(labels)
        texts = sum(isinstance(label, str) for label in labels)
        if 0 < texts < len(labels):  # numpy would make text of the numbers
            other = next(i for i, label in enumerate(labels) if not isinstance(label, str))
            raise TypeError(
                f"{where}: wanted only names, or only ids, got {labels[other]!r} at {other} "
                f"among {texts} names"
            )
    try:
        return np.asarray(labels)
    except (ValueError, TypeError) as error:
        raise TypeError(
            f"{where}: wanted one number or name for each image, got {type(labels).__name__}, of "
            f"which numpy makes no array: {error}"
        ) from error


def _flat(given: NDArray[Any], where: str, count: int | None, classes: int | None) -> NDArray[Any]:
    """Turn [n, 1] and one-hot rows into [n], and Python objects into names or numbers."""
    if given.dtype.kind == "T":  # numpy's text of any length
        given = given.astype(str)
    if given.dtype.kind == "O":
        given = _plain(given, where)
    if given.ndim == 2 and given.shape[1] == 1:
        given = given[:, 0]
    elif given.ndim == 2 and given.dtype.kind in "iufb" and given.size:
        given = _of_rows(given, where, classes)
    if given.ndim != 1 or (count is not None and len(given) != count):
        wanted = f"({'n' if count is None else count},)"
        raise ValueError(f"{where}: wanted shape {wanted}, one for each image, got {given.shape}")
    return given


def _plain(given: NDArray[Any], where: str) -> NDArray[Any]:
    """Turn an array of Python objects into names or whole numbers; none may be missing."""
    flat = given.reshape(-1).tolist()
    for place, value in enumerate(flat):
        missing = value is None or type(value).__name__ in ("NAType", "NaTType")
        if missing or (isinstance(value, float) and value != value):
            raise ValueError(f"{where}: wanted one for each image, got {value!r} at {place}")
    for kinds in (str, (int, np.integer), (int, float, np.integer, np.floating)):
        if all(isinstance(value, kinds) and not isinstance(value, bool) for value in flat):
            return np.array(flat, dtype=str if kinds is str else None).reshape(given.shape)
    odd = next((v for v in flat if not isinstance(v, (int, float, np.number))), flat[0])
    raise TypeError(
        f"{where}: wanted whole numbers, or names, got {odd!r} of type {type(odd).__name__}"
    )


def _of_rows(given: NDArray[Any], where: str, classes: int | None) -> NDArray[Any]:
    """One-hot rows [n, classes] as ids [n]."""
    if classes is not None and given.shape[1] != classes:
        raise ValueError(
            f"{where}: wanted [n], or one-hot with a column for each of the "
            f"{classes} classes, got shape {given.shape}"
        )
    hot = given == 1
    wrong = (hot.sum(axis=1) != 1) | ((given != 0) & ~hot).any(axis=1)
    if wrong.any():
        place = int(wrong.argmax())
        raise ValueError(
            f"{where}: wanted one-hot, each image of one class, got the row "
            f"{given[place].tolist()[:12]} at {place}"
        )
    return hot.argmax(axis=1)


def _whole(given: NDArray[Any], where: str, classes: int | None) -> Ids:
    kind = given.dtype.kind
    if not given.size:
        return given.astype(np.int64) if kind in "iufb" else np.zeros(0, dtype=np.int64)
    if kind == "b":
        if classes != 2:
            raise TypeError(
                f"{where}: wanted whole numbers or names, got bool, which labels only two classes"
                f"{'' if classes is None else f' ({classes} are known)'}"
            )
        return given.astype(np.int64)
    if kind == "f":
        wrong = ~(given == np.floor(given)) | np.isinf(given)
        if wrong.any():
            place = int(wrong.argmax())
            raise TypeError(
                f"{where}: wanted whole numbers or names, got {given[place]} at {place}"
            )
        return given.astype(np.int64)
    if kind not in "iu":
        raise TypeError(f"{where}: wanted whole numbers or names, got {given.dtype}")
    if int(given.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{where}: wanted class ids, got {int(given.max())}")
    return given.astype(np.int64)
