"""Statistics files: sums of a student's features without the student, to be sent and merged."""

from __future__ import annotations

from os import PathLike
from typing import Any

from pyedge.arguments import checked_path, kind_of, path_comes_first
from pyedge.errors import FormatError
from pyedge.files.npy_archive import open_archive, write_archive
from pyedge.keywords import keywords
from pyedge.statistics.stored import check_values, document_of, loaded, specs_of
from pyedge.statistics.sums import Statistics

FORMAT = "pyedge-statistics"
VERSION = 1


@keywords(old_order=path_comes_first)
def write_statistics(statistics: Statistics, path: str | PathLike[str]) -> None:
    """Write statistics atomically: `path` holds the old file or the new one, never a part.

    Raises FormatError for statistics that `read_statistics` would refuse, OSError if writing fails.
    """
    checked_path(path, "write_statistics")
    if not isinstance(statistics, Statistics):
        raise TypeError(
            f"write_statistics: statistics: wanted Statistics, got {kind_of(statistics)}"
        )
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        **document_of(statistics),
    }
    try:
        specs_of(document_of(statistics))
        check_values(statistics)
    except ValueError as error:
        raise FormatError(f"write_statistics: {error}") from error
    write_archive(path, document, statistics.arrays())


@keywords()
def read_statistics(path: str | PathLike[str]) -> Statistics:
    """Read statistics; their arrays are read-only.

    The file may come from anybody: it is checked before memory is taken for its contents. Raises
    FormatError for a file that is truncated, altered, foreign, of a later version, or does not fit
    together; OSError if it cannot be opened.
    """
    checked_path(path, "read_statistics")
    with open_archive(path, "a statistics file of pyedge") as archive:
        document = archive.document()
        if document.pop("format", None) != FORMAT:
            archive.fail("not a statistics file of pyedge")
        version = document.pop("version", None)
        if type(version) is not int or version != VERSION:
            archive.fail(
                f"a statistics file of version {version!r}; this pyedge reads version {VERSION}"
            )
        try:
            specs = specs_of(document)
            archive.check_names(specs)
            return loaded(document, {n: archive.array(n, spec) for n, spec in specs.items()})
        except FormatError:
            raise
        except (ValueError, TypeError, OverflowError) as error:
            raise FormatError(f"{path}: {error}") from error
