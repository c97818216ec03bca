"""A network by its name, and its weights from a file, whose classifier tells the classes."""

from __future__ import annotations

import os
from typing import Any

from torch import nn

from pyedge import models
from pyedge.cloud.weights.load import classes_in, load_weights


def create_with_weights(name: str, path: str | os.PathLike[str], **options: Any) -> nn.Module:
    """Build a network by name (`pyedge.models.create`) and load its weights from a file.

    Without num_classes among `options`, it has as many classes as the classifier in the file.
    Raises ValueError, with both numbers, if num_classes is another; otherwise as
    `pyedge.models.create` and `pyedge.cloud.weights.load.load_weights`.
    """
    model = models.create(name, **{"num_classes": 2, **options})
    found, given = classes_in(path, model), options.get("num_classes")
    if found is None:
        raise ValueError(
            f"create_with_weights: {path}: wanted weights with a classifier, got none; "
            "models.create and load_weights take them, and the classifier starts afresh"
        )
    if given is None and found != 2:
        model = models.create(name, **{**options, "num_classes": found})
    elif given is not None and given != found:
        raise ValueError(
            f"create_with_weights: num_classes: wanted {found}, as the classifier in {path} has, "
            f"got {given}"
        )
    load_weights(model, path)
    return model
