"""What a class may be called: the rule, the lists it comes in, and how names are told apart."""

from __future__ import annotations

import enum
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyedge.classes.matching import listing, nearly, places, quoted, same_classes, shown, unknown
from pyedge.classes.names import ClassNames, checked_names, storable

NFC, NFD = "caf\u00e9", "cafe\u0301"


class Animal(str, enum.Enum):
    CAT = "cat"
    DOG = "dog"


class Series:
    """As much of a pandas Series as matters: values in rows, and an index beside them."""

    def __init__(self, values: list[str], index: list[Any]) -> None:
        self.values, self.index, self.ndim = values, index, 1

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (["cat", "dog"], ("cat", "dog")),
        ((name for name in ("cat", "dog")), ("cat", "dog")),
        (np.array(["cat", "dog"]), ("cat", "dog")),
        (np.array(["cat", "dog"], dtype=object), ("cat", "dog")),
        ({"dog": 0, "cat": 1}.keys(), ("dog", "cat")),
        ({"cat": 1, "dog": 0}, ("dog", "cat")),
        ({"cat": np.int64(1), "dog": np.int64(0)}, ("dog", "cat")),
        ({1: "cat", 0: "dog"}, ("dog", "cat")),
        ({"1": "cat", "0": "dog"}, ("dog", "cat")),
        ({"10": 1, "2": 0}, ("2", "10")),
        ([Animal.CAT, Animal.DOG], ("cat", "dog")),
        (Series(["cat", "dog"], ["x", "y"]), ("cat", "dog")),
        (Series(["cat", "dog"], [0, 7]), ("cat", "dog")),
        (["tench, Tinca tinca", "men's shoes", 'a "b"'], ("tench, Tinca tinca", "men's shoes",
                                                          'a "b"')),
        (["猫", "Größe", "\u06a9\u062a\u0627\u0628\u200c\u062e\u0627\u0646\u0647", "x" * 200],
         ("猫", "Größe", "\u06a9\u062a\u0627\u0628\u200c\u062e\u0627\u0646\u0647", "x" * 200)),
    ],
)  # fmt: skip
def test_class_names_are_taken_whole_from_any_list(source: Any, wanted: tuple[str, ...]) -> None:
    found = checked_names(source, "f: classes")
    assert found == wanted
    assert {type(name) for name in found} == {str}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("cat", "list of names, got the text 'cat'"),
        ({"cat", "dog"}, "a list, .*got a set"),
        (frozenset({"cat"}), "got a frozenset"),
        ([0, 1], r"class 0: wanted text, such as '0', got int"),
        ([np.int64(3)], r"class 0: wanted text, such as '3', got int64"),
        (["cat", b"dog"], r"class 1: wanted text, such as name.decode\(\), got bytes"),
        (["cat", float("nan")], "class 1: wanted text, got float"),
        (["cat", None], "class 1: wanted text, got NoneType"),
        (np.array([["cat"], ["dog"]]), "got 2 dimensions"),
        (3, "wanted a list of names, got int"),
        ({"cat": "first"}, "a dict of name and id"),
        ({"cat": True}, "a dict of name and id"),
    ],
)
def test_class_names_that_are_no_list_of_text_are_refused(source: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"f: classes.*{message}"):
        checked_names(source, "f: classes")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (["cat", "mug\r"], r"class 1, 'mug\\r', holds a carriage return, as .*Windows.*'mug'"),
        (["a\tb"], r"class 0, 'a\\tb', holds a tab; wanted 'a b'"),
        (["mug\n"], "holds a line break"),
        (["a\x9fb"], r"holds a control character '\\x9f'"),
        (["a\u2028b"], r"holds the character '\\u2028'"),
        (["mug "], "a blank at an end.*wanted 'mug'"),
        (["\xa0mug"], "no-break space at an end"),
        (["\ufeffmug"], r"'\\ufeffmug', has a byte order mark at an end.*wanted 'mug'"),
        (["mug\u200b"], "zero-width space at an end"),
        (["cat", ""], "class 1, '', shows nothing"),
        ([" \u200b"], "shows nothing"),
        (["x" * 201], "201 characters, .*at most 200"),
        (["caf\udce9"], r"'caf\\udce9', is not UTF-8: .*Latin-1 would make it 'café'"),
        (["a\ud800"], "not UTF-8: .*surrogate pair"),
        (["cat", "dog", "cat"], "twice, 'cat', at 0 and 2"),
        ([NFC, NFD], r"'café' and 'cafe\\u0301' .*exactly the same"),
        (["a\xa0b", "a b"], r"'a\\xa0b' and 'a b' .*exactly the same"),
        ({"cat": 0, "dog": 2}, r"each id of 0..1 once, got \[0, 2\]"),
        ({"cat": 0, "dog": 0}, r"each id of 0..1 once, got \[0, 0\]"),
        (Series(["cat", "dog"], [1, 0]), r"another order .*\[1, 0\]"),
    ],
)
def test_class_names_that_cannot_be_kept_or_told_apart_are_refused(
    source: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=f"f: classes.*{message}"):
        checked_names(source, "f: classes")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (["Cat", "cat"], "'Cat' and 'cat' look alike"),
        (["A", "a", "B", "b"], r"'A' and 'a' \(and 1 more pairs\) look alike"),
        (["\uff23\uff21\uff34", "CAT"], "'\uff23\uff21\uff34' and 'CAT' look alike"),
        (["cat", "c\u0430t"], r"'cat' and 'c\\u0430t' look alike"),
        (["\u041d\u041e\u0421", "\u043d\u043e\u0441"], "look alike"),  # one word, in two cases
        (["xo", "x\u03bf"], r"'xo' and 'x\\u03bf' look alike"),
        (["a  b", "a b"], "'a  b' and 'a b' look alike"),
        (["a\u200bb"], "zero-width space, .*sees"),
        (["a\u202eb"], r"character '\\u202e', .*nobody sees"),
    ],
)
def test_class_names_that_look_alike_are_warned_of_once(source: list[str], message: str) -> None:
    with pytest.warns(UserWarning, match=f"f: classes.*{message}") as caught:
        found = checked_names(source, "f: classes")
    assert found == tuple(source)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # names that were checked are not looked at again
        assert checked_names(found, "export: classes") is found


def test_class_names_beside_known_ones_say_which_is_there() -> None:
    with pytest.raises(ValueError, match="the student knows 'mug' already"):
        checked_names(["mug"], "add_classes", known=("mug",))
    with pytest.raises(ValueError, match=r"'mug', .*there already"):
        checked_names(["mug "], "add_classes", known=("mug",))
    with pytest.raises(ValueError, match=r"'mug ' and 'mug' .*exactly the same"):
        checked_names(["mug"], "add_classes", known=("mug ",))  # an older file's
    with pytest.raises(TypeError, match="got a dict"):
        checked_names({"cup": 0}, "add_classes", known=("mug",))
    assert checked_names(["cup"], "add_classes", known=("mug ", "mug")) == ("cup",)


def test_class_names_of_another_number_are_counted_and_listed() -> None:
    message = r"wanted 3 different names, one for each logit, got 2 \('a, b', c\)"
    with pytest.raises(ValueError, match=message):
        checked_names(["a, b", "c"], "export: classes", count=3)
    with pytest.raises(ValueError, match=r"wanted 1 different names.*got 2"):
        checked_names(ClassNames(("a", "b")), "export: classes", count=1)


@given(st.lists(st.text(max_size=8), max_size=4))
def test_class_names_that_are_taken_can_be_stored_and_read(names: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = checked_names(names, "f")
        except ValueError:
            return
    assert list(found) == names
    assert all(storable(name) is None for name in found)
    assert len({name.encode().decode().strip() for name in found}) == len(names)


@given(st.text(max_size=12))
def test_class_names_are_shown_on_one_line_and_in_ascii_where_hidden(name: str) -> None:
    assert len(quoted(name).splitlines()) == 1
    assert quoted(name).isprintable()
    assert shown(name) in (name, quoted(name))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cat", "cat"),
        ("golden retriever", "golden retriever"),
        ("Größe", "Größe"),
        ("tench, Tinca tinca", "'tench, Tinca tinca'"),
        ("mug ", "'mug '"),
        ("mug\r", r"'mug\r'"),
        (NFD, r"'cafe\u0301'"),
        ("a\u200bb", r"'a\u200bb'"),
        ("caf\udce9", r"'caf\udce9'"),
        ("", "''"),
    ],
)
def test_class_names_show_what_the_eye_would_miss(name: str, text: str) -> None:
    assert shown(name) == text


def test_class_names_match_over_unicode_spellings_and_exactly_first() -> None:
    assert places([NFD, "cat", "dog"], ["cat", NFC]) == [1, 0, -1]
    assert places([NFD], [NFC, NFD]) == [1]
    assert places(["cafe\u0301x"], [NFC + "x", NFD + "x"]) == [1]
    # two classes of an old file that are the same text: none of them is guessed
    assert places(["\u212b"], ["\u00c5", "A\u030a"]) == [-1]


def test_class_names_not_found_are_shown_beside_the_nearest() -> None:
    assert unknown(["mug "], ["cat", "mug"]) == (
        "'mug '; it knows cat, mug ('mug' is there, and is not 'mug ')"
    )
    assert nearly("Mug", ["mug"]) == " ('mug' is there, and is not 'Mug')"
    assert nearly("\u0421\u0430t", ["Cat"]) == r" ('Cat' is there, and is not '\u0421\u0430t')"
    assert nearly("c\u0430ts", ["cats"]) == r" ('cats' is there, and is not 'c\u0430ts')"
    assert listing([str(i) for i in range(20)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ..."


def test_class_names_of_two_data_sets_must_give_an_id_one_meaning() -> None:
    def loader(*classes: str) -> Any:
        return SimpleNamespace(dataset=SimpleNamespace(dataset=SimpleNamespace(classes=classes)))

    same_classes("train", loader=loader("a", "b"), val=loader("a", "b"), test=None)
    same_classes("train", loader=loader("a", NFC), val=loader("a", NFD))
    same_classes("train", loader=loader("a", "b", "c"), val=loader("a"))
    same_classes("train", loader=[(1, 2)], val=loader("a"))
    with pytest.raises(ValueError, match=r"train: class 1: .*loader and val, got 'b' and 'c'"):
        same_classes("train", loader=loader("a", "b", "c"), val=loader("a", "c"))


def test_class_names_with_an_index_of_numbers_as_text_go_by_these_numbers() -> None:
    assert checked_names(Series(["ant", "dog"], ["0", "3"]), "f: classes") == ("ant", "dog")
    with pytest.raises(ValueError, match=r"another order .* \[3, 0\]"):
        checked_names(Series(["dog", "ant"], ["3", "0"]), "f: classes")
