"""Checks that a `StudentFile` is sound, after reading a file and before writing one.

Each raises ValueError that names the field and what is wrong with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyedge.arguments import kind_of, shown
from pyedge.classes.matching import quoted
from pyedge.classes.names import LONGEST, storable
from pyedge.files.npy_archive import DTYPES, ArraySpec
from pyedge.images.preprocessing import Preprocessing
from pyedge.statistics.stored import check_head
from pyedge.statistics.stored import check_values as check_statistics
from pyedge.student.features import feature_count
from pyedge.student.file import StudentFile
from pyedge.student.graph import LEARNS, Layer, good_name, infer_layers
from pyedge.student.int8_weights import check_scale_values, check_scales
from pyedge.student.made_weights import MOST as MOST_MADE


def check_description(student: StudentFile, arrays: Mapping[str, ArraySpec]) -> None:
    """Check everything that does not need the values of the arrays."""
    layers = infer_layers(student.nodes, arrays, student.input_shape)
    by_name = {layer.name: layer for layer in layers}
    _check_classes(student.classes, _logits(student, layers))
    _check_groups(student, layers)
    _check_names("last_convs", student.last_convs, by_name, ("conv2d",))
    if len(student.last_convs) != len(student.taps):
        raise ValueError(
            f"last_convs: wanted one convolution for each of {len(student.taps)} groups, got "
            f"{len(student.last_convs)}"
        )
    _check_names("trainable", student.trainable, by_name, LEARNS)
    numbers, sizes = _parted(student.preprocessing)
    _check_preprocessing(numbers, student.input_shape[0])
    _check_sizes(sizes, student.input_shape)
    _check_plain("optimizer", student.optimizer)
    check_head(student.head)
    check_scales(student, arrays)
    if not isinstance(student.record, (tuple, list)):
        raise ValueError(f"record: wanted a list of objects, got {shown(student.record)}")
    for entry in student.record:
        _check_object("record", entry)


def check_values(student: StudentFile) -> None:
    """Check the values of the arrays."""
    for part, arrays in (("arrays", student.arrays), ("state", student.state)):
        for name, array in arrays.items():
            if not good_name(name):
                raise ValueError(f"{part}: {name!r} is no name for an array")
            if array.dtype.name not in DTYPES:
                raise ValueError(f"{part}: {name!r} has the dtype {array.dtype}")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(f"{part}: {name!r} holds NaN or infinity")
    for node in student.nodes:
        if node["op"] == "batch_norm" and (student.arrays[node["variance"]] < 0).any():
            least = student.arrays[node["variance"]].min()
            raise ValueError(f"node {node['name']!r}: variance: wanted numbers from 0, got {least}")
        if node["op"] == "channel_pad":
            position = student.arrays[node["position"]]
            placed = position[position >= 0]
            if (position < -1).any() or (position >= node["channels"]).any():
                raise ValueError(
                    f"node {node['name']!r}: position: wanted numbers from -1 to "
                    f"{node['channels'] - 1}, got {position.min()} to {position.max()}"
                )
            if len(np.unique(placed)) != len(placed):
                raise ValueError(f"node {node['name']!r}: position puts two channels in one place")

    check_made(student.made, {n: ArraySpec.of(a) for n, a in student.arrays.items()})
    _check_expansion(student)
    check_scale_values(student)
    if student.statistics is not None:
        if student.statistics.features != feature_count(student):
            raise ValueError(
                f"statistics are of {student.statistics.features} features, the classifier reads "
                f"{feature_count(student)}"
            )
        check_statistics(student.statistics)


def check_made(made: Any, arrays: Mapping[str, ArraySpec]) -> None:
    """Check which arrays are made from a seed: weights of linear layers, of a plausible size."""
    if not isinstance(made, Mapping):
        raise ValueError(f"made: wanted seeds by the names of arrays, got {shown(made)}")
    for name, seed in made.items():
        spec = arrays.get(name)
        if spec is None or spec.dtype != "float32" or len(spec.shape) != 2:
            raise ValueError(f"made: {name!r:.80} is no float32 array of two dimensions")
        if not 0 < math.prod(spec.shape) <= MOST_MADE:
            raise ValueError(f"made: {name!r:.80} is too large to be true")
        if spec.shape[0] < 2 * spec.shape[1]:
            raise ValueError(f"made: {name!r:.80} has no room for each input and its negative")
        if type(seed) is not int or not 0 <= seed < 1 << 63:
            raise ValueError(
                f"made: {name!r:.80}: seed: wanted a whole number from 0, got {shown(seed)}"
            )


def _parted(settings: Any) -> tuple[Any, dict[str, Any]]:
    """Part a preprocessing into what is done to pixels, and how pictures are resized before."""
    if not isinstance(settings, Mapping):
        return settings, {}
    sizes = {name: settings[name] for name in ("resize", "colour") if name in settings}
    return {name: value for name, value in settings.items() if name not in sizes}, sizes


def _check_sizes(sizes: Mapping[str, Any], shape: tuple[int, int, int]) -> None:
    where = "preprocessing"
    try:
        Preprocessing.of({"kind": "none", **sizes}, shape[0], where).check_shape(shape, where)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _check_expansion(student: StudentFile) -> None:
    """Check that weights made from a seed are where `with_expansion` puts them."""
    for name in student.made:
        at = next((i for i, node in enumerate(student.nodes) if node.get("weight") == name), 0)
        chain = student.nodes[max(at - 1, 0) : at + 3]
        kinds = [node["op"] for node in chain]
        if kinds != ["affine", "linear", "relu", "linear"] or any(
            node["inputs"] != [at - 1 + i] for i, node in enumerate(chain[1:])
        ):
            raise ValueError(f"made: {name!r:.80} is no projection before the classifier")
        if chain[3]["name"] != student.classifier or len(student.made) > 1:
            raise ValueError(f"made: {name!r:.80} is not the one projection before the classifier")


def _logits(student: StudentFile, layers: Sequence[Layer]) -> int:
    """Check where the logits come from; return how many there are."""
    if type(student.output) is not int or not 0 <= student.output < len(layers):
        raise ValueError(f"output: wanted the number of a node, got {shown(student.output)}")
    student.tail()
    return layers[student.output].shape[0]


def _check_classes(classes: Any, count: int) -> None:
    if not isinstance(classes, (tuple, list)):
        raise ValueError(f"classes: wanted names in a list, got {kind_of(classes)}")
    seen: dict[str, int] = {}
    for place, name in enumerate(classes):
        reason = storable(name)
        if reason is not None:
            raise ValueError(
                f"classes: class {place}: wanted a name of 1 to {LONGEST} characters, got "
                f"{quoted(name)}, which {reason}"
            )
        if seen.setdefault(name, place) != place:
            raise ValueError(
                f"classes: wanted different names, got {quoted(name)} at {seen[name]} and {place}"
            )
    if len(classes) != count:
        raise ValueError(f"there are {len(classes)} classes, but {count} logits")


def _check_groups(student: StudentFile, layers: Sequence[Layer]) -> None:
    taps, channels = student.taps, student.teacher_channels
    for name, value in (("taps", taps), ("teacher_channels", channels)):
        if not isinstance(value, (tuple, list)) or not all(type(item) is int for item in value):
            raise ValueError(f"{name}: wanted a list of whole numbers, got {shown(value)}")
    if not len(taps) == len(channels) == len(student.kept):
        raise ValueError(
            f"taps, kept and teacher_channels: wanted an entry for each group, got {len(taps)}, "
            f"{len(student.kept)} and {len(channels)}"
        )
    for group, (tap, kept, width) in enumerate(zip(taps, student.kept, channels, strict=True)):
        if not 0 <= tap < len(layers) or len(layers[tap].shape) != 3:
            raise ValueError(
                f"taps: group {group}: wanted the number of a node that gives a map, got {tap}"
            )
        if kept.dtype != np.int64 or kept.shape != layers[tap].shape[:1]:
            raise ValueError(
                f"kept: group {group}: wanted {layers[tap].shape[0]} channels (int64), got "
                f"{list(kept.shape)} ({kept.dtype})"
            )
        if not 0 <= kept[0] <= kept[-1] < width < 1 << 24 or (np.diff(kept) <= 0).any():
            raise ValueError(
                f"kept: group {group}: wanted channels that rise strictly within [0, {width}), got "
                f"{shown(kept.tolist())}"
            )


def _check_names(
    field: str, names: Any, layers: Mapping[str, Layer], operators: tuple[str, ...]
) -> None:
    if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{field}: wanted a list of names of nodes, got {shown(names)}")
    if len(set(names)) != len(names):
        raise ValueError(f"{field}: wanted different nodes, got {shown(names)}")
    for name in names:
        if name not in layers or layers[name].op not in operators:
            raise ValueError(f"{field}: {name!r} is no node with {' or '.join(operators)}")


def _check_preprocessing(settings: Any, channels: int) -> None:
    if not isinstance(settings, Mapping) or settings.keys() != {"kind", "mean", "deviation"}:
        raise ValueError(f"preprocessing: wanted kind, mean and deviation, got {shown(settings)}")
    kind = settings["kind"]
    if kind not in ("none", "image", "channel"):
        raise ValueError(
            f'preprocessing: kind: wanted "none", "image" or "channel", got {shown(kind)}'
        )
    wanted = channels if kind == "channel" else 0
    for name in ("mean", "deviation"):
        values = settings[name]
        if not isinstance(values, (tuple, list)) or len(values) != wanted:
            raise ValueError(
                f"preprocessing: {name}: wanted {wanted} numbers for kind {kind!r}, got "
                f"{shown(values)}"
            )
        # far beyond any pixel's value, and a float32 whatever is computed with it
        least = -1e6 if name == "mean" else 1e-6
        if not all(type(value) in (int, float) and least <= value <= 1e6 for value in values):
            raise ValueError(
                f"preprocessing: {name}: wanted numbers from {least:g} to 1e6, got {shown(values)}"
            )


def _check_object(field: str, value: Any) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{field}: wanted values by name, got {shown(value)}")


def _check_plain(field: str, value: Any) -> None:
    _check_object(field, value)
    for name, item in value.items():
        if isinstance(item, (str, bool)) or item is None:
            continue
        # a whole number beyond 64 bits fits nothing that an optimizer takes
        finite = isinstance(item, float) and math.isfinite(item)
        if not finite and not (type(item) is int and -(1 << 63) <= item < 1 << 63):
            raise ValueError(f"{field}: {name!r}: wanted a plain value, got {shown(item)}")
