"""Category files: what one class adds to a student's statistics, in a few bytes or in full.

A zip of graph.json and .npy arrays; docs/format.md describes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import checked_path, shown
from pyedge.classes.matching import quoted
from pyedge.classes.names import LONGEST, storable
from pyedge.errors import FormatError
from pyedge.files.npy_archive import Archive, ArraySpec, open_archive, spec_of, write_archive
from pyedge.keywords import keywords
from pyedge.statistics.compact import (
    MOST_EXPONENT,
    MOST_SHIFT,
    Mean,
    Spread,
    mean_of,
    moments_of,
    spread_of,
    sums_of,
)
from pyedge.statistics.grid import MOST_IMAGES, Values, packed_size
from pyedge.statistics.stored import MOST_FEATURES, check_source, check_values
from pyedge.statistics.sums import Statistics, of_values

FORMAT = "pyedge-category"
VERSION = 1
DETAILS = ("mean", "low_rank", "full")
_COMMON = ("format", "version", "detail", "class", "digest", "step", "count", "arrays")
# whole numbers that a document of each kind has besides, and the largest of each
_NUMBERS = {
    "mean": {"shift": MOST_SHIFT},
    "low_rank": {"shift": MOST_SHIFT, "exponent": MOST_EXPONENT, "rest": 1 << 62},
    "full": {},
}
_ARRAYS = {
    "mean": {"mean": "int32"},
    "low_rank": {"mean": "int32", "factors": "int16"},
    "full": {"sums": "int64", "moments": "int64", "held": "int32"},
}


class Category(NamedTuple):
    """What a category file holds: its level of detail, and the statistics of its class."""

    detail: str
    statistics: Statistics


def write_category(
    path: str | PathLike[str],
    values: Values,
    name: str,
    *,
    digest: str,
    step: float,
    detail: str,
    rank: int,
) -> Statistics:
    """Write the statistics of values int32 [n, f] atomically; return what reading will give."""
    count = len(values)
    whole = of_values(
        values, np.zeros(count, np.int64), (name,), digest=digest, step=step, pooled=False
    )
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "detail": detail,
        "class": name,
        "digest": digest,
        "step": step,
        "count": count,
    }
    arrays: dict[str, NDArray[Any]]
    if detail == "full":
        arrays = {"sums": whole.sums[0], "moments": whole.moments[0], "held": whole.held}
    else:
        mean = mean_of(whole.sums[0], count)
        arrays = {"mean": mean.values}
        document["shift"] = mean.shift
        if detail == "low_rank":
            spread = spread_of(values, rank)
            arrays["factors"] = spread.factors
            document.update(exponent=spread.exponent, rest=spread.rest)
    document["arrays"] = {
        name: {"dtype": array.dtype.name, "shape": list(array.shape)}
        for name, array in arrays.items()
    }
    found = _statistics(document, arrays)
    write_archive(path, document, arrays)
    return found


@keywords()
def read_category(path: str | PathLike[str]) -> Statistics:
    """Read the statistics of one class, as `make_category` returned them, to the last bit.

    The file may come from anybody: it is checked before memory is taken for its contents. Raises
    FormatError for a file that is truncated, altered, foreign, of a later version, or does not fit
    together; OSError if it cannot be opened.
    """
    return read_whole(path).statistics


def read_whole(path: str | PathLike[str]) -> Category:
    """Read as `read_category` does; also return the file's level of detail."""
    checked_path(path, "read_category")
    with open_archive(path, "a category file of pyedge") as archive:
        document = archive.document()
        try:
            specs = _specs(archive, document)
            archive.check_names(specs)
            arrays = {name: archive.array(name, spec) for name, spec in specs.items()}
            return Category(document["detail"], _statistics(document, arrays))
        except FormatError:
            raise
        except (ValueError, OverflowError) as error:
            raise FormatError(f"{path}: {error}") from error


def _statistics(document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Statistics:
    """Make checked statistics from a document that fits together and from its arrays."""
    count = document["count"]
    held = np.empty((0, 0), np.int32)
    if document["detail"] == "full":
        sums, moments, held = arrays["sums"], arrays["moments"][None], arrays["held"]
    else:
        sums = sums_of(Mean(arrays["mean"], document["shift"]), count)
        moments = np.empty((0, packed_size(len(sums))), np.int64)
        if document["detail"] == "low_rank":
            spread = Spread(arrays["factors"], document["exponent"], document["rest"])
            moments = moments_of(sums, count, spread)[None]
    described = count * len(moments)
    found = Statistics(
        digest=document["digest"],
        step=document["step"],
        classes=(document["class"],),
        counts=np.array([count], np.int64),
        sums=sums[None],
        described=np.array([described], np.int64),
        described_sums=sums[None] if described else np.zeros((1, len(sums)), np.int64),
        groups=np.array([0 if described else -1], np.int64),
        moments=moments,
        held=held if held.size else np.empty((0, len(sums)), np.int32),
        held_of=np.zeros(len(held), np.int64),
        held_counted=np.ones(len(held), np.bool_),
    )
    check_values(found)
    return found


def _specs(archive: Archive, document: dict[str, Any]) -> dict[str, ArraySpec]:
    """Return which arrays the file must have; refuse a document that does not fit together."""
    if document.get("format") != FORMAT:
        archive.fail("not a category file of pyedge")
    version, detail = document.get("version"), document.get("detail")
    if type(version) is not int or version != VERSION:
        archive.fail(f"a category file of version {version!r}; this pyedge reads version {VERSION}")
    if not isinstance(detail, str) or detail not in DETAILS:
        archive.fail(f"detail: wanted one of {', '.join(DETAILS)}, got {shown(detail)}")
    numbers = _NUMBERS[detail]
    wanted = {*_COMMON, *numbers}
    for key in sorted(wanted ^ document.keys()):
        archive.fail(f"graph.json {'lacks' if key in wanted else 'holds an unknown'} {key!r}")
    reason = storable(document["class"])
    if reason is not None:
        archive.fail(
            f"class: wanted a name of 1 to {LONGEST} characters, got {quoted(document['class'])}, "
            f"which {reason}"
        )
    check_source(document["digest"], document["step"], "category")
    for key, least, most in (("count", 1, MOST_IMAGES), *((k, 0, m) for k, m in numbers.items())):
        value = document[key]
        if type(value) is not int or not least <= value <= most:
            archive.fail(f"{key}: wanted a whole number from {least} to {most}, got {shown(value)}")
    listed, dtypes = document["arrays"], _ARRAYS[detail]
    if not isinstance(listed, dict) or listed.keys() != dtypes.keys():
        archive.fail(f"arrays: wanted {', '.join(dtypes)}, got {shown(listed)}")
    specs = {}
    for name, dtype in dtypes.items():
        spec = spec_of(listed[name])
        if spec is None or spec.dtype != dtype:
            archive.fail(f"{name}: wanted {dtype}, got {shown(listed[name])}")
        specs[name] = spec
    first = specs["sums" if detail == "full" else "mean"].shape
    if len(first) != 1 or not 1 <= first[0] <= MOST_FEATURES:
        archive.fail(f"features: wanted from 1 to {MOST_FEATURES}, got {list(first)}")
    features = first[0]
    if "moments" in specs and specs["moments"].shape != (packed_size(features),):
        archive.fail(
            f"moments: wanted [{packed_size(features)}], got {list(specs['moments'].shape)}"
        )
    for name, most in (("factors", features), ("held", document["count"])):
        shape = specs[name].shape if name in specs else (0, features)
        if len(shape) != 2 or shape[0] > most or shape[1] != features:
            archive.fail(f"{name}: wanted [0 to {most}, {features}], got {list(shape)}")
    return specs
