"""The command `pyedge`: from folders of images to a small network, without writing Python.

Each command is a module with DESCRIPTION, USAGE, EXAMPLES, add_arguments and run. Nothing heavy is
imported before a command runs, so help is instant and needs no torch.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import pyedge
from pyedge.cli.console import Console
from pyedge.cli.parsing import Parser, UsageError, suggestion
from pyedge.cli.streams import any_streams

COMMANDS = {
    "train": ("pyedge.cli.train", "train a large network, the teacher, on labelled images"),
    "plan": ("pyedge.cli.plan", "show what compression would give, before anything is cut"),
    "compress": ("pyedge.cli.compress", "cut a small network, the student, out of the teacher"),
    "transfer": ("pyedge.cli.transfer", "train the student on what the teacher knows"),
    "evaluate": ("pyedge.cli.evaluate", "show how often a network is right, class by class"),
    "export": ("pyedge.cli.export", "write the student as a file for a device"),
    "knowledge": ("pyedge.cli.knowledge", "record what the teacher knows of images"),
    "serve": ("pyedge.cli.serve", "run the cloud's service for many devices"),
    "cloud": ("pyedge.cli.cloud", "make a student's next version from images that devices gave"),
    "learn": ("pyedge.cli.learn", "on the device: learn new categories, without torch"),
    "category": ("pyedge.cli.category", "on the device: add classes without images, and merge"),
    "predict": ("pyedge.cli.predict", "on the device: tell what images show"),
    "inspect": ("pyedge.cli.inspect", "on the device: look into a student file"),
    "demo": ("pyedge.demo", "see the whole idea at work in a few minutes, on digits"),
}

DESCRIPTION = """\
Take an image classifier from a large computer to a small one.

A large network, the teacher, learns from labelled images. A small one, the student, is cut out of
it: of several blocks of layers one stays, and filters whose output is mostly zero go. The student
then learns from the teacher, and comes near it at a fraction of the size.
"""

EPILOG = """\
Put images in folders, one for each class; the name of the folder is the name of the class:
  photos/cat/001.jpg  photos/cat/002.jpg  photos/dog/001.jpg  ...

From images to a small network in four commands:
  pyedge train photos --size 32 --out teacher.pt
  pyedge plan teacher.pt photos
  pyedge compress teacher.pt photos --P 0.8 --out student.pt
  pyedge transfer student.pt --teacher teacher.pt photos --out trained.pt

and on to a device, which needs only numpy:
  pyedge export trained.pt --out student.pyedge
  pyedge knowledge student.pyedge --teacher teacher.pt new-photos --out new.pack
  pyedge learn student.pyedge new-photos --knowledge new.pack --out student.pyedge

pyedge COMMAND --help explains a command. If you have no images at hand, write "digits" instead of
photos, for the handwritten digits that come with scikit-learn.

Exit codes: 0 done, 1 the work failed (a bad file, a training that diverged), 2 wrong usage,
130 interrupted. PYEDGE_DEBUG=1 shows where an error comes from.
"""

_INSTALL = {
    "sklearn": "demo",
    "PIL": "images",
    "fastapi": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "sqlalchemy": "serve",
    "alembic": "serve",
    "prometheus_client": "serve",
    "psycopg": "postgres",
    "ray": "ray",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) == 2 and words[0] == "help":
        words = [words[1], "--help"]
    name = words[0] if words and words[0] in COMMANDS else None
    console = Console(f"pyedge {name}" if name else "pyedge")
    with any_streams() as console.closed:
        return _answer(name, words, console)


def _answer(name: str | None, words: list[str], console: Console) -> int:
    """Run a command, report what went wrong, and return the exit code."""
    try:
        if name is None:
            return _without_command(words)
        return _run(name, words[1:], console)
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    except KeyboardInterrupt as interruption:
        hint = f"; {interruption}" if str(interruption) else ""
        print(f"{console.prog}: interrupted{hint}", file=sys.stderr, flush=True)
        return 130
    except Exception as error:
        if os.environ.get("PYEDGE_DEBUG", "0") not in ("", "0"):
            traceback.print_exc()
        code, text = _explain(error)
        console.fail(text)
        return code


def _without_command(words: list[str]) -> int:
    parser = Parser("pyedge", DESCRIPTION, EPILOG)
    parser.usage = "pyedge COMMAND ..."
    parser.add_argument("--version", action="version", version=f"pyedge {pyedge.__version__}")
    group = parser.add_argument_group("commands")
    for name, (_, line) in COMMANDS.items():
        group.add_argument(f"{name}", nargs="?", help=line, metavar=name)
    if not words:
        parser.print_help(sys.stderr)
        return 2
    if not words[0].startswith("-"):
        hint = suggestion(words[0], COMMANDS) or f"; there are {', '.join(COMMANDS)}"
        raise UsageError(f"no command is named {words[0]!r}{hint}")
    parser.parse_args(words[:1])
    return 0


def _run(name: str, words: list[str], console: Console) -> int:
    module = importlib.import_module(COMMANDS[name][0])
    description = getattr(module, "DESCRIPTION", COMMANDS[name][1])
    parser = Parser(console.prog, description, getattr(module, "EXAMPLES", ""))
    if hasattr(module, "USAGE"):
        parser.usage = f"{console.prog} {module.USAGE}"
    module.add_arguments(parser)
    args = parser.parse_args(words)
    if name == "demo":  # a program of its own, which also runs without this command line
        return int(module.run(args))
    console.as_json, console.quiet = args.json, args.quiet
    for line in args.notes:
        console.note(f"note: {line}")
    with _warnings_as_notes(console):
        return int(module.run(args, console))


@contextlib.contextmanager
def _warnings_as_notes(console: Console) -> Iterator[None]:
    """Show pyedge's own warnings as one line; those of libraries are for programmers."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, UserWarning) and f"{os.sep}pyedge{os.sep}" in filename:
            console.note(f"note: {message}")

    if os.environ.get("PYEDGE_DEBUG", "0") not in ("", "0"):
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield


def _explain(error: Exception) -> tuple[int, str]:
    """Return the exit code and the line for an error."""
    from pyedge.errors import PyedgeError

    if isinstance(error, ModuleNotFoundError) and _missing(error):
        package = _missing(error)
        extra = _INSTALL.get(package, "cloud")
        return 1, f'needs {package}, which is not installed: pip install "pyedge[{extra}]"'
    if isinstance(error, UnicodeEncodeError):  # the name of a file, in a locale of the last century
        what = f"{ascii(error.object)[:100]} cannot be written in {error.encoding}"
        return 1, f"{what}, which this system uses; PYTHONUTF8=1 makes it UTF-8"
    if isinstance(error, (PyedgeError, ImportError, OSError, MemoryError, UnicodeError)):
        return 1, str(error) or type(error).__name__
    if isinstance(error, (UsageError, ValueError)):
        return 2, str(error)
    known: tuple[Any, ...] = (TypeError, RuntimeError)
    text = str(error) if isinstance(error, known) else f"{type(error).__name__}: {error}"
    return 1, f"{text} (PYEDGE_DEBUG=1 shows where)"


def _missing(error: ModuleNotFoundError) -> str:
    """Name the package that an import did not find, unless it is a part of pyedge."""
    package = (error.name or "").partition(".")[0]
    return "" if package == "pyedge" else package
