"""Write both forms of the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.paper.report.gathered import gather
from bench.paper.report.markdown import markdown
from bench.paper.report.page import page
from bench.paper.report.told import TITLES
from pyedge.files.atomic import write_atomically


def write_report(
    folder: Path, markdown_file: Path, html_file: Path, scales: Sequence[str]
) -> tuple[Path, Path]:
    """Write `docs/paper.md` and the page from what `folder` has of these scales."""
    found = [gather(folder, table, scale) for scale in scales for table in TITLES]
    tables = [each for each in found if each is not None]
    run = {each.table for each in tables}
    missing = [table for table in TITLES if table not in run]
    for path, text in (
        (markdown_file, markdown(tables, missing)),
        (html_file, page(tables, missing)),
    ):
        content = text.encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file, content=content: file.write(content))
    return markdown_file, html_file
