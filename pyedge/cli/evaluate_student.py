"""The work of pyedge evaluate for a device's student, on the device's engine: numpy alone."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from pyedge.cli import device_images, names
from pyedge.cli.console import Console
from pyedge.cli.parsing import UsageError, existing
from pyedge.edge.learner import EdgeLearner
from pyedge.images.edge_images import EdgeImages, resize_of
from pyedge.images.folder import NoImagesError
from pyedge.images.named_files import is_array_file
from pyedge.images.parts import read_part


def outcome(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Evaluate; return what is reported."""
    for option in ("model", "device"):
        given = getattr(args, option)
        if option in args.given and given not in ("cpu", "auto"):
            raise UsageError(
                f"--{option} {given} has no meaning for {args.network}, a student for a device, "
                "which needs no code of yours and is answered by pyedge's engine, on the CPU"
            )
    learner = EdgeLearner(args.network, threads=args.threads, precision=args.precision)
    only = names.ids(args.classes or (), learner.classes, "--classes")
    images, part = _images(args, console, learner)
    console.note(f"{args.data}: {len(images)} images, {len(learner.classes)} classes")
    found = learner.evaluate(images, batch_size=args.batch_size)
    return {
        "found": found,
        "classes": learner.classes,
        "only": only,
        "part": part,
        "kind": "student",
        "answers": "engine",
        "params": learner.student.params,
    }


def split_seed(record: Sequence[Mapping[str, Any]]) -> int:
    """Return the seed by which training split its images, as a student's record has it."""
    seeds = (entry.get("split_seed") for entry in reversed(record))
    return next((seed for seed in seeds if type(seed) is int and seed >= 0), 0)


def _images(
    args: argparse.Namespace, console: Console, learner: EdgeLearner
) -> tuple[EdgeImages, str]:
    """Read --part of DATA. Returns the name of the part, too: arrays have none."""
    student, shape = learner.student, learner.input_shape
    if args.data != "digits":
        existing(args.data, "digits")
        if is_array_file(args.data):
            if "part" in args.given and args.part != "all":
                raise UsageError(f"--part {args.part}: {args.data} has arrays, which have no parts")
            return (
                device_images.load(
                    args.data, shape, labelled=True, preprocessing=student.preprocessing
                ),
                "all",
            )
        try:
            read = read_part(
                args.data,
                shape,
                args.part,
                seed=split_seed(student.record),
                splits=args.splits,
                resize=resize_of(student.preprocessing),
            )
            found = EdgeImages(read.array, True, read.labels, read.class_names)
            return found, args.part
        except NoImagesError as error:  # CIFAR-10's own files?
            try:
                import torch  # noqa: F401
            except ImportError:
                raise error from None
    return _with_torch(args, console, learner), args.part


def _with_torch(args: argparse.Namespace, console: Console, learner: EdgeLearner) -> EdgeImages:
    """Read what only the cloud's readers take: digits, and CIFAR-10's own files."""
    import numpy as np

    from pyedge.cli import dataset
    from pyedge.images.preprocessing import Preprocessing

    student, (_, h, w) = learner.student, learner.input_shape
    made = Preprocessing.of(student.preprocessing)
    size = made.resize or (h if h == w else None)
    seed = split_seed(student.record)
    data = dataset.load(console, args.data, size, seed, args.splits, made.colour)
    sets = {"train": data.train, "val": data.val, "test": data.test}
    wanted = list(sets) if args.part == "all" else [args.part]
    parts = [part for name in wanted if (part := sets[name]) is not None]
    if not parts:
        raise UsageError(f"--part {args.part}: {args.data} has no such images")
    given = EdgeImages.of(
        np.concatenate([part.images.numpy() for part in parts]),
        learner.input_shape,
        np.concatenate([part.labels.numpy() for part in parts]),
        channels_last=False,
    )
    return EdgeImages(given.array, given.channels_last, given.labels, tuple(data.train.classes))
