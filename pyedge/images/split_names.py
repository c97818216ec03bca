"""Which folders are named like splits: train, training_set, seg_test, Validation, test2017."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

SPLITS = ("train", "test", "val")

# As they stand in the documentation; a single folder of such a name is never a mere wrapper.
PLAIN = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}

_WORDS = {
    **PLAIN,
    "trn": "train",
    "trainval": "train",
    "dev": "val",
    "devel": "val",
    "eval": "val",
    "evaluation": "val",
    "validate": "val",
    "tst": "test",
    "holdout": "test",
    "heldout": "test",
}

# Words that say no more than that there are images; beside a split's word they change nothing.
_FILLERS = frozenset(
    (
        *("set", "sets", "split", "splits", "part", "data", "dataset", "datasets", "ds"),
        *("image", "images", "img", "imgs", "pic", "pics", "picture", "pictures", "photo"),
        *("photos", "jpegimages", "frames", "file", "files", "folder", "dir", "seg", "sample"),
        *("samples", "crop", "crops", "cropped", "resized", "raw", "new", "final", "full", "all"),
        *("small", "large", "jpg", "jpeg", "png", "rgb", "color", "the", "my", "for", "input"),
        *("inputs", "class", "classes", "cls", "classification", "original", "aug", "augmented"),
    )
)
# Of those, the ones that a folder of images is called by.
_CONTAINERS = frozenset(
    (
        *("images", "image", "imgs", "img", "pics", "pictures", "photos", "jpegimages", "frames"),
        *("data", "dataset", "files", "samples"),
    )
)
# Folders beside images/ that hold a picture for each image: segmentation.
_MASKS = frozenset(
    (
        *("mask", "masks", "label", "labels", "annotation", "annotations", "gt", "groundtruth"),
        *("segmentation", "segmentations", "trimap", "trimaps", "depth"),
    )
)
# Folders beside train/ whose images nobody has labelled.
_UNLABELLED = frozenset(
    (
        *("pred", "preds", "predict", "prediction", "predictions", "unlabelled", "unlabeled"),
        *("unsup", "unsupervised", "unlab", "submission", "inference"),
    )
)

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
_TOKEN = re.compile(r"[^\W\d_]+")


def splits_word(splits: Any, function: str) -> bool | None:
    """Return `splits` as None, True or False; the command line has words for these.

    Raises ValueError for anything else, also for 0 and 1.
    """
    words = {"auto": None, "yes": True, "no": False}
    if splits is None or isinstance(splits, bool):
        return splits
    if isinstance(splits, str) and splits in words:
        return words[splits]
    raise ValueError(
        f'{function}: splits: wanted None ("auto"), True ("yes") or False ("no"), got {splits!r}'
    )


def _tokens(name: str) -> list[str]:
    return [word.lower() for word in _TOKEN.findall(_CAMEL.sub("_", name))]


def _glued(word: str) -> str | None:
    """Return the split of trainset, testdata, imgtrain: a split's word and a filler in one word."""
    for split_word, split in _WORDS.items():
        for rest in (word.removeprefix(split_word), word.removesuffix(split_word)):
            if rest != word and rest in _FILLERS:
                return split
    return None


def is_container(name: str) -> bool:
    """Tell whether a folder's name says only that it has images: images, img_data."""
    tokens = set(_tokens(name))
    return bool(tokens & _CONTAINERS) and tokens <= _FILLERS


def are_masks(names: Collection[str]) -> bool:
    """Tell whether folders are images and their segmentation masks, by name: images, masks."""
    masks = [name for name in names if set(_tokens(name)) & _MASKS]
    rest = [name for name in names if name not in masks]
    return bool(masks) and bool(rest) and all(is_container(name) for name in rest)


def is_unlabelled(name: str) -> bool:
    """Tell whether a folder's name says that its images have no labels: seg_pred, unlabelled."""
    tokens = _tokens(name)
    rest = [word for word in tokens if word not in _FILLERS]
    return bool(rest) and all(word in _UNLABELLED for word in rest)


def _split_and_rest(name: str) -> tuple[str | None, tuple[str, ...]]:
    """Return the split that a name means, and the other words in the name."""
    found, rest = set(), []
    for word in _tokens(name):
        split = _WORDS.get(word) or _glued(word)
        if split is not None:
            found.add(split)
        elif word not in _FILLERS:
            rest.append(word)
    if found == {"train", "val"}:  # trainval
        found = {"train"}
    return (found.pop() if len(found) == 1 else None), tuple(rest)


def splits_among(names: Collection[str]) -> dict[str, str]:
    """Return the split of each of these folders that is named like one: {"seg_test": "test"}.

    Other words in the name must be fillers (training_set), or the same in at least two splits
    (signs_train, signs_test): steam_train and express_train are not splits.
    """
    found: dict[str, str] = {}
    others: dict[tuple[str, ...], dict[str, str]] = {}
    for name in sorted(names):
        split, rest = _split_and_rest(name)
        if split is not None and not rest:
            found[name] = split
        elif split is not None:
            others.setdefault(rest, {})[name] = split
    for group in others.values():
        if len(set(group.values())) > 1:
            found.update(group)
    return found
