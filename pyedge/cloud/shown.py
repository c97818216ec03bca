"""Which images a network was shown: remembered with it, and compared with those that come next.

The scale of its images is as much a part of a network as its weights, but the weights do not tell
it. It is kept as plain values in an attribute of the module, so that copies and pickles have it; a
state_dict holds only weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyedge.classes.matching import quoted
from pyedge.images.pixels import Look, differ, kind_of
from pyedge.images.preprocessing import Preprocessing
from pyedge.warning import warn

_ATTRIBUTE, _TOLD, _CLASSES = "_pyedge_shown", "_pyedge_told", "_pyedge_classes"
_PREPROCESSING = "_pyedge_preprocessing"
_LOOKED_AT = 64


def look_at(images: Tensor) -> Look:
    """Look at float images [n, c, h, w]."""
    some = images[torch.linspace(0, len(images) - 1, min(len(images), _LOOKED_AT)).long()]
    look = Look.of(some.detach().to("cpu", torch.float32).numpy(), _LOOKED_AT)
    return dataclasses.replace(look, images=len(images))


def shown_to(model: Any) -> Look | None:
    """Return what is remembered of the images that a network was shown, or None."""
    return Look.from_dict(getattr(model, _ATTRIBUTE, None))


def remember(model: nn.Module, look: Look | None) -> None:
    """Remember a network's images instead of earlier ones; images of one value tell nothing."""
    if look is not None and look.uneven:
        setattr(model, _ATTRIBUTE, look.to_dict())


def preprocessing_of(model: Any) -> Preprocessing | None:
    """Return the preprocessing of the loader that a network learned from; None for unknown."""
    known = getattr(model, _PREPROCESSING, None)
    return None if known is None else Preprocessing.of(known)


def remember_preprocessing(model: nn.Module, given: Preprocessing | None) -> None:
    """Remember what a network takes of pixels; None: it is not known any more."""
    if given is None:
        vars(model).pop(_PREPROCESSING, None)
    else:
        setattr(model, _PREPROCESSING, given.to_dict())


def remember_loader(model: nn.Module, loader: Any) -> None:
    """Remember a loader's preprocessing, with the sizes known before where it says none."""
    given = loaders_preprocessing(loader)
    known = preprocessing_of(model)
    remember_preprocessing(model, None if given is None else given.with_sizes_of(known))


def loaders_preprocessing(loader: Any) -> Preprocessing | None:
    """Return that of a BatchLoader; None for another, which may do anything."""
    found = getattr(loader, "preprocessing", None)
    return found if isinstance(found, Preprocessing) else None


def compare_preprocessing(model: Any, loader: Any, title: str, whose: str = "the network") -> None:
    """Warn where a loader preprocesses otherwise than a network is used to."""
    known, given = preprocessing_of(model), loaders_preprocessing(loader)
    if known is None or given is None or known.agrees(given):
        return
    told = vars(model).setdefault(_TOLD, [])
    if [title, str(known), str(given)] not in told:
        told.append([title, str(known), str(given)])
        warn(
            f"{title}: loader: wanted the preprocessing of {whose}, {known}, got {given}; "
            "BatchLoader takes it as preprocessing="
        )


def classes_learned(model: Any) -> tuple[str, ...]:
    """Return the names of the classes that a network was trained on, by id; () for unknown."""
    return tuple(getattr(model, _CLASSES, ()))


def remember_classes(model: nn.Module, names: Sequence[str] | None) -> None:
    """Remember what a network's ids mean, if the data set of its images named its classes."""
    if names:
        setattr(model, _CLASSES, tuple(names))


def compare_classes(model: Any, names: Sequence[str] | None, title: str) -> None:
    """Raise ValueError if a network learned the same classes in another order."""
    known = classes_learned(model)
    if not names or len(known) != len(names) or set(known) != set(names):
        return
    for place, (mine, given) in enumerate(zip(known, names, strict=True)):
        if mine != given:
            raise ValueError(
                f"{title}: class {place}: wanted {quoted(mine)}, as when the network was trained, "
                f"got {quoted(given)}"
            )


def forget(model: nn.Module) -> None:
    """Forget the images of a network."""
    vars(model).pop(_ATTRIBUTE, None)


def compare(model: Any, look: Look, title: str, whose: str = "the network") -> None:
    """Warn once if images are on another scale than those a network was shown before."""
    known = shown_to(model)
    if known is None or not differ(known, look):
        return
    told = vars(model).setdefault(_TOLD, [])
    kinds = [title, kind_of(known), kind_of(look)]
    if kinds not in told:  # a validation comes with each epoch
        told.append(kinds)
        warn(
            f"{title}: images have {look}, but {whose} was shown others before, with {known}; "
            "preprocess them in the same way"
        )


class Watch:
    """Look at the first batch of a run, and at no other."""

    def __init__(self, model: nn.Module, title: str, *, learns: bool) -> None:
        """learns: whether the network is made for these images from now on."""
        self._model, self._title, self._learns = model, title, learns
        self._seen = False

    def look(self, images: Tensor) -> None:
        """Compare a batch, floats [n, c, h, w], with what is known."""
        if self._seen:
            return
        self._seen = True
        look = look_at(images)
        compare(self._model, look, self._title)
        if self._learns:
            remember(self._model, look)


def shown_in(record: tuple[Mapping[str, Any], ...]) -> Look | None:
    """Return what a student's record says of the images that it was shown before its export."""
    for entry in reversed(record):
        if entry.get("command") == "export":
            return Look.from_dict(entry.get("shown"))
    return None
