"""`pyedge cloud retrain`: from images that devices gave to a student that they download."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pyedge
from pyedge.cli import main
from pyedge.data import BatchLoader, ImageSet, class_incremental, load_dataset
from pyedge.models import create

pytest.importorskip("fastapi")
pytest.importorskip("sklearn")
from pyedge.cloud.network_file import NetworkInfo, load_network, save_network
from pyedge.edge.learner import EdgeLearner
from pyedge.images.preprocessing import Preprocessing
from tests.support.cloud_service import Process

Run = Callable[[str], dict[str, Any]]
MAIN = "import sys; from pyedge.cli import main; sys.exit(main())"
_SOME = 500  # training images: enough to be right on most digits, and seconds to learn
OLD = [str(digit) for digit in range(9)]


def teacher_and_student(folder: Path) -> tuple[ImageSet, ImageSet]:
    """Write a teacher of nine digits and its student; return images of the tenth, and test ones."""
    torch.manual_seed(0)
    train, val, test = load_dataset("digits")
    old, new = class_incremental(train.subset(np.arange(_SOME)), ["9"])
    held, _ = class_incremental(val, ["9"])
    old, held = (ImageSet(each.images, each.labels, OLD) for each in (old, held))
    options = {"num_classes": 9, "in_channels": 1}
    teacher = create("wrn_10_1", **options)
    pyedge.train(teacher, BatchLoader(old, 64), epochs=4, progress=False)
    info = NetworkInfo(
        builder="wrn_10_1",
        options=options,
        classes=tuple(OLD),
        input_shape=(1, 8, 8),
        preprocessing=Preprocessing(colour="grey"),
    )
    save_network(folder / "teacher.pt", teacher, info)
    student = pyedge.compress(teacher, 0.9, BatchLoader(old, 64))
    pyedge.export(student, folder / "student.pyedge", classes=OLD, statistics=old, held=held)
    return new, test


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Run) -> Run:
    monkeypatch.chdir(tmp_path)
    return command


def test_retrained_student_knows_what_devices_gave_and_devices_are_told(
    store: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, test = teacher_and_student(tmp_path)
    store("serve student add student.pyedge --name digits --teacher teacher.pt --store store")
    scopes = "--scopes read,knowledge,images"
    token = store(f"serve token add --device kitchen {scopes} --store store")["token"]
    process = Process(tmp_path / "store")
    try:
        cloud = pyedge.Cloud(process.url, token=token, folder=tmp_path / "device")
        path = cloud.download("digits")
        gift = new.images.numpy()
        told = cloud.give_images(gift, ["9"] * len(gift), path, consent=True)
        unwanted = cloud.give_images(255 - gift, ["9"] * len(gift), path, consent=True)
        cloud.withdraw_images(unwanted.digest, "digits")
        assert told.state == "given"
        old = _without_nines(tmp_path / "old")
        made = store(
            f"cloud retrain digits --store store --data {old} --splits no --epochs 3 "
            "--transfer-epochs 2 --lr 0.05 --batch-size 64"
        )
        assert (made["name"], made["replaces"]) == ("digits-2", "digits")
        assert (made["classes"], made["added"]) == ([*OLD, "9"], ["9"])
        assert made["given"] == len(gift)
        first, second = cloud.students()
        assert (first.name, first.replaces, first.replaced_by) == ("digits", None, "digits-2")
        assert (second.name, second.replaces, second.replaced_by) == ("digits-2", "digits", None)
        learner = EdgeLearner(cloud.download("digits-2"))
        right = learner.predict(test.images.numpy()).ids == test.labels.numpy()
        assert right.mean() > 0.9
        assert right[test.labels.numpy() == 9].mean() > 0.8
        assert _widths(learner) == _widths(EdgeLearner(path))
        assert [each.name for each in reversed(cloud.categories("digits-2"))] == [*OLD, "9"]
        # the new teacher answers in the service that runs, with ten classes
        pack = cloud.knowledge(learner, gift[:20], maps=False)
        logits = pack.batch(np.arange(20))["logits"]
        assert pack.classes == (*OLD, "9")
        assert (logits.argmax(axis=1) == 9).mean() > 0.8
    finally:
        process.stop()
    assert main(["cloud", "retrain", "digits", "--store", "store", "--data", str(old)]) == 2
    assert "wanted the newest, digits-2, got digits" in capsys.readouterr().err
    row = store("serve student list --store store")["students"][1]
    taught, _ = load_network(row["teacher"])
    old_taught, _ = load_network(tmp_path / "teacher.pt")
    assert not torch.equal(_head(taught)[:9], _head(old_taught))
    assert len(_head(taught)) == 10


def test_retraining_refuses_what_would_forget(
    store: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, _ = teacher_and_student(tmp_path)
    store("serve student add student.pyedge --name digits --teacher teacher.pt --store store")
    store("serve student add student.pyedge --name lonely --store store")
    token = store("serve token add --device kitchen --scopes read,images --store store")["token"]
    assert main(["cloud", "retrain", "digits", "--store", "store"]) == 2
    assert "that devices gave for digits, got none" in capsys.readouterr().err
    process = Process(tmp_path / "store")
    try:
        cloud = pyedge.Cloud(process.url, token=token, folder=tmp_path / "device")
        gift = new.images.numpy()[:20]
        cloud.give_images(gift, ["9"] * 20, cloud.download("digits"), consent=True)
    finally:
        process.stop()
    assert main(["cloud", "retrain", "digits", "--store", "store"]) == 2
    assert "at least 5 of each class, got fewer of 0, 1" in capsys.readouterr().err
    assert main(["cloud", "retrain", "lonely", "--store", "store"]) == 2
    assert "one with a teacher, got lonely" in capsys.readouterr().err
    assert main(["cloud", "retrain", "other", "--store", "store"]) == 2
    store("serve student add student.pyedge --name digits-2 --store store")
    assert main(["cloud", "retrain", "digits", "--store", "store"]) == 2
    assert "wanted the next name free, got digits-2" in capsys.readouterr().err
    assert [each["name"] for each in store("serve student list --store store")["students"]] == [
        "digits",
        "digits-2",
        "lonely",
    ]


@pytest.mark.parametrize(
    "when",
    [
        pytest.param("teacher.checkpoint", marks=pytest.mark.exhaustive),
        "student.checkpoint",  # the teacher's run is gone on from as well, at its end
    ],
)
def test_a_killed_run_goes_on_and_ends_in_the_same_weights(
    store: Run, tmp_path: Path, when: str, capsys: pytest.CaptureFixture[str]
) -> None:
    new, _ = teacher_and_student(tmp_path)
    store("serve student add student.pyedge --name digits --teacher teacher.pt --store store")
    token = store("serve token add --device kitchen --scopes read,images --store store")["token"]
    process = Process(tmp_path / "store")
    try:
        cloud = pyedge.Cloud(process.url, token=token, folder=tmp_path / "device")
        gift = new.images.numpy()
        cloud.give_images(gift, ["9"] * len(gift), cloud.download("digits"), consent=True)
    finally:
        process.stop()
    words = f"cloud retrain digits --data {_without_nines(tmp_path / 'old')} --splits no --epochs 3"
    words += " --transfer-epochs 3 --batch-size 64 --threads 1 --device cpu --store"
    shutil.copytree("store", "other")
    whole = store(f"{words} other")
    assert whole["resumed"] is False

    unfinished = tmp_path / "store" / "retraining"
    run = subprocess.Popen([sys.executable, "-c", MAIN, *words.split(), "store"])
    while not list(unfinished.glob(f"*/{when}")):
        assert run.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    run.kill()
    run.wait()
    assert list((tmp_path / "store" / "work").iterdir()) == []
    assert main(["serve", "student", "list", "--store", "store"]) == 0
    assert "digits-2" not in capsys.readouterr().out
    Process(tmp_path / "store").stop()  # a service that starts meanwhile clears nothing of it
    assert list(unfinished.glob(f"*/{when}"))

    again = store(f"{words} store")
    assert again["resumed"] is True
    assert {**again, "resumed": False} == whole
    # not the same file: its record tells of the first images that the teacher was shown
    one, other = map(_newest, ("store", "other"))
    assert one.arrays.keys() == other.arrays.keys()
    assert all(np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)
    assert one.statistics is not None
    assert other.statistics is not None
    assert np.array_equal(one.statistics.sums, other.statistics.sums)
    assert [path.name for path in unfinished.iterdir()] == ["digits.lock"]


def test_other_images_or_settings_begin_anew(tmp_path: Path) -> None:
    from pyedge.serve.store import Store
    from pyedge.serve.unfinished import Unfinished

    kept = Store(tmp_path / "store")
    signs, other = Unfinished(kept, "signs"), Unfinished(kept, "signs.b")
    place, resumed = _interrupted(signs)
    assert not resumed
    beside, resumed = _interrupted(other)
    assert not resumed
    assert _interrupted(signs) == (place, True)
    with signs.folder(b"others", 1) as (anew, resumed):
        with pytest.raises(ValueError, match="no other process retrains, got signs"):
            signs.forget()
        assert not resumed
        assert not place.exists()
        assert beside.exists()
    assert not anew.exists()
    other.forget()
    assert not beside.exists()
    kept.close()


def _interrupted(unfinished: Any) -> tuple[Path, bool]:
    """Begin a run that Ctrl-C ends; return its folder, and whether it was begun before."""
    with suppress(KeyboardInterrupt), unfinished.folder(b"images", 1) as (place, resumed):
        (place / "teacher.checkpoint").write_bytes(b"state")
        raise KeyboardInterrupt
    return place, resumed


def _newest(folder: str) -> Any:
    from pyedge.serve.store import Store
    from pyedge.serve.students import Students

    store = Store(folder)
    students = Students(store)
    found = students.base(students.row("digits-2"))
    store.close()
    return found


def _without_nines(folder: Path) -> Path:
    """Write the old digits' training images as a folder of classes."""
    image = pytest.importorskip("PIL.Image")
    train, _, _ = load_dataset("digits")
    for number in range(_SOME):
        pixels, label = train.images[number], train.labels[number]
        if int(label) < 9:
            place = folder / str(int(label))
            place.mkdir(parents=True, exist_ok=True)
            image.fromarray(pixels[0].numpy()).save(place / f"{number}.png")
    return folder


def _widths(learner: EdgeLearner) -> dict[str, int]:
    return {n: len(a) for n, a in learner.student.arrays.items() if ".conv" in n}


def _head(model: torch.nn.Module) -> torch.Tensor:
    return next(p for p in reversed(list(model.parameters())) if p.dim() == 2)
