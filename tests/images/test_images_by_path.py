"""Images by their paths: a photo, a list of photos, a folder of them, a zip, a file of an array."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import numpy as np
import pytest

from pyedge.edge.learner import EdgeLearner
from pyedge.errors import FormatError
from pyedge.images.edge_images import EdgeImages
from tests.support.edge_student import CLASSES, images, tiny_student
from tests.support.folder_trees import folder, zipped

Image = pytest.importorskip("PIL.Image")

PIXELS, LABELS = images(9)
GREY = PIXELS.reshape(9, 8, 8)
SHAPE = (1, 8, 8)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with loose/0.png to loose/8.png."""
    (tmp_path / "loose").mkdir()
    for i, image in enumerate(GREY):
        Image.fromarray(image).save(tmp_path / "loose" / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def learner() -> EdgeLearner:
    return EdgeLearner(tiny_student())


def test_predict_of_a_photo_is_one_answer(here, learner):
    expected = learner.predict(GREY)
    for given in ("loose/3.png", Path("loose/3.png"), here / "loose" / "3.png"):
        found = learner.predict(given)
        assert found.ids.tolist() == [expected.ids[3]]
        assert np.array_equal(found.probabilities[0], expected.probabilities[3])


def test_predict_of_paths_answers_in_their_order(here, learner):
    expected = learner.logits(GREY)[[5, 1, 8]]
    names = [f"loose/{i}.png" for i in (5, 1, 8)]
    for given in (
        names,
        tuple(names),
        [Path(name) for name in names],
        iter(names),
        (Path(name) for name in names),
        np.array(names),
        np.array([Path(name) for name in names], dtype=object),
        [(name, 0) for name in names],
    ):
        assert np.array_equal(learner.logits(given), expected)
    assert np.array_equal(learner.logits(sorted(glob.glob("loose/*.png"))), learner.logits(GREY))


def test_predict_of_loose_photos_needs_no_labels_and_evaluate_says_that_it_does(here, learner):
    expected = learner.logits(GREY)
    members = {p.name: p.read_bytes() for p in (here / "loose").iterdir()}
    zipped(here / "loose.zip", dict(sorted(members.items(), reverse=True)))
    for given in ("loose", "loose.zip"):
        assert np.array_equal(learner.logits(given), expected)
        with pytest.raises(FormatError, match=r"0\.png .*not in a class folder"):
            learner.evaluate(given)
        with pytest.raises(ValueError, match=r"class folders; .*a list of"):
            learner.evaluate(given, LABELS)
    with pytest.raises(ValueError, match=r"evaluate: .*labels of 2 images"):
        learner.evaluate(["loose/0.png", "loose/1.png"])


def test_predict_of_class_folders_answers_class_by_class_as_evaluate_does(here, learner):
    rows = [1, 4, 0, 2]
    members = dict(zip(("b/1", "b/2", "a/1", "a/2"), rows, strict=True))
    data = {f"{n}.png": (here / f"loose/{i}.png").read_bytes() for n, i in members.items()}
    folder(here / "classes", data)
    zipped(here / "classes.zip", data)
    for given in ("classes", "classes.zip"):
        assert np.array_equal(learner.logits(given), learner.logits(GREY[[0, 2, 1, 4]]))


def test_predict_of_splits_or_of_photos_in_and_beside_folders_goes_by_name(here, learner):
    photo = [(here / f"loose/{i}.png").read_bytes() for i in range(3)]
    folder(here / "a", {"z.png": photo[0], "cat/1.png": photo[1]})
    assert np.array_equal(learner.logits("a"), learner.logits(GREY[[1, 0]]))
    folder(here / "b", {"train/cat/1.png": photo[0], "test/cat/1.png": photo[2]})
    assert np.array_equal(learner.logits("b"), learner.logits(GREY[[2, 0]]))


def test_predict_tells_what_a_folder_has_beside_the_answers(here, learner):
    (here / "loose" / "notes.txt").write_text("x")
    (here / "loose" / "4.png").write_text("<html>not found</html>")
    with pytest.warns(UserWarning, match=r"2 of 10 files .*1 \.png \(a web page"):
        found = learner.logits("loose")
    assert np.array_equal(found, learner.logits(np.delete(GREY, 4, axis=0)))


def test_paths_of_what_is_no_image_are_refused_and_never_left_out(here, learner):
    (here / "page.jpg").write_text("<html>")
    (here / "notes.txt").write_text("hello")
    for name, error, words in (
        ("page.jpg", FormatError, r"page\.jpg: not an image that can be read: a web page"),
        ("notes.txt", FormatError, r"notes\.txt: not an image that can be read: "),
        ("loose", ValueError, "loose is a folder, among paths of image files"),
        ("loose/33.png", FileNotFoundError, r"loose/33\.png: .*did you mean loose/3\.png\?"),
        ("http://host/1.png", ValueError, "got the address .*; download it first"),
    ):
        with pytest.raises(error, match=words):
            learner.predict(["loose/0.png", name])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"loose/0.png"}, "images: .* got a set"),
        ({"image": "loose/0.png"}, "images: .* got a dict"),
        (b"loose/0.png", "images: .* got bytes"),
        (["loose/0.png", np.zeros((8, 8), np.uint8)], "item 1: .*before, got ndarray"),
    ],
)
def test_paths_in_what_gives_no_order_or_no_paths_are_refused(here, learner, given, words):
    with pytest.raises(TypeError, match=words):
        learner.predict(given)
    with (
        open("loose/0.png", "rb") as file,
        pytest.raises(TypeError, match=r"images: .* got an open file"),
    ):
        learner.predict(file)


def test_paths_with_labels_are_evaluated_and_learned_from(here, learner):
    names = [CLASSES[i] for i in LABELS]
    paths = [os.path.join("loose", f"{i}.png") for i in range(9)]
    expected = learner.evaluate(GREY, LABELS).accuracy
    assert learner.evaluate(paths, names).accuracy == expected
    assert learner.evaluate(list(zip(paths, names, strict=True))).accuracy == expected
    assert learner.evaluate(zip(paths, LABELS, strict=True)).accuracy == expected
    with pytest.raises(ValueError, match="1 of 2 paths have labels"):
        learner.evaluate([("loose/0.png", "low"), "loose/1.png"])
    with pytest.raises(ValueError, match="images has labels"):
        learner.evaluate([("loose/0.png", "low")], ["low"])
    twin = EdgeLearner(tiny_student())
    learner.learn(paths, names, steps=2, batch_size=4)
    twin.learn(GREY, LABELS, steps=2, batch_size=4)
    assert np.array_equal(learner.logits(GREY), twin.logits(GREY))


def test_path_of_an_array_file_is_the_array(here, learner):
    np.save("a.npy", GREY)
    np.savez("a.npz", images=GREY, labels=LABELS)
    np.savez("b.npz", pictures=GREY)
    assert np.array_equal(learner.logits("a.npy"), learner.logits(GREY))
    assert isinstance(EdgeImages.of("a.npy", SHAPE).array, np.memmap)
    assert np.array_equal(learner.logits(Path("a.npz")), learner.logits(GREY))
    expected = learner.evaluate(GREY, LABELS).accuracy
    assert learner.evaluate("a.npz").accuracy == expected
    assert learner.evaluate("a.npy", LABELS).accuracy == expected
    with pytest.raises(FormatError, match=r"b\.npz: .*no array .*images, .*\['pictures'\]"):
        learner.predict("b.npz")
    (here / "c.npy").write_bytes(b"no array")
    with pytest.raises(FormatError, match=r"c\.npy: not a numpy array"):
        learner.predict("c.npy")


def test_iterable_that_is_looked_into_is_gone_through_once():
    class Loader:
        passes = 0

        def __iter__(self):
            self.passes += 1
            yield from GREY

    loader = Loader()
    assert len(EdgeImages.of(loader, SHAPE)) == 9
    assert loader.passes == 1


def test_predict_of_an_empty_list_gives_no_answers_and_learn_says_that_it_is_empty(learner):
    assert learner.predict([]).ids.shape == (0,)
    assert learner.predict([]).probabilities.shape == (0, len(CLASSES))
    with pytest.raises(ValueError, match="images: wanted at least one, got none"):
        learner.learn([], [], steps=1)


def test_broken_image_is_named_with_what_it_lies_in(here, learner):
    with open("loose/bad.png", "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(FormatError, match=r"^loose/bad\.png: not an image"):
        learner.predict("loose")
    with pytest.raises(FormatError, match=r"^loose/bad\.png: not an image"):
        learner.predict("loose/bad.png")


@pytest.mark.parametrize("given", [None, 3, {"student": 1}, [tiny_student()]])
def test_learner_of_what_is_no_student_says_what_was_wanted(given):
    with pytest.raises(TypeError, match="EdgeLearner: student: wanted the path of a file"):
        EdgeLearner(given)
