"""The parts of `pyedge serve` that work on its store: tokens, students, contributions, images."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pyedge.classes.matching import listing
from pyedge.cli import serve_images
from pyedge.cli.console import Console
from pyedge.cli.parsing import UsageError, existing
from pyedge.cli.serve_shown import SHORT, named, when

if TYPE_CHECKING:
    from pyedge.serve.contributions import Contribution
    from pyedge.serve.store import Store
    from pyedge.serve.students import Release

_STATES = {"accept": "counted", "reject": "rejected", "withdraw": "withdrawn"}


def run(args: argparse.Namespace, console: Console) -> int:
    """Open the store and run a part."""
    does = {
        ("token", "add"): _add_token,
        ("token", "list"): _list_tokens,
        ("token", "revoke"): _revoke_token,
        ("student", "add"): _add_student,
        ("student", "list"): _list_students,
        ("contribution", "list"): _list_contributions,
        ("images", "list"): serve_images.list_images,
        ("images", "withdraw"): serve_images.withdraw_images,
    }
    if args.part == "student" and args.do == "add":
        for path in (args.file, args.teacher):
            if path is not None:
                existing(path)
    from pyedge.serve.store import Store

    store = Store(args.store, args.database)
    try:
        return does.get((args.part, args.do), _move)(args, console, store)
    finally:
        store.close()


def _add_token(args: argparse.Namespace, console: Console, store: Store) -> int:
    from pyedge.serve.tokens import OF_DEVICES, add_token

    scopes = args.scopes or list(OF_DEVICES)
    token = add_token(store.database, args.device, scopes)
    console.note(f"note: {args.device} may {', '.join(scopes)}; the token is shown only now")
    console.result(token, {**named(args), "device": args.device, "token": token, "scopes": scopes})
    return 0


def _list_tokens(args: argparse.Namespace, console: Console, store: Store) -> int:
    from pyedge.serve.tokens import list_tokens

    found = list_tokens(store.database)
    rows = [
        {
            "id": each.id,
            "device": each.name,
            "scopes": sorted(each.scopes),
            "created": when(each.created),
            "revoked": None if each.revoked is None else when(each.revoked),
        }
        for each in found
    ]
    lines = [
        f"{r['id']}  {console.sayable(str(r['device']))}  {','.join(r['scopes'])}  "  # type: ignore[arg-type]
        f"since {r['created']}" + (f", revoked {r['revoked']}" if r["revoked"] else "")
        for r in rows
    ]
    console.result("\n".join(lines or ["no tokens"]), {**named(args), "tokens": rows})
    return 0


def _revoke_token(args: argparse.Namespace, console: Console, store: Store) -> int:
    from pyedge.serve.tokens import revoke_token

    if not revoke_token(store.database, args.id):
        raise UsageError(f"{args.id}: no token in use has this id; pyedge serve token list has all")
    console.result(f"{args.id} is revoked", {**named(args), "id": args.id})
    return 0


def _add_student(args: argparse.Namespace, console: Console, store: Store) -> int:
    from pyedge.serve.students import add_student

    found = add_student(store, args.file, args.name, args.teacher)
    console.result(_line(found), {**named(args), **_of_release(found)})
    return 0


def _list_students(args: argparse.Namespace, console: Console, store: Store) -> int:
    from pyedge.serve.students import Students

    students = Students(store)
    found = [students.release(name) for name in students.names()]
    console.result(
        "\n".join(map(_line, found)) or "no students",
        {**named(args), "students": [_of_release(each) for each in found]},
    )
    return 0


def _list_contributions(args: argparse.Namespace, console: Console, store: Store) -> int:
    from pyedge.serve.contributions import STATES

    found = _contributions(store).list(("held",) if args.held else STATES)
    lines = [
        f"{each.digest[:SHORT]}  {each.state}  {each.student}  "
        f"from {console.sayable(each.device)}: {each.images} images of "
        f"{listing(each.classes)}\n    {each.reason}"
        for each in found
    ]
    console.result(
        "\n".join(lines or ["no contributions"]),
        {**named(args), "contributions": [_of_contribution(each) for each in found]},
    )
    return 0


def _move(args: argparse.Namespace, console: Console, store: Store) -> int:
    contributions = _contributions(store)
    found = [
        each
        for each in contributions.list()
        if each.digest.startswith(args.digest) and args.name in (None, each.student)
    ]
    if len(found) != 1:
        raise UsageError(
            f"{args.digest}: {len(found)} contributions begin with this; wanted one (--name names "
            "the student)"
        )
    was = found[0]
    if args.do == "reject" and was.state != "held":
        raise UsageError(
            f"{args.digest} is {was.state}, not held; withdraw takes out one that counts"
        )
    moved = contributions.move(was.student, was.digest, _STATES[args.do], "by a person")
    console.result(
        f"{moved.digest[:SHORT]} is {moved.state}, was {was.state}",
        {**named(args), **_of_contribution(moved)},
    )
    return 0


def _contributions(store: Store) -> Any:
    from pyedge.serve.contributions import Contributions
    from pyedge.serve.limits import Limits
    from pyedge.serve.students import Students
    from pyedge.serve.uploads import Uploads

    limits = Limits()
    return Contributions(store, Students(store), Uploads(store, limits), limits)


def _of_release(found: Release) -> dict[str, Any]:
    return {**vars(found), "teacher": found.teacher}


def _of_contribution(found: Contribution) -> dict[str, Any]:
    return dict(vars(found))


def _line(found: Release) -> str:
    teacher = "a teacher answers" if found.teacher else "no teacher"
    return (
        f"{found.name}: version {found.version}, {len(found.classes)} classes, {found.images} "
        f"images, {found.contributions} contributions, {found.bytes:,} bytes, {teacher}"
    )
