"""Statistics in a file: its arrays, and checks of its contents.

Each check raises ValueError that names the field and what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyedge.arguments import shown
from pyedge.classes.names import checked_names
from pyedge.files.npy_archive import ArraySpec, spec_of
from pyedge.statistics.gaussian import scatter_of
from pyedge.statistics.grid import MOST_IMAGES, diagonal, good_step, packed_size
from pyedge.statistics.heads import HEADS
from pyedge.statistics.sums import ARRAYS, LARGEST_MERGED, Statistics

_DTYPES = {"held": "int32", "held_counted": "bool"}
MOST_FEATURES = 1 << 13  # second moments of more would take a gigabyte
_MOST_CLASSES = 1 << 16
_MOST_HELD = 1 << 20
HEAD_FIELDS = ("kind", "shrinkage", "temperature", "threshold")


def document_of(statistics: Statistics) -> dict[str, Any]:
    """Return what a file's document says of statistics, in plain values."""
    return {
        "digest": statistics.digest,
        "step": statistics.step,
        "classes": list(statistics.classes),
        "arrays": {
            name: {"dtype": array.dtype.name, "shape": list(array.shape)}
            for name, array in statistics.arrays().items()
        },
    }


def specs_of(document: Any) -> dict[str, ArraySpec]:
    """Return which arrays the file must have; ValueError if they cannot belong together."""
    if not isinstance(document, Mapping) or document.keys() != {
        "digest",
        "step",
        "classes",
        "arrays",
    }:
        raise ValueError(
            f"statistics: wanted digest, step, classes and arrays, got {shown(document)}"
        )
    check_source(document["digest"], document["step"], "statistics")
    names = document["classes"]
    if not isinstance(names, list) or len(names) > _MOST_CLASSES:
        raise ValueError(
            f"statistics: classes: wanted a list of up to {_MOST_CLASSES} names, got {shown(names)}"
        )
    checked_names(names, "statistics: classes")
    listed = document["arrays"]
    if not isinstance(listed, Mapping) or listed.keys() != set(ARRAYS):
        raise ValueError(f"statistics: arrays: wanted {', '.join(ARRAYS)}, got {shown(listed)}")
    specs = {}
    for name in ARRAYS:
        spec = spec_of(listed[name])
        if spec is None or spec.dtype != _DTYPES.get(name, "int64"):
            raise ValueError(
                f"statistics: {name}: wanted {_DTYPES.get(name, 'int64')}, got "
                f"{shown(listed[name])}"
            )
        specs[name] = spec
    _check_shapes(specs, len(names))
    return specs


def check_source(digest: Any, step: Any, where: str) -> None:
    """Check the digest and the grid of the features that were summed."""
    if not isinstance(digest, str) or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise ValueError(f"{where}: digest: wanted 64 hexadecimal digits, got {shown(digest)}")
    if not good_step(step):
        raise ValueError(f"{where}: step: wanted a power of two, got {shown(step)}")


def _check_shapes(specs: Mapping[str, ArraySpec], classes: int) -> None:
    sums, moments, held = (specs[name].shape for name in ("sums", "moments", "held"))
    if len(sums) != 2 or not 1 <= sums[1] <= MOST_FEATURES:
        raise ValueError(
            f"statistics: sums: wanted [classes, 1 to {MOST_FEATURES} features], got {list(sums)}"
        )
    features = sums[1]
    if len(moments) != 2 or moments[0] > classes or len(held) != 2 or held[0] > _MOST_HELD:
        raise ValueError(
            f"statistics: moments and held: wanted tables of up to {classes} and {_MOST_HELD} "
            f"rows, got {list(moments)} and {list(held)}"
        )
    wanted = {
        "counts": (classes,),
        "sums": (classes, features),
        "described": (classes,),
        "described_sums": (classes, features),
        "groups": (classes,),
        "moments": (moments[0], packed_size(features)),
        "held": (held[0], features),
        "held_of": (held[0],),
        "held_counted": (held[0],),
    }
    for name, shape in wanted.items():
        if specs[name].shape != shape:
            raise ValueError(
                f"statistics: {name}: wanted {list(shape)}, got {list(specs[name].shape)}"
            )


def loaded(document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Statistics:
    """Make checked statistics from a document that `specs_of` has read, and from its arrays."""
    found = Statistics(
        digest=document["digest"],
        step=document["step"],
        classes=tuple(document["classes"]),
        **arrays,
    )
    check_values(found)
    return found


def check_values(found: Statistics) -> None:
    """Check that the sums are possible: counts, sizes, groups, and no negative variance."""
    counts, described, groups = found.counts, found.described, found.groups
    if (counts < 1).any() or float(counts.astype(np.float64).sum()) > MOST_IMAGES:
        raise ValueError(
            f"statistics: counts: wanted numbers from 1, at most {MOST_IMAGES} together, got "
            f"{shown(counts.tolist())}"
        )
    if (described < 0).any() or (described > counts).any():
        raise ValueError(
            f"statistics: described: wanted numbers from 0 up to counts, {shown(counts.tolist())}, "
            f"got {shown(described.tolist())}"
        )
    if ((groups >= 0) != (described > 0)).any() or (groups < -1).any():
        raise ValueError(
            "statistics: groups: wanted -1 where nothing is described, and only there, got "
            f"{shown(groups.tolist())}"
        )
    if sorted(set(groups[groups >= 0].tolist())) != list(range(len(found.moments))):
        raise ValueError(
            f"statistics: groups: wanted each of the {len(found.moments)} rows of moments, got "
            f"{shown(groups.tolist())}"
        )
    for count, sums in ((counts, found.sums), (described, found.described_sums)):
        if (np.abs(sums.astype(np.float64)) > count[:, None] * float(LARGEST_MERGED)).any():
            raise ValueError("statistics: sums are larger than so many images can have")
    if (np.abs(found.held.astype(np.int64)) > LARGEST_MERGED).any():
        raise ValueError(
            f"statistics: held: wanted numbers within +-{LARGEST_MERGED}, got {found.held.min()} "
            f"to {found.held.max()}"
        )
    if (found.held_of < 0).any() or (found.held_of >= len(counts)).any():
        raise ValueError(
            f"statistics: held_of: wanted numbers of {len(counts)} classes, got "
            f"{found.held_of.min()} to {found.held_of.max()}"
        )
    for group, moments in enumerate(found.moments):
        members = groups == group
        together = int(described[members].sum())
        if together > MOST_IMAGES:
            raise ValueError(
                f"statistics: described: wanted up to {MOST_IMAGES} images, got {together}"
            )
        variances = scatter_of(found, members)
        own = variances.diagonal()
        size = moments[diagonal(found.features)].astype(np.float64)
        # what float64 loses as the means are taken out of the second moments
        slack = 1e-9 * np.maximum(size, 1.0)
        if (size < 0).any() or (own < -slack).any():
            raise ValueError("statistics: moments give a variance below 0")
        if not _semidefinite(variances + np.diag(slack)):
            raise ValueError("statistics: moments give no covariance: they are not of these images")


def _semidefinite(matrix: NDArray[np.float64]) -> bool:
    scale = np.sqrt(np.maximum(matrix.diagonal(), np.finfo(np.float64).tiny))
    correlation = matrix / scale[:, None] / scale
    correlation[np.diag_indices_from(correlation)] += 1e-7
    try:
        np.linalg.cholesky(correlation)
    except np.linalg.LinAlgError:
        return False
    return True


def check_head(head: Any) -> None:
    """Check a head: how a classifier is made from statistics."""
    if not isinstance(head, Mapping) or not (head.keys() <= set(HEAD_FIELDS)):
        raise ValueError(f"head: wanted {', '.join(HEAD_FIELDS)} alone, got {shown(head)}")
    if not head:
        return
    if head.get("kind") not in HEADS:
        raise ValueError(
            f"head: kind: wanted one of {', '.join(HEADS)}, got {shown(head.get('kind'))}"
        )
    shrinkage = head.get("shrinkage")
    if type(shrinkage) is not float or not 0 <= shrinkage <= 1:
        raise ValueError(f"head: shrinkage: wanted a number from 0 to 1, got {shown(shrinkage)}")
    for name, least in (("temperature", 0.0), ("threshold", -1e30)):
        value = head.get(name)
        if value is not None and (type(value) is not float or not least < value < 1e30):
            raise ValueError(f"head: {name}: wanted a number above {least:g}, got {shown(value)}")
