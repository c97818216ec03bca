"""Anything that yields batches, and what people give instead by mistake.

`check_loader` looks at the loader itself; `Feed` goes through it and says where its own code, or
the data behind it, failed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from pyedge.cloud.feed.batch import Source, images_of, split
from pyedge.cloud.feed.failures import fail
from pyedge.data.imageset import ImageSet

_MAKE = "torch.utils.data.DataLoader(dataset, batch_size=64, shuffle=True)"


def check_loader(loader: Any, source: Source, *, again: bool = False) -> None:
    """Refuse what was given as a loader by mistake, and say what to do.

    again: it must be readable more than once, which an iterator is not. Raises TypeError.
    """
    mistake = _mistake(loader)
    if mistake:
        raise TypeError(f"{source}: wanted an iterable of batches, got {mistake}")
    if again and is_iterator(loader):
        raise TypeError(
            f"{source}: wanted a DataLoader, or a list of its batches, that can be read more than "
            f"once, got an iterator ({type(loader).__name__})"
        )


def is_iterator(loader: Any) -> bool:
    """Tell whether reading it once uses it up."""
    if hasattr(loader, "__next__"):
        return True
    if isinstance(loader, (list, tuple, DataLoader)):  # a DataLoader's iter() starts processes
        return False
    try:
        return iter(loader) is iter(loader)
    except Exception:  # whoever goes through it says what is wrong
        return False


def _mistake(loader: Any) -> str:
    kind = type(loader).__name__
    if isinstance(loader, (str, os.PathLike)):
        return f"the path {loader}; pyedge.data.load_dataset reads folders, BatchLoader batches"
    if isinstance(loader, ImageSet):
        return "an ImageSet; pyedge.data.BatchLoader(images, 64) makes batches of it"
    if isinstance(loader, Dataset) and not isinstance(loader, IterableDataset):
        return f"a Dataset ({kind}), which yields single images; {_MAKE} makes batches of it"
    if isinstance(loader, (Tensor, np.ndarray)):
        return (
            f"one {kind} of shape {tuple(loader.shape)}; with dataset = torch.utils.data."
            f"TensorDataset(images, labels), {_MAKE} makes batches of it"
        )
    if isinstance(loader, Mapping):
        keys = ", ".join(map(repr, itertools.islice(loader, 6)))
        return f"a {kind} with {keys or 'no keys'}; one batch goes into a list, one loader alone"
    if isinstance(loader, (tuple, list)) and _is_one_batch(loader):
        return f"a {kind} of images and labels, which is one batch; put it into a list"
    if isinstance(loader, nn.Module):
        return f"a network ({kind})"
    if hasattr(loader, "columns"):
        return f"a table ({kind}); a torch.utils.data.Dataset makes images of its rows"
    if isinstance(loader, type):
        return f"the class {loader.__name__}; call it to make a loader"
    if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        return "a function; call it to make a loader" if callable(loader) else kind
    return ""


def _is_one_batch(loader: tuple[Any, ...] | list[Any]) -> bool:
    """Tell whether these are images followed by one label for each."""
    shapes = [getattr(each, "shape", None) for each in loader[:2]]
    if len(shapes) < 2 or shapes[0] is None or len(shapes[0]) != 4:
        return False
    if shapes[1] is None:
        return isinstance(loader[1], (list, tuple)) and len(loader[1]) == shapes[0][0]
    return len(shapes[1]) <= 2


class Feed:
    """A loader, gone through batch by batch.

    Errors of the loader are raised with a message that names the function called, followed by the
    loader's own.
    """

    def __init__(self, loader: Any, source: Source) -> None:
        self.loader = loader
        self.source = source

    def __iter__(self) -> Iterator[Any]:
        try:
            batches = iter(self.loader)
        except Exception as error:
            fail(error, f"{self.source} failed before its first batch")
        return self._batches(batches)

    def _batches(self, batches: Iterator[Any]) -> Iterator[Any]:
        for number in itertools.count():
            try:
                batch = next(batches)
            except StopIteration:
                return
            except Exception as error:
                fail(error, f"{self.source} failed at batch {number}")
            yield batch


def peek(loader: Any, source: Source) -> tuple[Any, Any]:
    """Return the first batch of a loader, and a loader to go on with, which yields it again.

    torch's random state is restored. Raises ValueError if there is no batch.
    """
    with torch.random.fork_rng([]):
        first = list(itertools.islice(Feed(loader, source), 1))
    if not first:
        raise ValueError(nothing(loader, source))
    return first[0], itertools.chain(first, loader) if is_iterator(loader) else loader


def peek_images(loader: Any, source: Source) -> tuple[Tensor, Any]:
    """Return the images of a loader's first batch, and the loader to go on with."""
    batch, loader = peek(loader, source)
    x = images_of(split(batch, source, labels=False)[0], source)
    if x.is_inference():
        with torch.inference_mode(False):
            x = x.clone()  # autograd takes none that was made under torch.inference_mode()
    return x, loader


def nothing(loader: Any, source: Source, what: str = "batches") -> str:
    """Say that a loader yields nothing, and why, if that is known."""
    size, images = getattr(loader, "batch_size", None), getattr(loader, "dataset", None)
    if getattr(loader, "drop_last", False) and size and images is not None:
        try:
            return (
                f"{source} yields no {what}: drop_last=True drops the only one, of "
                f"{len(images)} images where batch_size is {size}"
            )
        except TypeError:
            pass
    return f"{source} yields no {what}"
