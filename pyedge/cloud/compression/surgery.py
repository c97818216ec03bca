"""Surgery: cut a plan's student out of the teacher's copy (Sec. 3)."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
import torch_pruning as tp
from torch import fx, nn

from pyedge.cloud.compression.coupling import dependency_graph
from pyedge.cloud.compression.depth import classifier_name
from pyedge.cloud.compression.student import Student
from pyedge.cloud.graph.modes import plain_torch
from pyedge.cloud.graph.rewrite import device_of
from pyedge.cloud.graph.taps import with_taps

if TYPE_CHECKING:
    from pyedge.cloud.compression.cut import Cut


def build_student(plan: Cut) -> Student:
    """Build the student, in eval mode: shallow, thin, weights inherited or fresh.

    Inherited batch norms are recalibrated on the plan's images: in a network that lost most of its
    layers they see other statistics. If nothing was lost, they do not change. A plan can be built
    more than once.
    """
    with plain_torch():
        net = copy.deepcopy(plan.shallow.traced)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            if plan.shallow.fresh_head:
                _reset(net.get_submodule(classifier_name(net)))
            _take_over_from_last_block(net, plan)
            kept = plan.kept
            _prune(net, plan, kept)
            if plan.init == "fresh":
                for module in net.modules():
                    _reset(module)
        taps = [[name] for name in plan.shallow.taps]
        place_of = {conv: place for place, each in enumerate(plan.sets) for conv in each.convs}
        last_convs = [convs[-1] for convs in plan.shallow.block_convs]
        classifier = classifier_name(net)
        student = Student(
            with_taps(net, taps, classifier),
            [kept[place_of[conv]].to(device_of(net)) for conv in last_convs],
            last_convs,
            classifier,
            [plan.sets[place_of[conv]].filters for conv in last_convs],
        ).eval()
        if plan.init == "inherit" and not _is_whole(plan):
            recalibrate(student, plan.calibration)
        return student


def _is_whole(plan: Cut) -> bool:
    """Tell whether every block and every filter stays, and the classifier too."""
    blocks = all(len(g.blocks) == 1 and not g.repeats for g in plan.structure.groups)
    filters = all(s.filters == width for s, width in zip(plan.sets, plan.set_widths, strict=True))
    return blocks and filters and not plan.shallow.fresh_head


def _prune(net: fx.GraphModule, plan: Cut, kept: list[torch.Tensor]) -> None:
    example = torch.zeros(
        2, *plan.structure.input_shape, device=device_of(net), dtype=torch.float32
    )
    graph = dependency_graph(net, example)
    for each, positions in zip(plan.sets, kept, strict=True):
        stays = set(positions.tolist())
        removed = [filter_ for filter_ in range(each.filters) if filter_ not in stays]
        if removed:
            root = net.get_submodule(each.convs[0])
            graph.get_pruning_group(root, tp.prune_conv_out_channels, removed).prune()
    for parameter in net.parameters():
        parameter.requires_grad_(True)
        parameter.grad = None


def _take_over_from_last_block(net: nn.Module, plan: Cut) -> None:
    """For keep="last", load the last blocks' weights where they fit, else start afresh."""
    pairs = {**plan.shallow.source, **plan.shallow.other_source}
    for name, source in pairs.items():
        if name == source:
            continue
        mine, theirs = net.get_submodule(name), plan.teacher.traced.get_submodule(source)
        shapes = {key: value.shape for key, value in mine.state_dict().items()}
        if shapes == {key: value.shape for key, value in theirs.state_dict().items()}:
            mine.load_state_dict(theirs.state_dict())
        else:
            _reset(mine)


def _reset(module: nn.Module) -> None:
    """Initialise convolutions as He et al. do, everything else as torch does."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif callable(reset := getattr(module, "reset_parameters", None)):
        reset()


def recalibrate(model: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Measure the batch norms' running mean and variance anew on `batches` (float n c h w).

    Batches of one image are left out if others are larger, and joined if none is; a single image
    has no statistics. Without batches nothing changes. Modes and momenta are restored.
    """
    # one value a channel has no variance; torch refuses it in training mode
    every = list(batches)
    batches = [batch for batch in every if len(batch) > 1]
    if not batches and len(every) > 1:
        batches = [torch.cat(every)]
    norms = [
        m
        for m in model.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    if not batches or not norms:
        return
    before = [(norm, norm.momentum, norm.training) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    try:
        with torch.no_grad():
            for batch in batches:
                model(batch)
    finally:
        for norm, momentum, training in before:
            norm.momentum = momentum
            norm.train(training)
