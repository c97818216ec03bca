"""Knowledge packs: the device reads what the teacher said, of its own student and images."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pyedge.cloud.make_knowledge import knowledge_bytes, make_knowledge
from pyedge.cloud.training.matching import match, match_groups
from pyedge.data import Augment
from pyedge.data.augment import standardise_array
from pyedge.knowledge.pack import Knowledge
from tests.support.edge_student import SIZE, tiny_student
from tests.support.knowledge_case import answers, loud_teacher, pixels, restored
from tests.support.tiny_pair import TinyStudent, TinyTeacher

COUNT = 21


@pytest.fixture(scope="module")
def net() -> TinyTeacher:
    return loud_teacher()


@pytest.fixture(scope="module")
def student():
    return tiny_student()


@pytest.fixture(scope="module", params=["float16", "int8"])
def pack(request, net, student, tmp_path_factory) -> Knowledge:
    """A pack of 21 images in batches of 8, two views each."""
    path = tmp_path_factory.mktemp("packs") / "pack"
    augment = Augment(crop_padding=2, flip=True, cutout=0)
    options = {"dtype": request.param, "views": 2, "augment": augment, "batch_size": 8}
    return make_knowledge(student, net, pixels(COUNT), path, **options)


def test_pack_holds_the_teachers_logits_and_norms(pack, net):
    logits, maps = answers(net, pixels(COUNT))
    batch = pack.batch(np.arange(COUNT))
    # the teacher ran in batches of another size: sums of float32 in another order
    assert np.allclose(batch["logits"], logits.numpy(), rtol=1e-5, atol=1e-6)
    for g, blocks in enumerate(maps):
        assert batch["norms"][g].shape == (2, COUNT)
        for k, block in enumerate(blocks):
            exact = block.double().square().sum((1, 2, 3)).numpy()
            assert np.allclose(batch["norms"][g][k], exact, rtol=1e-5)


def test_pack_holds_the_students_channels_within_half_a_step(pack, net, student):
    _, maps = answers(net, pixels(COUNT))
    batch = pack.batch(np.arange(COUNT))
    for g, blocks in enumerate(maps):
        for k, block in enumerate(blocks):
            exact = block[:, student.kept[g]].permute(0, 2, 3, 1).double().numpy()
            peak = np.abs(exact).max(axis=(1, 2, 3), keepdims=True)
            # float16 rounds to 11 bits, and values below 2^-14 of an exponent to 2^-25; int8 to
            # 1/254 of the peak; 1e-6 stands for the batch's other size
            near = {"float16": np.abs(exact) * 2**-11 + peak * 2**-20, "int8": peak / 254}
            error = np.abs(restored(batch, g, k) - exact)
            assert (error <= near[pack.dtype] + peak * 1e-6).all()
            assert np.abs(exact).max() > 0.1


def test_pack_gives_the_cosine_of_the_full_maps(pack, net, student):
    _, maps = answers(net, pixels(COUNT))
    rows = np.array([4, 0, 20, 7, 11])
    batch = pack.batch(rows)
    for g, blocks in enumerate(maps):
        kept = torch.from_numpy(student.kept[g])
        generator = torch.Generator().manual_seed(g)
        near = blocks[1][rows][:, kept]
        mine = near + 0.3 * near.std() * torch.randn(near.shape, generator=generator)
        found = match(mine, [block[rows] for block in blocks], kept)
        s = mine.permute(0, 2, 3, 1).double().numpy()
        for k in range(2):
            t, norm = restored(batch, g, k), np.sqrt(batch["norms"][g][k].sum())
            cosine = (t * s).sum() / (norm * np.sqrt((s * s).sum()))
            # |<t' - t, s>| <= |t' - t| |s|: the error of the map, in units of its norm
            count, peak = t[0].size, np.abs(t).max(axis=(1, 2, 3))
            bound = {
                "float16": 2**-11,
                "int8": np.sqrt((count * (peak / 254) ** 2).sum()) / norm,
            }[pack.dtype]
            assert abs(cosine - float(found.cosine[k])) <= bound + 1e-6
            assert bound < 0.03


def test_pack_maps_are_not_copied_and_cannot_be_written(pack):
    batch = pack.batch(np.array([1, 2]))
    for blocks in batch["maps"]:
        for maps, scales in blocks:
            assert isinstance(maps, np.memmap)
            assert maps.flags.c_contiguous
            assert len(maps) == 2 * COUNT
            assert not maps.flags.writeable
            assert (scales is not None) or pack.dtype == "float16"
    again = pack.batch(np.array([3]))
    assert again["maps"][0][0][0] is batch["maps"][0][0][0]


def test_pack_views_are_those_that_augment_draws(pack, net):
    images, augment = pixels(COUNT), Augment(crop_padding=2, flip=True, cutout=0)
    draw = augment.draw(COUNT, SIZE, SIZE, np.random.default_rng([0, 1]))
    wanted = augment.apply(standardise_array(images), draw)
    batch = pack.batch(np.arange(COUNT), np.ones(COUNT, np.int64))
    made = np.stack(
        [
            as_the_device_does(image, shift, flip)
            for image, shift, flip in zip(
                standardise_array(images), batch["shift"], batch["flip"], strict=True
            )
        ]
    )
    assert np.array_equal(made, wanted)
    assert batch["flip"].any()
    assert not batch["flip"].all()
    with torch.no_grad():
        logits, _ = net(torch.from_numpy(wanted))
    assert np.allclose(batch["logits"], logits.numpy(), rtol=1e-5, atol=1e-6)


def as_the_device_does(image: np.ndarray, shift: np.ndarray, flip: np.ndarray) -> np.ndarray:
    """Mirror first, then read pixel (y + dy, x + dx), 0 outside."""
    image = image[:, :, ::-1] if flip else image
    out = np.zeros_like(image)
    for y in range(SIZE):
        for x in range(SIZE):
            v, u = y + shift[0], x + shift[1]
            if 0 <= v < SIZE and 0 <= u < SIZE:
                out[:, y, x] = image[:, v, u]
    return out


def test_pack_teaches_an_engine_what_the_teacher_would_teach_in_torch(pack, net, student):
    index, view = np.array([3, 17, 8, 0, 11]), np.array([1, 0, 1, 1, 1])
    found = student.engine().step(pixels(COUNT), index, **pack.batch(index, view))
    augment = Augment(crop_padding=2, flip=True, cutout=0)
    draw = augment.draw(COUNT, SIZE, SIZE, np.random.default_rng([0, 1]))
    plain = standardise_array(pixels(COUNT))
    views = np.where(view[:, None, None, None], augment.apply(plain, draw)[index], plain[index])
    mine = TinyStudent()
    weights = {name: torch.from_numpy(np.array(array)) for name, array in student.arrays.items()}
    mine.load_state_dict({**mine.state_dict(), **weights})
    with torch.no_grad():
        x = torch.from_numpy(views.astype(np.float32))
        (logits, taps), (theirs, maps) = mine.eval().forward_taps(x), net(x)
        kept = [torch.from_numpy(each) for each in student.kept]
        outcomes = match_groups(taps, maps, kept)
    assert found["J_1"] == pytest.approx(float((logits - theirs).square().mean().sqrt()), rel=1e-5)
    assert found["pairs"] == [outcome.best for outcome in outcomes]
    # J_b = sqrt(2 - 2 cos): an error e of the cosine moves it by e / J_b; J_b is about 1 here, and
    # e at most 2^-11 in float16, and the rounding of a map over its norm, some 0.01, in int8
    wanted = sum(float(outcome.distance) for outcome in outcomes)
    error = {"float16": 2**-10, "int8": 0.02}[pack.dtype]
    assert found["J_b"] == pytest.approx(wanted, abs=error)
    assert found["J_3"] == 0


def test_pack_first_view_is_the_image_and_needs_no_change(pack):
    batch = pack.batch(np.array([5, 6]), 0)
    assert batch["shift"] is None
    assert batch["flip"] is None
    mixed = pack.batch(np.array([5, 6]), np.array([0, 1]))
    assert mixed["map_rows"].tolist() == [5, COUNT + 6]
    assert not mixed["shift"][0].any()


def test_pack_tells_its_size_beforehand(pack, net, student):
    size = knowledge_bytes(student, net, COUNT, dtype=pack.dtype, views=2)
    files = sum(file.stat().st_size for file in pack.path.glob("*.npy"))
    optional = sum(file.stat().st_size for file in pack.path.glob("scales.*"))
    assert files == pack.nbytes
    assert size == files - (optional if pack.dtype == "float16" else 0)
    assert size == knowledge_bytes(student, net, pixels(COUNT), dtype=pack.dtype, views=2)


def test_pack_refuses_another_student_and_takes_one_that_has_learned(pack, student):
    pack.check(student)
    arrays = {name: array * 2 for name, array in student.arrays.items()}
    grown = {"head.weight": np.ones((5, 5), np.float32), "head.bias": np.ones(5, np.float32)}
    learned = replace(tiny_student(), arrays=arrays | grown, classes=tuple("abcde"))
    pack.check(learned)
    other = replace(tiny_student(), kept=(student.kept[0], np.array([0, 2, 4, 5, 7])))
    with pytest.raises(ValueError, match="got another student"):
        pack.check(other)


def test_pack_refuses_other_images_and_finds_its_own_in_any_order(pack):
    images = pixels(COUNT)
    pack.check_images(images)
    changed = images.copy()
    changed[4, 0, 2, 2] ^= 1
    with pytest.raises(ValueError, match=r"image 4 .*differs"):
        pack.check_images(changed)
    with pytest.raises(ValueError, match=r"21 images, .*20"):
        pack.check_images(images[:20])
    with pytest.raises(ValueError, match=r"other images, .*another order"):
        pack.check_images(images[::-1].copy())
    assert pack.locate(images[[7, 0, 7, 20]]).tolist() == [7, 0, 7, 20]
    with pytest.raises(ValueError, match=r"not know 1 of .*3 images; image 1"):
        pack.locate(np.stack([images[3], changed[4], images[5]]))


def test_pack_gives_the_logits_of_the_students_classes(pack):
    batch = pack.batch(np.array([2, 3]))
    columns = pack.columns(["high", "low"])
    picked = pack.batch(np.array([2, 3]), 0, columns)["logits"]
    assert np.array_equal(picked, batch["logits"][:, [2, 0]])
    assert picked.flags.c_contiguous
    with pytest.raises(ValueError, match=r"no class mug; .*low, middle, high"):
        pack.columns(["low", "mug"])


@pytest.mark.parametrize(
    ("index", "view", "kind", "words"),
    [
        ([COUNT], 0, ValueError, rf"image_index: wanted 0\.\.{COUNT - 1}"),
        ([-1], 0, ValueError, "image_index: wanted"),
        ([0], 2, ValueError, r"view: wanted 0\.\.1"),
        ([0, 1], [0], ValueError, "wanted shape"),
        ([[0]], 0, ValueError, "wanted shape"),
        ([0.5], 0, TypeError, "image_index: wanted whole numbers, got float64"),
    ],
)
def test_pack_refuses_rows_that_are_not_there(pack, index, view, kind, words):
    with pytest.raises(kind, match=words):
        pack.batch(np.array(index), np.array(view))


def test_pack_is_read_without_torch_and_without_pillow(pack, tmp_path: Path):
    np.save(tmp_path / "images.npy", pixels(COUNT))
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'torch', 'PIL', 'rich', 'sklearn'}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import numpy as np\n"
        "from pyedge.knowledge.pack import Knowledge\n"
        "pack = Knowledge(sys.argv[1])\n"
        "pack.check_images(np.load(sys.argv[2], mmap_mode='r'))\n"
        "print(pack.batch(np.arange(3))['logits'].shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(pack.path), str(tmp_path / "images.npy")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "(3, 3)\n"
