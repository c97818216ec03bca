"""Which way a call of `learn` learns: from statistics, a teacher, or labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyedge.arguments import choice

if TYPE_CHECKING:
    from pyedge.edge.learn_options import LearnOptions
    from pyedge.student.file import StudentFile

METHODS = ("auto", "statistics", "transfer", "labels")
_FOR_ALL = ("seed", "progress")  # options that have a meaning whatever the method


def chosen_method(
    method: Any,
    student: StudentFile,
    *,
    knowledge: Any,
    memory: Any,
    labels: Any,
    options: LearnOptions | None,
    overrides: Mapping[str, Any],
) -> str:
    """Return "statistics", "transfer" or "labels"; ValueError if the arguments do not allow it.

    "auto" is "statistics" if the student has some, since they keep what it knows, unless a memory
    or an option of steps (`epochs`, `lr`, ...) is given: then steps are meant. Steps, and students
    without statistics, use "transfer" if there is knowledge, else "labels".
    """
    choice(method, "learn: method", METHODS)
    of_steps = sorted(set(overrides) - set(_FOR_ALL))
    if method == "auto":
        if student.statistics is not None and options is None and not of_steps and memory is None:
            return "statistics"
        return "labels" if knowledge is None else "transfer"
    if method == "statistics":
        if options is not None or of_steps:
            what = of_steps[0] if of_steps else "options"
            raise ValueError(
                f'learn: {what} has no meaning for method="statistics", which takes no steps'
            )
        if memory is not None:
            raise ValueError(
                'learn: method="statistics" has no use for memory, since the sums remember; the '
                "other methods replay it"
            )
    elif method == "transfer":
        if knowledge is None:
            raise ValueError('learn: method="transfer" needs knowledge, a pack of a teacher')
    elif knowledge is not None:
        raise ValueError(
            'learn: method="labels" has no use for knowledge; method="transfer" takes both'
        )
    elif labels is None:
        raise ValueError('learn: method="labels" needs labels')
    return str(method)
