"""pyedge serve: the cloud's service, and what its owner does with its store."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyedge.cli import options, parsing, workers
from pyedge.cli.console import Console
from pyedge.cli.parsing import UsageError, existing

if TYPE_CHECKING:
    from pyedge.serve.service import Service, Teachers

USAGE = "--store DIR [options]  or  token|student|contribution|images ... --store DIR"

DESCRIPTION = """\
Run the cloud's service: devices download students, ask what a teacher knows of their images, and
send sums of what they have learned, of which everybody's classifier is solved.

The store is a folder with a database and files. Devices need a token each:
  pyedge serve token add --device NAME      print a new token; the store keeps only its hash
  pyedge serve token list | revoke ID
  pyedge serve student add FILE --name NAME [--teacher teacher.pt]
  pyedge serve student list
  pyedge serve contribution list            what devices have sent, and what is held for review
  pyedge serve contribution accept | reject | withdraw DIGEST --name NAME
  pyedge serve images list [--student NAME] [--device NAME]      what devices gave, with consent
  pyedge serve images withdraw DIGEST

The service needs the extra serve, and the cloud side only where a student has a teacher:
  pip install "pyedge[cloud,serve]"
"""

EXAMPLES = """\
examples:
  pyedge serve student add student.pyedge --name signs --store store
  pyedge serve token add --device kitchen --store store
  pyedge serve --store store
      For this machine alone: 127.0.0.1, without TLS.
  pyedge serve --store store --host 0.0.0.0 --certificate cert.pem --key key.pem
  pyedge serve --store store --database postgresql+psycopg://pyedge@localhost/pyedge
  pyedge serve --store store --engine ray --replicas 1:8 --gpus-per-replica 1
      Up to eight teachers with a GPU each, on the Ray cluster of RAY_ADDRESS or this machine.

SIGTERM or Ctrl-C lets requests that run finish. docs/cloud.md tells the whole story.
"""

_LOCAL = ("127.0.0.1", "::1", "localhost")
# fields of Limits, each with what its option says
_LIMITS = {
    "upload_bytes": "largest file of a device (default 64M)",
    "body_bytes": "largest batch of images for the teacher (default 64M)",
    "knowledge_images": "most images in it (default 1024)",
    "requests_per_minute": "of one device (default 600)",
    "requests_at_once": "of one device (default 8)",
    "given_bytes": "of all images that one device gives for a student (default 1G)",
    "most_images": "of one contribution, or of one file of given images (default 100k)",
    "most_classes": "new classes of one contribution or file (default 100)",
}
_NUMBERS = {
    "most_norm": "size of a contribution's features over that of the student's own (default 4)",
    "most_drop": "a contribution that costs more accuracy on the student's held images is held "
    "for review (default 0.05)",
    "silence_seconds": "after so long without a byte a request ends (default 20)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the service and of its parts."""
    _add_store(parser)
    where = parser.add_argument_group("address")
    where.add_argument("--host", default="127.0.0.1", help="(default 127.0.0.1: this machine)")
    where.add_argument("--port", type=_port, default=8765, help="0 takes a free one (default 8765)")
    where.add_argument("--certificate", metavar="FILE", help="of TLS, with its chain (PEM)")
    where.add_argument("--key", metavar="FILE", help="the certificate's private key (PEM)")
    where.add_argument(
        "--plain", action="store_true", help="no TLS on other addresses: a proxy has it"
    )
    where = parser.add_argument_group("where the teachers run")
    workers.add_engine(where, "in replicas, on this machine or the cluster of RAY_ADDRESS")
    where.add_argument(
        "--replicas",
        type=_replicas,
        metavar="N",
        help="of --engine ray, of each teacher: a number, or MIN:MAX for as many as there is work "
        "for (default 1)",
    )
    where.add_argument(
        "--gpus-per-replica",
        type=parsing.number(0),
        metavar="X",
        help="of --engine ray: 1, or a part of a GPU such as 0.5 (default 0: on the CPU)",
    )
    limits = parser.add_argument_group("limits")
    for name, what in _LIMITS.items():
        limits.add_argument(_option(name), type=parsing.amount, metavar="N", help=what)
    for name, what in _NUMBERS.items():
        limits.add_argument(
            _option(name), type=parsing.number(0, above=True), metavar="X", help=what
        )
    options.add_output(parser)
    parts = parser.add_subparsers(dest="part", metavar="PART", title="parts", prog="pyedge serve")
    _add_token(parts)
    _add_student(parts)
    _add_contribution(parts)
    _add_images(parts)


def run(args: argparse.Namespace, console: Console) -> int:
    """Run the service, or one of its parts."""
    if args.store is None:
        raise UsageError("missing: --store DIR, the service's folder")
    if args.part is None:
        return _serve(args, console)
    from pyedge.cli import serve_parts

    console.prog += f" {args.part} {args.do}"
    return serve_parts.run(args, console)


def _serve(args: argparse.Namespace, console: Console) -> int:
    if (args.certificate is None) != (args.key is None):
        raise UsageError("--certificate and --key go together")
    if args.host not in _LOCAL and args.certificate is None and not args.plain:
        raise UsageError(
            f"--host {args.host} without --certificate and --key would send tokens in the clear; "
            "--plain says that a proxy before it has TLS"
        )
    for path in (args.certificate, args.key):
        if path is not None:
            existing(path)
    if args.engine != "ray":
        for name in ("replicas", "gpus_per_replica"):
            if getattr(args, name) is not None:
                raise UsageError(f"{_option(name)} needs --engine ray")
    from pyedge.serve import logs, opening, running
    from pyedge.serve.limits import Limits

    given = {each: getattr(args, each) for each in (*_LIMITS, *_NUMBERS)}
    limits = Limits(**{name: value for name, value in given.items() if value is not None})
    logs.configure()
    begin = None if args.engine == "single" else _on_ray(args)
    service = opening.open_service(args.store, args.database, limits, begin)

    def listening(url: str) -> None:
        console.result(f"listening at {url}", {"command": "serve", "url": url, "pid": os.getpid()})

    server = running.make_server(
        service, args.host, args.port, args.certificate, args.key, listening
    )
    return 0 if running.run(server) else 1


def _on_ray(args: argparse.Namespace) -> Callable[[Service], Teachers]:
    """Return what begins the teachers on Ray."""
    from pyedge.cloud.jobs.cluster import need_ray

    need_ray("pyedge serve --engine ray")
    from pyedge.serve.ray_teaching import RayTeaching
    from pyedge.serve.replicas import Replicas

    least, most = args.replicas or (1, 1)
    replicas = Replicas(least, most, args.gpus_per_replica or 0.0)
    return functools.partial(RayTeaching, replicas=replicas)


def _replicas(text: str) -> tuple[int, int]:
    """Read "2" or "1:8"."""
    least, colon, most = text.partition(":")
    try:
        found = int(least), int(most if colon else least)
    except ValueError:
        found = 0, 0
    if not 1 <= found[0] <= found[1]:
        raise argparse.ArgumentTypeError(f"wanted a number from 1, or MIN:MAX, got {text!r}")
    return found


def _port(text: str) -> int:
    value = parsing.whole(0)(text)
    if value > 65535:
        raise argparse.ArgumentTypeError(f"wanted a port up to 65535, got {text}")
    return value


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _add_store(parser: argparse.ArgumentParser, default: Any = None) -> None:
    parser.add_argument(
        "--store", metavar="DIR", default=default, help="the service's folder, made if need be"
    )
    parser.add_argument(
        "--database",
        metavar="URL",
        default=default,
        help="of SQLAlchemy, instead of SQLite in the store",
    )


def _part(parts: Any, name: str, what: str) -> argparse.ArgumentParser:
    description = f"{what[0].upper()}{what[1:]}. pyedge serve --help has examples."
    found: argparse.ArgumentParser = parts.add_parser(name, help=what, description=description)
    return found


def _does(part: argparse.ArgumentParser) -> Any:
    return part.add_subparsers(dest="do", required=True, metavar="WHAT", prog=part.prog)


def _ends(*parsers: argparse.ArgumentParser) -> None:
    """Add what each has; given before the part or after it, it means the same."""
    for each in parsers:
        _add_store(each, argparse.SUPPRESS)
        each.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print a JSON object"
        )
        each.add_argument(
            "--quiet", action="store_true", default=argparse.SUPPRESS, help="no notes"
        )


def _add_token(parts: Any) -> None:
    does = _does(_part(parts, "token", "make, list and revoke the tokens of devices"))
    add = _part(does, "add", "make a token, and print it: it cannot be read again")
    add.add_argument("--device", required=True, help="a name for people (required)")
    add.add_argument(
        "--scopes",
        type=parsing.listed(str),
        metavar="LIST",
        help="read, knowledge, offer, contribute (default: these), images (to give some that the "
        "cloud may train on), watch (page and metrics)",
    )
    show = _part(does, "list", "list the devices, without their tokens")
    revoke = _part(does, "revoke", "make a token useless")
    revoke.add_argument("id", metavar="ID", help="as list prints it")
    _ends(add, show, revoke)


def _add_student(parts: Any) -> None:
    does = _does(_part(parts, "student", "add and list students"))
    add = _part(does, "add", "put a student into the store")
    add.add_argument("file", metavar="FILE", help="a student with statistics (.pyedge)")
    add.add_argument("--name", required=True, help="how devices ask for it (required)")
    add.add_argument(
        "--teacher", metavar="FILE", help="the network file (.pt) that tells about images"
    )
    _ends(add, _part(does, "list", "list the students"))


def _add_contribution(parts: Any) -> None:
    does = _does(_part(parts, "contribution", "review what devices have sent"))
    show = _part(does, "list", "list contributions")
    show.add_argument("--held", action="store_true", help="only those that are held for review")
    moves = []
    for name, what in (
        ("accept", "count a contribution"),
        ("reject", "never count a contribution that is held"),
        ("withdraw", "take a contribution out again, to the last bit"),
    ):
        move = _part(does, name, what)
        move.add_argument("digest", metavar="DIGEST", help="as list prints it, or its beginning")
        move.add_argument("--name", help="the student, where several have such a contribution")
        moves.append(move)
    _ends(show, *moves)


def _add_images(parts: Any) -> None:
    does = _does(_part(parts, "images", "list and take out the images that devices gave"))
    show = _part(does, "list", "list files of given images")
    out = _part(does, "withdraw", "remove a file of given images, whoever gave it")
    out.add_argument("digest", metavar="DIGEST", help="as list prints it, or its beginning")
    for each in (show, out):
        each.add_argument("--student", metavar="NAME", help="only those given for this student")
        each.add_argument("--device", metavar="NAME", help="only this device's, by name or id")
    _ends(show, out)
