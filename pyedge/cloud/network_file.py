"""Network files (.pt): a teacher or a student with all it takes to build and to use it again.

A file holds no code, only what a network is built from: the name of a builder and its arguments,
the weights, the class names, the image shape, the preprocessing. A student is cut out of its
teacher's architecture again, at its widths, and then gets its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from typing import Any

import torch
from torch import nn

from pyedge import models
from pyedge.classes.names import ClassNames, checked_names
from pyedge.cloud.compression.compress import plan
from pyedge.cloud.compression.plan import Plan
from pyedge.cloud.compression.student import Student
from pyedge.cloud.shown import forget, remember, shown_to
from pyedge.cloud.tensor_file import read_tensors, write_tensors
from pyedge.errors import FormatError
from pyedge.images.pixels import Look

FORMAT = "pyedge-network"
VERSION = 1
PREPROCESSING = "per-image standardisation"  # pyedge.data.standardise (Sec. 5)

Build = Callable[..., nn.Module]


@dataclass(frozen=True)
class StudentSettings:
    """How a student was cut out of its teacher, whatever its weights.

    widths: filters by the name of a convolution, one for each set of coupled filters. keep, head,
    structure: as in `pyedge.plan`.
    """

    widths: Mapping[str, int]
    keep: str = "first"
    head: str = "single"
    structure: Sequence[Sequence[str]] | None = None

    @classmethod
    def of(
        cls,
        chosen: Plan,
        *,
        keep: str = "first",
        head: str = "single",
        structure: Sequence[Sequence[str]] | None = None,
    ) -> StudentSettings:
        """Take the widths of a plan that was made with these settings.

        Raises ValueError for a plan that cuts a student again: a file says how to cut a student
        out of a builder's network, once.
        """
        if chosen.teacher.origin is not None:
            raise ValueError(
                "StudentSettings: the plan cuts a student again, and a network file holds students "
                "of a builder's network alone; export it, or cut the first teacher to these widths"
            )
        pairs = zip(chosen.sets, chosen.set_widths, strict=True)
        return cls({each.convs[0]: width for each, width in pairs}, keep, head, structure)


@dataclass(frozen=True, kw_only=True)
class NetworkInfo:
    """Everything about a network but its weights.

    builder: a name of `pyedge.models`, or "package.module:function" or "file.py:function" for code
    of one's own. options: its keyword arguments. classes: names, in the order of the logits.
    input_shape: c h w. split_seed: how the data were split into training, validation and test
    images, so that no later step learns from a test image. student: None for a teacher. record:
    what happened to the network so far, plain values, one entry a step.
    """

    builder: str
    options: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]
    split_seed: int = 0
    preprocessing: str = PREPROCESSING
    student: StudentSettings | None = None
    record: tuple[Mapping[str, Any], ...] = ()

    @property
    def kind(self) -> str:
        """ "teacher" or "student"."""
        return "teacher" if self.student is None else "student"

    @property
    def own_code(self) -> bool:
        """Whether the builder is code of the user's, which a file must not start by itself."""
        return ":" in self.builder


def save_network(path: str | PathLike[str], model: nn.Module, info: NetworkInfo) -> None:
    """Write a network to `path`, atomically: the old file or the new one, never a part.

    Weights of other float dtypes are written as float32. Raises OSError where that fails,
    ValueError for classes that `pyedge.classes.names` refuses, and where `info` is not of this kind
    of network.
    """
    if isinstance(model, Student) != (info.student is not None):
        raise ValueError(
            f"save_network: info.student must say how a student was cut, and be None for any other "
            f"network, got {info.student!r} for a {type(model).__name__}"
        )
    content: dict[str, Any] = {each.name: getattr(info, each.name) for each in fields(info)}
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
    write_tensors(path, {"format": FORMAT, "version": VERSION, **content, "state": state})


def load_network(
    path: str | PathLike[str], *, build: Build | None = None
) -> tuple[nn.Module, NetworkInfo]:
    """Build the network of a file of `save_network`, in eval mode on the CPU, with its weights.

    A file never says which code runs: a network of the user's own code needs `build`, its builder,
    from the caller. Raises FormatError for a file that is truncated, foreign, of a later version,
    or does not fit together; ValueError where `build` is missing; FileNotFoundError.
    """
    info, state, shown = _read(path)
    if build is None and info.own_code:
        raise ValueError(
            f"{path}: built by {info.builder}, code that is not in the file; pass the builder"
        )
    with torch.random.fork_rng([]):  # the weights are overwritten: no random number is used up
        model = _built(path, info, build)
    _load_state(path, model, state)
    _check_output(path, model, info)
    forget(model)  # a student was cut at zeros
    remember(model, Look.from_dict(shown))
    return model.eval(), info


def read_network(
    path: str | PathLike[str],
) -> tuple[NetworkInfo, dict[str, torch.Tensor]]:
    """Read and check what a network file says, and its weights, without building anything."""
    info, state, _ = _read(path)
    return info, state


def _read(
    path: str | PathLike[str],
) -> tuple[NetworkInfo, dict[str, torch.Tensor], Any]:
    content = read_tensors(path, "a network file of pyedge")
    if content.get("format") != FORMAT:
        hint = ""
        if any(torch.is_tensor(v) or isinstance(v, dict) for v in content.values()):
            hint = (
                "; if it holds weights, pyedge train DATA --model NAME --weights FILE --epochs 0 "
                "makes one of them"
            )
        raise FormatError(f"{path}: not a network file of pyedge{hint}")
    if content.get("version") != VERSION:
        raise FormatError(
            f"{path}: a network file of version {content.get('version')!r}; this pyedge reads "
            f"version {VERSION}"
        )
    names = {each.name for each in fields(NetworkInfo)}
    missing = sorted((names | {"state"}) - content.keys())
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
    return info, content["state"], content.get("shown")  # files of before have none


def _check_fields(path: str | PathLike[str], content: dict[str, Any]) -> None:
    classes, shape, state = content["classes"], content["input_shape"], content["state"]
    wanted = {
        "builder": isinstance(content["builder"], str),
        "options": _text_keys(content["options"]),
        "classes": _texts(classes) and len(classes) > 0 and len(set(classes)) == len(classes),
        "input_shape": _whole_numbers(shape, 1, 1 << 14) and len(shape) == 3,
        "split_seed": _whole_numbers([content["split_seed"]], 0, 1 << 62),
        "student": content["student"] is None or _good_settings(content["student"]),
        "record": isinstance(content["record"], list) and all(map(_text_keys, content["record"])),
        "state": _text_keys(state) and all(torch.is_tensor(v) for v in state.values()),
    }
    for name, good in wanted.items():
        if not good:
            raise FormatError(f"{path}: {name} is not what a network file holds there")
    if content["preprocessing"] != PREPROCESSING:
        raise FormatError(
            f"{path}: preprocessing is {content['preprocessing']!r}; this pyedge knows "
            f"{PREPROCESSING!r}"
        )


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


def _built(path: str | PathLike[str], info: NetworkInfo, build: Build | None) -> nn.Module:
    """Build the network with any weights; a student out of a teacher with any weights."""
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
    settings = info.student
    with torch.no_grad():
        for parameter in model.parameters():  # a builder may leave memory as it is: NaN, say
            parameter.nan_to_num_()
    try:
        # "fresh" spares the recalibration of batch norms, whose values are in the file
        return plan(
            model,
            images=torch.zeros(2, *info.input_shape).float(),
            widths=dict(settings.widths),
            keep=settings.keep,  # type: ignore[arg-type]
            head=settings.head,  # type: ignore[arg-type]
            structure=settings.structure,
            init="fresh",
        ).build()
    except (ValueError, RuntimeError) as error:
        raise FormatError(f"{path}: the student cannot be built again: {error}") from error


def _refuse_giants(path: str | PathLike[str], info: NetworkInfo) -> None:
    """Look at the size of a network before memory is taken for it: the file may be from anybody."""
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
                f"{path}: {name} must be {_described(value)} for this network, the file has "
                f"{_described(there)}"
            )
    model.load_state_dict(state)


def _described(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _check_output(path: str | PathLike[str], model: nn.Module, info: NetworkInfo) -> None:
    """Classify images of zeros: the network must take the shape and know the classes."""
    model.eval()
    shape = "x".join(map(str, info.input_shape))
    try:
        with torch.no_grad():
            # two: a network that squeezes its maps loses the batch of one image
            output = model(torch.zeros(2, *info.input_shape).float())
    except (RuntimeError, ValueError, IndexError) as error:
        raise FormatError(f"{path}: the network does not take images of {shape}") from error
    if not torch.is_tensor(output) or output.shape != (2, len(info.classes)):
        raise FormatError(
            f"{path}: the network does not give one logit for each of the {len(info.classes)} "
            "classes in the file"
        )
    if isinstance(model, Student):
        for group in range(model.groups):
            kept = model.kept(group)
            if not bool((kept.diff() > 0).all()) or int(kept.min()) < 0:
                raise FormatError(f"{path}: kept_{group} is not a rising list of channels")
