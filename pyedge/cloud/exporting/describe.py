"""A torch student as a StudentFile: lowered, with everything else that a device must know."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pyedge._version import __version__
from pyedge.classes.matching import quoted
from pyedge.classes.names import checked_names, storable
from pyedge.cloud.compression.student import Student
from pyedge.cloud.exporting.lower import Lowered, lower
from pyedge.cloud.exporting.preprocessing import chosen
from pyedge.cloud.weights.checks import check_weights
from pyedge.errors import ExportError
from pyedge.images.preprocessing import PreprocessingLike
from pyedge.student.file import StudentFile

Trainable = str | Sequence[str]
Classes = Iterable[str] | Mapping[str, int]


def student_file(
    student: Student,
    *,
    classes: Classes | None = None,
    preprocessing: PreprocessingLike | None = None,
    trainable: Trainable = "last_conv",
    input_shape: Sequence[int] | None = None,
    record: Sequence[Mapping[str, Any]] = (),
) -> StudentFile:
    """Make the StudentFile of `student`, as `pyedge.export` does, but without its check."""
    return described(
        lower(checked(student), input_shape), student, classes, preprocessing, trainable, record
    )


def described(
    lowered: Lowered,
    student: Student,
    classes: Classes | None,
    preprocessing: PreprocessingLike | None,
    trainable: Trainable,
    record: Sequence[Mapping[str, Any]],
) -> StudentFile:
    """Combine a lowered student and its description; ValueError if they do not fit."""
    if not isinstance(record, (list, tuple)) or not all(isinstance(e, Mapping) for e in record):
        raise TypeError(f"export: record: wanted a list of dicts, one a step, got {record!r:.80}")
    kept = [student.kept(g).cpu().numpy().astype(np.int64) for g in range(student.groups)]
    settings, said = chosen(student, preprocessing, lowered.input_shape)
    entry = {"command": "export", "pyedge": __version__, **said}
    return StudentFile(
        nodes=lowered.nodes,
        arrays=lowered.arrays,
        input_shape=lowered.input_shape,
        output=lowered.output,
        taps=lowered.taps,
        kept=tuple(kept),
        teacher_channels=student.teacher_channels,
        last_convs=lowered.last_convs,
        classifier=lowered.classifier,
        trainable=_trainable(lowered, trainable),
        classes=_classes(classes, lowered.classes),
        preprocessing=settings,
        record=(*(dict(each) for each in record), entry),
    )


def checked(student: Any) -> Student:
    """Refuse anything but a student of `pyedge.compress`, and one that holds NaN."""
    if not isinstance(student, Student):
        raise TypeError(
            f"export: student: wanted the result of pyedge.compress, got {type(student).__name__}"
        )
    check_weights("export", "student", student)
    return student


def _classes(classes: Classes | None, logits: int) -> tuple[str, ...]:
    if classes is None:
        return tuple(str(number) for number in range(logits))
    names = checked_names(classes, "export: classes", count=logits)
    for place, name in enumerate(names):
        reason = storable(name)  # names of an older network file are not looked at above
        if reason is not None:
            raise ValueError(f"export: classes: class {place}, {quoted(name)}, {reason}")
    return names


def _trainable(lowered: Lowered, trainable: Trainable) -> tuple[str, ...]:
    """Return the names of the nodes that learn, in the graph's order.

    A name stands for its node, or for all nodes of the module of that name.
    """
    words = {
        "all": tuple(lowered.modules),
        "last_conv": (*lowered.last_convs, lowered.classifier),
        "classifier": (lowered.classifier,),
    }
    if isinstance(trainable, str):
        if trainable not in words:
            raise ValueError(
                f"export: trainable: wanted {', '.join(words)}, or a list of names of "
                f"layers, got {trainable!r}"
            )
        wanted = set(words[trainable])
    else:
        wanted = set()
        for name in trainable:
            plain = name.removeprefix("net.")
            below = {n for n in lowered.modules if n == plain or n.startswith(f"{plain}.")}
            if not below:
                near = difflib.get_close_matches(plain, lowered.modules, n=3)
                hint = f" (did you mean {' or '.join(near)}?)" if near else ""
                raise ValueError(
                    f"export: trainable: the student has no layer {name!r} that could learn{hint}"
                )
            wanted |= below
    _refuse_ties(lowered, wanted)
    return tuple(name for name in lowered.modules if name in wanted)


def _refuse_ties(lowered: Lowered, trainable: set[str]) -> None:
    """Refuse trainable layers that share a weight: on the device each would learn its own."""
    owner: dict[int, str] = {}
    for name, path in lowered.modules.items():
        for parameter in lowered.net.get_submodule(path).parameters():
            other = owner.setdefault(id(parameter), name)
            if other != name and {name, other} & trainable:
                raise ExportError(
                    f"export: {name} and {other} share a weight, which cannot learn on a device; "
                    "leave both out of trainable="
                )
