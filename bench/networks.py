"""What compression makes of networks by name: torchvision's, timm's, and the tests' dialects.

    python -m bench.networks [NAME ...] [--P 0.5] [--size 64] [--json]

A name is torchvision:NAME, timm:NAME or dialect:NAME (of tests/support/dialects); without names all
of NAMES are taken whose package can be imported, and the dialects of their kind. Networks have
fresh weights and ten classes, and are measured on noise: the table says what can be cut, and how
the parts hang together, not how good a student is. Each student has run, has as many parameters as
its plan says, and has been exported: "gradients" is how far the edge engine's are from torch's in
float64, the largest relative difference of any weight that can learn. A refusal is the sentence
that a user gets.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import pyedge
from pyedge.cloud.tables import text_table

NAMES = {
    "torchvision": (
        "resnet18 resnet34 resnet50 wide_resnet50_2 resnext50_32x4d vgg11 vgg11_bn vgg16 vgg16_bn "
        "mobilenet_v2 mobilenet_v3_small mobilenet_v3_large efficientnet_b0 regnet_x_400mf "
        "regnet_y_400mf mnasnet1_0 shufflenet_v2_x1_0"
    ),
    "timm": (
        "resnet26 seresnet18 legacy_seresnet18 seresnet50 mobilenetv2_100 mobilenetv3_small_100 "
        "mobilenetv3_large_100 efficientnet_lite0 efficientnet_b0 mnasnet_100 regnetx_002 "
        "regnety_002 resnext26ts ghostnet_100 repvgg_a0"
    ),
    "dialect": (
        "mobilenet_v1 mobilenet_v2 mobilenet_v3 efficientnet regnet_y separable timm_resnext "
        "timm_squeeze_excite gate_linear_expand_as smooth_gelu smooth_slopes refused_spatial_gate "
        "refused_dense_connections"
    ),
}
# torchvision's operators for detection; classifiers use none, but its import asks for them
_OPERATORS = "nms qnms roi_align roi_pool ps_roi_align ps_roi_pool deform_conv2d"
_IMAGES = 8


def import_torchvision() -> Any:
    """Import torchvision, also where its compiled operators do not load with this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ImportError("torchvision is not installed")
    compiled = sorted(Path(spec.origin).parent.glob("_C*"))
    try:
        torch.ops.load_library(str(compiled[0]))
    except (OSError, IndexError):
        _declare_operators()
    import torchvision

    return torchvision


_libraries: list[torch.library.Library] = []  # a library's operators go with it


def _declare_operators() -> None:
    if _libraries:
        return
    _libraries.append(torch.library.Library("torchvision", "DEF"))
    for name in _OPERATORS.split():
        _libraries[0].define(f"{name}(Tensor x) -> Tensor")


def make(name: str, size: int) -> tuple[nn.Module, torch.Tensor]:
    """Build a network with fresh weights, and noise in the shape of its images.

    Raises ImportError where the package is missing, ValueError for a name without one.
    """
    package, _, kind = name.partition(":")
    torch.manual_seed(0)
    images = torch.randn(_IMAGES, 3, size, size)
    if package == "torchvision":
        return import_torchvision().models.get_model(kind, num_classes=10), images
    if package == "timm":
        if importlib.util.find_spec("torchvision") is not None:
            import_torchvision()  # timm asks for it
        import timm

        return timm.create_model(kind, num_classes=10), images
    if package == "dialect":
        from tests.support import dialects

        dialect = dialects.get(kind)
        return dialect.make(), dialect.images(_IMAGES)
    raise ValueError(f"networks: name: wanted torchvision:NAME, timm:NAME or dialect:NAME: {name}")


def row(name: str, P: float, size: int) -> dict[str, Any]:
    """Compress and export one network; `refused` is the sentence if it cannot be, else None."""
    model, images = make(name, size)
    found: dict[str, Any] = {"name": name, "refused": None}
    found["before"] = sum(parameter.numel() for parameter in model.parameters())
    try:
        plan = pyedge.plan(model, P, images)
    except pyedge.StructureError as error:
        return {**found, "refused": str(error).removeprefix("plan: ")}
    student = plan.build()
    with torch.no_grad():
        shape = student(images).shape
    if shape != (_IMAGES, 10) or student.params != plan.params:
        raise SystemExit(f"bench.networks: {name}: the student is not what was planned")
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = pyedge.export(student, Path(folder) / "student.pyedge")
    except pyedge.ExportError as error:
        return {**found, "refused": str(error)}
    assert file is not None
    free = sum(not each.fixed for each in plan.sets)
    return {
        **found,
        "after": plan.params,
        "ratio": plan.ratio,
        "blocks": [len(group.blocks) for group in plan.structure.groups],
        "sets": [free, len(plan.sets)],
        "gradient_error": file.record[-1]["gradient_error"],
    }


def text(rows: Sequence[dict[str, Any]], P: float) -> str:
    """Return the rows as text: a table of what was compressed, and the refusals."""
    taken = [
        (
            each["name"],
            f"{each['before']:,}",
            f"{each['after']:,}",
            f"{each['ratio']:.1f}x",
            " ".join(map(str, each["blocks"])),
            "{} of {}".format(*each["sets"]),
            f"{each['gradient_error']:.0e}",
        )
        for each in rows
        if each["refused"] is None
    ]
    head = ("network", "parameters", f"P = {P:g}", "smaller", "blocks", "sets cut", "gradients")
    refused = [f"{each['name']}: {each['refused']}" for each in rows if each["refused"]]
    return "\n\n".join([text_table(head, taken), *refused])


def names() -> list[str]:
    """Return all names whose package is here."""
    found = []
    for package, kinds in NAMES.items():
        module = "tests" if package == "dialect" else package
        if importlib.util.find_spec(module) is not None:
            found += [f"{package}:{kind}" for kind in kinds.split()]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.networks")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--P", type=float, default=0.5)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old idioms, and of an answer for one image alone
        for name in args.names or names():
            rows.append(row(name, args.P, args.size))
            print(name, file=sys.stderr, flush=True)
    print(json.dumps(rows, indent=1) if args.json else text(rows, args.P))
    return 0


if __name__ == "__main__":
    sys.exit(main())
