"""How images lie in folders below any wrappers, and the ways in which that can be unclear."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pyedge.errors import FormatError
from pyedge.images.left_out import LeftOut, shown
from pyedge.images.split_names import SPLITS, are_masks, is_container, is_unlabelled, splits_among

_LISTED = 8  # names that a message shows

Place = Sequence[str]  # the folders above an image, and its name


class LayoutError(FormatError):
    """The folders are not laid out as classes, or could be meant in two ways."""


class LooseError(LayoutError):
    """An image lies in no class folder, so it has no label."""


class Layout:
    """Images by their places below the folders that merely wrap all others.

    top: the folders there, and for each the folders in it that have images. With `unwrap` False, a
    single folder is not a wrapper if its name is among `never`.
    """

    def __init__(
        self,
        path: str,
        names: Collection[str],
        folders: Collection[str],
        left_out: LeftOut,
        never: Collection[str],
    ) -> None:
        self.path = path
        self.left_out = left_out
        parts = [name.split("/") for name in sorted(names)]
        depth = _wrapping(parts, never)
        self.wrapper = parts[0][:depth]
        self.places: list[Place] = [place[depth:] for place in parts]
        # an archive need not list its folders; files that were left out lie in some, too
        all_folders = {*folders, *(f for name in left_out.names for f in _above(name))}
        below = (folder.split("/") for folder in sorted(all_folders))
        self.folders = [f[depth:] for f in below if f[:depth] == self.wrapper and len(f) > depth]
        self.top: dict[str, set[str]] = {}
        self._files: dict[str, list[Place]] = {}
        for place in self.places:
            if len(place) == 1:
                raise self.loose(place)
            self.top.setdefault(place[0], set()).update(place[1:2] if len(place) > 2 else ())
            self._files.setdefault(place[0], []).append(place)

    def files(self, folder: str) -> list[Place]:
        """Return the images of one of the top folders."""
        return self._files[folder]

    def name(self, place: Place) -> str:
        """Return the relative name of an image or a folder."""
        return "/".join((*self.wrapper, *place))

    def drop(self, folder: str, reason: str) -> None:
        """Leave the images of one of the top folders out."""
        for place in self.files(folder):
            self.left_out.add(self.name(place), reason)

    def loose(self, place: Place) -> LooseError:
        """Return the error for an image that is not in a class folder."""
        return LooseError(
            f"{self.path}: {shown(self.name(place))} is not in a class folder; wanted "
            f"<class>/<image> or train/<class>/<image> and test/<class>/<image>{self._hint()}"
        )

    def _hint(self) -> str:
        """Say what other layout this seems to be, judging by the files that are not images."""
        others = [name.lower() for name in self.left_out.names]
        detection = (
            "a layout for detection, which says where things are: cut them out, or sort the "
            "images into a folder for each class"
        )
        if any("labels/" in name and name.endswith(".txt") for name in others):
            return f"; images/ beside labels/ (YOLO) is {detection}"
        if any("annotations/" in name for name in others):
            return f"; annotations/ (VOC, COCO) is {detection}"
        tables = [name for name in self.left_out.names if name.lower().endswith((".csv", ".tsv"))]
        if tables:
            return (
                f"; labels in a table ({shown(tables[0])}) are not read: move each image to a "
                f"folder named after its class"
            )
        return ""

    def check_beside(self, found: Mapping[str, str], only_these: bool) -> None:
        """Raise LayoutError if folders next to the splits make it unclear what is meant.

        found: the top folders named like splits. The folders next to them are left out if their
        images have no labels, or with `only_these`.
        """
        train = [name for name, split in found.items() if split == "train" and self.top[name]]
        others = []
        for name in sorted(set(self.top) - set(found)):
            if only_these:
                self.drop(name, "beside the splits")
            elif train and self.top[name] <= {name} and is_unlabelled(name):
                self.drop(name, f"{shown(name)}/ has no class folders, so no labels")
            else:
                others.append(name)
        if others and train:
            raise LayoutError(
                f"{self.path}: {_some(others)} beside {shown(train[0])}/; wanted train/, test/ and "
                f"perhaps val/ only. splits=True (--splits yes) leaves {_some(others)} out; "
                f"{self._as_classes()}"
            )
        if others:
            inside = sorted(set().union(*(self.top[name] for name in found)))
            raise LayoutError(
                f"{self.path}: {_some(found)}{f' (with {_some(inside)} in it)' if inside else ''} "
                f"beside {_some(others)} could be {'splits' if len(found) > 1 else 'a split'} or "
                f"{'classes' if len(found) > 1 else 'a class'}. Move away what is no class; or "
                f"{self._as_classes()}"
            )
        for split in SPLITS:
            same = sorted(name for name in found if found[name] == split)
            if len(same) > 1:
                raise LayoutError(
                    f"{self.path}: {' and '.join(map(shown, same))} are both called like {split}; "
                    f"leave one of them there"
                )

    def check_no_traps(self) -> None:
        """Raise LayoutError if no folder is named like a split, but these are hardly classes."""
        names = set(self.top)
        self.check_no_masks(names)
        for name, inside in self.top.items():
            copies = inside & (names - {name})
            if copies:
                raise LayoutError(
                    f"{self.path}: {shown(name)} lies beside {_some(copies)} and holds folders of "
                    f"the same names: a second copy, or a split? Move it away; or "
                    f"{self._as_classes()}"
                )
            found = splits_among(inside)
            if len(set(found.values())) > 1 and set(found) == inside:
                raise LayoutError(
                    f"{self.path}: splits lie inside of classes "
                    f"({_some([f'{name}/{split}' for split in inside])}); wanted "
                    f"train/<class>/<image>. {self._as_classes()}, all splits mixed"
                )
            if len(names) > 1 and not inside and is_unlabelled(name):
                raise self.loose(self.files(name)[0])
        only = next(iter(names))
        if len(names) == 1 and not self.top[only] and is_container(only):
            raise self.loose(self.files(only)[0])
        common = set.intersection(*self.top.values())
        if len(names) > 1 < len(common) and 2 * len(common) >= len(set.union(*self.top.values())):
            raise LayoutError(
                f"{self.path}: {_some(names)} hold folders of the same names ({_some(common)}), "
                f"which seem to be the classes. Call the outer folders train/, test/, val/, or "
                f"name one of them alone; or {self._as_classes()}"
            )

    def check_no_masks(self, classes: Collection[str]) -> None:
        """Raise LayoutError for images and their masks instead of classes."""
        if are_masks(classes):
            raise LayoutError(
                f"{self.path}: {_some(classes)} is a layout for segmentation, where pictures tell "
                f"what is where on others; wanted a folder for each class"
            )

    def check_not_empty(self, at: Place, classes: Collection[str]) -> None:
        """Raise LayoutError for a class folder without images, in the folder `at`."""
        for folder in self.folders:
            if folder[:-1] == list(at) and folder[-1] not in classes:
                name = self.name(folder)
                inside = [n for n in self.left_out.names if n.startswith(f"{name}/")]
                why = f" (of its files {len(inside)} left out)" if inside else ""
                raise LayoutError(
                    f"{self.path}: the class folder {shown(name)} holds no images{why}"
                )

    def _as_classes(self) -> str:
        n = len(self.top)
        return f"splits=False (--splits no) takes all {n} for classes ({_some(self.top)})"

    def inner(self, folder: str, split: str) -> int:
        """Return the depth of a split's classes, below folders that only wrap.

        Such are images/ and names of the same split, as in train/train_images/<class>.
        """
        files, depth = self.files(folder), 1
        while all(len(place) > depth + 1 for place in files):
            names = {place[depth] for place in files}
            alike = set(splits_among(names).values()) == {split} or names == {folder}
            if len(names) > 1 or not (alike or is_container(files[0][depth])):
                break
            depth += 1
        return depth

    def common_wrapper(self, depths: Mapping[str, int]) -> bool:
        """Tell whether another folder of the same name wraps the same classes in all splits."""
        wrappers, inside = set(), []
        for split, depth in depths.items():
            files = self.files(split)
            if not all(len(place) > depth + 2 for place in files):
                return False
            wrappers |= {place[depth] for place in files}
            inside.append({place[depth + 1] for place in files})
        return len(inside) > 1 and len(wrappers) == 1 and len(set.intersection(*inside)) > 1


def _above(name: str) -> list[str]:
    """Return the folders above a file, or above a folder whose name ends in /."""
    parts = name.rstrip("/").split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def _wrapping(places: Sequence[Place], never: Collection[str]) -> int:
    """Count the top folders that hold everything in one folder further down."""
    depth = 0
    while (
        all(len(place) > depth + 2 for place in places)
        and len({place[depth] for place in places}) == 1
        and places[0][depth].lower() not in never
    ):
        depth += 1
    return depth


def _some(names: Collection[str]) -> str:
    listed = sorted(names)
    more = f", ... ({len(listed)} folders)" if len(listed) > _LISTED else ""
    return ", ".join(shown(name) for name in listed[:_LISTED]) + more
