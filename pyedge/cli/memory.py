"""`pyedge learn --memory`: old images in a file are replayed, and new ones added to it."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from pyedge.cli import parsing
from pyedge.cli.parsing import UsageError
from pyedge.files.atomic import find_target

if TYPE_CHECKING:
    from pyedge.edge.learner import EdgeLearner
    from pyedge.edge.replay_memory import Memory
    from pyedge.images.edge_images import EdgeImages

_KEEP = 20  # images of a class


def add_options(group: argparse._ActionsContainer) -> None:
    """Add --memory and --per-class."""
    group.add_argument(
        "--memory",
        metavar="FILE",
        help="a few images of each class, replayed in every batch so that old classes are not "
        "forgotten; images of DATA are added to it afterwards (made if it does not exist)",
    )
    group.add_argument(
        "--per-class",
        type=parsing.whole(1),
        metavar="N",
        help=f"images of each class that --memory keeps (default: as it does, or {_KEEP})",
    )


def check(args: argparse.Namespace) -> None:
    """Check, before anything is learned, that the memory can be written and overwrites no input."""
    path = args.memory
    if path is None:
        if args.per_class is not None:
            raise UsageError("--per-class needs --memory, whose images it bounds")
        return
    if os.path.isdir(path):
        raise UsageError(f"--memory {path} is a folder, wanted the name of a file")
    there = os.path.exists(path)
    if args.no_labels and not there:
        raise UsageError(
            f"--memory {path}: there is no such file, and without labels none can be made"
        )
    for name, other in (("--out", args.out), ("STUDENT", args.student), ("DATA", args.data)):
        same = there and os.path.exists(other) and os.path.samefile(path, other)
        if same or os.path.abspath(path) == os.path.abspath(other):
            raise UsageError(f"--memory {path} is the file of {name}, wanted one of its own")
    try:
        target = find_target(path)
    except OSError as error:
        raise UsageError(f"--memory {path} cannot be written: {error.strerror}") from error
    if not os.access(target.path.parent, os.W_OK):
        raise UsageError(f"--memory {path}: the folder {target.path.parent} cannot be written to")


def opened(args: argparse.Namespace) -> Memory | None:
    """Read the memory, or make an empty one; None if none is asked for."""
    if args.memory is None:
        return None
    from pyedge.edge.replay_memory import Memory, read_memory

    if not os.path.exists(args.memory):
        return Memory(_KEEP if args.per_class is None else args.per_class, seed=args.seed)
    memory = read_memory(args.memory)
    if args.per_class is not None:
        memory.limit(per_class=args.per_class)
    return memory


def keep(memory: Memory, learner: EdgeLearner, images: EdgeImages, val: Any, seed: int) -> None:
    """Let a memory choose from the learned images, without those used for validation."""
    from pyedge.edge.batches import hold_back

    if isinstance(val, float):
        images = images.subset(hold_back(len(images), images.labels, val, seed)[0])
    memory.add(learner, images)
