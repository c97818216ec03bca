"""pyedge export: a student as a file for devices, which have only numpy."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyedge.cli import options, parsing, workers
from pyedge.cli.console import Console
from pyedge.cli.parsing import UsageError

if TYPE_CHECKING:
    from pyedge.cloud.compression.student import Student
    from pyedge.cloud.network_file import NetworkInfo
    from pyedge.images.edge_images import EdgeImages
    from pyedge.images.preprocessing import Preprocessing

USAGE = "STUDENT --out FILE [options]"

DESCRIPTION = """\
Write a student as a file for devices.

A device needs this file and numpy, but not torch, to use the student and to teach it more. The
device's arithmetic is compared with torch's before the file is written.

With --statistics the file describes, in sums, the features that the student computes for images of
its classes. The device then learns new classes in one pass, forgets none, and recognises unknown
images.
"""

EXAMPLES = """\
examples:
  pyedge export trained.pt --out student.pyedge
  pyedge export trained.pt --trainable classifier --out student.pyedge
      On the device only the classifier learns, unless the device asks for something else.
  pyedge export trained.pt --statistics photos --out student.pyedge
      photos: the folder that the student was trained on. Its training images are summed; its
      validation images, which the student has not learned, calibrate its probabilities.
  pyedge export trained.pt --statistics photos --expand 1000 --out student.pyedge
      1000 random features: more than by default, for a device that has room for their sums.
  pyedge export trained.pt --int8 photos --out student.pyedge
      Weights in 8 bits; the validation images of photos tell how large the student's numbers are.
  pyedge export trained.pt --mean 0.5,0.5,0.5 --std 0.25,0.25,0.25 --out student.pyedge
      Numbers for each channel, where the network's file has none or others.
  pyedge export trained.pt --format onnx --out student.onnx
      To predict with other engines; such a file cannot learn.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pyedge export`."""
    parser.add_argument("network", metavar="STUDENT", help="a file of pyedge compress or transfer")
    options.add_out(parser, "the student (.pyedge)")
    parser.add_argument(
        "--trainable",
        type=parsing.listed(str),
        metavar="WHAT",
        help="what learns on the device: last_conv (default: the last convolution of each group "
        "and the classifier), classifier, all, or names of layers",
    )
    parser.add_argument(
        "--format",
        choices=("pyedge", "onnx"),
        default="pyedge",
        help="pyedge (default), or onnx: for inference elsewhere, of images that are standardised "
        "already",
    )
    options.add_preprocessing(
        parser, "default: that of pyedge train, or else as the student's images were"
    )
    parser.add_argument(
        "--int8",
        metavar="DATA",
        help="write the weights in 8 bits, a quarter of the bytes, and the scales for predict "
        f"--precision int8; {options.DATA}, or arrays (.npy, .npz): images like those that the "
        "device will see",
    )
    what = parser.add_argument_group("statistics")
    what.add_argument(
        "--statistics",
        metavar="DATA",
        help=f"describe the features of labelled images; {options.DATA}, or arrays (.npy, .npz)",
    )
    what.add_argument(
        "--held",
        metavar="DATA",
        help="images that the student was not trained on, to calibrate with: a folder or archive "
        "of class folders, or arrays (default: the validation images of --statistics)",
    )
    what.add_argument(
        "--expand",
        type=parsing.whole_or(1, "auto", "none"),
        default="auto",
        metavar="N",
        help="let the classifier also read N random features, for curved borders between classes; "
        "none, or auto (default): 500 if it reads fewer than 200",
    )
    what.add_argument(
        "--forgettable",
        action="store_true",
        help="keep the second moments of each class apart, so that a device can forget any of "
        "them; f * f * 4 bytes a class of f features",
    )
    options.add_splits(what)
    workers.add_options(what, "compute features")
    options.add_seed(what, "the random features of --expand")
    options.add_own_code(parser)
    options.add_output(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Export, and report what the file holds."""
    if args.format == "onnx" and args.trainable is not None:
        raise UsageError("--trainable has no meaning for --format onnx, whose files cannot learn")
    for name in ("preprocessing", "mean", "std"):
        if args.format == "onnx" and getattr(args, name) is not None:
            raise UsageError(
                f"--{name} has no meaning for --format onnx, whose files take preprocessed images"
            )
    _check_statistics(args)
    spread = workers.number(args)
    from pyedge.cli import described, networks
    from pyedge.cli.outputs import check_out
    from pyedge.cloud.compression.student import Student
    from pyedge.cloud.exporting.export import export
    from pyedge.images.doubts import wanted
    from pyedge.images.preprocessing import Preprocessing

    check_out(args.out, args.network)
    student, info = networks.open_network(args.network, args.model, "student")
    assert isinstance(student, Student)  # open_network refuses any other kind
    given = args.trainable or ["last_conv"]
    alone = len(given) == 1 and given[0] in ("last_conv", "classifier", "all")
    chosen = options.preprocessing_of(args, info.input_shape[0])
    statistics, held = _images(args, console, info, listed=spread is not None)
    file = export(
        student,
        args.out,
        classes=info.classes,
        preprocessing=chosen or _preprocessing(student, info),
        trainable=given[0] if alone else given,
        input_shape=info.input_shape,
        record=_record(info),
        format=args.format,
        statistics=statistics,
        held=held,
        expand=None if args.expand == "none" else args.expand,
        forgettable=args.forgettable,
        workers=spread,
        seed=args.seed,
        int8=_int8_images(args, console, info),
    )
    content = {
        "command": "export",
        "out": args.out,
        "format": args.format,
        "bytes": os.path.getsize(args.out),
    }
    if file is None:
        console.result(f"written to {args.out}", content)
        return 0
    check = next(each for each in reversed(file.record) if each["command"] == "export")
    smooth = check.get("gradient_error_without_kinks")
    kinks = "" if smooth is None else f" ({smooth:.0e} but for activations at a kink of a ReLU)"
    short = file.statistics is None
    told = described.int8_lines(file) if short else described.lines(file)
    more = "".join(f"{line}\n" for line in told)
    how = Preprocessing.of(file.preprocessing)
    sizes = "".join(f", {each}" for each in (how.resize, how.colour) if each)
    console.result(
        f"{file.params:,} parameters, {len(file.classes)} classes\n"
        f"images: {wanted(file.preprocessing)}{sizes}\n"
        f"learns on the device: {', '.join(file.trainable)}\n"
        f"{more}"
        f"beside torch in float64, logits differ by {check['logits_error']:.0e} and gradients by "
        f"{check['gradient_error']:.0e} of their norm{kinks}\nwritten to {args.out}",
        {
            **content,
            "params": file.params,
            "preprocessing": file.preprocessing["kind"],
            "classes": list(file.classes),
            "trainable": list(file.trainable),
            "logits_error": check["logits_error"],
            "gradient_error": check["gradient_error"],
            **described.content(file),
        },
    )
    return 0


def _record(info: NetworkInfo) -> tuple[Mapping[str, Any], ...]:
    """Return a network's record with the seed of its split, by which a device finds the parts."""
    *before, last = info.record or ({"command": "split"},)
    return (*before, {**last, "split_seed": info.split_seed})


def _check_statistics(args: argparse.Namespace) -> None:
    for name in ("held", "expand", "forgettable", "splits", "seed", "engine", "workers"):
        if args.statistics is None and name in args.given:
            raise UsageError(f"--{name} needs --statistics DATA, images to describe")
    if args.statistics is not None and args.format == "onnx":
        raise UsageError("--statistics has no meaning for --format onnx, whose files cannot learn")
    if args.int8 is not None and args.format == "onnx":
        raise UsageError("--int8 has no meaning for --format onnx, whose files have no scales")
    for path, words in ((args.statistics, ("digits",)), (args.held, ()), (args.int8, ("digits",))):
        if path is not None and path not in words:
            parsing.existing(path, *words)


def _images(
    args: argparse.Namespace, console: Console, info: NetworkInfo, *, listed: bool
) -> tuple[Any, Any]:
    """Load the images to describe, and those to hold; (None, None) without --statistics.

    The network's test images are left out, as everywhere. listed: leave the reading of a folder to
    those who describe.
    """
    if args.statistics is None:
        return None, None
    from pyedge.cli import dataset, device_images
    from pyedge.images.named_files import is_array_file

    given: Any
    held: Any = None
    if is_array_file(args.statistics):
        given = device_images.load(args.statistics, info.input_shape, labelled=True)
    elif listed and _of_files(args.statistics):
        given, held = (_listed(args, info, part) for part in ("train", "val"))
    else:
        data = dataset.load_for(console, args.statistics, info, of=args.network, splits=args.splits)
        given, held = data.train, data.val
    if args.held is not None:
        # --splits is about DATA of --statistics
        settings = info.preprocessing.to_dict()
        held = device_images.load(
            args.held, info.input_shape, labelled=True, preprocessing=settings, listed=listed
        )
    return given, held


def _int8_images(args: argparse.Namespace, console: Console, info: NetworkInfo) -> Any:
    """Load the images of --int8: of a data set those for validation; None without --int8."""
    if args.int8 is None:
        return None
    from pyedge.cli import dataset, device_images
    from pyedge.images.named_files import is_array_file

    if is_array_file(args.int8):
        return device_images.load(args.int8, info.input_shape, labelled=False)
    found = dataset.load_for(console, args.int8, info, labels=False, of=args.network)
    return found.train if found.val is None else found.val


def _of_files(path: str) -> bool:
    """Tell whether this is a folder of image files, and not of CIFAR-10's batches."""
    from pyedge.data import cifar
    from pyedge.images.sources import walk

    if not os.path.isdir(path):
        return False
    names = (entry.name for entry in walk(path, cifar.is_batch))
    return not any(cifar.is_batch(name.rpartition("/")[2]) for name in names)


def _listed(args: argparse.Namespace, info: NetworkInfo, part: str) -> EdgeImages:
    """List the images of a part of --statistics, as training split it."""
    from pyedge.images.edge_images import resize_of
    from pyedge.images.listed_files import listed_part

    resize = resize_of(info.preprocessing.to_dict())
    return listed_part(
        *(args.statistics, info.input_shape, part),
        seed=info.split_seed,
        splits=args.splits,
        resize=resize,
    )


def _preprocessing(student: Student, info: NetworkInfo) -> Preprocessing | None:
    """Return the file's where the student's images are not known, else None: as they were."""
    from pyedge.cloud.shown import shown_to

    return info.preprocessing if shown_to(student) is None else None
