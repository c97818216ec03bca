"""The documentation names all that is public, and its links lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import pyedge
from tests.support.paths import ROOT

PAGES = sorted(
    [
        *ROOT.glob("docs/*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        ROOT / "bench" / "results" / "README.md",
    ]
)


def public_names(module: str) -> set[str]:
    """Read a module's __all__ without what the module imports."""
    path = ROOT / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return {f"{module}.{name}" for name in ast.literal_eval(node.value)}
    raise AssertionError(f"{path} has no __all__")


def documented_names() -> list[str]:
    """Return what the reference describes, with the module before it."""
    found = []
    for path in sorted(ROOT.glob("docs/reference/*.rst")):
        module = None
        for line in path.read_text(encoding="utf-8").splitlines():
            directive = re.match(r"\.\. (\w+):: (\w+(?:\.\w+)*)", line)
            if directive and directive[1] == "currentmodule":
                module = directive[2]
            elif directive and re.fullmatch(
                "data|auto(function|class|exception|data)", directive[1]
            ):
                found.append(f"{module}.{directive[2]}")
    return found


@pytest.mark.parametrize(
    "module", ["pyedge", "pyedge.data", "pyedge.kernels", "pyedge.models"], ids=str
)
def test_reference_has_every_public_name(module: str) -> None:
    documented = documented_names()
    assert len(documented) == len(set(documented))
    assert public_names(module) - set(documented) == set()
    names = {name for name in documented if name.rpartition(".")[0] == module}
    assert names - public_names(module) == set(), "described, but not public"


def test_public_names_are_those_of_the_package() -> None:
    assert public_names("pyedge") == {f"pyedge.{name}" for name in pyedge.__all__}


def links(page: Path) -> list[str]:
    """Return the relative links of a page."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"\]\((?!\w+:)([^)\s]+)\)", text)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as a forge makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_anchors_are_those_of_headings(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# From `a` to B, at last\n```\n# no heading\n```\n", encoding="utf-8")
    assert anchors(page) == {"from-a-to-b-at-last"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_links_are_found() -> None:
    assert "docs/learning.md" in links(ROOT / "README.md")
    assert "engine.md#answers" in links(ROOT / "docs" / "architecture.md")
