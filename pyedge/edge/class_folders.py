"""Which split and which class an image file belongs to, by its place among the folders."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pyedge.class_matching import unknown
from pyedge.class_names import check_folders
from pyedge.errors import FormatError

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Arrangement:
    """Files by split (None where there are no splits), each with its label, class by class.

    classes: the names of the class folders in alphabetical order; a label is a place among them.
    """

    classes: tuple[str, ...]
    files: Mapping[str | None, Sequence[tuple[str, int]]]


def arrange(path: str, names: Collection[str], folders: Sequence[str]) -> Arrangement:
    """Arrange the relative names of image files, in which / stands between folders.

    Folders that merely wrap all others (archives often have one) are skipped. The class is the
    folder below the split; folders below the class do not matter. Raises FormatError for images
    outside class folders, for empty class folders, for classes that train does not have, and for
    other folders beside train/.
    """
    depth = _wrapping([name.split("/") for name in names])
    top = {name.split("/")[depth] for name in names}
    splits = any(map(_split_of, top))
    others = sorted(t for t in top if splits and not _split_of(t))
    if others and any(_split_of(t) == "train" for t in top):
        raise FormatError(
            f"{path}: {', '.join(others)} beside train/; wanted train/, test/ and perhaps val/ only"
        )
    splits = splits and not others  # without train/, a class may well be called "test"
    classes_at = depth + 1 if splits else depth
    members: dict[str | None, dict[str, list[str]]] = {}
    for name in sorted(names):
        parts = name.split("/")
        if len(parts) <= classes_at + 1:
            raise FormatError(
                f"{path}: {name} lies in no class folder; wanted <class>/<image> "
                f"or train/<class>/<image> and test/<class>/<image>"
            )
        split = _split_of(parts[depth]) if splits else None
        members.setdefault(split, {}).setdefault(parts[classes_at], []).append(name)
    wrapper = next(iter(names)).split("/")[:depth]
    _check_no_empty(path, folders, members, wrapper, classes_at, splits)
    classes = check_folders(path, sorted(members.get("train", next(iter(members.values())))))
    for split, by_class in members.items():
        extra = sorted(set(by_class) - set(classes))
        if extra:
            raise FormatError(
                f"{path}: {split} has classes that train lacks: {unknown(extra, classes)}"
            )
    files = {
        split: [(name, label) for label, c in enumerate(classes) for name in by_class.get(c, ())]
        for split, by_class in members.items()
    }
    return Arrangement(classes, files)


def _split_of(folder: str) -> str | None:
    return _SPLITS.get(folder.lower())


def _wrapping(names: Sequence[list[str]]) -> int:
    """Count the top folders that hold everything in one folder further down."""
    depth = 0
    while (
        all(len(parts) > depth + 2 for parts in names)
        and len({parts[depth] for parts in names}) == 1
        and not _split_of(names[0][depth])
    ):
        depth += 1
    return depth


def _check_no_empty(
    path: str,
    folders: Sequence[str],
    members: Mapping[str | None, Mapping[str, list[str]]],
    wrapper: list[str],
    classes_at: int,
    splits: bool,
) -> None:
    depth = len(wrapper)
    for folder in folders:
        parts = folder.split("/")
        if len(parts) != classes_at + 1 or parts[:depth] != wrapper:
            continue
        split = _split_of(parts[depth]) if splits else None
        if parts[-1] not in members.get(split, {}):
            raise FormatError(f"{path}: the class folder {folder} holds no images")
