"""Standard output and standard error in any state: any encoding, closed, or without a reader.

Finished work must be reported, and must not fail in the reporting. Characters that an encoding
lacks are written with backslashes; a closed stream discards its output.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

# error handlers that never raise: whoever chose one (PYTHONIOENCODING=ascii:replace) keeps it
_PATIENT = ("backslashreplace", "replace", "ignore", "xmlcharrefreplace", "namereplace")


class Aside:
    """Standard error, on which nothing depends: if it cannot be written, work goes on without it.

    Everything except `write` and `flush` is the stream's own.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._broken = False

    def write(self, text: str) -> int:
        """Write, or after a failure do nothing."""
        if not self._broken:
            try:
                self._stream.write(text)
            except (OSError, ValueError):  # a full disk, a reader that left; a closed stream
                self._give_up()
        return len(text)

    def flush(self) -> None:
        """Flush, or after a failure do nothing."""
        if not self._broken:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._give_up()

    def writelines(self, lines: Any) -> None:
        """Write one text after another."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self) -> None:
        self._broken = True
        discard(self._stream)


@contextlib.contextmanager
def any_streams() -> Iterator[bool]:
    """Make both streams take any text while a command runs; yield whether output is closed."""
    out, err = sys.stdout, sys.stderr
    before = {each: each.errors for each in (out, err) if hasattr(each, "errors")}
    closed = out is None or err is None
    if closed:
        _fill_descriptors()
    with contextlib.ExitStack() as opened:
        if closed:
            nowhere = opened.enter_context(open(os.devnull, "w", encoding="utf-8"))
        sys.stdout = nowhere if out is None else _patient(out)
        sys.stderr = Aside(nowhere if err is None else _patient(err))
        try:
            yield out is None
        finally:
            _flush_or_discard(sys.stdout)
            for stream, errors in before.items():
                _reconfigure(stream, errors=errors)
            sys.stdout, sys.stderr = out, err


def discard(stream: TextIO) -> None:
    """Discard what is left in a broken stream, since Python flushes it once more at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def ascii_bytes(stream: TextIO) -> None:
    """Make a stream write ASCII as single bytes, so that JSON is JSON for every program."""
    name = codecs.lookup(getattr(stream, "encoding", None) or "ascii").name
    if "{}".encode(name) != b"{}":  # UTF-16, UTF-32, EBCDIC
        _reconfigure(stream, encoding="utf-8")


def visible(text: str) -> str:
    """Return text with escapes for what moves a terminal's cursor, except line breaks and tabs."""
    if text.isprintable():
        return text
    return "".join(ascii(c)[1:-1] if _moves(c) else c for c in text)


def _moves(character: str) -> bool:
    return (character < " " and character not in "\n\t") or "\x7f" <= character < "\xa0"


def _patient(stream: TextIO) -> TextIO:
    errors = getattr(stream, "errors", None)
    if errors is not None and errors not in _PATIENT:
        _reconfigure(stream, errors="backslashreplace")
    return stream


def _reconfigure(stream: Any, **settings: Any) -> None:
    # a stream of a notebook may not have it; one that is broken cannot be flushed for it
    with contextlib.suppress(AttributeError, ValueError, OSError):
        stream.reconfigure(**settings)


def _flush_or_discard(stream: Any) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        discard(stream)


def _fill_descriptors() -> None:
    """Occupy descriptors 0, 1 and 2: a file opened there would get the streams' output."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
