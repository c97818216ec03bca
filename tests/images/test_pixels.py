"""Pixels that mean something else: what arrays may be images, and which are doubted aloud."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pyedge.edge.learner import EdgeLearner
from pyedge.images.edge_images import EdgeImages
from pyedge.images.pixels import Look, contradicts, differ, kind_of
from tests.support.edge_student import images, tiny_student

SHAPE = (1, 8, 8)
IMAGE = {"kind": "image", "mean": [], "deviation": []}
NONE = {"kind": "none", "mean": [], "deviation": []}
CENTRED = {"kind": "channel", "mean": [0.5], "deviation": [0.5]}
DIGITS = {"kind": "channel", "mean": [0.1307], "deviation": [0.3081]}


def standardised(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As the engine does it, and as people write it."""
    x = pixels.reshape(len(pixels), -1).astype(np.float32)
    x -= x.mean(axis=1, keepdims=True)
    x /= np.maximum(x.std(axis=1, keepdims=True), 1 / np.sqrt(x.shape[1]))
    return x.reshape(pixels.shape)


def scaled(
    pixels: NDArray[np.uint8], mean: float = 0.0, deviation: float = 1.0
) -> NDArray[np.float32]:
    return ((pixels.astype(np.float32) / 255 - mean) / deviation).astype(np.float32)


def photos(count: int = 48) -> NDArray[np.uint8]:
    """Pixels that use the scale as photos do, a few of them dark and a few bright."""
    pixels = images(count)[0].astype(np.int64)
    low, high = pixels.min(), pixels.max()
    pixels = (pixels - low) * 255 // (high - low)
    pixels[::7] //= 4
    pixels[3::11] = 255 - pixels[3::11] // 3
    return pixels.astype(np.uint8)


FORMS = {
    "standardised": (standardised, IMAGE),
    "from 0 to 1": (scaled, NONE),
    "from -1 to 1": (lambda x: scaled(x, 0.5, 0.5), CENTRED),
    "by mean and deviation": (lambda x: scaled(x, 0.1307, 0.3081), DIGITS),
}


def learner_of(preprocessing: dict[str, Any]) -> EdgeLearner:
    return EdgeLearner(dataclasses.replace(tiny_student(), preprocessing=preprocessing))


def told(call: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    assert all(each.category is UserWarning for each in found)
    assert all(each.filename == __file__ for each in found)
    return [str(each.message) for each in found]


# What is doubted


@pytest.mark.parametrize("count", [1, 2, 5, 48])
@pytest.mark.parametrize("form", FORMS)
def test_floats_that_are_preprocessed_as_the_student_wants_raise_no_doubt(
    form: str, count: int
) -> None:
    make, preprocessing = FORMS[form]
    learner = learner_of(preprocessing)
    for start in range(0, 48, count):
        pixels = photos()[start : start + count]
        wanted = learner.logits(pixels)  # filterwarnings makes any doubt an error
        np.testing.assert_allclose(learner.logits(make(pixels)), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("form", "preprocessing"),
    [(name, other) for name, (_, own) in FORMS.items() for other in (IMAGE, NONE, CENTRED, DIGITS)
     # of these it cannot be told: they are near to standardised ones, and may be darker photos
     if other is not own and (name, own, other) not in
     (("by mean and deviation", DIGITS, IMAGE), ("from -1 to 1", CENTRED, DIGITS))],
)  # fmt: skip
def test_floats_that_are_preprocessed_otherwise_are_doubted_once(
    form: str, preprocessing: dict[str, Any]
) -> None:
    learner, x = learner_of(preprocessing), FORMS[form][0](photos())
    (text,) = told(lambda: learner.predict(x))
    assert text.startswith("predict: images are float32 with values from ")
    assert "Pass the pixels as uint8" in text
    assert not told(lambda: learner.predict(x))
    assert not told(lambda: learner.evaluate(x, images()[1]))
    assert told(lambda: learner_of(preprocessing).predict(x))  # another learner, another caller


@pytest.mark.parametrize("preprocessing", [IMAGE, NONE, CENTRED, DIGITS])
@pytest.mark.parametrize("count", [1, 48])
def test_floats_from_0_to_255_are_doubted_for_every_student(
    preprocessing: dict[str, Any], count: int
) -> None:
    learner = learner_of(preprocessing)
    (text,) = told(lambda: learner.logits(photos()[:count].astype(np.float32)))
    assert text.startswith("logits: images are float32 with values from 0 to ")


def test_floats_are_doubted_by_every_function_that_takes_images() -> None:
    x, labels = scaled(photos()), images()[1]
    calls = {
        "predict": lambda one: one.predict(x),
        "evaluate": lambda one: one.evaluate(x, labels),
        "learn": lambda one: one.learn(x, labels, steps=1, progress=False),
        "learn: val": lambda one: one.learn(
            photos(), labels, val=(x, labels), steps=1, progress=False
        ),
    }
    for function, call in calls.items():
        (text,) = told(lambda call=call: call(EdgeLearner(tiny_student())))
        assert text.startswith(f"{function}: images are float32")


def test_one_image_of_many_on_another_scale_is_found() -> None:
    x = scaled(photos())
    x[30] *= 255
    (text,) = told(lambda: learner_of(NONE).predict(x))
    assert "values from 0 to 255" in text or "values from 0 to 2" in text
    x[30] /= 255
    assert not told(lambda: learner_of(NONE).predict(x))


def test_floats_whose_bytes_are_swapped_without_saying_so_are_doubted() -> None:
    x = scaled(photos()).byteswap()
    x[~np.isfinite(x)] = 0
    for preprocessing in (IMAGE, NONE, DIGITS):
        assert len(told(lambda p=preprocessing: learner_of(p).logits(x))) == 1


@pytest.mark.parametrize("preprocessing", [IMAGE, NONE, CENTRED])
def test_dark_even_and_bright_images_raise_no_doubt(preprocessing: dict[str, Any]) -> None:
    make = next(m for m, own in FORMS.values() if own is preprocessing)
    for pixels in (
        np.zeros((1, *SHAPE), np.uint8),
        np.full((9, *SHAPE), 255, np.uint8),
        np.full((9, *SHAPE), 7, np.uint8),
        photos(1) // 32,
        255 - photos(1) // 32,
        np.eye(8, dtype=np.uint8)[None, None],
        np.eye(8, dtype=np.uint8)[None, None] * 255,
    ):
        learner = learner_of(preprocessing)
        learner.predict(pixels)
        learner.predict(make(pixels))


def test_standardised_images_may_be_padded_and_cut_out() -> None:
    x = standardised(photos())
    for i, each in enumerate(x):
        each[:, : i % 3], each[:, :, : i % 2] = 0, 0
        each[:, 4:8, i % 5 : i % 5 + 3] = 0
    EdgeLearner(tiny_student()).predict(x)


def test_no_images_raise_no_doubt() -> None:
    for dtype in (np.uint8, np.float32):
        assert learner_of(NONE).predict(np.zeros((0, *SHAPE), dtype)).ids.shape == (0,)


def test_bytes_of_0_and_1_are_doubted_where_they_are_not_standardised() -> None:
    bits = (photos() > 100).astype(np.uint8)
    (text,) = told(lambda: learner_of(NONE).predict(bits))
    assert "none has a pixel above 1; wanted pixels from 0 to 255" in text
    standard = EdgeLearner(tiny_student())
    np.testing.assert_allclose(standard.logits(bits), standard.logits(bits * 255), rtol=1e-4)


def test_doubts_go_along_with_copies_of_their_own() -> None:
    learner = learner_of(NONE)
    assert told(lambda: learner.predict(standardised(photos())))
    for one in (copy.deepcopy(learner._doubts), pickle.loads(pickle.dumps(learner._doubts))):
        given = EdgeImages.of(standardised(photos()), SHAPE)
        assert not told(lambda one=one, given=given: one.look(given, "predict"))


# What images look like


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (standardised, "image"),
        (scaled, "none"),
        (lambda x: x.astype(np.float32), "pixels"),
        (lambda x: scaled(x, 0.5, 0.5), "other"),
        (lambda x: scaled(x, 0.1307, 0.3081), "other"),
        (lambda x: scaled(x * 0), None),
        (lambda x: scaled(np.full_like(x, 9)), None),
        (lambda x: np.rint(standardised(x) * 32) / 32, "image"),  # few digits, as of bfloat16
        (lambda x: np.random.default_rng(0).standard_normal(x.shape, np.float32), "image"),
    ],
)
def test_look_tells_the_usual_scales(make: Any, kind: str | None) -> None:
    look = Look.of(make(photos()))
    assert kind_of(look) == kind
    assert Look.from_dict(look.to_dict()) == look


@pytest.mark.parametrize("bad", [None, 3, {}, {"low": 1}, [1, 2], "look"])
def test_look_that_is_none_is_left_alone(bad: Any) -> None:
    assert Look.from_dict(bad) is None
    good = Look.of(scaled(photos())).to_dict()
    assert Look.from_dict({**good, "spread": "wide"}) is None
    assert Look.from_dict({**good, "low": []}) is None
    assert Look.from_dict({**good, "high": [float("nan")]}) is None
    assert Look.from_dict({**good, "of a later version": 1}) == Look.of(scaled(photos()))


def test_look_at_numbers_that_overflow_is_finite() -> None:
    huge = np.full((3, *SHAPE), 1e38, np.float32)
    huge[:, :, ::2] = -1e38
    look = Look.of(huge)
    assert np.isfinite([*look.span, look.offset, look.spread]).all()
    assert contradicts(look, IMAGE)
    assert contradicts(look, NONE)


def test_differ_is_certain_or_silent() -> None:
    looks = {name: Look.of(make(photos())) for name, (make, _) in FORMS.items()}
    looks["from 0 to 255"] = Look.of(photos().astype(np.float32))
    told_apart = [
        ("standardised", "from 0 to 1"),
        ("from 0 to 1", "from 0 to 255"),
        ("from 0 to 255", "by mean and deviation"),
        ("from 0 to 1", "from -1 to 1"),
    ]
    for a, b in told_apart:
        assert differ(looks[a], looks[b])
        assert differ(looks[b], looks[a])
    for look in looks.values():
        assert not differ(look, look)
        assert not differ(look, Look.of(scaled(photos() * 0)))


# What may be images


@pytest.mark.parametrize(
    ("dtype", "words"),
    [
        (np.float64, "from 0 to 255; if they are pixels, pass images.round().astype(np.uint8)"),
        (np.float16, "from 0 to 255; if they are pixels, pass images.round()"),
        (np.uint16, "from 0 to 255; if they are pixels, pass images.astype(np.uint8)"),
        (np.int32, "from 0 to 255; if they are pixels, pass images.astype(np.uint8)"),
        (np.int64, "from 0 to 255; if they are pixels, pass images.astype(np.uint8)"),
    ],
)
def test_array_of_pixels_in_another_dtype_is_refused_with_the_way_out(
    dtype: Any, words: str
) -> None:
    with pytest.raises(TypeError) as error:
        EdgeImages.of(photos().astype(dtype), SHAPE)
    assert f"got {np.dtype(dtype)} {words}" in str(error.value)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (scaled(photos()).astype(np.float64), "if they are preprocessed, pass images.astype(np.f"),
        (photos().astype(np.uint16) * 257, "from 0 to 6.554e+04; scale them to 0..255"),
        (photos().astype(np.int16) - 128, "from -128 to 127; scale them to 0..255"),
        (photos() > 100, "for black and white pass images * np.uint8(255)"),
        (np.zeros((2, *SHAPE), "M8[s]"), "got datetime64"),
    ],
)
def test_array_whose_numbers_may_mean_anything_is_refused(array: Any, words: str) -> None:
    with pytest.raises(TypeError, match="images: wanted uint8 pixels, or float32") as error:
        EdgeImages.of(array, SHAPE)
    assert words in str(error.value)


def test_array_of_the_other_byte_order_has_the_same_values() -> None:
    x = standardised(photos())
    found = EdgeImages.of(x.astype(">f4"), SHAPE)
    assert found.array.dtype == np.float32
    assert np.array_equal(found.array, x)
    assert found.span == (float(x.min()), float(x.max()))
    assert found.subset(np.arange(3)).span is None  # others have other extremes


def test_array_with_a_mask_is_taken_where_nothing_is_masked() -> None:
    masked = np.ma.masked_array(photos())
    assert np.array_equal(EdgeImages.of(masked, SHAPE).array, photos())
    masked[3, 0, 0, :2] = np.ma.masked
    with pytest.raises(TypeError, match=r"2 pixels of images .*masked"):
        EdgeImages.of(masked, SHAPE)


def test_lists_of_numbers_are_images() -> None:
    found = EdgeImages.of(photos(4).tolist(), SHAPE, [0, 1, 2, 0])
    assert found.array.dtype == np.uint8
    assert np.array_equal(found.array, photos(4))
    assert found.labels.tolist() == [0, 1, 2, 0]
    x = standardised(photos(4))
    assert np.array_equal(EdgeImages.of(x.tolist(), SHAPE).array, x)
    two = photos(2)[:, 0].tolist()  # two images of 8 x 8, no pair of image and label
    assert np.array_equal(EdgeImages.of(two, SHAPE).array, photos(2))
    with pytest.raises(TypeError, match="from -3 to 252"):
        EdgeImages.of((photos(4).astype(int) - 3).tolist(), SHAPE)


def test_lists_of_arrays_may_have_labels_beside_them() -> None:
    found = EdgeImages.of(list(photos(3)), SHAPE, ["a", "b", "a"])
    assert np.array_equal(found.array, photos(3))
    assert found.class_names == ("a", "b")
    with pytest.raises(ValueError, match="which has its own"):
        EdgeImages.of([(photos(1)[0], 1)], SHAPE, [1])


def test_objects_are_taken_for_the_arrays_that_they_are() -> None:
    objects = np.empty(3, object)
    objects[:] = list(photos(3))
    assert np.array_equal(EdgeImages.of(objects, SHAPE).array, photos(3))
    objects[1] = photos(3)[1][:, :4]
    with pytest.raises(ValueError, match=r"one shape, .*\[1, 4, 8\] and \[1, 8, 8\]"):
        EdgeImages.of(objects, SHAPE)
    objects[1] = {"image": 3}
    with pytest.raises(TypeError, match="not Python objects"):
        EdgeImages.of(objects, SHAPE)


def test_objects_that_know_how_to_be_arrays_are_images() -> None:
    class Foreign:
        def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[np.uint8]:
            return photos(3)

    assert np.array_equal(EdgeImages.of(Foreign(), SHAPE, [0, 1, 0]).array, photos(3))


@pytest.mark.parametrize("item", ["photo.jpg", b"bytes", {"image": 1}])
def test_items_that_hold_no_pixels_are_named(item: Any) -> None:
    with pytest.raises(
        TypeError, match=f"item 1 of images: wanted an array, got {type(item).__name__}"
    ):
        EdgeImages.of([photos(1)[0], item], SHAPE)


def test_grey_image_alone_is_told_how_to_be_one_of_many() -> None:
    with pytest.raises(ValueError, match=r"a single image is image\[None\]"):
        EdgeImages.of(photos(1)[0, 0], SHAPE)


def test_cubes_must_say_where_their_channels_are_in_lists_too() -> None:
    cubes = np.arange(54, dtype=np.uint8).reshape(2, 3, 3, 3)
    with pytest.raises(ValueError, match="pass channels_last=True or False"):
        EdgeImages.of(cubes.tolist(), (3, 3, 3))
    assert EdgeImages.of(cubes.tolist(), (3, 3, 3), channels_last=True).channels_last
