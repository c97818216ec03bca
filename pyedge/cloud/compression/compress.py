"""plan and compress: from a trained network to a shallow, thin student (Sec. 3)."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import fx, nn

from pyedge.arguments import choice, real, whole
from pyedge.cloud.compression.coupling import CostModel, FilterSet, dependency_graph, filter_sets
from pyedge.cloud.compression.cut import Init, Teacher
from pyedge.cloud.compression.depth import Head, Keep, make_shallow
from pyedge.cloud.compression.plan import Plan
from pyedge.cloud.compression.profile import NEAR_ZERO, Images, image_batches, measure
from pyedge.cloud.compression.widths import (
    WidthRule,
    Widths,
    budget_threshold,
    check_threshold,
    explicit_widths,
    threshold_widths,
)
from pyedge.cloud.feed.networks import check_module
from pyedge.cloud.graph.clone import private_copy
from pyedge.cloud.graph.modes import plain_torch
from pyedge.cloud.graph.rewrite import device_of
from pyedge.cloud.graph.siblings import origin_of
from pyedge.cloud.graph.structure import BlockNames, analyse
from pyedge.cloud.graph.trace import record_shapes, trace
from pyedge.cloud.shown import (
    classes_learned,
    compare,
    compare_preprocessing,
    loaders_preprocessing,
    look_at,
    preprocessing_of,
)
from pyedge.cloud.weights.checks import check_weights
from pyedge.errors import StructureError
from pyedge.keywords import keywords
from pyedge.warning import warn

if TYPE_CHECKING:
    from pyedge.cloud.compression.student import Student

_CALIBRATION_IMAGES = 256  # enough for means and variances over h x w x images


@keywords()
def plan(
    model: nn.Module,
    P: float | None = None,
    images: Images | None = None,
    *,
    widths: Widths | None = None,
    max_params: int | None = None,
    max_macs: int | None = None,
    near_zero: float = NEAR_ZERO,
    min_width: int = 1,
    round_to: int = 1,
    keep: Keep = "first",
    init: Init = "inherit",
    head: Head = "single",
    structure: BlockNames | None = None,
    input_shape: tuple[int, int, int] | None = None,
    max_images: int | None = 1024,
    workers: int | None = None,
    seed: int = 0,
) -> Plan:
    """Plan the compression of `model`, measuring zero activations in one pass over images.

    P: filter pruning threshold (Sec. 3): a filter can go when at least this share of its
    activation map is zero. Instead of P, or with P as an upper bound, `max_params` and `max_macs`
    (of one image) give the widest student within the budget. Or `widths` gives the number of
    filters by convolution name, or in order.
    images: a float batch n c h w, a Dataset or a DataLoader, as the network takes them. At most
    `max_images` are used. Without images, noise of `input_shape` c h w is measured, with a
    warning.
    near_zero: for activations that never are exactly zero (SiLU, hard-swish, GELU, Mish, LeakyReLU,
    PReLU), above 0 and below 1: a value counts as zero if its size is at most this fraction of the
    largest in that layer, over all its filters on the first batch of images. For ReLU and ReLU6
    exact zeros count, whatever it is.
    min_width, round_to: bounds on every width. keep: which block of a group stays (the others
    go): "first" fits and inherits better, "last" is the paper's wording. init: "inherit" the
    teacher's weights or start "fresh". head: "single" replaces hidden linear layers (VGG) by
    one linear layer, as the paper does; "keep" leaves them. structure: the blocks' module
    names, one list for each group, if they cannot be found. workers: how many processes of Ray
    measure, each on one CPU, and on a GPU if the model is on one; None: this process alone. images
    is then a Dataset, of which each reads its part, or a BatchLoader; the plan is the same
    (docs/cloud.md).

    The teacher is measured in eval mode, on a copy. Raises StructureError for a network that
    cannot be taken apart, ValueError and TypeError for bad arguments.
    """
    rule = WidthRule(min_width, round_to)
    choice(keep, "plan: keep", ("first", "last"))
    choice(init, "plan: init", ("inherit", "fresh"))
    choice(head, "plan: head", ("single", "keep"))
    seed = whole(seed, "plan: seed", 0)
    near_zero = real(near_zero, "plan: near_zero", above=0, below=1)
    if max_images is not None:
        max_images = whole(max_images, "plan: max_images", 1)
    if P is not None:
        P = check_threshold(P)
    if P is None and widths is None and max_params is None and max_macs is None:
        raise ValueError("plan: wanted P, widths, max_params or max_macs, got none of them")
    if widths is not None and not (max_params is None and max_macs is None):
        raise ValueError("plan: widths: wanted None with max_params or max_macs, got both")

    shared = None
    if workers is not None:
        from pyedge.cloud.jobs.count import SharedCount

        shared = SharedCount(images, max_images, whole(workers, "plan: workers", 1))
    with plain_torch():
        check_module(model, "plan")
        clone = private_copy(model)
        check_weights("plan", "model", clone)
        device = device_of(clone)
        noise = images is None
        if images is None:
            shape = input_shape or _guess_input_shape(clone)
            images = torch.randn(
                128, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32
            )
            warn(
                "plan: no images were given, so zeros are counted on noise; real images, even 128 "
                "of them, show far better which filters are idle"
            )
        if shared is None:
            batches, first = _peek(image_batches(images, max_images, device))
        else:
            batches, first = _peek(shared.head(device))
        example = first[:2] if len(first) > 1 else first.expand(2, -1, -1, -1)
        example = example.clone()  # of torch.inference_mode() it could not be followed

        try:
            traced = trace(clone, example)
            _check_answers(clone, traced, example)
        except StructureError as error:
            raise StructureError(f"plan: {error}") from error
        found = analyse(traced, structure)
        shallow = make_shallow(traced, found, keep, head)
        record_shapes(shallow.traced, example)
        calibration: list[torch.Tensor] = []
        measured = list(dict.fromkeys(shallow.source.values()))
        remembered = _remember(batches, calibration)
        rest = None if shared is None else functools.partial(shared.rest, traced, device)
        profile = measure(traced, measured, remembered, noise, near_zero, rest)
        graph = dependency_graph(shallow.traced, example)
        shown = None if noise else look_at(torch.cat(calibration))
        if shown is not None:
            compare(model, shown, "plan")
        compare_preprocessing(model, images, "plan", "the network")
        given, known = loaders_preprocessing(images), preprocessing_of(model)
        order = {str(node.target): place for place, node in enumerate(traced.graph.nodes)}
        sets = filter_sets(shallow.traced, graph, sorted(shallow.source, key=order.__getitem__))
        _check_can_be_cut(sets)
        cost = CostModel(shallow.traced, sets)
        full = CostModel(traced, [])
        teacher = Teacher(traced, found, full.params([]), full.macs([]), origin_of(clone))

        def widths_at(threshold: float) -> list[int]:
            return threshold_widths(threshold, sets, profile, shallow.source, rule)

        if widths is not None:
            default = [each.filters for each in sets] if P is None else widths_at(P)
            chosen = explicit_widths(widths, sets, default)
        else:
            if max_params is not None or max_macs is not None:
                P = budget_threshold(widths_at, cost, max_params, max_macs, 1.0 if P is None else P)
            assert P is not None
            chosen = widths_at(P)
        return Plan(
            P=P if widths is None else None,
            set_widths=tuple(chosen),
            teacher=teacher,
            shallow=shallow,
            profile=profile,
            sets=tuple(sets),
            cost=cost,
            rule=rule,
            init=init,
            seed=seed,
            calibration=() if noise else tuple(calibration),
            shown=shown,
            preprocessing=given.with_sizes_of(known) if given is not None else known,
            class_names=classes_learned(model),
        )


@keywords()
def compress(
    model: nn.Module,
    P: float | None = None,
    images: Images | None = None,
    *,
    widths: Widths | None = None,
    max_params: int | None = None,
    max_macs: int | None = None,
    near_zero: float = NEAR_ZERO,
    min_width: int = 1,
    round_to: int = 1,
    keep: Keep = "first",
    init: Init = "inherit",
    head: Head = "single",
    structure: BlockNames | None = None,
    input_shape: tuple[int, int, int] | None = None,
    max_images: int | None = 1024,
    workers: int | None = None,
    seed: int = 0,
) -> Student:
    """Compress `model` into a shallow, thin student: `plan(model, P, images, ...).build()`.

    The arguments are those of `pyedge.plan`. The student inherits the teacher's weights, its batch
    norms are recalibrated on the images, and it is in eval mode; `model` is untouched.
    """
    return plan(
        model,
        P,
        images,
        widths=widths,
        max_params=max_params,
        max_macs=max_macs,
        near_zero=near_zero,
        min_width=min_width,
        round_to=round_to,
        keep=keep,
        init=init,
        head=head,
        structure=structure,
        input_shape=input_shape,
        max_images=max_images,
        workers=workers,
        seed=seed,
    ).build()


def _check_answers(clone: nn.Module, traced: fx.GraphModule, example: torch.Tensor) -> None:
    """Compare the traced network with the network itself, in evaluation mode.

    Raises StructureError if their answers differ; warns if the network answers an image alone
    differently from the same image in a batch.
    """
    with torch.no_grad():
        own, alone, read = clone(example), clone(example[:1]).reshape(1, -1), traced(example)
    if not _close(read, own):
        raise StructureError(
            "plan: what the network answers in evaluation mode is not what its layers compute, "
            "because of random numbers (dropout that is on in evaluation mode, noise); a student "
            "would not have them"
        )
    if alone.shape == own[:1].shape and not _close(alone, own[:1]):
        warn(
            "plan: the network answers an image alone otherwise than beside others; the student, "
            "and a device, answer every image as one of many"
        )


def _close(got: torch.Tensor, wanted: torch.Tensor, room: float = 1e-3) -> bool:
    if got.shape != wanted.shape:
        return False
    same = got == wanted  # infinities, too
    size = wanted[wanted.isfinite()].abs().max() if bool(wanted.isfinite().any()) else 0.0
    return bool((same | ((got - wanted).abs() <= room * (size + 1e-6))).all())


def _check_can_be_cut(sets: list[FilterSet]) -> None:
    if all(each.fixed for each in sets):
        reasons = ", ".join(f"{each.convs[0]}: {each.fixed}" for each in sets[:3])
        raise StructureError(f"no filter of the network can be pruned ({reasons})")


def _peek(batches: Iterator[torch.Tensor]) -> tuple[Iterator[torch.Tensor], torch.Tensor]:
    first = next(batches, None)
    if first is None:
        raise ValueError("plan: images: wanted at least one, got none")
    return itertools.chain([first], batches), first


def _remember(
    batches: Iterator[torch.Tensor], calibration: list[torch.Tensor]
) -> Iterator[torch.Tensor]:
    """Pass on the batches, and keep the first images for the batch norms."""
    for batch in batches:
        have = sum(map(len, calibration))
        if have < _CALIBRATION_IMAGES:
            calibration.append(batch[: _CALIBRATION_IMAGES - have].clone())
        yield batch


def _guess_input_shape(model: nn.Module) -> tuple[int, int, int]:
    """Guess the input shape: a 7x7 stem or hidden linear layers mean ImageNet."""
    stem = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if stem is None:
        raise StructureError("no nn.Conv2d was found: pyedge compresses convolutional classifiers")
    for size in (224, 32) if stem.kernel_size[0] >= 7 else (32, 64, 96, 224):
        try:
            with torch.no_grad():
                model(
                    torch.zeros(
                        2,
                        stem.in_channels,
                        size,
                        size,
                        device=device_of(model),
                        dtype=torch.float32,
                    )
                )
        except (RuntimeError, ValueError):
            continue
        return (stem.in_channels, size, size)
    raise ValueError(
        "plan: input_shape: wanted c h w, or images, since it cannot be guessed, got None"
    )
