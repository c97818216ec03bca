"""pyedge.export: a torch student as a file for devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal

from pyedge.arguments import choice, kind_of, whole
from pyedge.cloud.compression.student import Student
from pyedge.cloud.exporting.answers import check_answers
from pyedge.cloud.exporting.check import check_against_torch
from pyedge.cloud.exporting.describe import Classes, Trainable, checked, described
from pyedge.cloud.exporting.lower import lower
from pyedge.cloud.exporting.onnx import write_onnx
from pyedge.cloud.exporting.preprocessing import doubt
from pyedge.cloud.exporting.with_int8 import with_int8_of
from pyedge.cloud.exporting.with_statistics import check_arguments, with_statistics_of
from pyedge.cloud.graph.modes import plain_torch
from pyedge.cloud.shown import compare_classes
from pyedge.images.preprocessing import PreprocessingLike
from pyedge.keywords import keywords
from pyedge.student.archive import write_student
from pyedge.student.expansion import Expand
from pyedge.student.file import StudentFile
from pyedge.warning import warn


@keywords()
def export(
    student: Student,
    path: str | PathLike[str],
    *,
    classes: Classes | None = None,
    preprocessing: PreprocessingLike | None = None,
    trainable: Trainable = "last_conv",
    input_shape: Sequence[int] | None = None,
    record: Sequence[Mapping[str, Any]] = (),
    format: Literal["pyedge", "onnx"] = "pyedge",
    statistics: Any = None,
    held: Any = None,
    expand: Expand = "auto",
    forgettable: bool = False,
    workers: int | None = None,
    seed: int = 0,
    int8: Any = None,
) -> StudentFile | None:
    """Write a student of `pyedge.compress` for devices, and return what the file holds.

    classes: names in the order of the logits, or a dict of name and id; without them "0", "1", ...
    `pyedge.classes.names` tells which names are allowed. preprocessing: of uint8 images on the
    device: "image" standardises each image as `pyedge.data.standardise` does, "none" divides by
    255, and {"kind": "channel", "mean": [...], "deviation": [...]} gives (x / 255 - mean) /
    deviation, channel by channel. By default it is "image" or "none", whichever the images had that
    the student was shown; a warning says if they had neither, or contradict what is given.
    trainable: what learns on the device unless it asks for something else: "last_conv" (the last
    convolution of each group and the classifier, Sec. 4.1), "classifier", "all", or names of
    layers. input_shape: c h w, by default of the images that the student was compressed with.
    record: what was done to the student so far, plain values; the export is added to it, with the
    differences that its check found.

    What comes between the classifier and the output of `student(images)` is exported too: scales,
    shifts, masks, another order of the classes, and a softmax or log-softmax at the end. All of
    this is frozen on the device, including its batch norm.

    The file is written atomically after a check on random batches: the device's engine must give
    what `student(images)` gives in evaluation mode, and torch's gradients, within 1e-4 of their
    norm (`exporting.check` tells how activations at the kink of a ReLU are treated). format="onnx"
    writes an ONNX file for inference elsewhere instead, with torch's own exporter (needs the
    package onnx), and returns None; that file takes preprocessed images, and holds no classes,
    preprocessing or trainable.

    statistics: labelled images whose features the file then describes, so that the device learns
    new classes in one pass and keeps these (`EdgeLearner.learn`): the student's training images,
    best without augmentation. An ImageSet, a torch Dataset or DataLoader, a list of batches,
    EdgeImages, (images, labels), a folder or an archive of class folders. uint8 pixels are
    preprocessed as on the device; floats must be preprocessed already. Their order does not matter.
    All are held in memory; classes are matched by name if both sides have names. No image goes into
    the file, only sums and the features of some 20 images of each class. held: images of the same
    kind that the student was not trained on; they choose the form of the classifier, calibrate it
    and decide what is unknown. Without them some of `statistics` are used for this, and the
    student looks surer than it should.

    expand: the classifier also reads this many random features (ReLU), made from `seed` and not
    stored; "auto": 500 if it reads fewer than 200 features, None: none. Answers do not change; what
    the device learns is better (docs/learning.md). forgettable: each class has second moments of
    its own, so that `EdgeLearner.forget` can take out any class: f (f + 1) / 2 numbers of 8 bytes
    for each class, f being the number of features, instead of once for all. workers: how many
    processes of Ray, with one CPU each, compute features; None: this process alone. The statistics
    are the same; with workers, the files of a folder are read by them, and never held all at once
    (docs/cloud.md).

    int8: images like those that the device will see, in any of these forms, without labels as well;
    256 of them are looked at, spread evenly, or the first ones of a loader. The file then holds its
    weights, but for the classifier's, in 8 bits, a scale for each output channel, and the scales by
    which `EdgeLearner(..., precision="int8")` computes in 8 bits. It takes about a quarter of the
    bytes. float32 reads the same rounded weights (docs/int8.md).

    Raises ExportError, with the operator and its place in the network, for what a device does not
    have, and if the check fails; ValueError for arguments that do not fit.
    """
    checked(student)
    if not isinstance(path, (str, PathLike)):
        raise TypeError(f"export: path: wanted a file's path, got {kind_of(path)}")
    check_arguments(statistics, held, expand, forgettable, format, int8)
    if workers is not None:
        workers = whole(workers, "export: workers", 1)
    with plain_torch():
        if format == "onnx":
            write_onnx(student, path, input_shape)
            return None
        choice(format, "export: format", ("pyedge", "onnx"))
        lowered = lower(student, input_shape)
        file = described(lowered, student, classes, preprocessing, trainable, record)
        compare_classes(student, file.classes, "export: classes")
        doubted = doubt(student, preprocessing, lowered.input_shape)
        if doubted is not None:
            warn(f"export: {doubted}")
        check_answers(file, lowered, student)
        agreement = check_against_torch(file, lowered)
        *before, entry = file.record
        found = {"logits_error": agreement.logits, "gradient_error": agreement.gradients}
        if agreement.smooth is not None:
            found["gradient_error_without_kinks"] = agreement.smooth
        file = dataclasses.replace(file, record=(*before, {**entry, **found}))
        if int8 is not None:
            file = with_int8_of(file, int8)
        if statistics is not None:
            file = with_statistics_of(
                *(student, file, statistics, held),
                expand=expand,
                seed=seed,
                forgettable=forgettable,
                workers=workers,
            )
        write_student(file, path)
        return file
