"""pyedge inspect: what a student file holds. Needs only numpy."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from pyedge.classes.matching import listing
from pyedge.cli import described, options, parsing
from pyedge.cli.console import Console
from pyedge.cli.described import size
from pyedge.cli.parsing import existing
from pyedge.images.preprocessing import Preprocessing

if TYPE_CHECKING:
    from pyedge.student.file import StudentFile
    from pyedge.student.graph import Layer, Node

USAGE = "STUDENT [options]"

DESCRIPTION = """\
Show what a student file (.pyedge) holds: layers, sizes, classes, what learns, the statistics of its
features, and the memory that it takes. Needs only numpy.
"""

EXAMPLES = """\
examples:
  pyedge inspect student.pyedge
  pyedge inspect student.pyedge --batch-size 32
      The memory for batches of 32 images.
  pyedge inspect student.pyedge --json
      Everything, for programs, with the file's history.
"""

_PREPROCESSING = {
    "image": "each standardised",
    "channel": "standardised by channel",
    "none": "pixels over 255",
}


def _preprocessing(student: StudentFile) -> str:
    made = Preprocessing.of(student.preprocessing)
    more = [str(each) for each in (made.resize, made.colour) if each]
    return ", ".join([_PREPROCESSING[made.kind], *more])


def add_arguments(parser: parsing.Parser) -> None:
    """Add the options of `pyedge inspect`."""
    parser.add_argument("student", metavar="STUDENT", help="a file of pyedge export (.pyedge)")
    parser.rename("--batch", "--batch-size")
    parser.add_argument(
        "--batch-size",
        type=parsing.whole(1),
        default=128,
        metavar="N",
        help="images in a batch, for the memory shown (default 128)",
    )
    options.add_output(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Read the file and print what it holds."""
    existing(args.student)
    from pyedge.student.archive import VERSION, read_student

    student = read_student(args.student)
    layers, memory = student.layers(), _memory(student, args.batch_size)
    content = {
        "command": "inspect",
        "student": args.student,
        "version": VERSION,
        "bytes": os.path.getsize(args.student),
        "input_shape": student.input_shape,
        "preprocessing": student.preprocessing,
        "classes": student.classes,
        "params": sum(layer.params for layer in layers),
        "macs": sum(layer.macs for layer in layers),
        "trainable": student.trainable,
        "last_convs": student.last_convs,
        "classifier": student.classifier,
        "groups": _groups(student, layers),
        "layers": [_row(student, layer) for layer in layers],
        "memory": memory,
        **described.content(student),
        "optimizer": student.optimizer,
        "record": student.record,
        "structure_digest": student.structure_digest,
    }
    console.result(_text(args.student, student, layers, content), content)
    return 0


def _memory(student: StudentFile, batch: int) -> dict[str, int]:
    engine = student.engine()
    return {
        "batch": batch,
        "predict_bytes": engine.memory(batch, False),
        "learn_bytes": engine.memory(batch, True),
        "weight_bytes": engine.weight_bytes,
    }


def _groups(student: StudentFile, layers: list[Layer]) -> list[dict[str, Any]]:
    return [
        {"output": layers[tap].name, "shape": layers[tap].shape, "teacher_channels": channels}
        for tap, channels in zip(student.taps, student.teacher_channels, strict=True)
    ]


def _row(student: StudentFile, layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "op": layer.op,
        "shape": layer.shape,
        "params": layer.params,
        "macs": layer.macs,
        "trainable": layer.name in student.trainable,
    }


def _text(path: str, student: StudentFile, layers: list[Layer], content: dict[str, Any]) -> str:
    from pyedge.cloud.tables import text_table  # plain Python, no torch

    rows = [
        (
            layer.name,
            _operator(node, student),
            _size(layer.shape),
            f"{layer.params:,}" if layer.params else "-",
            f"{layer.macs:,}" if layer.macs else "-",
            "learns" if layer.name in student.trainable else "",
        )
        for node, layer in zip(student.nodes, layers, strict=True)
    ]
    groups = [
        f"  {group['output']}: {group['shape'][0]} of the teacher's {group['teacher_channels']} "
        "channels"
        for group in content["groups"]
    ]
    memory, names = content["memory"], listing(student.classes, len(student.classes))
    return "\n".join(
        [
            f"{path}: {len(layers)} layers, {content['params']:,} parameters, "
            f"{content['macs']:,} multiply-accumulates an image, {size(content['bytes'])}",
            f"images {_size(student.input_shape)}, {_preprocessing(student)}",
            f"{len(student.classes)} classes: "
            + (names if len(names) <= 200 else f"{names[:197]}..."),
            "",
            text_table(("layer", "operator", "output", "parameters", "MACs", ""), rows),
            "",
            "blocks that are compared with the teacher's:",
            *groups,
            *described.lines(student),
            f"memory for batches of {memory['batch']}: {size(memory['learn_bytes'])} to learn, "
            f"{size(memory['predict_bytes'])} to predict, and {size(memory['weight_bytes'])} "
            "of weights",
        ]
    )


def _operator(node: Node, student: StudentFile) -> str:
    """Write an operator with what tells it from others of its kind: conv2d 3x3, stride 2."""
    parts = [node["op"]]
    if node["op"] == "conv2d":
        parts[0] += " " + _size(student.arrays[node["weight"]].shape[2:])
        if node["groups"] > 1:
            parts.append(f"{node['groups']} groups")
    elif "kernel" in node:
        parts[0] += " " + _size(node["kernel"])
    if "stride" in node and list(node["stride"]) != [1, 1]:
        down, across = node["stride"]
        parts.append(f"stride {down if down == across else _size(node['stride'])}")
    return ", ".join(parts)


def _size(shape: Any) -> str:
    return "x".join(map(str, shape))
