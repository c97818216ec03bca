"""Image sets, splits and the digits."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyedge.data import ImageSet, class_incremental, load_dataset, load_digits, unseen_split
from pyedge.images.parts import stratified_split


def numbered(labels: list[int], classes: int = 4) -> ImageSet:
    """An image set whose images tell their position."""
    n = len(labels)
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 3, 2, 2)
    return ImageSet(
        images.contiguous(), torch.tensor(labels), [f"class{i}" for i in range(classes)]
    )


def positions(images: ImageSet) -> list[int]:
    return images.images[:, 0, 0, 0].tolist()


def test_imageset_is_a_torch_dataset():
    images = numbered([0, 1, 2, 3, 3])
    image, label = images[4]
    assert (image.shape, image.dtype, label) == ((3, 2, 2), torch.uint8, 3)
    loaded = torch.utils.data.DataLoader(images, batch_size=5)
    x, y = next(iter(loaded))
    assert torch.equal(x, images.images)
    assert torch.equal(y, images.labels)
    assert images.counts == (1, 1, 1, 2)
    assert repr(images) == "ImageSet(5 images 3x2x2, 4 classes)"


def test_imageset_subset_keeps_order_names_and_source():
    images = numbered([0, 1, 2, 3])
    part = images.subset([3, 1])
    assert positions(part) == [3, 1]
    assert part.labels.tolist() == [3, 1]
    assert part.classes == images.classes
    part.images.zero_()
    assert positions(images) == [0, 1, 2, 3]


def test_imageset_only_classes_takes_ids_and_names():
    images = numbered([0, 1, 2, 3, 1])
    assert positions(images.only_classes([1, "class3"])) == [1, 3, 4]
    assert images.only_classes([1]).labels.tolist() == [1, 1]


@pytest.mark.parametrize("wanted", [[4], [-1], ["mug"]])
def test_imageset_unknown_class_is_an_error(wanted):
    with pytest.raises(ValueError, match=r"class"):
        numbered([0, 1]).only_classes(wanted)


@pytest.mark.parametrize(
    ("images", "labels", "error", "words"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2).long(), TypeError, "uint8"),
        (torch.zeros(2, 3, 4, 4).byte(), torch.zeros(2), TypeError, "int64"),
        (torch.zeros(3, 4, 4).byte(), torch.zeros(3).long(), ValueError, r"\[n, c, h, w\]"),
        (torch.zeros(2, 3, 4, 4).byte(), torch.zeros(3).long(), ValueError, r"labels \[n\]"),
        (torch.zeros(1, 3, 4, 4).byte(), torch.tensor([2]), ValueError, r"0\.\.1"),
        (torch.zeros(1, 3, 4, 4).byte(), torch.tensor([-1]), ValueError, r"0\.\.1"),
    ],
)
def test_imageset_wrong_tensors_are_named(images, labels, error, words):
    with pytest.raises(error, match=words):
        ImageSet(images, labels, ["a", "b"])


@settings(deadline=None, max_examples=60)
@given(
    labels=st.lists(st.integers(0, 4), max_size=80),
    fraction=st.floats(0, 0.99),
    seed=st.integers(0, 3),
)
def test_split_is_complete_disjoint_and_stratified(labels, fraction, seed):
    array = np.array(labels, dtype=np.int64)
    first, second = stratified_split(array, fraction, seed)
    assert sorted([*first, *second]) == list(range(len(labels)))
    again = stratified_split(array, fraction, seed)
    assert np.array_equal(second, again[1])
    for label in range(5):
        n = int((array == label).sum())
        got = int((array[second] == label).sum())
        assert abs(got - fraction * n) <= 1  # rounding, or the one image that is kept or given
        if n > 1 and fraction > 0:
            assert 1 <= got <= n - 1
        if fraction == 0:
            assert got == 0


def test_split_depends_on_the_seed():
    images = numbered([0, 1] * 40)
    a, b = (positions(images.split(0.25, seed)[1]) for seed in (0, 1))
    assert len(a) == len(b) == 20
    assert a != b


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_split_fraction_out_of_range_is_an_error(fraction):
    with pytest.raises(ValueError, match="fraction"):
        numbered([0, 1]).split(fraction)


def test_class_incremental_separates_and_keeps_ids():
    old, new = class_incremental(numbered([0, 1, 2, 3, 3]), new=["class3"])
    assert (positions(old), positions(new)) == ([0, 1, 2], [3, 4])
    assert new.labels.tolist() == [3, 3]
    assert old.classes == new.classes


def test_unseen_split_separates_and_keeps_ids():
    seen, unseen = unseen_split(numbered([0, 1, 2, 3, 0]), seen=[0, 2])
    assert (positions(seen), positions(unseen)) == ([0, 2, 4], [1, 3])


@pytest.mark.parametrize("ids", [[], [0, 1, 2, 3]])
def test_class_splits_want_some_but_not_all(ids):
    with pytest.raises(ValueError, match=r"class_incremental: new: .*not all"):
        class_incremental(numbered([0, 1]), new=ids)
    with pytest.raises(ValueError, match=r"unseen_split: seen: .*not all"):
        unseen_split(numbered([0, 1]), seen=ids)


def test_digits_have_their_sizes_and_do_not_overlap():
    train, val, test = load_digits()
    assert len(train) + len(val) + len(test) == 1797
    # scikit-learn documents 178, 182, 177, 183, 181, 182, 181, 179, 174, 180 scans of 0 to 9
    assert test.counts == (36, 36, 35, 37, 36, 36, 36, 36, 35, 36)
    assert val.counts == (14, 15, 14, 15, 15, 15, 15, 14, 14, 14)
    assert train.images.shape[1:] == (1, 8, 8)
    assert train.classes == tuple("0123456789")
    assert int(train.images.max()) == 240
    keys = [{bytes(i.numpy().tobytes()) for i in part.images} for part in (train, val, test)]
    assert not keys[0] & keys[2]  # the scans are all different, so equal bytes mean overlap
    assert not keys[0] & keys[1]
    assert not keys[1] & keys[2]


def test_digits_by_name_and_seed():
    by_name = load_dataset("digits", seed=3)
    direct = load_digits(seed=3)
    other = load_digits(seed=4)
    assert all(torch.equal(a.images, b.images) for a, b in zip(by_name, direct, strict=True))
    assert not torch.equal(direct[2].images, other[2].images)
    with pytest.raises(ValueError, match="8x8"):
        load_dataset("digits", size=32)


def test_digits_without_scikit_learn_name_the_install_line(monkeypatch):
    real = builtins.__import__

    def blocked(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(ImportError, match=r"pip install \"pyedge\[demo\]\""):
        load_digits()


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list])
def test_imageset_subset_takes_where_a_mask_is_true(kind):
    images = numbered([0, 1, 2, 3])
    assert positions(images.subset(kind([True, False, False, True]))) == [0, 3]
    assert positions(images.subset(kind([False] * 4))) == []
    assert positions(images.subset([])) == []


@pytest.mark.parametrize(
    ("take", "error", "words"),
    [
        (lambda i: i.subset([0.5]), TypeError, "places, .*mask"),
        (lambda i: i.subset([True]), ValueError, r"a mask of shape \(4,\), got \(1,\)"),
        (lambda i: i.subset([4]), ValueError, r"places .*in 0..3, got 4..4"),
        (lambda i: i.only_classes([1.5]), TypeError, "a whole number or a name, got 1.5"),
        (lambda i: i.only_classes([True]), TypeError, "a whole number or a name, got True"),
        (lambda i: i.only_classes([np.True_]), TypeError, "wanted a whole number or a name"),
        (lambda i: i.only_classes(None), TypeError, "wanted a list of classes, got None"),
        (lambda i: i.split("0.1"), TypeError, "fraction: wanted a number in .* got '0.1'"),
        (
            lambda i: i.split(0.5, seed=-1),
            ValueError,
            "split: seed: wanted a whole number from 0, got -1",
        ),
        (
            lambda i: i.split(0.5, seed=1.5),
            TypeError,
            "seed: wanted a whole number from 0, got 1.5",
        ),
        (lambda i: ImageSet(i.images.numpy(), i.labels, i.classes), TypeError, "torch.from_numpy"),
        (lambda i: ImageSet(i.images, [0, 1], i.classes), TypeError, "tensor, got list"),
    ],
)
def test_imageset_refuses_what_is_no_choice_in_words(take, error, words):
    with pytest.raises(error, match=words):
        take(numbered([0, 1, 2, 3]))


@pytest.mark.parametrize("splits", ["ja", 0, 1, "True"])
def test_load_dataset_refuses_words_for_splits_that_it_does_not_know(splits):
    with pytest.raises(ValueError, match=r'splits: wanted None \("auto"\)'):
        load_dataset("digits", splits=splits)
