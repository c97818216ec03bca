"""A cut student without its weights, as plain values from which it is built again.

Nothing is traced, measured or pruned for that, so a student does not depend on how Torch-Pruning,
torch.fx or this package would cut it out of its teacher today.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pyedge.cloud.compression.student import Student
from pyedge.cloud.graph.channel_pad import ChannelPad
from pyedge.cloud.graph.dry_run import dry_run
from pyedge.cloud.graph.recorded import build_graph, fields_of, record_graph
from pyedge.cloud.graph.recorded_values import shown

_MOST_CHANNELS = 1 << 20
_MOST_WEIGHTS = 1 << 31


def record_student(student: Student, input_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Return the record of a student that takes images c h w: see `recorded.record_graph`.

    It also holds `last_convs` and `classifier` (names of layers), and for each group the numbers of
    the teacher's channels (`teacher_channels`) and of those that stay (`kept`); which ones stay is
    in the state_dict. Raises ValueError for a student with a part that files cannot hold.
    """
    record = {
        **record_graph(student.net),
        "last_convs": [name.removeprefix("net.") for name in student.last_convs],
        "classifier": student.classifier.removeprefix("net."),
        "kept": [student.kept(group).numel() for group in range(student.groups)],
        "teacher_channels": list(student.teacher_channels),
    }
    _check_same(build_student(record, input_shape), student)
    return record


def build_student(record: Any, input_shape: tuple[int, int, int]) -> Student:
    """Build the student of a record, in eval mode, with tensors that have no values.

    Most of them are on the meta device: `to_empty` gives them memory. The network has been checked
    by a run without memory, on images c h w. Raises ValueError for anything but a student's record.
    """
    wanted = {"last_convs": list, "classifier": str, "kept": list, "teacher_channels": list}
    if not isinstance(record, dict):
        raise ValueError(f"wanted the record of a student, got {shown(record)}")
    own = {name: value for name, value in record.items() if name in wanted}
    last_convs, classifier, kept, channels = fields_of(own, wanted)
    net = build_graph({name: value for name, value in record.items() if name not in wanted})
    weights = sum(tensor.numel() for tensor in (*net.parameters(), *net.buffers()))
    if weights >= _MOST_WEIGHTS:
        raise ValueError(f"{weights:,} weights are too many to be true")
    if not len(last_convs) == len(kept) == len(channels):
        raise ValueError(
            "last_convs, kept, teacher_channels: wanted one entry each for every group, got "
            f"{len(last_convs)}, {len(kept)} and {len(channels)}"
        )
    for name, kind in (*((name, nn.Conv2d) for name in last_convs), (classifier, nn.Linear)):
        if not (isinstance(name, str) and isinstance(_layers_of(net).get(name), kind)):
            raise ValueError(f"wanted the name of a {kind.__name__}, got {shown(name)}")
    for name, few, many in zip(last_convs, kept, channels, strict=True):
        if not (type(few) is type(many) is int and 1 <= few <= many <= _MOST_CHANNELS):
            raise ValueError(
                f"{name}: wanted channels kept of those of the teacher, got {shown(few)} of "
                f"{shown(many)}"
            )
    _check_outputs(dry_run(net, (2, *input_shape)), kept)
    positions = [torch.empty(count, dtype=torch.int64, device="meta") for count in kept]
    return Student(net, positions, last_convs, classifier, channels).eval()


def check_positions(student: Student) -> None:
    """Check the channel numbers among a student's weights. Raises ValueError naming bad ones."""
    for group, count in enumerate(student.teacher_channels):
        kept = student.kept(group)
        if not bool((kept.diff() > 0).all()) or int(kept[0]) < 0 or int(kept[-1]) >= count:
            raise ValueError(
                f"kept_{group} is not a rising list of channels below {count}, it is "
                f"{shown(kept.tolist())}"
            )
    for name, pad in student.named_modules():
        if isinstance(pad, ChannelPad):
            placed = pad.position[pad.position >= 0]
            low, high = int(pad.position.min()), int(pad.position.max())
            if len(placed.unique()) != len(placed) or low < -1 or high >= pad.out_channels:
                raise ValueError(
                    f"{name}.position: wanted a place of its own below {pad.out_channels}, or -1, "
                    f"for each channel, got {shown(pad.position.tolist())}"
                )


def _layers_of(net: nn.Module) -> dict[str, nn.Module]:
    return dict(net.named_modules())


def _check_outputs(found: Any, kept: list[int]) -> None:
    """Check that the outputs are logits n classes, twice, and a map n c h w for each group."""
    tensors = isinstance(found, tuple) and all(torch.is_tensor(each) for each in found)
    sizes = [list(each.shape) for each in found] if tensors else []
    logits, maps = sizes[:2], sizes[2:]
    flat = len(logits) == 2 and all(len(each) == 2 and each[0] == 2 for each in logits)
    if not flat or [each[1] if len(each) == 4 else None for each in maps] != kept:
        raise ValueError(
            f"wanted the output, the logits and maps of {kept} channels, got "
            f"{shown(sizes) if tensors else type(found).__name__}"
        )


def _check_same(again: Student, student: Student) -> None:
    """Raise ValueError unless a file would give back the student that goes into it."""
    if again.net.code != student.net.code:
        raise ValueError("its forward would change")
    wanted, found = student.state_dict(), again.state_dict()
    for name in [*wanted, *found]:
        if name not in wanted or name not in found or wanted[name].shape != found[name].shape:
            raise ValueError(f"{name} would be of another size, or missing")
    buffers = sum(1 for _ in student.named_buffers(remove_duplicate=False))
    if buffers + sum(1 for _ in student.parameters()) != len(wanted):
        raise ValueError("it has buffers that are not in its state_dict")
