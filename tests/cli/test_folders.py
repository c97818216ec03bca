"""Folders as people have them, on the command line: what is said, and which answer is whose."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pyedge.cli import main
from pyedge.cli.console import Console
from pyedge.cli.dataset import load, load_for
from pyedge.cloud.network_file import NetworkInfo
from pyedge.edge.learner import EdgeLearner
from pyedge.errors import FormatError
from pyedge.images import file_kinds
from pyedge.student.archive import write_student
from tests.support.edge_student import CLASSES, images, tiny_student
from tests.support.folder_trees import encoded, folder, pixels, zipped

GREY = images(9)[0][:, 0]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a student and photos of its size in class folders."""
    write_student(tiny_student(), tmp_path / "student.pyedge")
    members = {f"{CLASSES[i % 3]}/{i}.png": encoded(image) for i, image in enumerate(GREY)}
    folder(tmp_path / "photos", members)
    zipped(tmp_path / "photos.zip", members)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_cli_predict_keeps_each_answer_with_its_name(here, capsys):
    (here / "photos" / "notes.txt").write_text("x")
    zipped(here / "other.zip", {"low/0.png": encoded(GREY[1])})
    line = "predict student.pyedge photos/high/2.png photos photos.zip other.zip --json"
    assert main(line.split()) == 0
    out, err = capsys.readouterr()
    assert "note: photos: 1 of 10 files was left out: 1 .txt (no image: notes.txt)" in err
    answers = json.loads(out)["images"]
    names = sorted(f"{CLASSES[i % 3]}/{i}.png" for i in range(9))
    assert [answer["image"] for answer in answers] == [
        "photos/high/2.png",
        *(f"photos/{name}" for name in names),
        *(f"photos.zip/{name}" for name in names),
        "other.zip/low/0.png",
    ]
    order = [int(name.split("/")[1][0]) for name in names]
    expected = EdgeLearner(tiny_student()).predict(GREY[[2, *order, *order, 1]])
    assert [answer["id"] for answer in answers] == expected.ids.tolist()
    given = [answer["probabilities"] for answer in answers]
    assert np.allclose(given, expected.probabilities, atol=1e-6)  # batches of another size


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("predict student.pyedge photos/notes.txt", 1, "notes.txt: a .txt file; wanted a folder"),
        ("predict student.pyedge http://host/1.png", 2, "http://host/1.png is an address"),
        ("predict student.pyedge photo", 2, "photo: no such file or folder (did you mean photos?)"),
        ("learn student.pyedge photos/low --out x.pyedge", 1, "is not in a class folder"),
        ("learn student.pyedge kaggle --out x.pyedge", 1, "holds training_set/ or test_set/"),
        ("learn student.pyedge photos --splits yes --out x.pyedge", 2, "wanted auto, no, got"),
    ],
)
def test_cli_device_refuses_other_things_in_one_line(here, capsys, words, code, message):
    (here / "photos" / "notes.txt").write_text("x")
    folder(here / "kaggle", {f"{s}_set/low/1.png": encoded(GREY[0]) for s in ("training", "test")})
    assert main(words.split()) == code
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (here / "x.pyedge").exists()


def test_cli_learn_takes_a_zip_as_it_takes_the_folder(here):
    for name in ("photos", "photos.zip"):
        line = f"learn student.pyedge {name} --steps 2 --quiet --out {name}.pyedge"
        assert main(line.split()) == 0
    assert (here / "photos.pyedge").read_bytes() == (here / "photos.zip.pyedge").read_bytes()


def tree(*folders: str) -> dict[str, bytes]:
    return {f"{f}/{c}/{i}.png": encoded(pixels(i)) for f in folders for c in "ab" for i in range(5)}


def test_cli_data_tells_which_folders_were_taken_for_what(here, capsys):
    folder(here / "kaggle", tree("training_set", "test_set"))
    data = load(Console("pyedge"), "kaggle", None, 0)
    assert data.counts() == {"train": 8, "val": 2, "test": 10}
    assert "(test is test_set/, train is training_set/, validation comes out of" in (
        capsys.readouterr().err
    )
    folder(here / "plain", tree("train", "val", "test"))
    load(Console("pyedge"), "plain", None, 0)
    assert " is " not in capsys.readouterr().err


def test_cli_data_names_photos_that_are_left_out_and_takes_jpegs_by_other_names(here, capsys):
    if "HEIF" in file_kinds.formats():
        pytest.skip("pillow-heif is installed: HEIC is read")
    members = {f"{c}/{i}.png": encoded(pixels(i)) for c in "ab" for i in range(5)}
    others = {"a/5.jfif": encoded(pixels(5), "JPEG"), "a/6.jpe": encoded(pixels(6), "JPEG")}
    folder(here / "phone", members | others | {"b/7.HEIC": b"x"})
    line = "train phone --model wrn_10_1 --size 8 --steps 1 --batch-size 8 --out t.pt --threads 1"
    assert main([*line.split(), "--json"]) == 0
    out, err = capsys.readouterr()
    assert sum(json.loads(out)["images"].values()) == 12
    assert "phone: 1 of 13 files was left out: 1 .heic (" in err
    assert "b/7.HEIC" in err


def test_cli_data_with_a_class_called_train_asks_for_splits(here, capsys):
    members = {f"{c}/{i}.png": encoded(pixels(i)) for c in ("bus", "train") for i in range(5)}
    folder(here / "traffic", members)
    line = "train traffic --size 8 --epochs 1 --out t.pt"
    assert main(line.split()) == 1
    assert "splits=False (--splits no) takes all 2 for classes (bus, train)" in (
        capsys.readouterr().err
    )
    assert load(Console("pyedge"), "traffic", None, 0, False).train.classes == ("bus", "train")
    assert main([*line.split(), "--splits", "maybe"]) == 2
    assert "--splits: wanted auto, yes, no, got 'maybe'" in capsys.readouterr().err


def test_cli_data_without_labels_may_lie_in_no_class_folder(here, capsys):
    members = {f"snapshots/{i}.png": encoded(pixels(i)) for i in range(4)}
    folder(here, members)
    info = NetworkInfo(builder="wrn_16_1", classes=("a", "b"), input_shape=(3, 6, 6))
    data = load_for(Console("pyedge"), "snapshots", info, labels=False)
    assert len(data.train) == 4
    assert data.val is data.test is None
    assert np.array_equal(data.train.images[3].permute(1, 2, 0).numpy(), pixels(3))
    assert "taken as unlabelled images" in capsys.readouterr().err
    with pytest.raises(FormatError, match=r"0\.png .*not in a class folder"):
        load_for(Console("pyedge"), "snapshots", info)
