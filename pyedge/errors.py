"""The errors that pyedge raises beside ValueError and TypeError."""

from __future__ import annotations


class PyedgeError(Exception):
    """Base of the errors that belong to pyedge alone."""


class FormatError(PyedgeError, ValueError):
    """A file or archive is truncated, altered, of an unknown version, or not what it claims."""


class StructureError(PyedgeError, ValueError):
    """A network cannot be taken apart into groups of blocks; the message says why."""


class ExportError(PyedgeError, ValueError):
    """A student cannot be exported; the message names the operator and its place in the network."""


class DivergedError(PyedgeError, ArithmeticError):
    """A loss or gradient was not finite.

    On the cloud side the network has the weights of the last good evaluation (those of before the
    run where it had spawned processes), on the device those that the learner had before.
    """
