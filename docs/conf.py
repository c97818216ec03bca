"""The documentation site: the pages of this folder, README and the like, and the reference.

`make docs` builds it with every warning an error: a link to nothing, a name that is not there.
"""

from __future__ import annotations

import inspect
import os
import pydoc
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.util import logging

import pyedge

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

project = "pyedge"
author = copyright = "The pyedge developers"
version = release = pyedge.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
# a page's headings can be linked to, page.md#a-heading, as a forge does it
myst_heading_anchors = 3
# code blocks indented by four spaces hold commands and outputs
highlight_language = "text"
smartquotes = False  # "first" is Python

html_theme = "furo"
html_title = f"pyedge {pyedge.__version__}"
html_copy_source = False
html_static_path = ["style.css"]
html_css_files = ["style.css"]

# docstrings are prose with names between single backticks: what is such a name becomes a link,
# all else is code
default_role = "py:obj"
autodoc_typehints_format = "short"
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80

# files of other folders that are shown here by a page of this one
SHOWN = {
    ROOT / "README.md": HERE / "index.md",
    ROOT / "CONTRIBUTING.md": HERE / "working.md",
    ROOT / "CHANGELOG.md": HERE / "changes.md",
    ROOT / "bench/results/README.md": HERE / "results.md",
}
RELATIVE_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def with_links(text: str, folder: Path) -> str:
    """Let the relative links of a file in `folder` lead from here, and to what is shown here."""

    def mended(link: re.Match[str]) -> str:
        target = folder / link[1]
        target = Path(os.path.normpath(target / "README.md" if target.is_dir() else target))
        return os.path.relpath(SHOWN.get(target, target), HERE)

    return RELATIVE_LINK.sub(mended, text)


def page(app: Sphinx, name: str, content: list[str]) -> None:
    if app.env.doc2path(name).suffix == ".md":
        content[0] = with_links(content[0], HERE)


def included(app: Sphinx, path: Path, name: str, content: list[str]) -> None:
    content[0] = with_links(content[0], (HERE / path).resolve().parent)


def names_in(thing: Any) -> list[str]:
    """Return what a function is called with, or a class made with."""
    try:
        return list(inspect.signature(thing).parameters)
    except (TypeError, ValueError):  # of C++, or no function
        return []


def entries(paragraph: str, names: str) -> list[str]:
    """Set apart what a paragraph says of each argument, "images: a batch. labels: its classes."

    Such sentences stand one behind the other in the source; on a page each is an entry of a list.
    """
    start = re.compile(rf"(?:^|(?<=\.)\s+)(`*(?:{names})`*(?:,\s+`*(?:{names})`*)*):\s+")
    before, *found = start.split(paragraph)
    parts = [before] if before.strip() else []
    for heads, text in zip(found[::2], found[1::2], strict=True):
        text, *rest = re.split(r"(?<=\.)\s+(?=(?:Raises|Returns)\s)", text.strip(), maxsplit=1)
        terms = ", ".join(f"``{name}``" for name in re.findall(r"\w+", heads))
        parts += [f"{terms}\n    " + text.replace("\n", "\n    "), *rest]
    return parts


def as_links(text: str, names: set[str]) -> str:
    """Let class names and pages be links; what names an argument is none to its namesake."""

    def mended(found: re.Match[str]) -> str:
        word = found[0]
        if word.startswith("``"):
            return word
        if word.startswith("`"):
            return f"`{word}`" if word.strip("`") in names else word
        if word.startswith("docs/"):
            return f":doc:`{word} </{word[5:-3]}>`"
        return f"`{word} <pyedge.{word}>`"

    classes = "|".join(re.findall(r"\b(?:[A-Z][a-z]+){2,}\b", " ".join(pyedge.__all__)))
    return re.sub(rf"`+[^`]+`+|\bdocs/\w+\.md|\b(?:{classes})\b(?:\.\w+)?", mended, text)


def docstring(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Make the prose of a docstring a page's text."""
    names = names_in(thing)
    paragraphs = as_links("\n".join(lines), set(names)).split("\n\n")
    if names:
        paragraphs = [e for p in paragraphs for e in entries(p, "|".join(map(re.escape, names)))]
    lines[:] = [*"\n\n".join(paragraphs).split("\n"), ""]


def signature(
    app: Sphinx,
    what: str,
    name: str,
    thing: Any,
    options: Any,
    given: str | None,
    returns: str | None,
) -> tuple[str | None, ...]:
    """Write NDArray[int64] as the source does, not what numpy makes of it; no `<factory>`."""
    module = r"~?(?:\w+\.)*"
    array = rf"{module}ndarray\[tuple\[{module}Any, \.\.\.\], {module}dtype\[{module}(\w+)\]\]"
    return tuple(
        text and re.sub(array, r"NDArray[\1]", text).replace("<factory>", "...")
        for text in (given, returns)
    )


def missing_name(app: Sphinx, env: Any, node: Any, content: Any) -> None:
    """Warn of a name in a docstring that should be there and is not."""
    target = node.get("reftarget", "")
    first = target.partition(".")[0]
    if node.get("refdomain") != "py" or not re.fullmatch(r"\w+(\.\w+)*", target):
        return
    full = f"pyedge.{target}" if first in pyedge.__all__ else target
    if full.startswith("pyedge.") and pydoc.locate(full) is None:
        logging.getLogger(__name__).warning("%s: there is no such name", target, location=node)


def setup(app: Sphinx) -> None:
    app.connect("source-read", page)
    app.connect("include-read", included)
    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-process-signature", signature)
    app.connect("missing-reference", missing_name)
