"""A student as an ONNX file, with torch's own exporter: to predict elsewhere, not to learn."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Sequence
from os import PathLike

import torch

from pyedge.cloud.compression.student import Student
from pyedge.cloud.exporting.lower import images_shape
from pyedge.cloud.graph.answer import ending_between
from pyedge.cloud.graph.clone import private_copy
from pyedge.errors import ExportError
from pyedge.files.atomic import write_atomically

_OUTPUTS = {"logits": "logits", "softmax": "probabilities", "log_softmax": "log_probabilities"}


def write_onnx(
    student: Student, path: str | PathLike[str], input_shape: Sequence[int] | None = None
) -> None:
    """Write `student` as ONNX: "images", float32 n c h w, preprocessed, to "logits", n classes.

    For a network that ends in a softmax the output is named "probabilities", for a log-softmax
    "log_probabilities". The number of images is free. Raises ImportError without the package onnx,
    ExportError if torch cannot express the network, OSError if writing fails.
    """
    if importlib.util.find_spec("onnx") is None:
        raise ImportError(
            'pyedge.export(format="onnx") needs the package onnx, which is not installed: '
            "pip install onnx"
        )
    model = private_copy(student).cpu()
    example = torch.randn(2, *images_shape(student.net, input_shape)).float()
    with torch.no_grad():
        ending = ending_between(model.forward_taps(example)[0], model(example))  # type: ignore[operator]
    output = _OUTPUTS[ending]
    stream = io.BytesIO()
    try:
        with warnings.catch_warnings():
            # the exporter over TorchScript is announced to go one day, and warns of each constant
            # shape; the newer one needs onnxscript as well
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model,
                (example,),
                stream,  # type: ignore[arg-type]
                dynamo=False,
                input_names=["images"],
                output_names=[output],
                dynamic_axes={"images": {0: "n"}, output: {0: "n"}},
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"export: torch cannot write this network as ONNX: {reason}") from error
    write_atomically(path, lambda file: file.write(stream.getvalue()))
