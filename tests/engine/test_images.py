"""Images on their way into the edge engine: types, layouts, rows, preprocessing, views."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pyedge.data import standardise
from pyedge.kernels import Engine
from tests.support.engine_graphs import GraphMaker
from tests.support.engine_lessons import make_images

C, H, W = 3, 5, 4
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (6, C, H, W), dtype=np.uint8)
PIXELS[4] = 77  # even: standardised, it is zeros
PIXELS[5] = 10
PIXELS[5, 0, 0, 0] = 11  # nearly even: the least deviation counts


def identity() -> Engine:
    """Logits are the pixels after preprocessing, c h w."""
    net = GraphMaker((C, H, W))
    net.linear(C * H * W)
    net.arrays["head.weight"][:] = np.eye(C * H * W)
    net.arrays["head.bias"][:] = 0
    return net.engine(["head"])


def through(
    engine: Engine,
    images: NDArray[Any],
    rows: NDArray[np.int64] | None = None,
    channels_last: bool = False,
) -> NDArray[np.float32]:
    """The pixels as the network sees them, n c h w."""
    return engine.predict(images, rows, channels_last).reshape(-1, C, H, W)


def seen_in_a_step(
    engine: Engine, images: NDArray[Any], rows: NDArray[np.int64], **views: Any
) -> NDArray[np.float64]:
    """The pixels that a step sees, n c h w: a linear layer's weight gradient is its bias's times x.

    One image at a time, since gradients are summed over a batch.
    """
    seen = []
    for i in range(len(rows)):
        one = {name: view[i : i + 1] for name, view in views.items()}
        engine.step(images, rows[i : i + 1], labels=np.zeros(1, np.int64), **one)
        by_bias, by_weight = engine.gradient("head.bias"), engine.gradient("head.weight")
        seen.append(by_weight[0].astype(float) / by_bias[0])
    return np.array(seen).reshape(-1, C, H, W)


MEAN, DEVIATION = [0.4, 0.5, 0.3], [0.2, 0.3, 0.25]


def preprocessed(kind: str, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    x = torch.from_numpy(pixels).double()
    if kind == "image":
        return standardise(torch.from_numpy(pixels)).double().numpy()
    if kind == "channel":
        mean, deviation = (torch.tensor(v, dtype=x.dtype)[:, None, None] for v in (MEAN, DEVIATION))
        return ((x / 255 - mean) / deviation).numpy()
    return (x / 255).numpy()


def prepare(kind: str) -> Engine:
    engine = identity()
    if kind == "channel":
        engine.set_preprocessing("channel", MEAN, DEVIATION)
    else:
        engine.set_preprocessing(kind)
    return engine


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", ["none", "image", "channel"])
def test_uint8_images_are_preprocessed(kind: str, channels_last: bool) -> None:
    images = np.ascontiguousarray(PIXELS.transpose(0, 2, 3, 1)) if channels_last else PIXELS
    came = through(prepare(kind), images, channels_last=channels_last)
    np.testing.assert_allclose(came, preprocessed(kind, PIXELS), rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("kind", ["none", "image", "channel"])
def test_float_images_are_taken_as_they_are(kind: str) -> None:
    images = RANDOM.standard_normal((3, C, H, W)).astype(np.float32)
    np.testing.assert_array_equal(through(prepare(kind), images), images)
    turned = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(through(prepare(kind), turned, channels_last=True), images)


def test_rows_pick_images_in_any_order() -> None:
    rows = np.array([3, 0, 0, 5])
    engine = prepare("image")
    np.testing.assert_array_equal(through(engine, PIXELS, rows), through(engine, PIXELS)[rows])


def test_no_images_have_no_logits() -> None:
    engine = identity()
    assert engine.predict(PIXELS[:0]).shape == (0, C * H * W)
    assert engine.predict(PIXELS, np.zeros(0, np.int64)).shape == (0, C * H * W)


def test_images_may_be_a_read_only_memory_map(tmp_path: Any) -> None:
    np.save(tmp_path / "images.npy", PIXELS)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    engine = prepare("image")
    np.testing.assert_array_equal(through(engine, mapped), through(engine, PIXELS))


def views_of(
    x: NDArray[np.float64], shift: NDArray[np.int32], flip: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Mirrored first, then pixel (y, x) reads (y + dy, x + dx), 0 outside."""
    out = np.zeros_like(x)
    for i, (dy, dx) in enumerate(shift):
        image = x[i, :, :, ::-1] if flip[i] else x[i]
        for row in range(H):
            for column in range(W):
                if 0 <= row + dy < H and 0 <= column + dx < W:
                    out[i, :, row, column] = image[:, row + dy, column + dx]
    return out


@pytest.mark.parametrize("kind", ["none", "image", "channel"])
def test_shifts_and_flips_show_what_lies_outside_as_zeros(kind: str) -> None:
    shift = np.array([[0, 0], [1, -2], [-4, 3], [2, 0], [0, 9]], np.int32)
    flip = np.array([True, True, False, True, True])
    rows = np.array([1, 0, 2, 3, 1])
    wanted = views_of(preprocessed(kind, PIXELS)[rows], shift, flip)
    came = seen_in_a_step(prepare(kind), PIXELS, rows=rows, shift=shift, flip=flip)
    np.testing.assert_allclose(came, wanted, rtol=1e-5, atol=1e-5)


def test_views_are_those_of_pixels_turned_beforehand() -> None:
    net = GraphMaker((C, H, W))
    net.conv(6, (3, 3), padding=(1, 1), name="conv")
    net.add("relu")
    net.linear(5)
    engine = net.engine(["conv", "head"])
    images = make_images(net, 4)
    shift = np.array([[0, 1], [-1, 0], [2, -2], [0, 0]], np.int32)
    flip = np.array([False, True, True, False])
    rows, labels = np.arange(4), np.array([0, 1, 2, 3])
    found = engine.step(images, rows, labels=labels, shift=shift, flip=flip)
    gradient = engine.gradient("conv.weight")
    turned = np.ascontiguousarray(views_of(images, shift, flip))
    assert engine.step(turned, rows, labels=labels) == found
    np.testing.assert_array_equal(engine.gradient("conv.weight"), gradient)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "channel", "mean": [0.5], "deviation": [0.2]}, "each of 3 channels"),
        ({"kind": "channel", "mean": MEAN, "deviation": [0.2, 0.0, 0.2]}, "positive deviations"),
        ({"kind": "channel", "mean": [0.1, np.nan, 0.1], "deviation": DEVIATION}, "finite"),
        ({"kind": "imagenet"}, "set_preprocessing: kind: .*imagenet"),
    ],
)
def test_preprocessing_that_makes_no_sense_is_refused(
    arguments: dict[str, Any], message: str
) -> None:
    engine = prepare("image")
    with pytest.raises(ValueError, match=message):
        engine.set_preprocessing(**arguments)
    np.testing.assert_allclose(
        through(engine, PIXELS), preprocessed("image", PIXELS), rtol=1e-6, atol=2e-6
    )
