"""The errors that pyedge raises besides ValueError and TypeError."""

from __future__ import annotations


class PyedgeError(Exception):
    """The base class of pyedge's own errors."""


class FormatError(PyedgeError, ValueError):
    """A file or archive is truncated, altered, of an unknown version, or not what it claims."""


class StructureError(PyedgeError, ValueError):
    """A network cannot be taken apart into groups of blocks; the message says why."""


class ExportError(PyedgeError, ValueError):
    """A student cannot be exported; the message names the operator and its place in the network."""


class DivergedError(PyedgeError, ArithmeticError):
    """A loss or gradient was not finite.

    On the cloud side the network then has the weights of the last good evaluation, or those from
    before the run if the run had spawned processes. On the device the learner keeps the weights
    that it had before.
    """


class OfflineError(PyedgeError, OSError):
    """A cloud's service cannot be reached, or does not answer in time, after several tries."""


class RefusedError(PyedgeError, ValueError):
    """A cloud's service has answered that it will not do this; the message says why.

    status: of HTTP. code: one word for programs, such as "scope" or "not_found".
    """

    def __init__(self, message: str, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
