"""Retraining: a student's next version, from images that devices gave and the owner's own.

The teacher learns all classes, the student is cut out of it by the widths of the student before,
and both go into the store under a new name: features have changed, so that sums and category files
of the student before mean nothing to the new one.

A run that is killed goes on from its last epoch when it is started again with the same settings and
images, and ends in the same weights, to the last bit.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sqlalchemy import Connection, insert, select
from torch import nn

import pyedge
from pyedge import models
from pyedge.classes.matching import absent, listing, places
from pyedge.classes.names import checked_names
from pyedge.cloud.knowledge_inputs import digest_of
from pyedge.cloud.network_file import NetworkInfo, load_network, save_network
from pyedge.data import BatchLoader, ImageSet
from pyedge.edge.category_making import make_category
from pyedge.images.given_file import read_given
from pyedge.serve.store import Store
from pyedge.serve.students import Release, Students, add_student
from pyedge.serve.tables import categories, devices, gifts
from pyedge.serve.unfinished import Unfinished
from pyedge.student.file import StudentFile

_WHERE = "retrain"
_LEAST = 5  # images of a class: fewer teach it badly, and none could be held
_HELD = 5  # every fifth is held, to choose the best weights by and to calibrate with
_CLOUD = "cloud"  # the id of the device that offers what the cloud makes; it has no token
_NUMBERED = re.compile(r"(.+)-([0-9]+)")
_CALIBRATED = 1024  # images that filters are ranked by


@dataclass(frozen=True)
class Settings:
    """How to retrain. epochs, lr: of the teacher; transfer_epochs, transfer_lr: of the student.

    accelerator: as in `TrainOptions`.
    """

    epochs: int = 10
    lr: float = 0.01
    transfer_epochs: int = 10
    transfer_lr: float = 0.1
    batch_size: int = 128
    seed: int = 0
    accelerator: str = "auto"


@dataclass(frozen=True)
class Retrained:
    """What retraining made. added: classes that the student before had not.

    teacher_accuracy, student_accuracy: on the held images. given: images of devices among all.
    resumed: whether an interrupted run was gone on from.
    """

    release: Release
    added: tuple[str, ...]
    images: int
    given: int
    teacher_accuracy: float
    student_accuracy: float
    resumed: bool


def retrain(store: Store, name: str, own: Sequence[ImageSet], settings: Settings) -> Retrained:
    """Make a student's next version and put it into the store, with a catalogue of its classes.

    own: the owner's images, of the teacher's shape; may be empty. Nothing is stored before all is
    made; what is made of an interrupted run lies in the store's folder `retraining`. Raises
    ValueError for a student without a teacher, or that another has replaced or another process
    retrains, where nobody gave images, and for a class with too few of them.
    """
    unfinished = Unfinished(store, name)
    known = Students(store)
    row, before = known.row(name), known.release(name)
    if row.teacher is None:
        raise ValueError(f"{_WHERE}: student: wanted one with a teacher, got {name} without")
    if before.replaced_by is not None:
        unfinished.forget()  # of a run that was killed when all was stored
        raise ValueError(f"{_WHERE}: student: wanted the newest, {before.replaced_by}, got {name}")
    if _next_name(name) in known.names():
        raise ValueError(
            f"{_WHERE}: student: wanted the next name free, got {_next_name(name)} in the store"
        )
    base = known.base(row)
    teacher, info = load_network(row.teacher)
    given = _given(store, row.id)
    if given is None:
        raise ValueError(f"{_WHERE}: images: wanted some that devices gave for {name}, got none")
    images = _joined([*own, given], info, base)
    train, held = _parted(images)
    decides = (settings, digest_of(teacher), row.blob, images.classes, *_bytes_of(images))
    with unfinished.folder(*decides) as (place, resumed), _deterministic(settings.seed):
        teacher, info = _grown(teacher, info, images.classes)
        loader, val = (_loader(each, info, settings) for each in (train, held))
        common: dict[str, Any] = {
            "val": val,
            "seed": settings.seed,
            "accelerator": settings.accelerator,
            "progress": False,
            "resume": True,
        }
        checkpoint = place / "teacher.checkpoint"
        pyedge.train(
            teacher,
            loader,
            epochs=settings.epochs,
            lr=settings.lr,
            checkpoint=checkpoint,
            **common,
        )
        torch.manual_seed(settings.seed)  # a run that is gone on from has drawn fewer numbers
        student = _cut(teacher, base, train, info, settings)
        epochs, lr = settings.transfer_epochs, settings.transfer_lr
        checkpoint = place / "student.checkpoint"
        pyedge.transfer(
            student, teacher, loader, epochs=epochs, lr=lr, checkpoint=checkpoint, **common
        )
        right, student_right = (pyedge.evaluate(e, val).accuracy for e in (teacher, student))
        entry = {
            "command": _WHERE,
            "replaces": name,
            "images": len(images),
            "given": len(given),
            **dataclasses.asdict(settings),
        }
        save_network(
            place / "teacher.pt", teacher, dataclasses.replace(info, record=(*info.record, entry))
        )
        made = pyedge.export(
            student,
            place / "student.pyedge",
            classes=list(images.classes),
            preprocessing=info.preprocessing,
            trainable=list(base.trainable),
            statistics=train,
            held=held,
            record=(*base.record, entry),
            seed=settings.seed,
        )
        assert made is not None
        release = _stored(store, name, place, made, train)
    added = tuple(absent(images.classes, base.classes))
    return Retrained(release, added, len(images), len(given), right, student_right, resumed)


def _bytes_of(images: ImageSet) -> tuple[bytes, bytes]:
    return images.images.numpy().tobytes(), images.labels.numpy().tobytes()


def _given(store: Store, student: int) -> ImageSet | None:
    """Return what devices gave for a student, each image of a class once; None for nothing."""
    with store.database.reading() as connection:
        query = select(gifts.c.digest).where(gifts.c.student == student).order_by(gifts.c.id)
        digests = dict.fromkeys(connection.execute(query).scalars())
    pixels, names, seen = [], [], set()
    for digest in digests:
        try:
            found = read_given(store.blobs.path(digest))
        except FileNotFoundError:  # it is being withdrawn, or was not sent whole
            continue
        for image, label in zip(found.images, found.labels, strict=True):
            of = found.classes[label]
            key = (of, image.tobytes())
            if key not in seen:
                seen.add(key)
                pixels.append(image)
                names.append(of)
    if not pixels:
        return None
    classes, labels = np.unique(names, return_inverse=True)
    return ImageSet(
        torch.from_numpy(np.stack(pixels)),
        torch.from_numpy(labels.reshape(-1).astype(np.int64)),
        classes.tolist(),
    )


def _joined(parts: Sequence[ImageSet], info: NetworkInfo, base: StudentFile) -> ImageSet:
    """Return all images with one list of classes: the teacher's, then new ones in order."""
    classes = list(info.classes)
    for part in parts:
        if tuple(part.images.shape[1:]) != tuple(info.input_shape):
            raise ValueError(
                f"{_WHERE}: images: wanted {list(info.input_shape)}, got "
                f"{list(part.images.shape[1:])}"
            )
        classes += sorted(absent(part.classes, classes))
    # what devices call new must not be a class that the student has and its teacher has not
    classes += absent(base.classes, classes)
    classes = list(checked_names(classes, f"{_WHERE}: classes"))
    labels = [
        torch.tensor(places(part.classes, classes), dtype=torch.int64)[part.labels]
        for part in parts
    ]
    joined = ImageSet(torch.cat([part.images for part in parts]), torch.cat(labels), classes)
    counts = torch.bincount(joined.labels, minlength=len(classes)).tolist()
    few = [each for each, count in zip(classes, counts, strict=True) if count < _LEAST]
    if few:
        raise ValueError(
            f"{_WHERE}: images: wanted at least {_LEAST} of each class, got fewer of "
            f"{listing(few)}; the owner's own images of old classes belong in --data"
        )
    return joined


def _parted(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Return images to train on and images to hold, every fifth of each class."""
    held = np.zeros(len(images), np.bool_)
    labels = images.labels.numpy()
    for label in np.unique(labels):
        held[np.flatnonzero(labels == label)[_HELD - 1 :: _HELD]] = True
    return images.subset(np.flatnonzero(~held)), images.subset(np.flatnonzero(held))


def _grown(
    teacher: nn.Module, info: NetworkInfo, classes: Sequence[str]
) -> tuple[nn.Module, NetworkInfo]:
    """Return a teacher of more classes: its weights, and new rows in the layer of the logits."""
    if len(classes) == len(info.classes):
        return teacher, info
    if "num_classes" not in info.options:
        raise ValueError(
            f"{_WHERE}: teacher: wanted a builder with num_classes, got {info.builder}"
        )
    options = {**info.options, "num_classes": len(classes)}
    grown = models.create(info.builder, **options)
    state, old = grown.state_dict(), teacher.state_dict()
    for name, value in state.items():
        there = old[name]
        if value.shape == there.shape:
            value.copy_(there)
        elif (len(value), len(there)) == (len(classes), len(info.classes)):
            value[: len(there)].copy_(there)  # the old classes come first
        else:
            raise ValueError(
                f"{_WHERE}: teacher: {name}: wanted a row for each class, got "
                f"{list(there.shape)} and {list(value.shape)}"
            )
    return grown, dataclasses.replace(info, options=options, classes=tuple(classes))


def _cut(
    teacher: nn.Module, base: StudentFile, train: ImageSet, info: NetworkInfo, settings: Settings
) -> Any:
    """Cut a student with the widths and the blocks of the one before."""
    some = train.subset(np.arange(len(train))[:: max(1, len(train) // _CALIBRATED)])
    loader = _loader(some, info, settings)
    for keep in ("first", "last"):
        plan = pyedge.plan(teacher, 1.0, loader, keep=keep, seed=settings.seed)
        names = [each.convs[0] for each in plan.sets]
        if all(f"{each}.weight" in base.arrays for each in names):
            widths = {each: len(base.arrays[f"{each}.weight"]) for each in names}
            return pyedge.compress(
                teacher,
                None,
                loader,
                widths=widths,
                keep=keep,
                seed=settings.seed,
            )
    raise ValueError(
        f"{_WHERE}: student: wanted one cut out of its teacher, got convolutions that the teacher "
        "has not"
    )


def _loader(images: ImageSet, info: NetworkInfo, settings: Settings) -> BatchLoader:
    # of a last batch of one image batch norm cannot learn
    alone = len(images) > settings.batch_size and len(images) % settings.batch_size == 1
    return BatchLoader(
        images,
        settings.batch_size,
        seed=settings.seed,
        drop_last=alone,
        preprocessing=info.preprocessing,
    )


def _stored(store: Store, name: str, place: Path, made: StudentFile, train: ImageSet) -> Release:
    """Put a teacher, a student and a category file of each class into the store."""
    offers = []
    for label, each in enumerate(made.classes):
        path = place / f"{label}.category"
        images = train.images[train.labels == label].numpy()
        make_category(made, images, each, path, detail="full")
        offers.append(
            {
                "digest": store.blobs.add(path),
                "device": _CLOUD,
                "name": each,
                "detail": "full",
                "images": len(images),
                "bytes": path.stat().st_size,
                "created": time.time(),
            }
        )

    def catalogue(connection: Connection, student: int) -> None:
        if connection.execute(select(devices).where(devices.c.id == _CLOUD)).first() is None:
            now = time.time()
            nobody = {"secret_sha256": "", "scopes": "", "created": now, "revoked": now}
            connection.execute(
                insert(devices).values({"id": _CLOUD, "name": "the cloud", **nobody})
            )
        connection.execute(insert(categories), [{**each, "student": student} for each in offers])

    teacher = store.blobs.path(store.blobs.add(place / "teacher.pt"))
    return add_student(
        store,
        place / "student.pyedge",
        _next_name(name),
        str(teacher),
        replaces=name,
        along=catalogue,
    )


def _next_name(name: str) -> str:
    """Return signs-2 after signs, signs-3 after signs-2."""
    found = _NUMBERED.fullmatch(name)
    return f"{found[1]}-{int(found[2]) + 1}" if found else f"{name}-2"


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Draw new weights from a seed, and leave the caller's random numbers as they were."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        yield
