"""Debian's Chromium without a screen: the page as it stands, and its picture."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

FOUND = shutil.which("chromium") or shutil.which("chromium-browser")
# nothing that asks the network for anything but the page
_QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --hide-scrollbars"
)


def browse(url: str, folder: Path, *options: str) -> str:
    """Open a page with a profile in `folder`; return what the browser prints."""
    assert FOUND is not None
    done = subprocess.run(
        [FOUND, *_QUIET.split(), f"--user-data-dir={folder / 'profile'}", *options, url],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def document(url: str, folder: Path) -> str:
    """Return the page's document once the browser has laid it out."""
    return browse(url, folder, "--dump-dom")


def picture(url: str, folder: Path, width: int = 1200, height: int = 1000) -> Path:
    """Return a PNG file of the page."""
    path = folder / "page.png"
    browse(url, folder, f"--screenshot={path}", f"--window-size={width},{height}")
    return path
