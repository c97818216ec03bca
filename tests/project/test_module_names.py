"""Names of modules: whoever has one in a tab or a traceback knows which file he is in."""

from __future__ import annotations

import pytest

from tests.support.paths import ROOT

ENDINGS = ("s", "d", "r", "rs", "er", "ers", "or", "ed", "ing", "ion")


def alike(names: list[str]) -> list[tuple[str, str]]:
    """Pairs of names of which one is the other with an ending: train and training."""
    stems = {name: {name, name.removesuffix("e")} for name in names}
    return [
        (one, other)
        for one in names
        for other in names
        if any(other == stem + ending for stem in stems[one] for ending in ENDINGS)
    ]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["train", "training", "transfer"], [("train", "training")]),
        (["compressing", "compress"], [("compress", "compressing")]),
        (["lower", "lowering", "described"], [("lower", "lowering")]),
        (["trace", "tracers"], [("trace", "tracers")]),
        (["folder", "folder_tree", "learn", "learn_method"], []),
    ],
)
def test_alike_finds_endings(names: list[str], found: list[tuple[str, str]]) -> None:
    assert alike(names) == found


def test_no_two_modules_of_a_room_differ_by_an_ending() -> None:
    rooms: dict[str, list[str]] = {}
    for top in ("pyedge", "bench", "tests/support", "tools"):
        for path in sorted((ROOT / top).glob("**/*.py")):
            rooms.setdefault(path.parent.relative_to(ROOT).as_posix(), []).append(path.stem)
    assert len(rooms) > 25
    assert {room: alike(names) for room, names in rooms.items() if alike(names)} == {}
