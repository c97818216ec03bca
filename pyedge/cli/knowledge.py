"""pyedge knowledge: record what a teacher knows of images, for a device to learn from."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING, Any

from pyedge.cli import names, options, parsing, workers
from pyedge.cli.console import Console
from pyedge.cli.parsing import UsageError, existing

if TYPE_CHECKING:
    from pyedge.cloud.network_file import NetworkInfo
    from pyedge.data import Augment
    from pyedge.images.edge_images import EdgeImages

USAGE = "STUDENT --teacher TEACHER DATA --out FOLDER [options]"

DESCRIPTION = """\
Record what a teacher knows of your images, for a device that could never run it.

The result, a knowledge pack, is a folder: the teacher's answers to each image, and those of its
inner maps that the student learns from. A device with the student, the same images and the pack
learns as if the teacher were there (pyedge learn STUDENT DATA --knowledge FOLDER). Labels are not
needed.
"""

EXAMPLES = """\
examples:
  pyedge knowledge student.pyedge --teacher teacher.pt snapshots --out pack
      snapshots/anything/*.jpg: nobody has sorted these images; the teacher knows.
  pyedge knowledge student.pyedge --teacher teacher.pt photos --only-classes mug --dtype int8 \\
      --out pack
      Images of one new class, at half the size.
  pyedge knowledge student.pyedge --teacher teacher.pt photos --views 4 --out pack
      Each image as it is, and cropped and mirrored in three other ways.
  pyedge knowledge student.pyedge --teacher teacher.pt photos --engine ray --workers 8 --out pack
      The same pack by eight processes, on this machine or the Ray cluster of RAY_ADDRESS.
  pyedge knowledge student.pyedge --teacher teacher.pt photos --out pack --estimate
      Show the size of the pack, and write nothing.
"""


def add_arguments(parser: parsing.Parser) -> None:
    """Add the options of `pyedge knowledge`."""
    parser.add_argument("student", metavar="STUDENT", help="a file of pyedge export (.pyedge)")
    parser.add_argument(
        "data", metavar="DATA", help=f"{options.DATA}; or arrays (.npy, .npz) as for pyedge learn"
    )
    options.add_splits(parser)
    parser.add_argument("--teacher", metavar="TEACHER", help="a file of pyedge train (required)")
    parser.old_order = _teacher_first
    parser.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="where to write the pack; it appears whole, and replaces an older pack (required)",
    )
    what = parser.add_argument_group("what is written")
    what.add_argument(
        "--part",
        choices=("all", "train", "val", "test"),
        default="all",
        help="which images of DATA (default all)",
    )
    parser.rename("--classes", "--only-classes")
    names.add_option(what, "--only-classes", help="only the images of these classes, the new ones")
    what.add_argument(
        "--dtype",
        choices=("float16", "int8"),
        default="float16",
        help="how maps are stored: float16 (default), or int8: half the size, each value within "
        "1/254 of its map's largest",
    )
    what.add_argument(
        "--views",
        type=parsing.whole(1),
        default=1,
        metavar="N",
        help="views of each image: the first as it is, the others changed a little (default 1)",
    )
    what.add_argument(
        "--augment",
        type=parsing.listed(str),
        default=["auto"],
        metavar="LIST",
        help="how views differ: crop, flip, or none (default: both for colour images, crop for "
        "grey ones, whose mirror image may mean something else)",
    )
    what.add_argument(
        "--augmented-only", action="store_true", help="change the first view of each image, too"
    )
    what.add_argument("--estimate", action="store_true", help="show the size, and write nothing")
    how = parser.add_argument_group("how the teacher answers")
    options.add_batch_size(how)
    how.add_argument(
        "--teacher-batch-norm",
        choices=("frozen", "batch"),
        default="frozen",
        help="the statistics that it was trained to (default), or those of each batch",
    )
    how.add_argument(
        "--structure",
        type=parsing.blocks,
        metavar="BLOCKS",
        help="if the teacher's blocks cannot be found: as for pyedge compress",
    )
    workers.add_options(how, "ask the teacher")
    options.add_own_code(parser)
    options.add_seed(parser, "the views")
    options.add_general(parser)


def _teacher_first(found: argparse.Namespace, extra: list[str]) -> str | None:
    """Accept TEACHER STUDENT DATA, the order of the previous version."""
    if found.teacher is not None or len(extra) != 1 or extra[0].startswith("-"):
        return None
    found.teacher, found.student, found.data = found.student, found.data, extra[0]
    return "the student comes first now, and then --teacher; TEACHER STUDENT DATA goes with 0.2"


def run(args: argparse.Namespace, console: Console) -> int:
    """Write the pack, or report its size."""
    _check(args)
    spread = workers.number(args)
    import torch

    import pyedge
    from pyedge.cli import machine, networks
    from pyedge.cloud.graph.taps import tap_teacher
    from pyedge.cloud.make_knowledge import knowledge_bytes, make_knowledge
    from pyedge.student.archive import read_student

    machine.check_device(args.device)
    machine.use_threads(args.threads)
    for path in (args.teacher, args.student):
        existing(path)
    teacher, info = networks.open_network(args.teacher, args.model, "teacher")
    if spread is not None:
        workers.send_own_code()
    student = read_student(args.student)
    if student.input_shape != info.input_shape:
        sizes = ["x".join(map(str, each.input_shape)) for each in (student, info)]
        raise UsageError(f"{args.student} takes images of {sizes[0]}, {args.teacher} of {sizes[1]}")
    images = _images(args, console, info, listed=spread is not None)
    if args.device != "cpu" and torch.cuda.is_available():
        teacher = teacher.cuda()
    example = torch.zeros(1, *info.input_shape, device=next(teacher.parameters()).device)
    tapped = tap_teacher(teacher, example, args.structure)
    size = knowledge_bytes(student, tapped, images, dtype=args.dtype, views=args.views)
    content: dict[str, Any] = {
        "command": "knowledge",
        "images": len(images),
        "views": args.views,
        "dtype": args.dtype,
        "bytes": size,
    }
    what = f"{len(images)} images, {args.views} view{'s' if args.views > 1 else ''} of each"
    if args.estimate:
        console.result(f"{what}: {_size(size)} as {args.dtype}", {**content, "out": None})
        return 0
    console.note(f"{what}: the pack will take {_size(size)}")
    began = time.monotonic()
    pack = make_knowledge(
        student,
        tapped,
        images,
        args.out,
        classes=info.classes,
        dtype=args.dtype,
        views=args.views,
        augment=_augment(args, info),
        plain_view=not args.augmented_only,
        seed=args.seed,
        batch_size=args.batch_size,
        teacher_batch_norm=args.teacher_batch_norm,
        workers=spread,
        progress=console.shows_bar,
    )
    seconds = time.monotonic() - began
    console.result(
        f"{what}: {_size(pack.nbytes)} in {seconds:.0f} s\nwritten to {args.out}",
        {
            **content,
            "bytes": pack.nbytes,
            "out": args.out,
            "classes": info.classes,
            "seconds": seconds,
            "pyedge": pyedge.__version__,
        },
    )
    return 0


def _check(args: argparse.Namespace) -> None:
    from pyedge.cloud.knowledge_folder import check_target

    if args.teacher is None:
        raise UsageError("missing: --teacher, the file of the teacher")
    if args.student.endswith(".pt"):
        raise UsageError(
            f"{args.student} is a network file; pyedge export makes a student file (.pyedge) of it"
        )
    unknown = [name for name in args.augment if name not in ("auto", "none", "crop", "flip")]
    if unknown or (len(args.augment) > 1 and {"auto", "none"} & set(args.augment)):
        raise UsageError(
            f"--augment: wanted crop, flip, both with a comma between them, or none, got "
            f"{','.join(args.augment)!r}"
        )
    if args.views > 1 and args.augment == ["none"]:
        raise UsageError(f"--views {args.views} and --augment none: all views would be the same")
    parent = os.path.dirname(os.path.realpath(args.out))
    if not os.path.isdir(parent):
        raise UsageError(f"--out {args.out}: there is no folder {parent}")
    if not os.access(parent, os.W_OK):
        raise UsageError(f"--out {args.out}: the folder {parent} cannot be written to")
    try:
        check_target(args.out)
    except FileExistsError as error:
        raise UsageError(f"--out {error}") from error


def _images(
    args: argparse.Namespace, console: Console, info: NetworkInfo, *, listed: bool
) -> EdgeImages:
    """Read the images: all of them as a device reads them, or one part as training does.

    listed: leave the reading of all of them to those who ask the teacher.
    """
    import torch

    from pyedge.cli import dataset, device_images
    from pyedge.images.edge_images import EdgeImages
    from pyedge.images.listed_files import listed_subset

    if args.part == "all" and args.data != "digits":
        chosen = args.only_classes is not None
        found = device_images.load(
            args.data,
            info.input_shape,
            labelled=chosen,
            splits=args.splits,
            preprocessing=info.preprocessing.to_dict(),
            listed=listed,
        )
        if chosen:
            known = found.class_names or ()
            wanted_names = names.chosen(args.only_classes, known, "--only-classes")
            found = listed_subset(found, found.rows_of_classes(wanted_names))
        return found
    data = dataset.load_for(console, args.data, info, of=args.teacher, splits=args.splits)
    parts = {"train": data.train, "val": data.val, "test": data.test}
    wanted = list(parts) if args.part == "all" else [args.part]
    sets = [part for name in wanted if (part := parts[name]) is not None]
    if args.only_classes is not None:
        ids = names.ids(args.only_classes, info.classes, "--only-classes")
        sets = [part.only_classes(ids) for part in sets]
    if not sum(map(len, sets)):
        raise UsageError(f"--part {args.part}: {args.data} has no such images")
    pixels = torch.cat([part.images for part in sets]).numpy()
    return EdgeImages.from_array(pixels, info.input_shape)


def _augment(args: argparse.Namespace, info: NetworkInfo) -> Augment | None:
    from pyedge.cli import dataset
    from pyedge.data import Augment

    c, h, _ = info.input_shape
    return dataset.augment(args.augment, c, h) or Augment(crop_padding=0, flip=False, cutout=0)


def _size(count: int) -> str:
    """Write bytes for people: 1.31 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"
