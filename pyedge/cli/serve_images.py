"""The part of `pyedge serve` that lists the images that devices gave, and takes some out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pyedge.cli.console import Console
from pyedge.cli.parsing import UsageError
from pyedge.cli.serve_shown import SHORT, named, when

if TYPE_CHECKING:
    from pyedge.serve.gifts import Gift, Gifts
    from pyedge.serve.store import Store


def list_images(args: argparse.Namespace, console: Console, store: Store) -> int:
    """List what was given; for one student, by one device."""
    found = _chosen(args, _gifts(store))
    lines = [
        f"{each.digest[:SHORT]}  {each.student}  from {console.sayable(each.device)} "
        f"({each.giver}): {each.images} images, {each.bytes:,} bytes, since {when(each.created)}\n"
        f"    {console.sayable(_classes(each))}"
        for each in found
    ]
    console.result(
        "\n".join(lines or ["no given images"]),
        {**named(args), "images": [_told(each) for each in found]},
    )
    return 0


def withdraw_images(args: argparse.Namespace, console: Console, store: Store) -> int:
    """Take a file of images out, of all who gave it or of those that the options name."""
    gifts = _gifts(store)
    found = [each for each in _chosen(args, gifts) if each.digest.startswith(args.digest)]
    digests = {each.digest for each in found}
    if len(digests) != 1:
        raise UsageError(
            f"{args.digest}: {len(digests)} files of given images begin with this; wanted one "
            "(pyedge serve images list has all)"
        )
    for each in found:
        gifts.remove(each.student, each.digest, each.giver)
    (digest,) = digests
    left = sum(each.digest == digest for each in gifts.list())
    console.result(
        f"{digest[:SHORT]}: {found[0].images} images withdrawn, given {len(found)} times; "
        + (f"the file stays, given {left} times more" if left else "the file is gone"),
        {**named(args), "digest": digest, "withdrawn": [_told(e) for e in found], "left": left},
    )
    return 0


def _chosen(args: argparse.Namespace, gifts: Gifts) -> list[Gift]:
    return [
        each
        for each in gifts.list()
        if args.student in (None, each.student) and args.device in (None, each.device, each.giver)
    ]


def _gifts(store: Store) -> Gifts:
    from pyedge.serve.gifts import Gifts
    from pyedge.serve.limits import Limits
    from pyedge.serve.students import Students
    from pyedge.serve.uploads import Uploads

    limits = Limits()
    return Gifts(store, Students(store), Uploads(store, limits), limits)


def _classes(gift: Gift) -> str:
    return ", ".join(f"{name} ({count})" for name, count in gift.classes.items())


def _told(gift: Gift) -> dict[str, Any]:
    return dict(vars(gift))
