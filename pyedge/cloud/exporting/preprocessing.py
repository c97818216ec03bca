"""How a device preprocesses pixels: as the caller says, or as the student's images had it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pyedge.cloud.compression.student import Student
from pyedge.cloud.shown import shown_to
from pyedge.images.doubts import wanted
from pyedge.images.pixels import Look, contradicts, kind_of

Preprocessing = str | Mapping[str, Any]
_NOTHING: dict[str, Any] = {"mean": [], "deviation": []}
_ADVICE = (
    'preprocessing= of pyedge.export says what to do: "image" (each image standardised), '
    '"none" (pixels over 255) or {"kind": "channel", "mean": [...], "deviation": [...]}'
)


def chosen(
    student: Student, given: Preprocessing | None, channels: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings for a student's file, and how they were chosen, for its record.

    Without `given` it is the preprocessing that the student's images show, "image" if they show
    none. Raises ValueError for invalid settings; `doubt` tells what speaks against them.
    """
    shown = shown_to(student)
    said: dict[str, Any] = {} if shown is None else {"shown": shown.to_dict()}
    if given is not None:
        return _checked(given, channels), {**said, "preprocessing": "given"}
    kind = None if shown is None else kind_of(shown)
    if kind in ("image", "none"):
        return {"kind": kind, **_NOTHING}, {**said, "preprocessing": "as shown"}
    return {"kind": "image", **_NOTHING}, {**said, "preprocessing": "default"}


def doubt(student: Student, given: Preprocessing | None, channels: int) -> str | None:
    """Say if the student's images cannot come from the preprocessing, or show none."""
    shown = shown_to(student)
    settings, said = chosen(student, given, channels)
    if said["preprocessing"] == "given":
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


def _checked(given: Preprocessing, channels: int) -> dict[str, Any]:
    if not isinstance(given, (str, Mapping)):
        raise TypeError(
            'export: preprocessing: wanted "image", "none" or a dict with kind, mean and '
            f"deviation, got {given!r:.80}"
        )
    settings = {"kind": given} if isinstance(given, str) else dict(given)
    kind = settings.get("kind")
    unknown = sorted(settings.keys() - {"kind", "mean", "deviation"})
    if kind not in ("none", "image", "channel") or unknown:
        raise ValueError(
            'export: preprocessing: wanted "image" (each image standardised), "none" (pixels over '
            '255) or {"kind": "channel", "mean": [...], "deviation": [...]}, got ' + repr(given)
        )
    numbers = {}
    for name in ("mean", "deviation"):
        numbers[name] = _numbers(name, settings.get(name, ()))
        if len(numbers[name]) != (channels if kind == "channel" else 0):
            raise ValueError(
                f"export: preprocessing of kind {kind!r}: wanted "
                f"{channels if kind == 'channel' else 'no'} numbers in {name}, got {numbers[name]}"
            )
    if not all(value > 0 for value in numbers["deviation"]):
        raise ValueError(
            f"export: preprocessing: deviation: wanted numbers above 0, got {numbers['deviation']}"
        )
    return {"kind": kind, **numbers}


def _numbers(name: str, values: Any) -> list[float]:
    try:
        if isinstance(values, (str, bytes)) or any(isinstance(v, (str, bytes)) for v in values):
            raise TypeError
        numbers = [float(value) for value in values]
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"export: preprocessing: {name}: wanted a list of numbers, one for each channel, got "
            f"{values!r:.80}"
        ) from None
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"export: preprocessing: {name}: wanted finite numbers, got {numbers}")
    return numbers
