"""The small parts of learning on the device: batches, memory, progress, loss windows."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from pyedge.edge.batches import Batches, hold_back
from pyedge.edge.footprint import largest_batch
from pyedge.edge.progress import ProgressBar, as_time
from pyedge.edge.trainable import reached_from
from pyedge.runs.loss_window import Window
from tests.support.edge_student import tiny_student

ROWS = np.arange(10, dtype=np.int64)


def test_edge_batches_have_every_image_once_an_epoch() -> None:
    batches = Batches(ROWS, 4, seed=3)
    assert len(batches) == 3
    order = batches.epoch(2)
    rows = [batches.batch(order, 2, i).rows for i in range(3)]
    assert [len(part) for part in rows] == [4, 4, 2]
    assert sorted(np.concatenate(rows)) == list(range(10))
    assert not np.array_equal(order, batches.epoch(1))


def test_edge_batches_leave_out_a_rest_below_the_least() -> None:
    assert len(Batches(ROWS[:9], 4, seed=0, least=2)) == 2
    assert len(Batches(ROWS[:9], 4, seed=0)) == 3


def test_edge_batches_are_those_of_the_loader_on_the_cloud_side() -> None:
    torch = pytest.importorskip("torch")
    from pyedge.data import Augment, BatchLoader, ImageSet

    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (10, 2, 6, 5)).astype(np.uint8)
    images = ImageSet(torch.from_numpy(pixels), torch.arange(10), [str(i) for i in range(10)])
    loader = BatchLoader(
        images, 4, augment=Augment(crop_padding=2, flip=True, cutout=0), seed=5, prefetch=0
    )
    loader.set_epoch(3)
    batches = Batches(ROWS, 4, seed=5, crop_padding=2, mirrored=True)
    order = batches.epoch(3)
    from pyedge.data.augment import standardise_array

    for index, (x, labels) in enumerate(loader):
        batch = batches.batch(order, 3, index)
        assert batch.rows.tolist() == labels.tolist()
        assert batch.shift is not None
        assert batch.flip is not None
        for i, row in enumerate(batch.rows):
            image = standardise_array(pixels[row : row + 1])[0]
            if batch.flip[i]:
                image = image[:, :, ::-1]
            padded = np.pad(image, ((0, 0), (2, 2), (2, 2)))
            dy, dx = batch.shift[i] + 2
            assert np.array_equal(x[i].numpy(), padded[:, dy : dy + 6, dx : dx + 5])


def test_edge_batches_draw_a_view_for_each_image_and_step() -> None:
    batches = Batches(ROWS, 5, seed=1, views=4)
    drawn = [batches.batch(batches.epoch(e), e, i).views for e in range(9) for i in range(2)]
    again = batches.batch(batches.epoch(0), 0, 0).views
    assert np.array_equal(drawn[0], again)
    assert {int(view) for views in drawn for view in views} == {0, 1, 2, 3}
    assert len({tuple(views) for views in drawn}) > 10


def test_edge_hold_back_takes_a_share_of_each_class() -> None:
    labels = np.array([0] * 20 + [1] * 10, dtype=np.int64)
    rows, back = hold_back(30, labels, 0.2, seed=0)
    assert np.bincount(labels[back]).tolist() == [4, 2]
    assert sorted([*rows, *back]) == list(range(30))
    with pytest.raises(ValueError, match="holds back 0 of them"):
        hold_back(1, None, 0.3, seed=0)


class Measured:
    weight_bytes = 100

    def memory(self, batch: int, training: bool) -> int:
        return batch * (30 if training else 10)


@pytest.mark.parametrize(("limit", "size"), [(None, 64), (10_000, 64), (1000, 30), (130, 1)])
def test_edge_largest_batch_stays_within_the_limit(limit: int | None, size: int) -> None:
    assert largest_batch(Measured(), limit, 64, training=True) == size


def test_edge_largest_batch_tells_what_the_least_would_take() -> None:
    with pytest.raises(ValueError, match=r"max_memory=150 .*no batch of 2.* 160 to learn"):
        largest_batch(Measured(), 150, 64, training=True, least=2)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def clock(*times: float) -> Any:
    ticks = iter(times)
    return lambda: next(ticks)


def test_edge_progress_shows_parts_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    stream = Terminal()
    bar = ProgressBar("learn", 40, 10, stream=stream, clock=clock(0.0, 20.0, 20.01, 60.0))
    bar.update(20, {"J_1": 0.5, "loss": 1.25}, [2, 0])
    bar.update(21, {"loss": 9.0}, [])  # too soon to be read
    bar.validated(0.9, 0.8)
    bar.update(40, {"loss": 1.0}, [])
    bar.close()
    lines = stream.getvalue().split("\r")
    assert lines[1].rstrip() == (
        "learn [==========          ] 20/40  0:40 left  J_1 0.500  loss 1.250  blocks 2 0"
    )
    assert lines[2].rstrip() == (
        "learn [====================] 40/40  0:00 left  loss 1.000  val 0.9000 (best 0.8000)"
    )
    assert len(lines) == 3
    assert stream.getvalue().endswith("\n")
    assert "9.000" not in stream.getvalue()


def test_edge_progress_is_silent_where_nobody_looks() -> None:
    for stream, shown in ((io.StringIO(), True), (Terminal(), False)):
        bar = ProgressBar("learn", 4, stream=stream, shown=shown)
        bar.update(4, {"loss": 1.0}, [])
        bar.close()
        assert stream.getvalue() == ""


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (75.4, "1:15"), (7380, "2:03:00")])
def test_edge_progress_writes_times_as_people_do(seconds: float, text: str) -> None:
    assert as_time(seconds) == text


def test_edge_reached_from_taps_leaves_the_classifier_out() -> None:
    student = tiny_student()
    reached = reached_from(student.nodes, student.taps)
    assert "groups.1.1.0" in reached
    assert "head" not in reached


def test_loss_window_survives_a_checkpoint() -> None:
    window = Window()
    window.add({"J_1": 0.1, "loss": 0.3}, [0, 2])
    window.add({"J_1": 0.2, "loss": 0.1}, [1, 2])
    again = Window.from_dict(window.to_dict())
    assert again.row() == window.row() == {
        "J_1": (0.1 + 0.2) / 2, "loss": 0.2, "pairs": [{"0": 1, "1": 1}, {"2": 2}]
    }  # fmt: skip
