"""A description of a student's statistics, for people and for programs. Needs only numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyedge.classes.matching import absent, listing

if TYPE_CHECKING:
    from pyedge.student.file import StudentFile


def content(student: StudentFile) -> dict[str, Any]:
    """Return statistics, head, expansion and 8 bits as plain values; None for missing ones."""
    return {
        "int8": _int8(student),
        "statistics": _statistics(student),
        "head": dict(student.head) or None,
        "expansion": _expansion(student),
    }


def lines(student: StudentFile) -> list[str]:
    """Describe 8 bits, the statistics, the classifier solved from them, and its expansion."""
    told = content(student)
    statistics, head, expansion = told["statistics"], told["head"], told["expansion"]
    found = int8_lines(student)
    if expansion is not None:
        found.append(
            f"the classifier reads {expansion['features']:,} features and {expansion['width']:,} "
            f"random ones of them, made from seed {expansion['seed']}"
        )
    if statistics is None:
        return [*found, "no statistics: learns only by steps"]
    held = statistics["held"]
    apart = "not counted" if held > statistics["held_counted"] else "counted"
    found.append(
        f"statistics of {statistics['images']:,} images of {len(statistics['classes'])} classes, "
        f"{statistics['features']:,} features, {size(statistics['bytes'])}"
        f"{f'; {held} images held, {apart}' if held else ''}"
    )
    lacking = absent(student.classes, list(statistics["classes"]))
    if lacking:
        found.append(f"  of no image: {listing(lacking)}")
    if not statistics["fresh"]:
        found.append("  stale: layers before the classifier have changed since")
        return found
    forgettable = statistics["forgettable"]
    if forgettable:
        every = len(forgettable) == len(statistics["classes"])
        found.append(f"  can be forgotten: {'each class' if every else listing(forgettable)}")
    if head is not None:
        shrunk = "" if head["kind"] == "mean" else f", shrinkage {head['shrinkage']:g}"
        found.append(
            f"  solved as {_KINDS[head['kind']]}{shrunk}"
            + (f", temperature {head['temperature']:.3g}" if "temperature" in head else "")
        )
    if head is not None and "threshold" in head:
        found.append(f"  unknown above a distance of {head['threshold']:.4g}")
    else:
        found.append("  too few images are held to tell what is unknown")
    return found


def int8_lines(student: StudentFile) -> list[str]:
    """Describe what a student has for 8 bits; no line for one that has nothing."""
    told = _int8(student)
    if told is None:
        return []
    return [f"8 bits: {told['layers']} layers, {told['arrays']} arrays of weights"]


def _int8(student: StudentFile) -> dict[str, int] | None:
    if not student.input_scales and not student.weight_scales:
        return None
    return {"layers": len(student.input_scales), "arrays": len(student.weight_scales)}


_KINDS = {
    "mean": "nearest mean",
    "discriminant": "linear discriminant",
    "ridge": "ridge regression",
}


def _statistics(student: StudentFile) -> dict[str, Any] | None:
    from pyedge.student.features import features_digest

    found = student.statistics
    if found is None:
        return None
    return {
        "images": int(found.counts.sum()),
        "classes": dict(zip(found.classes, found.counts.tolist(), strict=True)),
        "features": found.features,
        "held": len(found.held),
        "held_counted": int(found.held_counted.sum()),
        "forgettable": list(found.forgettable()),
        "bytes": found.nbytes,
        "fresh": found.digest == features_digest(student),
    }


def _expansion(student: StudentFile) -> dict[str, int] | None:
    """Find the last random projection, which the classifier reads."""
    if not student.made:
        return None
    name, seed = list(student.made.items())[-1]
    outputs, features = student.arrays[name].shape
    return {"width": int(outputs - 2 * features), "features": int(features), "seed": int(seed)}


def size(count: int) -> str:
    """Write a number of bytes."""
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= step:
            return f"{count / step:.3g} {unit}"
    return f"{count} bytes"
