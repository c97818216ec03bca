"""The errors that pyedge raises beside ValueError and TypeError."""

from __future__ import annotations


class PyedgeError(Exception):
    """Base of the errors that belong to pyedge alone."""


class FormatError(PyedgeError, ValueError):
    """A file or archive is truncated, altered, of an unknown version, or not what it claims."""


class StructureError(PyedgeError, ValueError):
    """A network cannot be taken apart into groups of blocks; the message says why."""
