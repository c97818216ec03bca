"""Making knowledge packs: options, what is refused, and maps of any magnitude."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pyedge.cloud.knowledge_maps import squared_norms, store_map
from pyedge.cloud.make_knowledge import make_knowledge
from pyedge.cloud.training.trainable import teaching_mode
from pyedge.data import Augment, ImageSet, standardise
from pyedge.student.archive import write_student
from tests.support.edge_student import SIZE, tiny_student
from tests.support.knowledge_case import answers, loud_teacher, pixels, restored
from tests.support.tiny_pair import TinyTeacher, pair


@pytest.fixture(scope="module")
def net() -> TinyTeacher:
    return loud_teacher()


@pytest.fixture(scope="module")
def student():
    return tiny_student()


def test_pack_of_the_same_seed_has_the_same_bytes(net, student, tmp_path):
    images = pixels(6)
    made = {}
    for name, options in {"a": {}, "b": {}, "c": {"seed": 1}, "d": {"plain_view": False}}.items():
        found = make_knowledge(student, net, images, tmp_path / name, views=2, **options)
        made[name] = (found.digest, found.batch(np.arange(6), 0)["shift"])
    assert made["a"][0] == made["b"][0] != made["c"][0]
    assert made["a"][1] is None
    assert made["d"][1].any()


def test_pack_of_photos_needs_no_class_folders(net, student, tmp_path):
    image = pytest.importorskip("PIL.Image")
    images = pixels(4)
    paths = [tmp_path / "loose" / f"{i}.png" for i in range(4)]
    paths[0].parent.mkdir()
    for path, each in zip(paths, images, strict=True):
        image.fromarray(each[0]).save(path)
    expected = make_knowledge(student, net, images, tmp_path / "a").digest
    assert make_knowledge(student, net, tmp_path / "loose", tmp_path / "b").digest == expected
    found = make_knowledge(student, net, paths, tmp_path / "c")
    assert found.digest == expected
    found.check_images(tmp_path / "loose")


def test_pack_in_either_layout_of_the_images_is_the_same(net, tmp_path):
    student = tiny_student()
    images = pixels(5)
    packs = [
        make_knowledge(student, net, given, tmp_path / str(i))
        for i, given in enumerate(
            (
                images,
                images[:, 0],
                images.transpose(0, 2, 3, 1).copy(),
                torch.from_numpy(images),
                ImageSet(torch.from_numpy(images), torch.zeros(5).long(), ["x"]),
            )
        )
    ]
    assert len({each.digest for each in packs}) == 1
    packs[0].check_images(images.transpose(0, 2, 3, 1).copy())


def test_pack_of_preprocessed_images_asks_the_teacher_about_them_as_they_are(
    net, student, tmp_path
):
    floats = np.random.default_rng(0).standard_normal((4, 1, SIZE, SIZE), dtype=np.float32)
    found = make_knowledge(student, net, floats, tmp_path / "pack")
    with torch.no_grad():
        logits, _ = net(torch.from_numpy(floats))
    assert np.allclose(found.batch(np.arange(4))["logits"], logits.numpy(), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="made for other images"):
        found.check_images(pixels(4))


@pytest.mark.parametrize("kind", ["none", "channel"])
def test_pack_preprocesses_as_the_student_does(net, tmp_path, kind):
    numbers = {"mean": [0.4], "deviation": [0.2]} if kind == "channel" else {}
    preprocessing = {"kind": kind, "mean": [], "deviation": [], **numbers}
    student = replace(tiny_student(), preprocessing=preprocessing)
    images = pixels(4)
    x = torch.from_numpy(images).float() / 255
    x = (x - 0.4) / 0.2 if kind == "channel" else x
    found = make_knowledge(student, net, images, tmp_path / "pack")
    with torch.no_grad():
        logits, _ = net(x)
    assert np.allclose(found.batch(np.arange(4))["logits"], logits.numpy(), rtol=1e-4, atol=1e-5)


def test_pack_with_batch_statistics_is_that_of_the_batch(net, student, tmp_path):
    images = pixels(9)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = make_knowledge(student, net, images, tmp_path / "p", teacher_batch_norm="batch")
    with torch.no_grad(), teaching_mode(net, "batch"):
        logits, _ = net(standardise(torch.from_numpy(images)))
    mine = found.batch(np.arange(9))["logits"]
    assert np.allclose(mine, logits.numpy(), rtol=1e-4, atol=1e-5)
    assert not np.allclose(mine, answers(net, images)[0].numpy(), rtol=1e-2)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    # batches of 3, dealt out at random: rows are still those of their images
    parts = make_knowledge(
        student, net, images, tmp_path / "q", teacher_batch_norm="batch", batch_size=3
    )
    assert not np.allclose(parts.batch(np.arange(9))["logits"], mine, rtol=1e-2)
    parts.check_images(images)


def test_pack_takes_the_students_file_by_its_path(net, student, tmp_path):
    write_student(student, tmp_path / "student.pyedge")
    found = make_knowledge(tmp_path / "student.pyedge", net, pixels(3), tmp_path / "pack")
    found.check(student)
    assert (found.count, found.views, found.classes) == (3, 1, ("low", "middle", "high"))
    assert json.loads((tmp_path / "pack" / "manifest.json").read_text())["images"] == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dtype": "float32"}, "dtype: wanted"),
        ({"teacher_batch_norm": "both"}, "teacher_batch_norm: wanted"),
        ({"views": 0}, "views: wanted a whole number from 1, got 0"),
        ({"batch_size": 0}, "batch_size: wanted a whole number from 1, got 0"),
        ({"augment": Augment()}, "cutout=0, since a device does not cut out, got 16"),
        ({"augment": Augment(9, cutout=0)}, "crop_padding up to 8"),
        ({"classes": ["a", "b"]}, "3 logits, .*got 2"),
        ({"classes": ["a", "b", "b"]}, "different names"),
        ({"images": pixels(0)}, "images: wanted at least one, got none"),
        ({"images": np.zeros((2, 1, 9, 9), np.uint8)}, r"wanted \[n, 1, 8, 8\]"),
    ],
)
def test_make_knowledge_refuses_what_does_not_fit(net, student, tmp_path, changes, words):
    arguments = {"images": pixels(2), **changes}
    with pytest.raises(ValueError, match=words):
        make_knowledge(student, net, path=tmp_path / "pack", **arguments)
    assert not list(tmp_path.iterdir())


def test_make_knowledge_refuses_a_teacher_that_is_not_the_students(net, student, tmp_path):
    wide = replace(tiny_student(), teacher_channels=(6, 9))
    with pytest.raises(ValueError, match=r"group 1 .*faces maps of \[9, 4, 4\].*has \[8, 4, 4\]"):
        make_knowledge(wide, net, pixels(2), tmp_path / "pack")
    with pytest.raises(TypeError, match="StudentFile, the path of one, or the result of"):
        make_knowledge(pair()[0], net, pixels(2), tmp_path / "pack")


@pytest.mark.parametrize("where", ["groups.1.1.0.weight", "groups.0.0.0.weight"])
def test_make_knowledge_refuses_answers_that_are_not_finite(student, tmp_path, where):
    teacher = pair()[1].eval()
    with torch.no_grad():
        teacher.get_parameter(where)[0] = 3e38  # finite, and its products are not
    with pytest.raises(ValueError, match="answer to image 0 holds NaN or infinity"):
        make_knowledge(student, teacher, pixels(4), tmp_path / "pack")
    assert not list(tmp_path.iterdir())


@settings(max_examples=60, deadline=None)
@given(
    exponents=st.lists(st.integers(-130, 120), min_size=1, max_size=4),
    dtype=st.sampled_from(["float16", "int8"]),
    seed=st.integers(0, 99),
)
def test_store_map_is_right_at_any_magnitude(exponents, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([2.0**e for e in exponents])[:, None, None, None]
    maps = torch.randn(len(exponents), 5, 3, 2, generator=generator) * size
    maps[0, :, 0] = 0
    kept = torch.tensor([0, 2, 3])
    stored = store_map(maps, kept, dtype)
    exact = maps[:, kept].permute(0, 2, 3, 1).double().numpy()
    found = stored.values.astype(np.float64) * stored.scales[:, None, None, None].astype(np.float64)
    peak = np.abs(exact).max(axis=(1, 2, 3), keepdims=True)
    step = {"float16": np.abs(exact) * 2**-11 + peak * 2**-20, "int8": peak / 254 * (1 + 1e-6)}
    # below the least normal float32 nothing is promised but an error that small
    assert (np.abs(found - exact) <= step[dtype] + 2.0**-126).all()
    assert np.isfinite(stored.scales).all()
    assert (stored.scales > 0).all()
    assert np.allclose(stored.squares, (maps.double() ** 2).sum((1, 2, 3)).numpy(), rtol=1e-12)


def test_store_map_of_zeros_has_scale_one():
    for dtype in ("float16", "int8"):
        stored = store_map(torch.zeros(2, 4, 3, 3), torch.tensor([1, 2]), dtype)
        assert not stored.values.any()
        assert stored.scales.tolist() == [1, 1]


def test_float16_scales_are_written_only_where_a_map_needs_them(student, tmp_path):
    teacher = pair(seed=5)[1].eval()

    class Loud(nn.Module):
        """Multiplies the maps of the last group."""

        is_tapped = True

        def __init__(self, factor: float) -> None:
            super().__init__()
            self.teacher, self.factor = teacher, factor

        def forward(self, x: torch.Tensor) -> tuple:
            logits, maps = self.teacher(x)
            return logits, [[8 * m for m in maps[0]], [self.factor * m for m in maps[1]]]

    _, maps = answers(teacher, pixels(4))
    factor = float(2**18 / maps[1][0].abs().max())
    loud = make_knowledge(student, Loud(factor), pixels(4), tmp_path / "loud")
    names = {file.name for file in loud.path.glob("scales.*")}
    assert "scales.1.0.npy" in names
    assert "scales.0.0.npy" not in names
    exact = factor * maps[1][0][:, student.kept[1]].permute(0, 2, 3, 1).double().numpy()
    assert np.abs(exact).max() > 65504
    assert np.allclose(restored(loud.batch(np.arange(4)), 1, 0), exact, rtol=2**-11, atol=0.5)


def test_squared_norms_do_not_depend_on_how_they_are_cut(monkeypatch):
    maps = torch.randn(7, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    whole = squared_norms(maps)
    monkeypatch.setattr("pyedge.cloud.knowledge_maps._RUN_ELEMENTS", 100)
    assert torch.equal(squared_norms(maps), whole)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"plain_view": "no"}, "plain_view: wanted True or False, got 'no'"),
        ({"augment": "flip"}, "augment: wanted a pyedge.data.Augment or None, got a str"),
        ({"augment": True}, "augment: wanted a pyedge.data.Augment or None, got a bool"),
        ({"batch_size": True}, "batch_size: wanted a whole number from 1, got True"),
        ({"path": 5}, "path: wanted that of a folder, got an int"),
        ({"path": None}, "path: wanted that of a folder, got NoneType"),
    ],
)
def test_make_knowledge_names_arguments_of_another_kind(net, student, tmp_path, changes, words):
    arguments = {"path": tmp_path / "pack", "progress": False, **changes}
    with pytest.raises(TypeError, match=f"make_knowledge: {words}"):
        make_knowledge(student, net, pixels(4), **arguments)
