"""Loaders and batches as people have them: one meaning taken, anything else refused by name."""

from __future__ import annotations

import collections
import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import pyedge
from pyedge.cloud.training.evaluate import evaluate
from pyedge.cloud.training.fitnet import fitnet
from pyedge.cloud.training.train import train
from pyedge.cloud.training.transfer import transfer
from pyedge.data.imageset import ImageSet
from pyedge.errors import DivergedError
from tests.support.tiny_nets import images, tiny_resnet
from tests.support.tiny_pair import CLASSES, batches, changed, pair, state_of

X, Y = batches(images=12, batch=12)[0]
QUIET = {"progress": False, "lr": 0.05}
Pair = collections.namedtuple("Pair", "image label")
Turned = collections.namedtuple("Turned", "label image")
Plain = collections.namedtuple("Plain", "first second")


@dataclasses.dataclass
class Sample:
    pixel_values: Tensor
    labels: Tensor


ONE_HOT = torch.eye(CLASSES)[Y]
TAKEN = {
    "list": [X, Y],
    "three members": (X, Y, torch.arange(12)),
    "four members": (X, Y, torch.arange(12), ["a.png"] * 12),
    "dict": {"image": X, "label": Y},
    "dict with more": {"pixel_values": X, "labels": Y, "index": torch.arange(12)},
    "dict of x and y": {"x": X, "y": Y},
    "own kind of dict": collections.UserDict(img=X, target=Y),
    "named tuple": Pair(X, Y),
    "named tuple, labels first": Turned(Y, X),
    "named tuple, other names": Plain(X, Y),
    "dataclass": Sample(X, Y),
    "labels in a list": (X, Y.tolist()),
    "labels in a tuple": (X, tuple(Y.tolist())),
    "labels of numpy": (X, Y.numpy()),
    "labels, single tensors": (X, list(Y)),
    "int32": (X, Y.int()),
    "uint8": (X, Y.to(torch.uint8)),
    "whole floats": (X, Y.float()),
    "bfloat16": (X, Y.bfloat16()),
    "one-hot": (X, ONE_HOT),
    "one-hot bools": (X, ONE_HOT.bool()),
    "one column": (X, Y[:, None]),
    "images of numpy": (X.numpy(), Y),
    "images, the other byte order": (X.numpy().astype(">f4"), Y),
    "images, backwards in memory": (X.flip(0).numpy()[::-1], Y),
    "images in a list": (list(X), Y),
    "images of numpy in a list": (list(X.numpy()), Y),
    "double": (X.double(), Y),
}


@pytest.mark.parametrize("batch", TAKEN.values(), ids=TAKEN)
def test_feed_batches_of_every_kind_train_and_are_evaluated_alike(batch: Any) -> None:
    (model, teacher), (straight, same) = pair(), pair()
    train(straight, [(X, Y)], epochs=1, **QUIET)
    result = train(model, [batch], val=[batch], test=[batch], epochs=1, **QUIET)
    assert not changed(state_of(straight), model)
    assert evaluate(model, [batch]).loss == evaluate(straight, [(X, Y)]).loss == result.test.loss
    transfer(straight, same, [(X, Y)], epochs=1, **QUIET)
    transfer(model, teacher, [batch], epochs=1, **QUIET)
    fitnet(straight, same, [(X, Y)], epochs=1, **QUIET)
    fitnet(model, teacher, [batch], epochs=1, **QUIET)
    assert not changed(state_of(straight), model)


def test_feed_memory_that_must_not_be_written_is_copied() -> None:
    frozen = X.numpy().copy()
    frozen.flags.writeable = False
    assert evaluate(pair()[0], [(frozen, Y)]).count == 12


def test_feed_half_images_are_taken_in_the_networks_precision() -> None:
    model, _ = pair()
    assert evaluate(model, [(X.half(), Y)]).loss == evaluate(model, [(X.half().float(), Y)]).loss


def test_feed_labels_of_pandas_count_by_position() -> None:
    pandas = pytest.importorskip("pandas")
    model, _ = pair()
    wanted = evaluate(model, [(X, Y)]).confusion
    for column in (
        pandas.Series(Y.numpy(), index=np.random.default_rng(0).permutation(12)),
        pandas.Series(Y.numpy(), dtype="Int64"),
        pandas.Categorical(Y.numpy()),
        pandas.DataFrame({"label": Y.numpy()}),
    ):
        assert torch.equal(evaluate(model, [(X, column)]).confusion, wanted)


REFUSED = {
    "no labels": (X, ValueError, "yields images without labels"),
    "labels None": ((X, None), ValueError, "yields images without labels"),
    "label beyond": ((X, Y + 1), ValueError, r"labels: wanted ids in 0\.\.2, .* got 1\.\.3"),
    "ignored label": ((X, torch.where(Y == 0, -100, Y)), ValueError, r"got -100\.\.2"),
    "negative in a list": ((X, [-1] * 12), ValueError, "labels: wanted ids from 0, got -1"),
    "names": ((X, ["cat"] * 12), TypeError, "labels: wanted class ids, .* such as 'cat'"),
    "names and ids": (
        (X, ["cat", *[0] * 11]),
        TypeError,
        "labels: wanted only names, or only ids",
    ),
    "too few": ((X, Y[:5]), ValueError, r"labels: wanted shape \(12,\).* got \(5,\)"),
    "bools": ((X, Y > 0), TypeError, "got bool, which labels only two classes"),
    "halves": ((X, Y + 0.5), TypeError, "labels: wanted whole numbers or names, got 0.5 at 0"),
    "soft labels": ((X, torch.full((12, 3), 1 / 3)), ValueError, "wanted one-hot"),
    "one-hot of four": ((X, torch.eye(4)[Y]), ValueError, "a column for each of the 3 classes"),
    "mixed labels": ((X, (Y, Y, 0.3)), TypeError, "labels: wanted one number or name for each"),
    "boxes": ((X, [{"boxes": 1}] * 12), TypeError, "labels: wanted whole numbers"),
    "two views": ((X, X, Y), ValueError, r"labels: wanted shape \(12,\)"),
    "uint8 images": ((X.byte(), Y), TypeError, "images: wanted floating point, .* torch.uint8"),
    "uint8 of numpy": ((X.byte().numpy(), Y), TypeError, "images: wanted floating point"),
    "one image": ((X[0], Y[0]), ValueError, r"images: wanted n c h w, got shape \(1, 8, 8\)"),
    "flat images": ((X[:, 0, 0], Y), ValueError, r"images: wanted n c h w, got shape \(12, 8\)"),
    "several sizes": (
        ([X[0], X[1, :, :4]], Y[:2]),
        ValueError,
        "images of a batch: wanted all of one",
    ),
    "text": (("a.png", 0), TypeError, "images: wanted tensors n c h w, got str"),
    "a word": ("batch", TypeError, r"wanted \(images, labels\) or images, got str"),
    "nothing": (None, TypeError, "or images, got NoneType"),
    "an empty tuple": ((), TypeError, "or images, got an empty tuple"),
    "other keys": ({"a": X, "b": Y}, ValueError, "yields batches with 'a', 'b'; images are"),
    "two kinds of images": ({"image": X, "x": X, "y": Y}, ValueError, "image and x: which are"),
    "two kinds of labels": ({"x": X, "y": Y, "target": Y}, ValueError, "y and target: which are"),
    "fine and coarse": ({"img": X, "fine_label": Y}, ValueError, "labels are looked for under"),
    "samples": ([(x, 0) for x in X], TypeError, "wanted batches, got a list of 12 samples"),
    "samples by name": ([{"image": x, "label": 0} for x in X], TypeError, "a list of 12 samples"),
    "another network's images": ((torch.cat([X, X], 1), Y), RuntimeError, "the network failed on"),
    "channels last": (
        (torch.rand(12, 8, 8, 3), Y),
        RuntimeError,
        r"shape .*8, 8, 3\) \(n h w c\? wanted n c h w: images.permute\(0, 3, 1, 2\)\): RuntimeEr",
    ),
}


@pytest.mark.parametrize(("batch", "kind", "words"), REFUSED.values(), ids=REFUSED)
def test_feed_batches_that_could_mean_something_else_are_refused(
    batch: Any, kind: type[Exception], words: str
) -> None:
    model, teacher = pair()
    before = state_of(model)
    for argument, call in {
        "train: loader": lambda: train(model, [batch], epochs=1, **QUIET),
        "train: val": lambda: train(model, [(X, Y)], val=[batch], epochs=1, **QUIET),
        "train: test": lambda: train(model, [(X, Y)], test=[batch], epochs=1, **QUIET),
        "evaluate: loader": lambda: evaluate(model, [batch]),
        "transfer: loader": lambda: transfer(model, teacher, [batch], epochs=1, **QUIET),
    }.items():
        with pytest.raises(kind, match=rf"^{argument}.*{words}"):
            call()
    assert not changed(before, model)  # val is looked at before the first step


def test_feed_labels_are_not_touched_where_none_are_wanted() -> None:
    model, teacher = pair()
    for batch in ((X, "?"), {"image": X, "label": "?", "target": "?"}, X, [X], (X, None, 3)):
        assert transfer(model, teacher, [batch], labelled=False, epochs=1, **QUIET).steps == 1
        assert pyedge.plan(tiny_resnet(), 0.5, [with_images(batch, images(4))]).params


def with_images(batch: Any, x: Tensor) -> Any:
    if isinstance(batch, dict):
        return {**batch, "image": x}
    return x if isinstance(batch, Tensor) else type(batch)([x, *batch[1:]])


def test_feed_images_with_nan_are_told_of() -> None:
    model, _ = pair()
    bad = X.clone()
    bad[3, 0, 2, 2] = torch.nan
    with pytest.raises(ValueError, match=r"evaluate: loader: images .*NaN .*image 3"):
        evaluate(model, [(bad, Y)])
    with pytest.raises(ValueError, match=r"plan: images .*NaN .*image 0"):
        pyedge.plan(tiny_resnet(), 0.5, [images(4) * torch.inf])
    before = state_of(model)
    with pytest.raises(DivergedError, match=r"step 2 of 2; .*loader .*NaN"):
        train(model, [(X, Y), (bad, Y)], epochs=1, **QUIET)
    assert not changed(before, model)


SET = TensorDataset(X, Y)
INSTEAD = {
    "a Dataset": (SET, r"got a Dataset \(TensorDataset\), .*DataLoader\(dataset, batch_size=64"),
    "an ImageSet": (
        ImageSet(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4).long(), ("a",)),
        "got an ImageSet; pyedge.data.BatchLoader",
    ),
    "images": (X, r"got one Tensor of shape \(12, 1, 8, 8\)"),
    "an array": (X.numpy(), "got one ndarray of shape"),
    "a folder": ("photos/train", "got the path photos/train; pyedge.data.load_dataset reads"),
    "one batch": ((X, Y), "got a tuple of images and labels, which is one batch; put it into a"),
    "one batch with a list": ([X, Y.tolist()], "got a list of images and labels, which is one"),
    "loaders by name": ({"train": [(X, Y)]}, "got a dict with 'train'"),
    "a number": (3, "got int"),
    "a function": (lambda: [(X, Y)], "got a function; call it"),
    "a class": (DataLoader, "got the class DataLoader; call it"),
    "a network": (nn.Linear(1, 1), r"got a network \(Linear\)"),
}


@pytest.mark.parametrize(("loader", "words"), INSTEAD.values(), ids=INSTEAD)
def test_feed_what_stands_in_a_loaders_place_is_named(loader: Any, words: str) -> None:
    model, teacher = pair()
    with pytest.raises(TypeError, match=f"^train: loader: wanted an iterable of batches, {words}"):
        train(model, loader, epochs=1, **QUIET)
    with pytest.raises(TypeError, match=f"^train: val: wanted an iterable .*{words}"):
        train(model, [(X, Y)], val=loader, epochs=1, **QUIET)
    with pytest.raises(TypeError, match=f"^evaluate: loader: wanted an iterable .*{words}"):
        evaluate(model, loader)
    with pytest.raises(TypeError, match=f"^transfer: loader: wanted an iterable .*{words}"):
        transfer(model, teacher, loader, epochs=1, **QUIET)
    with pytest.raises(TypeError, match=f"^fitnet: loader: wanted an iterable .*{words}"):
        fitnet(model, teacher, loader, epochs=1, **QUIET)


def test_feed_empty_loaders_are_refused_before_anything_is_learned() -> None:
    model, _ = pair()
    with pytest.raises(ValueError, match="train: loader yields no batches"):
        train(model, [], epochs=1, **QUIET)
    with pytest.raises(ValueError, match=r"drop_last=True .*only one, .*12 images"):
        train(model, DataLoader(SET, 16, drop_last=True), epochs=1, **QUIET)
    with pytest.raises(ValueError, match=r"evaluate: loader .*no images: drop_last=True"):
        evaluate(model, DataLoader(SET, 16, drop_last=True))
    with pytest.raises(ValueError, match="train: val yields no batches"):
        train(model, [(X, Y)], val=[], epochs=1, **QUIET)
    with pytest.raises(ValueError, match="train: loader yields a batch without images"):
        train(model, [(X[:0], Y[:0])], epochs=1, **QUIET)


class Once:
    """Says that it can be read, and is an iterator all the same."""

    def __init__(self) -> None:
        self.batches = iter([(X, Y)])

    def __iter__(self) -> Any:
        return self.batches

    def __len__(self) -> int:
        return 1


def test_feed_iterators_give_every_batch_once_and_say_when_they_end() -> None:
    loader = [(X[:6], Y[:6]), (X[6:], Y[6:])]
    straight, teacher = pair()
    model = copy.deepcopy(straight)
    transfer(straight, teacher, loader, steps=2, **QUIET)
    transfer(model, teacher, iter(loader), steps=2, **QUIET)  # its first batch is not lost
    assert not changed(state_of(straight), model)
    assert train(model, [(X, Y)], test=iter(loader), epochs=1, **QUIET).test.count == 12
    with pytest.raises(ValueError, match="train: loader ended after 2 of 5 steps, and yields no"):
        train(model, (batch for batch in loader), steps=5, **QUIET)
    with pytest.raises(ValueError, match=r"train: loader ended .*1 of 2 steps"):
        train(model, Once(), epochs=2, **QUIET)
    for stream in (iter(loader), Once()):
        with pytest.raises(
            TypeError, match=r"train: val: wanted .* more than once, got an iterator"
        ):
            train(model, loader, val=stream, epochs=1, **QUIET)
    with pytest.raises(TypeError, match=r"fitnet: loader: wanted .*got an iterator"):
        fitnet(model, teacher, iter(loader), steps=1, **QUIET)
    assert pyedge.plan(tiny_resnet(), 0.5, iter([images(4)])).params


class Broken(Dataset):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 12

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        if place == 9:
            raise self.error
        return X[place], int(Y[place])


class OwnError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (FileNotFoundError(2, "gone", "9.jpg"), FileNotFoundError, r"\[Errno 2\] gone: '9.jpg'"),
        (ValueError("a bad photo"), ValueError, "ValueError: a bad photo"),
        (OwnError("enough"), OwnError, "OwnError: enough"),
        (KeyError("photo"), RuntimeError, "KeyError: 'photo'"),  # its text would be quoted
    ],
    ids=["file", "value", "own", "key"],
)
def test_feed_errors_of_a_dataset_come_in_our_words_with_their_own_behind(
    error: Exception, kind: type[Exception], words: str
) -> None:
    model, _ = pair()
    with pytest.raises(kind, match=f"^train: loader failed at batch 2: .*{words}") as told:
        train(model, DataLoader(Broken(error), 4), epochs=1, **QUIET)
    assert told.value.__cause__ is error
    with pytest.raises(kind, match=f"^evaluate: loader failed at batch 2: .*{words}"):
        evaluate(model, DataLoader(Broken(error), 4))


def test_feed_errors_of_a_network_come_in_our_words_with_their_own_behind() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student, _ = pair()

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return self.student(x)

    class Full(Two):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    class Named(Two):
        def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
            return {"logits": self.student(x)}

    with pytest.raises(TypeError, match=r"^train: loader: .*failed .*argument: 'mask"):
        train(Two(), [(X, Y)], epochs=1, **QUIET)
    with pytest.raises(torch.OutOfMemoryError, match=r"^evaluate: loader: memory ran out"):
        evaluate(Full(), [(X, Y)])
    for call in (lambda n: train(n, [(X, Y)], epochs=1, **QUIET), lambda n: evaluate(n, [(X, Y)])):
        with pytest.raises(TypeError, match=r"logits n classes .*got dict"):
            call(Named())


def test_feed_a_dataloader_without_length_takes_steps() -> None:
    class Stream(IterableDataset):
        def __iter__(self) -> Any:
            return iter(zip(X, Y, strict=True))

    model, _ = pair()
    assert train(model, DataLoader(Stream(), 5), steps=4, **QUIET).steps == 4
    with pytest.raises(ValueError, match=r"train: loader .*no length, .*steps"):
        train(model, DataLoader(Stream(), 5), epochs=1, **QUIET)


NETWORKS = {
    "a path": ("teacher.pt", "got str 'teacher.pt'; pass the network itself"),
    "weights": ({"w": torch.zeros(1)}, "got a state_dict, which holds weights alone"),
    "a checkpoint": ({"model": nn.Linear(1, 1)}, "got a dict with 'model'"),
    "a class": (nn.Linear, "got the class Linear; call it to make a network"),
    "nothing": (None, "got NoneType"),
}


@pytest.mark.parametrize(("network", "words"), NETWORKS.values(), ids=NETWORKS)
def test_feed_what_stands_in_a_networks_place_is_named(network: Any, words: str) -> None:
    student, _ = pair()
    for name, call in {
        "train: model": lambda: train(network, [(X, Y)], epochs=1, **QUIET),
        "evaluate: model": lambda: evaluate(network, [(X, Y)]),
        "plan: model": lambda: pyedge.plan(network, 0.5, images(4)),
        "transfer: teacher": lambda: transfer(student, network, [(X, Y)], epochs=1, **QUIET),
        "fitnet: teacher": lambda: fitnet(student, network, [(X, Y)], epochs=1, **QUIET),
    }.items():
        with pytest.raises(TypeError, match=f"^{name}: wanted a torch.nn.Module, {words}"):
            call()


def test_feed_networks_without_weights_are_refused() -> None:
    with torch.device("meta"):
        empty = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    for network, words in ((empty, "1.weight, which is on the meta device"), (lazy, "lazy layers")):
        for call in (
            lambda n: train(n, [(X, Y)], epochs=1, **QUIET),
            lambda n: evaluate(n, [(X, Y)]),
            lambda n: pyedge.plan(n, 0.5, images(4)),
        ):
            with pytest.raises(ValueError, match=f"model has .*{words}"):
                call(network)


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"epochs": 2.5}, TypeError, "TrainOptions: epochs: wanted a whole number from 1, got 2.5"),
        ({"clip": "5"}, TypeError, "TrainOptions: clip: wanted a number above 0, got '5'"),
        ({"channels_last": "yes"}, TypeError, "TrainOptions: channels_last: wanted True or False"),
        ({"options": 3}, TypeError, "TrainOptions: options: wanted TrainOptions, got an int"),
        ({"score": 3, "val": [(X, Y)]}, TypeError, "train: score: wanted a function"),
        ({"accelerator": "gpux"}, ValueError, "^train: accelerator='gpux', devices=1 .*invalid"),
        ({"devices": 1.5}, TypeError, "^train: .*devices=1.5"),
    ],
)
def test_feed_options_of_another_kind_are_named(
    given: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        train(pair()[0], [(X, Y)], **{"progress": False, **given})


def test_feed_numbers_of_numpy_are_taken() -> None:
    model, _ = pair()
    assert train(model, [(X, Y)], epochs=np.int64(2), lr=np.float32(0.1), progress=False).steps == 2
    plan = pyedge.plan(
        tiny_resnet(), np.float32(0.5), images(4), round_to=np.int64(4), max_images=np.int32(3)
    )
    assert all(width % 4 == 0 for width in plan.widths.values())
    with pytest.raises(TypeError, match=r"plan: max_images: wanted a whole number from 1, got 1.5"):
        pyedge.plan(tiny_resnet(), 0.5, images(4), max_images=1.5)
    with pytest.raises(TypeError, match="plan: max_params: wanted a number, got '10k'"):
        pyedge.plan(tiny_resnet(), images=images(4), max_params="10k")


@pytest.mark.parametrize("what", ["images", "labels"])
def test_batches_with_masked_images_or_labels_are_refused(what):
    model, _ = pair()
    x, y = (np.ma.array(each.numpy()) for each in batches()[0])
    (x if what == "images" else y)[0] = np.ma.masked
    with pytest.raises(TypeError, match=f"evaluate: loader: {what}:? .*masked"):
        evaluate(model, [(x, y)])
