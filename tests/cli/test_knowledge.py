"""pyedge knowledge, and packs of real teachers and students of pyedge.compress."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pyedge
from pyedge import cli, models
from pyedge.cloud.exporting.describe import student_file
from pyedge.cloud.make_knowledge import knowledge_bytes, make_knowledge
from pyedge.cloud.network_file import NetworkInfo, load_network, save_network
from pyedge.data import standardise
from pyedge.images.edge_images import EdgeImages
from pyedge.knowledge.pack import Knowledge
from pyedge.student.archive import read_student, write_student

Image = pytest.importorskip("PIL.Image")

SIZE = 12
CLASSES = ("blue", "green", "red")
OPTIONS = {"depth": 16, "widths": (6, 8, 10), "stem": 4, "num_classes": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """teacher.pt, student.pyedge, another.pyedge and photos/."""
    folder = tmp_path_factory.mktemp("cli-knowledge")
    random = np.random.default_rng(0)
    for name in CLASSES:
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(5):
            pixels = random.integers(0, 256, (SIZE + i, SIZE + 2, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{i}.png")
    torch.manual_seed(0)
    teacher = models.create("wrn", **OPTIONS).eval()
    info = NetworkInfo(builder="wrn", options=OPTIONS, classes=CLASSES, input_shape=(3, SIZE, SIZE))
    save_network(folder / "teacher.pt", teacher, info)
    for name, widths in (("student", [3, 4, 5, 5, 6, 6, 7]), ("another", [3, 4, 5, 5, 6, 6, 8])):
        cut = pyedge.compress(teacher, images=torch.randn(8, 3, SIZE, SIZE), widths=widths)
        write_student(student_file(cut, classes=CLASSES), folder / f"{name}.pyedge")
        torch.save(cut.state_dict(), folder / f"{name}.pt")
    return folder


@pytest.fixture
def run(folder, capsys, monkeypatch):
    """Run a command line in `folder`; return its exit code, its JSON and the last error line."""
    monkeypatch.chdir(folder)
    monkeypatch.setitem(cli.COMMANDS, "knowledge", ("pyedge.cli.knowledge", "write knowledge"))

    def run(line: str) -> tuple[int, dict[str, Any], str]:
        code = cli.main([*line.split(), "--json"])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, json.loads(out) if out else {}, (err.splitlines() or [""])[-1]

    return run


def teacher_of(folder: Path) -> torch.nn.Module:
    return load_network(folder / "teacher.pt")[0]


def test_cli_knowledge_writes_what_the_teacher_says_of_a_folder(run, folder):
    line = "knowledge student.pyedge --teacher teacher.pt photos --out pack --views 2"
    line += " --augment crop,flip"
    code, found, _ = run(line)
    assert code == 0
    pack = Knowledge(folder / "pack")
    assert (found["images"], found["views"], found["bytes"]) == (15, 2, pack.nbytes)
    assert (pack.count, pack.classes, pack.dtype) == (15, CLASSES, "float16")
    pack.check(read_student(folder / "student.pyedge"))
    with pytest.raises(ValueError, match="got another student"):
        pack.check(read_student(folder / "another.pyedge"))
    images = EdgeImages.of(folder / "photos", (3, SIZE, SIZE))
    places = pack.locate(images)
    x = standardise(torch.from_numpy(images.planar(slice(None))))
    with torch.no_grad():
        logits = teacher_of(folder)(x).numpy()
    assert np.allclose(pack.batch(places)["logits"], logits, rtol=1e-4, atol=1e-5)


def test_cli_knowledge_takes_only_some_classes_and_int8(run, folder):
    code, found, _ = run(
        "knowledge student.pyedge --teacher teacher.pt photos --out new --only-classes red"
        " --dtype int8"
    )
    assert code == 0
    pack = Knowledge(folder / "new")
    assert (pack.count, pack.dtype, found["dtype"]) == (5, "int8", "int8")
    images = EdgeImages.of(folder / "photos", (3, SIZE, SIZE))
    assert pack.locate(images.only_classes(["red"])).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"not know 10 of .*15 images"):
        pack.locate(images)


def test_cli_knowledge_of_the_training_part_knows_no_test_image(run, folder):
    code, found, _ = run(
        "knowledge student.pyedge --teacher teacher.pt photos --out train --part train"
    )
    assert code == 0
    assert found["images"] == 9  # of 15, a fifth of each class is test, one of the rest val


def test_cli_knowledge_reads_arrays(run, folder):
    pixels = np.random.default_rng(1).integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
    np.save(folder / "pixels.npy", pixels)
    code, found, _ = run("knowledge student.pyedge --teacher teacher.pt pixels.npy --out arrays")
    assert (code, found["images"]) == (0, 4)
    Knowledge(folder / "arrays").check_images(pixels)


def test_cli_knowledge_estimates_and_writes_nothing(run, folder):
    before = sorted(folder.iterdir())
    line = "knowledge student.pyedge --teacher teacher.pt photos --out pack2 --views 3 --estimate"
    code, found, _ = run(line)
    assert code == 0
    student = read_student(folder / "student.pyedge")
    assert found["bytes"] == knowledge_bytes(student, teacher_of(folder), 15, views=3)
    assert found["out"] is None
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("code", "line", "words"),
    [
        (2, "teacher.pt student.pt photos --out x", "student.pt is a network file; pyedge export"),
        (1, "student.pt student.pyedge photos --out x", "not a network file"),
        (2, "teacher.pt student.pyedge nowhere --out x", "nowhere"),
        (2, "teacher.pt student.pyedge photos --out photos", "is not a pack"),
        (2, "teacher.pt student.pyedge photos --out no/x", "there is no folder"),
        (2, "teacher.pt student.pyedge photos --out x --augment cutout", "--augment: wanted crop"),
        (2, "teacher.pt student.pyedge photos --out x --views 2 --augment none", "the same"),
        (2, "teacher.pt student.pyedge photos --out x --only-classes mug", "mug"),
        (2, "teacher.pt student.pyedge photos --out x --only-classes mug --part train", "mug"),
        (2, "teacher.pt student.pyedge photos", "missing: --out"),
    ],
)
def test_cli_knowledge_explains_what_is_wrong(run, folder, code, line, words):
    before = sorted(folder.iterdir())
    found = run(f"knowledge {line}")
    assert found[0] == code
    assert words in found[2]
    assert sorted(folder.iterdir()) == before


def test_pack_for_a_student_in_memory_is_the_one_for_its_file(folder, tmp_path):
    teacher = teacher_of(folder)
    student = pyedge.compress(
        teacher, images=torch.randn(8, 3, SIZE, SIZE), widths=[3, 4, 5, 5, 6, 6, 7]
    )
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, SIZE, SIZE), dtype=np.uint8)
    pack = make_knowledge(student, teacher, pixels, tmp_path / "pack", progress=False)
    pack.check(student_file(student, classes=CLASSES))
    assert pack.classes == ("0", "1", "2")
    _, taps = student.forward_taps(standardise(torch.from_numpy(pixels)))
    assert [group.shape for group in pack.groups] == [
        (tap.shape[2], tap.shape[3], tap.shape[1]) for tap in taps
    ]
    assert [group.blocks for group in pack.groups] == [2, 2, 2]
    other = models.create("wrn", **{**OPTIONS, "widths": (6, 8, 12)}).eval()
    with pytest.raises(ValueError, match="it is not the student's teacher"):
        make_knowledge(student, other, pixels, tmp_path / "pack")


@pytest.mark.parametrize(
    "line",
    [
        "teacher.pt student.pyedge photos --out {}",
        "--dtype float16 teacher.pt --out {} student.pyedge photos",
        "teacher.pt student.pyedge --out {} photos",
    ],
)
def test_cli_knowledge_took_the_teacher_first(run, folder, capsys, tmp_path, line):
    code, found, _ = run(f"knowledge student.pyedge photos --teacher teacher.pt --out {tmp_path}/n")
    assert code == 0
    assert cli.main(["knowledge", *line.format(tmp_path / "o").split(), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["bytes"] == found["bytes"]
    assert "note: the student comes first now, and then --teacher; TEACHER STUDENT DATA goes" in err
    assert Knowledge(tmp_path / "o").digest == Knowledge(tmp_path / "n").digest


def test_cli_knowledge_wants_a_teacher(run):
    code, found, told = run("knowledge student.pyedge photos --out pack")
    assert (code, found) == (2, {})
    assert told.endswith("missing: --teacher, the file of the teacher")
    code, _, told = run("knowledge student.pyedge photos more --teacher teacher.pt --out pack")
    assert (code, "'more' is one argument too many" in told) == (2, True)
