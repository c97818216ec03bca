"""How a device preprocesses pixels: as the caller says, or as the student's images had it."""

from __future__ import annotations

from typing import Any

from pyedge.cloud.compression.student import Student
from pyedge.cloud.shown import preprocessing_of, shown_to
from pyedge.images.doubts import wanted
from pyedge.images.pixels import Look, contradicts, kind_of
from pyedge.images.preprocessing import Preprocessing, PreprocessingLike

_ADVICE = (
    'preprocessing= of pyedge.export says what to do: "image" (each image standardised), '
    '"none" (pixels over 255), "imagenet", "cifar10" or {"kind": "channel", "mean": [...], '
    '"deviation": [...]}'
)


def chosen(
    student: Student, given: PreprocessingLike | None, shape: tuple[int, int, int]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings for a student's file, and how they were chosen, for its record.

    shape: c h w of the student's images. Without `given` it is that of the loader that the student
    last learned or was planned from, or else the one that its images show, "image" where they show
    none. Raises as `Preprocessing.of`; `doubt` tells what speaks against the choice.
    """
    shown = shown_to(student)
    said: dict[str, Any] = {} if shown is None else {"shown": shown.to_dict()}
    where = "export: preprocessing"
    known = preprocessing_of(student)
    if given is not None:
        made = Preprocessing.of(given, shape[0], where).with_sizes_of(known)
        made.check_shape(shape, where)
        return made.to_dict(), {**said, "preprocessing": "given"}
    if known is not None:
        made = Preprocessing.of(known, shape[0], where)
        made.check_shape(shape, where)
        return made.to_dict(), {**said, "preprocessing": "of its loader"}
    kind = None if shown is None else kind_of(shown)
    if kind is not None and kind in ("image", "none"):
        return Preprocessing(kind).to_dict(), {**said, "preprocessing": "as shown"}
    return Preprocessing().to_dict(), {**said, "preprocessing": "default"}


def doubt(
    student: Student, given: PreprocessingLike | None, shape: tuple[int, int, int]
) -> str | None:
    """Say where the student's images cannot come from the preprocessing, or show none."""
    channels = shape[0]
    shown = shown_to(student)
    settings, said = chosen(student, given, shape)
    if said["preprocessing"] in ("given", "of its loader"):
        if shown is None or not contradicts(shown, settings):
            return None
        return (
            f"preprocessing is {settings['kind']!r}, which gives {wanted(settings)}, but the "
            f"student was shown images with {shown}{_also(shown, channels)}"
        )
    if said["preprocessing"] == "as shown":
        return None
    seen = "it is not known what images the student was shown"
    if shown is not None and kind_of(shown) is not None:
        seen = (
            f"the student was shown images with {shown}, neither standardised one by one nor from "
            f"0 to 1{_also(shown, channels)}"
        )
    return f'{seen}; the device will standardise each image ("image"). {_ADVICE}'


def _also(shown: Look, channels: int) -> str:
    """Name the settings for the two usual scales besides 0 to 1."""
    kind = kind_of(shown)
    if kind in ("image", "none"):
        return f'; preprocessing="{kind}" does'
    low, high = shown.span
    if kind == "pixels":
        numbers = f'"mean": {[0] * channels}, "deviation": {[1 / 255] * channels}'
    elif -1.001 <= low < -0.9 and 0.5 < high <= 1.001:
        numbers = f'"mean": {[0.5] * channels}, "deviation": {[0.5] * channels}'
    else:
        return ""
    return f'; as by preprocessing={{"kind": "channel", {numbers}}}'
