"""The networks of a command: built by name or by the user's code, or opened from a file."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import pyedge
from pyedge import models
from pyedge.cli.parsing import UsageError, existing, suggestion
from pyedge.cloud.network_file import NetworkInfo, OwnCodeError, load_network, read_network
from pyedge.cloud.training.evaluate import Evaluation
from pyedge.cloud.weights import load as weights
from pyedge.data import BatchLoader, ImageSet
from pyedge.images.preprocessing import NAMES, Preprocessing
from pyedge.models import packages
from pyedge.warning import warn

Build = Callable[..., nn.Module]

OWN = "pyedge_own_"  # begins the names of modules of users' files, which nobody else finds
_GUESSED_WITH = 512  # images
_CLEAR = 0.05  # of accuracy


def preprocessing_of(spec: str) -> Preprocessing | None:
    """Return the preprocessing that --model brings, as those of packages do; None for others."""
    settings = packages.settings_of(spec)
    try:
        return None if settings is None else Preprocessing.of(settings, None, f"--model {spec}")
    except ValueError as error:
        warn(f"{error}; --preprocessing, --size and --crop say something else")
        return None


def default_preprocessing(spec: str, brought: Preprocessing | None, channels: int) -> Preprocessing:
    """Return what is done to pixels where no option says it, for images of so many channels."""
    if brought is None:
        return Preprocessing()
    if brought.kind == "channel" and len(brought.mean) != channels:
        warn(
            f"{spec} brings the preprocessing of {len(brought.mean)} channels, and images have "
            f"{channels}: each image is standardised instead; --colour rgb, or --mean and --std, "
            "say something else"
        )
        return Preprocessing()
    return brought


def guess_preprocessing(
    weights: str, model: nn.Module, images: ImageSet, taken: Preprocessing
) -> None:
    """Warn where weights answer better for another preprocessing than the one that is taken.

    Weights do not tell what they were trained on; labelled images do.
    """
    best, shares = best_preprocessing(model, images, taken)
    if best is not None:
        warn(
            f"{weights}: {shares[best]:.1%} of {min(len(images), _GUESSED_WITH)} labelled images "
            f"are right with --preprocessing {best}, {shares[str(taken)]:.1%} with {taken}, which "
            "is taken because no other was named"
        )


def warn_of_chance(weights: str, found: Evaluation) -> None:
    """Warn where weights answer as if by chance: names and shapes fit, and the network does not."""
    chance = 1 / max(1, len(found.confusion))
    # three standard deviations of a share, and a little more
    if found.accuracy > chance + 3 * (chance / found.count) ** 0.5 + 0.02:
        return
    warn(
        f"{weights}: {found.accuracy:.1%} of {found.count} images are right, which is chance. "
        "Names and shapes of the weights fit; what differs may be a part without weights (in the "
        "ResNets of CIFAR-10 on which side shortcuts are padded: --option padding=around), the "
        "order of the classes, or the preprocessing"
    )


def best_preprocessing(
    model: nn.Module, images: ImageSet, taken: Preprocessing
) -> tuple[str | None, dict[str, float]]:
    """Try the named ones on some labelled images; return one that is clearly better, or None.

    Also returns the share of images that are right, by name; that of `taken` as it is written.
    """
    places = np.linspace(0, len(images) - 1, min(len(images), _GUESSED_WITH))
    some = images.subset(places.astype(int))
    # three standard deviations of a share, at the most
    margin = max(_CLEAR, 1.5 / len(some) ** 0.5)
    right: dict[str, float] = {}
    plain = replace(taken, resize=None, colour="")  # the images have been resized
    for name, each in {str(taken): plain, **dict.fromkeys(NAMES)}.items():
        try:
            loader = BatchLoader(some, 256, shuffle=False, preprocessing=each or name)
        except ValueError:  # numbers for three channels, and images of one
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is not the preprocessing of the network
            right[name] = pyedge.evaluate(model, loader).accuracy
        if right[str(taken)] + margin >= 1:
            break  # none can be clearly better
    best = max(right, key=lambda name: right[name])
    return best if right[best] - right[str(taken)] > margin else None, right


def build(
    spec: str,
    builder: Build,
    options: Mapping[str, Any],
    classes: int,
    shape: tuple[int, int, int],
) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network of --model for images c h w, and return it with the builder's arguments.

    The number of classes, the channels and the image size are passed if the builder has a parameter
    for them and `options` does not say otherwise. Raises UsageError.
    """
    c, h, w = shape
    offered = {
        "num_classes": classes,
        "in_channels": c,
        "input_size": max(h, w),
        "small_input": max(h, w) <= 64,
    }
    parameters = inspect.signature(builder).parameters
    chosen = {name: value for name, value in offered.items() if name in parameters}
    chosen.update(options)
    every = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in options:
        if name not in parameters and not every:
            known = [p for p in parameters if p not in offered]
            raise UsageError(
                f"{spec} takes no option {name!r}{suggestion(name, parameters)}; it takes "
                f"{', '.join(known) or 'none'}"
            )
    try:
        model = builder(**chosen)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--model {spec}: {str(error).removeprefix(f'{spec}: ')}") from error
    except Exception as error:  # whatever the user's code raises
        raise UsageError(f"--model {spec} raised {type(error).__name__}: {error}") from error
    _check(spec, model, classes, shape)
    return model, chosen


def _check(spec: str, model: Any, classes: int, shape: tuple[int, int, int]) -> None:
    if not isinstance(model, nn.Module):
        raise UsageError(f"--model {spec}: wanted a torch.nn.Module, got {type(model).__name__}")
    training, size = model.training, "x".join(map(str, shape))
    try:
        with torch.no_grad():
            output = model.eval()(torch.zeros(2, *shape))
    except (RuntimeError, ValueError, IndexError) as error:
        first = str(error).strip().split("\n")[0]
        raise UsageError(f"{spec} does not take images of {size}: {first}") from error
    model.train(training)
    if not torch.is_tensor(output) or output.shape != (2, classes):
        came = list(output.shape[1:]) if torch.is_tensor(output) else type(output).__name__
        raise UsageError(
            f"--model {spec}: wanted one logit a class, [n, {classes}] for these data, got {came} "
            f"for each image; a parameter num_classes gets the number"
        )


def builder_of(spec: str) -> Build:
    """Find the builder that --model names. Raises UsageError if there is none.

    ImportError for a name of a package that is not installed.
    """
    if packages.package_of(spec) is not None:
        try:
            return packages.builder(spec)
        except ValueError as error:
            raise UsageError(f"--model: {error}") from None
    return own_builder(spec) if ":" in spec else _named_builder(spec)


def _named_builder(name: str) -> Build:
    """Return the builder of a name, with all its parameters in its signature."""
    if name not in models.names() and not re.fullmatch(r"wrn_\d+_\d+", name):
        known = ", ".join(models.names())
        depth = re.fullmatch(r"wrn[_-]?(\d+)[_x-]?(\d*)", name)
        near = f"wrn_{depth[1]}_{depth[2] or 1}" if depth else name
        hint = suggestion(near, (near, *models.names()) if depth else models.names())
        raise UsageError(
            f"--model: no network is called {name!r}{hint}; there are {known}, wrn_DEPTH_WIDTH, "
            "timm:NAME, torchvision:NAME, and your own as FILE.py:FUNCTION"
        )
    families: list[tuple[str, Build, tuple[str, ...]]] = [
        ("wrn_small", models.wrn, ("depth", "width")),
        ("wrn_", models.wrn, ("depth", "width")),
        ("wrn", models.wrn, ()),
        ("vgg", models.vgg16, ("batch_norm",)),
        ("resnet18", models.resnet18, ()),
        ("resnet34", models.resnet34, ()),
        ("resnet", models.cifar_resnet, ("depth",)),
    ]
    _, like, fixed = next(family for family in families if name.startswith(family[0]))

    @functools.wraps(like)
    def create(**options: Any) -> nn.Module:
        return models.create(name, **options)

    signature = inspect.signature(like)
    free = [p for p in signature.parameters.values() if p.name not in fixed]
    create.__signature__ = signature.replace(parameters=free)  # type: ignore[attr-defined]
    return create


def own_builder(spec: str) -> Build:
    """Import "package.module:function" or "path/file.py:function". Raises UsageError."""
    place, _, function = spec.rpartition(":")
    if not place or not function:
        raise UsageError(f"--model: wanted FILE.py:FUNCTION or MODULE:FUNCTION, got {spec!r}")
    if place.endswith(".py"):
        existing(place)
    try:
        module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    except Exception as error:  # whatever the user's code raises
        hint = suggestion(place, packages.PACKAGES) if isinstance(error, ImportError) else ""
        raise UsageError(
            f"--model: {place} cannot be imported: {type(error).__name__}: {error}{hint}"
        ) from error
    found = getattr(module, function, None)
    if not callable(found):
        raise UsageError(
            f"--model: {place} has no function {function!r}{suggestion(function, vars(module))}"
        )
    return found


def _import_file(path: Path) -> Any:
    name = f"{OWN}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # it is a .py file that exists
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # its neighbours, which it may import
    spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> Any:
    here = os.getcwd()
    if here not in sys.path:  # a console script's path begins at its own folder
        sys.path.append(here)
    return importlib.import_module(name)


def open_network(
    path: str, own_code: str | None, kind: str | None = None
) -> tuple[nn.Module, NetworkInfo]:
    """Open a network file of a kind ("teacher", "student", None for either)."""
    existing(path)
    if os.path.isdir(path):
        raise UsageError(f"{path} is a folder, wanted a network file (.pt)")
    info, _ = read_network(path)
    if kind is not None and info.kind != kind:
        hint = "make one with pyedge compress" if kind == "student" else "give its teacher"
        raise UsageError(f"{path} is a {info.kind}, wanted a {kind}; {hint}")
    if own_code is None or not info.own_code:
        try:
            return load_network(path)
        except OwnCodeError as error:
            raise UsageError(
                f"{path} was built by {info.builder}, code that is not in the file; if you trust "
                f"it, add --model {info.builder}"
            ) from error
    builder = own_builder(own_code)

    @functools.wraps(builder)
    def build_own(*arguments: Any, **keywords: Any) -> nn.Module:
        try:
            return builder(*arguments, **keywords)
        except (TypeError, ValueError):
            raise  # told with the file's name
        except Exception as error:  # whatever the user's code raises
            raise UsageError(f"--model {own_code} raised {type(error).__name__}: {error}") from (
                error
            )

    return load_network(path, build=build_own)


def check_classes(model: nn.Module, path: str, classes: int) -> None:
    """Raise UsageError if a file's classifier is for another number of classes than the data's."""
    found = weights.classes_in(existing(path), model)
    if found is not None and found != classes:
        raise UsageError(
            f"--weights {path}: wanted a classifier of {classes} classes, as many as the images "
            f"have, got one of {found}; with --epochs from 1 a new classifier is trained"
        )


def load_weights(model: nn.Module, path: str) -> tuple[int, list[str]]:
    """Load the weights of a file; return how many tensors it gave, and the names that start afresh.

    See `pyedge.cloud.weights.load`. Raises UsageError if there is no file, FormatError if it does
    not fit.
    """
    existing(path)
    loaded = weights.load_weights(model, path)
    return loaded.taken, list(loaded.afresh)
