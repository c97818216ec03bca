"""Which split and class an image file belongs to, by its place among the folders."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pyedge.classes.matching import unknown
from pyedge.classes.names import check_folders
from pyedge.images.folder_layout import Layout, LayoutError
from pyedge.images.left_out import LeftOut, shown
from pyedge.images.split_names import PLAIN, splits_among

__all__ = ["Arrangement", "LayoutError", "arrange"]


@dataclass(frozen=True)
class Arrangement:
    """Files by split (None where there are no splits), each with its label, class by class.

    classes: the names of the class folders in alphabetical order; a label is a place among them.
    folders: what the folder of each split is called.
    """

    classes: tuple[str, ...]
    files: Mapping[str | None, Sequence[tuple[str, int]]]
    folders: Mapping[str, str] = field(default_factory=dict)


def arrange(
    path: str,
    names: Collection[str],
    folders: Sequence[str],
    left_out: LeftOut,
    *,
    splits: bool | None = None,
    only_classes: bool = False,
) -> Arrangement:
    """Arrange the relative names of image files, with / between folders.

    Folders that merely wrap all others (archives often have one) are skipped, above and below the
    splits. The class is the folder below the split; folders below the class do not matter.

    `splits`: None looks for folders named like splits, and raises an error if it is unclear what
    they are; False takes all folders as classes, whatever their names; True takes folders named
    like splits as splits, and leaves the others out. With `only_classes`, for readers that take no
    splits, a single folder named like a split is a wrapper, and a folder named like a split is a
    class if it holds images as the classes next to it do.

    Images without labels (a test/ of loose images) go to `left_out`. Raises LayoutError, which is a
    FormatError, for images outside class folders, for empty class folders, for classes that train
    does not have, and for what could be a mistake.
    """
    never = () if splits is False or only_classes else PLAIN  # which folders are no mere wrappers
    layout = Layout(path, names, folders, left_out, never)
    found = {} if splits is False else splits_among(layout.top)
    if splits is True and not found:
        raise LayoutError(
            f"{path}: splits=True, but no folder is named train, val or test; there are "
            f"{', '.join(shown(name) for name in sorted(layout.top)[:8])}"
        )
    beside = set(layout.top) - set(found)
    if only_classes and splits is None and beside and not any(layout.top[n] for n in found):
        found = {}
    if splits is None and not found:
        layout.check_no_traps()
    if found:
        layout.check_beside(found, only_these=splits is True)
    members = _split_members(layout, found) if found else _whole(layout)
    return _numbered(path, members, found)


Members = Mapping[str, Sequence[str]]  # the images of each class


def _whole(layout: Layout) -> dict[str | None, Members]:
    return {None: _by_class(layout, (), 0)}


def _by_class(layout: Layout, above: Sequence[str], depth: int) -> Members:
    """Return the images of each class below the folders `above`; class folders are at `depth`."""
    found: dict[str, list[str]] = {}
    for place in layout.files(above[0]) if above else layout.places:
        if len(place) <= depth + 1:
            raise layout.loose(place)
        found.setdefault(place[depth], []).append(layout.name(place))
    layout.check_not_empty(above, found)
    return found


def _split_members(layout: Layout, found: Mapping[str, str]) -> dict[str | None, Members]:
    """Return the images by split and class; those of a split without labels are left out."""
    for folder in layout.folders:
        if len(folder) == 1 and folder[0] not in layout.top and splits_among(folder):
            raise LayoutError(
                f"{layout.path}: {shown(layout.name(folder))}/ holds no images; fill it, or remove "
                f"it"
            )
    depths = {name: layout.inner(name, split) for name, split in found.items()}
    if layout.common_wrapper(depths):
        depths = {name: depth + 1 for name, depth in depths.items()}
    loose = {
        name
        for name, depth in depths.items()
        if all(len(p) <= depth + 1 for p in layout.files(name))
    }
    labelled = {split for name, split in found.items() if name not in loose}
    members: dict[str | None, Members] = {}
    for name, split in found.items():
        first = layout.files(name)[0]
        if name not in loose:
            members[split] = _by_class(layout, first[: depths[name]], depths[name])
            layout.check_no_masks(members[split])
        elif "train" in labelled:
            layout.drop(name, f"{shown(name)}/ has no class folders, so no labels")
        else:
            raise layout.loose(first)
    return members


def _numbered(
    path: str, members: Mapping[str | None, Members], found: Mapping[str, str]
) -> Arrangement:
    classes = check_folders(path, sorted(members.get("train", next(iter(members.values())))))
    for split, by_class in members.items():
        extra = sorted(set(by_class) - set(classes))
        if extra:
            raise LayoutError(
                f"{path}: {split} has classes that train lacks: {unknown(extra, classes)}"
            )
    files = {
        split: [(name, label) for label, c in enumerate(classes) for name in by_class.get(c, ())]
        for split, by_class in members.items()
    }
    return Arrangement(
        classes, files, {split: name for name, split in found.items() if split in members}
    )
