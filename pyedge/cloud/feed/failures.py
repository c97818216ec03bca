"""Errors of other people's code inside our loops: raised again in our words, of the same class."""

from __future__ import annotations

import traceback
from typing import NoReturn

from pyedge.cloud.feed.batch import Source
from pyedge.errors import PyedgeError

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
_LONGEST = 300


def fail(error: Exception, what: str) -> NoReturn:
    """Raise `error` again with a message that begins with `what`, followed by its own.

    Errors that pyedge raised already say what is wrong, and are not changed.
    """
    if _is_ours(error):
        raise error
    sentence = " ".join(str(error).split())
    if len(sentence) > _LONGEST:
        sentence = f"{sentence[:_LONGEST]}..."
    raise _like(
        error, f"{what}: {type(error).__name__}{': ' if sentence else ''}{sentence}"
    ) from error


def fail_in_network(error: Exception, source: Source, shape: tuple[int, ...]) -> NoReturn:
    """Raise again an error of the network, or of torch in it, on a batch of images of `shape`."""
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
        fail(
            error,
            f"{source}: memory ran out on a batch of {shape[0]} images; a smaller batch_size takes "
            "less",
        )
    fail(error, f"{source}: the network failed on images of shape {shape}{swapped(shape)}")


def swapped(shape: tuple[int, ...]) -> str:
    """Say what is wanted instead of a shape that looks like n h w c; "" for any other."""
    if len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3):
        return " (n h w c? wanted n c h w: images.permute(0, 3, 1, 2))"
    return ""


def _is_ours(error: Exception) -> bool:
    if isinstance(error, PyedgeError):
        return True
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    ours = str(frame.f_globals.get("__name__", "")).startswith("pyedge.")
    return ours and isinstance(error, (ValueError, TypeError))


def _like(error: Exception, message: str) -> Exception:
    """Return an error of the same class with another message, so that `except` still catches it.

    If the class makes its message of something else, it is a RuntimeError.
    """
    kind = type(error)
    try:
        made = kind.__new__(kind, message)
        made.args = (message,)
        made.__dict__.update(error.__dict__)
        if str(made) == message:
            return made
    except Exception:  # whatever the constructor of a foreign class raises
        pass
    return RuntimeError(message)


def is_batch_norm_of_one(error: Exception) -> bool:
    """Tell whether torch's batch norm refused a single value per channel, which has no variance."""
    return isinstance(error, ValueError) and "more than 1 value per channel" in str(error)
