"""Plans for people: a table, and pictures of the zeros, the maps and the costs."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import torch
from torch import fx

from pyedge.cloud.compression.profile import activation_after
from pyedge.cloud.compression.widths import kept_filters, mean_zero_fraction
from pyedge.cloud.tables import count, text_table
from pyedge.files.atomic import check_folder, write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pyedge.cloud.compression.cut import Cut

KEPT, REMOVED = "#2b6cb0", "#dd6b20"


def plan_table(plan: Cut) -> str:
    """Return the widths, layer by layer, and their costs, as text for the terminal."""
    near_zero = plan.profile.near_zero
    measures = ["zero fraction"] + ([] if near_zero is None else ["near-zero fraction"])
    rows = []
    for layer in plan.layers:
        found = (layer.zero_fraction, layer.near_zero_fraction)[: len(measures)]
        fractions = ["-" if each is None else f"{each:.3f}" for each in found]
        note = layer.note + (f" weights of {layer.source}" if layer.source != layer.conv else "")
        rows.append((layer.conv, layer.filters, layer.width, *fractions, note))
    table = text_table(("convolution", "filters", "stay", *measures, ""), rows)
    source = "noise" if plan.profile.noise else "images"
    threshold = "given widths" if plan.P is None else f"P = {plan.P:g}"
    summary = text_table(
        ("", "parameters", "MACs"),
        [
            ("teacher", f"{plan.teacher.params:,}", f"{plan.teacher.macs:,}"),
            ("student", f"{plan.params:,}", f"{plan.macs:,}"),
            ("ratio", f"{plan.ratio:.1f}x", f"{plan.teacher.macs / plan.macs:.1f}x"),
        ],
    )
    head = f"{threshold}, zeros counted on {plan.profile.images} {source}"
    if near_zero is not None:
        head += f"; near zero: at most {near_zero:g} of the layer's largest value"
    return f"{head}\n\n{table}\n\n{summary}"


def save_pictures(plan: Cut, folder: str | Path, image: torch.Tensor | None = None) -> list[Path]:
    """Write the plan's pictures as PNG files into `folder`, and return their paths.

    image: float c h w; if given, a picture of the first convolution's activation maps is added
    (Figure 1 of the paper).
    """
    folder = Path(folder)
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"zero_fractions": figure_zero_fractions(plan), "costs": figure_costs(plan)}
    if image is not None:
        figures["activation_maps"] = figure_activation_maps(plan, image)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        write_atomically(paths[-1], partial(figure.savefig, format="png", dpi=120))
    return paths


def _figure(width: float, height: float) -> Figure:
    # the object interface: no backend is chosen and no global state is left behind
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def figure_zero_fractions(plan: Cut) -> Figure:
    """Mean zero fraction of every filter, a panel for each set of coupled filters, sorted."""
    shown = [
        (each, fraction, width)
        for each, width in zip(plan.sets, plan.set_widths, strict=True)
        if (fraction := mean_zero_fraction(each, plan.profile, plan.shallow.source)) is not None
    ]
    columns = min(4, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = _figure(3.2 * columns, 2.3 * lines + 0.5)
    for place, (each, fraction, width) in enumerate(shown):
        axes = figure.add_subplot(lines, columns, place + 1)
        ordered = fraction.sort().values.numpy()
        colors = [KEPT if rank < width else REMOVED for rank in range(len(ordered))]
        axes.bar(range(len(ordered)), ordered, width=1.0, color=colors)
        if plan.P is not None:
            axes.axhline(plan.P, color="black", linewidth=0.8, linestyle="--")
        tied = f" and {len(each.convs) - 1} tied" if len(each.convs) > 1 else ""
        axes.set_title(f"{each.convs[0]}{tied}: {width} of {each.filters} stay", fontsize=8)
        axes.set_ylim(0, 1)
        axes.set_xlim(-0.5, each.filters - 0.5)
        axes.tick_params(labelsize=7)
        if place % columns == 0:
            axes.set_ylabel(_measure(plan) + " fraction", fontsize=8)
        if place >= len(shown) - columns:
            axes.set_xlabel("filters, sorted", fontsize=8)
    rule = "" if plan.P is None else f"; dashed: P = {plan.P:g}"
    figure.suptitle(
        f"Mean {_measure(plan)} fraction of each filter, sorted (blue stays, orange goes{rule})",
        fontsize=10,
    )
    return figure


def _measure(plan: Cut) -> str:
    """Name what was counted: zeros, what is near zero, or either, each in its layers."""
    kinds = {each.near_zero is not None for each in plan.profile.convs.values()}
    return "zero or near-zero" if len(kinds) == 2 else "near-zero" if True in kinds else "zero"


def figure_costs(plan: Cut) -> Figure:
    """Parameters and multiply-accumulates of the student against P."""
    thresholds = [step / 50 for step in range(25, 51)]
    plans = [plan.at(P) for P in thresholds]
    figure = _figure(9, 3.2)
    costs = (
        ("parameters", [each.params for each in plans], plan.teacher.params),
        ("MACs an image", [each.macs for each in plans], plan.teacher.macs),
    )
    for place, (name, values, full) in enumerate(costs):
        axes = figure.add_subplot(1, 2, place + 1)
        axes.plot(thresholds, values, color=KEPT)
        axes.set_yscale("log")
        axes.margins(x=0.06, y=0.12)
        for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            axis(lambda value, _: count(value))
        axes.set_xlabel("P", fontsize=9)
        axes.set_title(f"{name} (teacher: {count(full)})", fontsize=9)
        axes.grid(alpha=0.3, which="both")
        axes.tick_params(labelsize=8, which="both")
        for P in (1.0, 0.9, 0.8, 0.7):
            value = values[thresholds.index(P)]
            axes.plot([P], [value], "o", color=REMOVED, markersize=4)
            # above and to the left of a rising curve there is room
            axes.annotate(
                count(value),
                (P, value),
                xytext=(-5, 4),
                textcoords="offset points",
                ha="right",
                fontsize=8,
            )
    return figure


def figure_activation_maps(plan: Cut, image: torch.Tensor, conv: str | None = None) -> Figure:
    """The activation maps of a convolution's filters for one image (Figure 1 of the paper).

    image: float c h w, as the network takes it. conv: a convolution of the plan, by default
    the first one that was measured. Raises ValueError for any other name.
    """
    measured = [layer for layer in plan.layers if layer.source in plan.profile.convs]
    chosen = next((layer for layer in measured if conv in (None, layer.conv)), None)
    if chosen is None:
        names = ", ".join(layer.conv for layer in measured)
        raise ValueError(f"figure_activation_maps: conv: wanted one of {names}, got {conv!r}")
    maps = _activation_maps(plan.teacher.traced, chosen.source, image)
    profile = plan.profile.convs[chosen.source]
    stays = set(kept_filters(profile.zero_fraction, chosen.filters, chosen.width).tolist())
    counts = profile.count(maps[None])[0]
    near = profile.near_zero
    word, idle = ("zero", 0.0) if near is None else ("near zero", near * profile.largest)
    shown = min(len(maps), 64)
    columns = min(8, shown)
    lines = math.ceil(shown / columns)
    figure = _figure(1.1 * columns + 2.2, 1.25 * lines + 0.6)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(2.2, 1.1 * columns))[0]
    axes = left.add_subplot(1, 1, 1)
    _show(axes, _to_picture(image))
    axes.set_title("input", fontsize=9)
    for filter_ in range(shown):
        axes = right.add_subplot(lines, columns, filter_ + 1)
        zero = int(counts[filter_]) / profile.map_size
        picture = maps[filter_].where(maps[filter_].abs() > idle, 0.0)
        _show(axes, picture.numpy(), zero="#d9d9d9")
        color = KEPT if filter_ in stays else REMOVED
        axes.set_title(f"{filter_ + 1}: {zero:.0%} {word}", fontsize=7, color=color)
    more = "" if shown == len(maps) else f", the first {shown} of {len(maps)}"
    figure.suptitle(
        f"Activation maps of {chosen.source}{more} (grey: {word}; filters in orange go)",
        fontsize=10,
    )
    return figure


def _show(axes: Axes, picture: Any, zero: str | None = None) -> None:
    """Show a picture; exact zeros in the colour `zero`, which the scale does not have."""
    from matplotlib import colormaps

    cmap = colormaps["viridis"]
    if zero is not None:
        cmap = cmap.with_extremes(bad=zero)
        picture = numpy.ma.masked_equal(picture, 0)
    axes.imshow(picture, cmap=cmap)
    axes.set_xticks([])
    axes.set_yticks([])


def _to_picture(image: torch.Tensor) -> Any:
    """A float image c h w as grey h w or colour h w 3, stretched to 0..1."""
    low, high = image.min(), image.max()
    stretched = ((image - low) / (high - low).clamp(min=1e-12)).cpu()
    return stretched.permute(1, 2, 0).numpy() if len(image) == 3 else stretched[0].numpy()


def _activation_maps(traced: fx.GraphModule, conv: str, image: torch.Tensor) -> torch.Tensor:
    relu = activation_after(traced, conv)
    found: dict[fx.Node, torch.Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, node: fx.Node) -> Any:
            value = super().run_node(node)
            if node is relu:
                found[node] = value
            return value

    device = next(traced.parameters()).device
    with torch.no_grad():
        Recorder(traced).run(image[None].to(device, torch.float32))
    assert relu is not None
    return found[relu][0].cpu()
