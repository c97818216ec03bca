"""Network files (.pt): a teacher or a student with all it takes to build and to use it again.

A file holds no code, only what a network is built from. For a teacher that is the name of a builder
and its arguments; for a student its cut, layer by layer (see `compression.recorded_student`), so
that it stays the same, whatever pyedge would cut today. The file also holds the weights, the class
names, the image shape and the preprocessing. Version 1 had no cut (see `network_v1`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from os import PathLike
from typing import Any

import torch
from torch import nn

from pyedge import models
from pyedge.classes.names import ClassNames, checked_names
from pyedge.cloud.compression.recorded_student import (
    build_student,
    check_positions,
    record_student,
)
from pyedge.cloud.compression.student import Student
from pyedge.cloud.graph.modes import plain_torch
from pyedge.cloud.network_info import PER_IMAGE, NetworkInfo, StudentSettings
from pyedge.cloud.recorded_accuracy import remember_accuracy
from pyedge.cloud.shown import (
    forget,
    preprocessing_of,
    remember,
    remember_preprocessing,
    shown_to,
)
from pyedge.cloud.tensor_file import read_tensors, write_tensors
from pyedge.errors import FormatError
from pyedge.images.pixels import Look
from pyedge.images.preprocessing import Preprocessing
from pyedge.warning import warn

__all__ = [
    "NetworkInfo",
    "OwnCodeError",
    "StudentSettings",
    "load_network",
    "read_network",
    "save_network",
]

FORMAT = "pyedge-network"
VERSION = 2
_READ = (1, 2)

Build = Callable[..., nn.Module]


class OwnCodeError(ValueError):
    """The network is built by the user's own code, without which the file cannot be opened."""


def save_network(path: str | PathLike[str], model: nn.Module, info: NetworkInfo) -> None:
    """Write a network atomically: `path` holds the old file or the new one, never a part.

    Weights of other float dtypes are written as float32. A student with an operation or a layer
    that files cannot hold (a warning names it) is written without its cut, and is cut out of its
    builder's network again when the file is opened. Raises OSError if writing fails, ValueError for
    classes that `pyedge.classes.names` refuses, and if `info` is of another kind of network.
    """
    if isinstance(model, Student) != (info.student is not None):
        raise ValueError(
            f"save_network: info.student: wanted StudentSettings for a student, None for any other "
            f"network, got {info.student!r} for a {type(model).__name__}"
        )
    content: dict[str, Any] = {each.name: getattr(info, each.name) for each in fields(info)}
    preprocessing = _preprocessing(model, info)
    preprocessing.check_shape(info.input_shape, "save_network: preprocessing")
    content["preprocessing"] = preprocessing.to_dict()
    content["cut"] = _cut_of(model, info) if isinstance(model, Student) else None
    content["options"] = dict(info.options)
    content["classes"] = list(checked_names(info.classes, "save_network: classes"))
    content["input_shape"] = list(info.input_shape)
    content["record"] = [dict(entry) for entry in info.record]
    if info.student is not None:
        content["student"] = asdict(info.student)
    shown = shown_to(model)
    if shown is not None:
        content["shown"] = shown.to_dict()
    state = {
        name: (value.float() if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    content = {"format": FORMAT, "version": VERSION, **content, "state": state}
    write_tensors(path, _interned(content))


def _preprocessing(model: nn.Module, info: NetworkInfo) -> Preprocessing:
    """Return what the network learned from, where that is known, or what `info` says."""
    known = preprocessing_of(model)
    if known is None or known.agrees(info.preprocessing):
        return info.preprocessing.with_sizes_of(known)
    if info.preprocessing != Preprocessing():
        warn(
            f"save_network: info.preprocessing: wanted that of the loader which the network last "
            f"saw, {known}, got {info.preprocessing}; the file says {known}"
        )
    return known


def load_network(
    path: str | PathLike[str], *, build: Build | None = None
) -> tuple[nn.Module, NetworkInfo]:
    """Build the network of a file of `save_network`, in eval mode on the CPU, with its weights.

    A file never decides which code runs: for a teacher built by the user's own code, or its student
    without a record of its cut, the caller must give the builder as `build`. Raises FormatError for
    a file that is truncated, foreign, of a later version, or does not fit together; OwnCodeError,
    which is a ValueError, if `build` is missing; FileNotFoundError.
    """
    found = _read(path)
    info = found.info
    # the weights are overwritten: no random number is used up
    with plain_torch(), torch.random.fork_rng([]):
        model = _built(path, found, build)
        _load_state(path, model, found.state)
    _check_output(path, model, info)
    forget(model)  # a student was cut at zeros
    remember(model, Look.from_dict(found.shown))
    if info.preprocessing != Preprocessing():
        remember_preprocessing(model, info.preprocessing)
    remember_accuracy(model, info, path)
    return model.eval(), info


def read_network(
    path: str | PathLike[str],
) -> tuple[NetworkInfo, dict[str, torch.Tensor]]:
    """Read and check a network file and its weights, without building anything."""
    found = _read(path)
    return found.info, found.state


@dataclass(frozen=True)
class _Content:
    """A file's content: `cut` is the record of a student, or None."""

    info: NetworkInfo
    state: dict[str, torch.Tensor]
    shown: Any
    cut: Any


def _interned(value: Any) -> Any:
    """Make equal texts one object, which pickle writes once, so equal networks give equal bytes."""
    if type(value) is str:
        return sys.intern(value)
    if type(value) is dict:
        return {_interned(key): _interned(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_interned, value))
    return value


def _cut_of(student: Student, info: NetworkInfo) -> dict[str, Any] | None:
    try:
        return record_student(student, info.input_shape)
    except ValueError as error:
        warn(
            "save_network: the student is written without its cut, and opening the file will cut "
            f"{info.builder} again, with the Torch-Pruning installed at that time: {error}"
        )
        return None


def _read(path: str | PathLike[str]) -> _Content:
    content = read_tensors(path, "a network file of pyedge")
    if content.get("format") != FORMAT:
        hint = ""
        if any(torch.is_tensor(v) or isinstance(v, dict) for v in content.values()):
            hint = (
                "; if it holds weights, pyedge train DATA --model NAME --weights FILE --epochs 0 "
                "makes one of them"
            )
        raise FormatError(f"{path}: not a network file of pyedge{hint}")
    version = content.get("version")
    if type(version) is not int or version not in _READ:
        raise FormatError(
            f"{path}: a network file of version {version!r}; this pyedge reads versions "
            f"{' and '.join(map(str, _READ))}"
        )
    if version == 1:
        content["cut"] = None
    names = {each.name for each in fields(NetworkInfo)}
    missing = sorted((names | {"state", "cut"}) - content.keys())
    if missing:
        raise FormatError(f"{path}: the file lacks {', '.join(missing)}")
    _check_fields(path, content)
    settings = content["student"]
    info = NetworkInfo(
        builder=content["builder"],
        options=content["options"],
        classes=ClassNames(content["classes"]),
        input_shape=tuple(content["input_shape"]),
        split_seed=content["split_seed"],
        preprocessing=content["preprocessing"],
        student=None if settings is None else StudentSettings(**settings),
        record=tuple(content["record"]),
    )
    shown = content.get("shown")  # files of before have none
    return _Content(info, content["state"], shown, content["cut"])


def _check_fields(path: str | PathLike[str], content: dict[str, Any]) -> None:
    classes, shape, state = content["classes"], content["input_shape"], content["state"]
    wanted = {
        "builder": isinstance(content["builder"], str),
        "options": _text_keys(content["options"]),
        "classes": _texts(classes) and len(classes) > 0 and len(set(classes)) == len(classes),
        "input_shape": _whole_numbers(shape, 1, 1 << 14) and len(shape) == 3,
        "split_seed": _whole_numbers([content["split_seed"]], 0, 1 << 62),
        "student": content["student"] is None or _good_settings(content["student"]),
        "cut": content["cut"] is None
        or (content["student"] is not None and _text_keys(content["cut"])),
        "record": isinstance(content["record"], list) and all(map(_text_keys, content["record"])),
        "state": _text_keys(state) and all(torch.is_tensor(v) for v in state.values()),
    }
    for name, good in wanted.items():
        if not good:
            raise FormatError(f"{path}: {name} has a value that a network file cannot have")
    if content["preprocessing"] == PER_IMAGE:
        content["preprocessing"] = Preprocessing()
        return
    try:
        if not isinstance(content["preprocessing"], dict):
            raise ValueError(f"preprocessing is {content['preprocessing']!r:.80}")
        made = Preprocessing.of(content["preprocessing"], shape[0])
        made.check_shape(tuple(shape), "preprocessing")
        content["preprocessing"] = made
    except (TypeError, ValueError) as error:
        raise FormatError(f"{path}: {error}") from None


def _good_settings(settings: Any) -> bool:
    if not _text_keys(settings) or set(settings) != {e.name for e in fields(StudentSettings)}:
        return False
    blocks = settings["structure"]
    return (
        _text_keys(settings["widths"])
        and _whole_numbers(list(settings["widths"].values()), 1, 1 << 20)
        and settings["keep"] in ("first", "last")
        and settings["head"] in ("single", "keep")
        and (blocks is None or (isinstance(blocks, (list, tuple)) and all(map(_texts, blocks))))
    )


def _text_keys(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)


def _whole_numbers(value: Any, least: int, most: int) -> bool:
    return isinstance(value, (list, tuple)) and all(
        isinstance(item, int) and not isinstance(item, bool) and least <= item <= most
        for item in value
    )


def _built(path: str | PathLike[str], found: _Content, build: Build | None) -> nn.Module:
    """Build the network with any weights, or with none yet."""
    info = found.info
    if found.cut is not None:
        try:
            return build_student(found.cut, info.input_shape)
        except ValueError as error:
            raise FormatError(f"{path}: the student cannot be built again: cut: {error}") from error
    if build is None and info.own_code:
        raise OwnCodeError(
            f"{path}: built by {info.builder}, code that is not in the file; pass the builder"
        )
    try:
        if build is None:
            _refuse_giants(path, info)
            model = models.create(info.builder, **info.options)
        else:
            model = build(**info.options)
    except (ValueError, TypeError) as error:
        raise FormatError(f"{path}: {info.builder} cannot be built: {error}") from error
    if not isinstance(model, nn.Module):
        raise FormatError(f"{path}: {info.builder} gives no torch.nn.Module")
    if info.student is None:
        return model
    from pyedge.cloud.network_v1 import cut_again  # it needs Torch-Pruning, most files do not

    return cut_again(path, model, info)


def _refuse_giants(path: str | PathLike[str], info: NetworkInfo) -> None:
    """Check a network's size before memory is taken for it: the file may come from anybody."""
    numbers = list(info.options.values())
    for value in info.options.values():
        numbers += value if isinstance(value, (list, tuple)) else []
    with torch.device("meta"):
        small = all(not isinstance(n, int) or n <= 1 << 16 for n in numbers)
        if small and models.count_parameters(models.create(info.builder, **info.options)) < 1 << 31:
            return
    raise FormatError(f"{path}: {info.builder} with {dict(info.options)} is too large to be true")


def _load_state(
    path: str | PathLike[str], model: nn.Module, state: dict[str, torch.Tensor]
) -> None:
    wanted = model.state_dict()
    for name in sorted(wanted.keys() ^ state.keys()):
        where = "lacks" if name in wanted else "has an unknown"
        raise FormatError(f"{path}: the file {where} {name}; its weights are of another network")
    for name, value in wanted.items():
        there = state[name]
        if there.shape != value.shape or there.dtype != value.dtype:
            raise FormatError(
                f"{path}: {name}: wanted {_described(value)} for this network, got "
                f"{_described(there)}"
            )
    if any(value.is_meta for value in wanted.values()):
        model.to_empty(device="cpu")
    model.load_state_dict(state)


def _described(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _check_output(path: str | PathLike[str], model: nn.Module, info: NetworkInfo) -> None:
    """Classify images of zeros, to check that the network takes the shape and has the classes."""
    model.eval()
    if isinstance(model, Student):
        try:
            check_positions(model)
        except ValueError as error:
            raise FormatError(f"{path}: {error}") from error
    shape = "x".join(map(str, info.input_shape))
    try:
        with torch.no_grad():
            # two: a network that squeezes its maps loses the batch of one image
            output = model(torch.zeros(2, *info.input_shape).float())
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise FormatError(f"{path}: the network does not take images of {shape}") from error
    if not torch.is_tensor(output) or output.shape != (2, len(info.classes)):
        raise FormatError(
            f"{path}: the network does not give one logit for each of the {len(info.classes)} "
            "classes in the file"
        )
