"""Networks of other packages, by name: "timm:resnet18", "torchvision:mobilenet_v2"."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

PACKAGES = ("timm", "torchvision")
_NEAREST = 3  # names that an error suggests
# a name in a file, or on a command line, neither downloads weights nor reads another file
_WEIGHTS = {
    "cache_dir",
    "checkpoint_path",
    "pretrained",
    "pretrained_backbone",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "weights",
    "weights_backbone",
}


def package_of(name: str) -> str | None:
    """Return the package of a name such as "timm:resnet18"; None for any other name."""
    package, colon, _ = name.partition(":")
    return package if colon and package in PACKAGES else None


def builder(name: str) -> Callable[..., nn.Module]:
    """Return a function that builds a package's network, without weights.

    Its parameters are num_classes and, for timm, in_channels; all others go to the package. Raises
    ValueError for a name that the package does not have, with the nearest ones; ImportError if it
    is not installed.
    """
    package, _, short = name.partition(":")
    module = _imported(name, package)
    _check_name(package, module, short)

    def of_timm(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> nn.Module:
        sizes = {"num_classes": num_classes, "in_chans": in_channels}
        return _built(name, module.create_model, {**options, **sizes})

    def of_torchvision(num_classes: int = 1000, **options: Any) -> nn.Module:
        return _built(name, module.models.get_model, {**options, "num_classes": num_classes})

    return of_timm if package == "timm" else of_torchvision


def settings_of(name: str) -> Mapping[str, Any] | None:
    """Return what a package's network takes of images; None for any other name, and if unknown.

    `pyedge.data.Preprocessing.of` takes it: timm's pretrained_cfg, or the transforms of
    torchvision's first weights for this network. Raises as `builder`.
    """
    package, _, short = name.partition(":")
    if package_of(name) is None:
        return None
    module = _imported(name, package)
    _check_name(package, module, short)
    if package == "timm":
        found = module.get_pretrained_cfg(short)
        return None if found is None else found.to_dict()
    first = next(iter(module.models.get_model_weights(short)), None)
    if first is None:
        return None
    transforms = first.transforms()
    return {
        "kind": "channel",
        "mean": list(transforms.mean),
        "deviation": list(transforms.std),
        "resize": {
            "size": transforms.crop_size[0],
            "shorter": transforms.resize_size[0],
            "interpolation": transforms.interpolation.value,
        },
    }


def _imported(name: str, package: str) -> Any:
    try:
        if package == "torchvision":
            importlib.import_module("torchvision.models")
        return importlib.import_module(package)
    except Exception as error:  # compiled operators of another torch raise what they like
        if isinstance(error, ModuleNotFoundError) and error.name in (package, f"{package}.models"):
            raise ImportError(
                f'{name} needs {package}, which is not installed: pip install "pyedge[{package}]"'
            ) from error
        raise ImportError(
            f"{name}: {package} is installed, but cannot be imported beside torch "
            f"{torch.__version__}: {type(error).__name__}: {error}"
        ) from error


def _check_name(package: str, module: Any, short: str) -> None:
    """Raise ValueError for a name that is not of a classifier of the package."""
    kind = "classifiers"
    if package == "torchvision":
        known = module.models.list_models(module=module.models)
    else:
        known = module.list_models()
        plain, dot, _ = short.partition(".")  # resnet18.a1_in1k: an architecture and its weights
        if dot and plain in known:
            known, kind = module.list_models(f"{plain}.*", pretrained=True), f"names of {plain}"
    if short not in known:
        near = difflib.get_close_matches(short, known, n=_NEAREST, cutoff=0.6)
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        raise ValueError(
            f"wanted one of the {len(known)} {kind} in {package} "
            f"{getattr(module, '__version__', '')}, got {short!r}{hint}"
        )


def _built(name: str, create: Callable[..., nn.Module], options: dict[str, Any]) -> nn.Module:
    given = sorted(_WEIGHTS & {key for key, value in options.items() if value})
    if given:
        raise ValueError(
            f"{name}: {given[0]}: wanted a network without weights, which come from a file of "
            f"yours (--weights, load_weights), got {options[given[0]]!r:.80}"
        )
    try:
        return create(name.partition(":")[2], **options)
    except (ImportError, MemoryError, TypeError, ValueError):
        raise
    except Exception as error:  # the options may come from a file of anybody's
        raise ValueError(f"{name}: {type(error).__name__}: {error}") from error
