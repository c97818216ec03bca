"""The page at `/` in a browser: what a person reads there, and that all of it is in the picture."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pyedge.edge.learner import EdgeLearner

pytest.importorskip("fastapi")
from tests.support.cloud_service import NAME, Running, columns, running
from tests.support.page_cells import Cells
from tests.support.raw_http import ask

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-extensions",
    "--window-size=1100,1200",
]  # fmt: skip
_SECONDS = 60
_PNG = b"\x89PNG\r\n\x1a\n"


@contextmanager
def letting_in(service: Running, token: str) -> Iterator[str]:
    """Pass a browser's requests on with a token: headless, it would ask nobody for a password."""

    class Passing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, content = ask(service.url, "GET", self.path, token)
            body = content if isinstance(content, bytes) else b""
            self.send_response(status)
            for name in ("content-type", "content-security-policy"):
                if name in headers:
                    self.send_header(name, headers[name])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def browse(folder: Path, *words: str) -> str:
    """Run the browser with a profile of its own, and return what it prints."""
    assert CHROMIUM is not None
    profile = folder / "profile"
    done = subprocess.run(
        [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", *words],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=True,
    )
    return done.stdout


def fill(service: Running) -> None:
    """Have a device learn, contribute and give."""
    token = service.token("kitchen", ["read", "contribute", "images"])
    cloud = service.cloud("kitchen", token=token)
    learner = EdgeLearner(cloud.download(NAME))
    learner.add_classes(["mug <b>of tin</b>"])
    learner.learn(columns(30, 1, 1), ["mug <b>of tin</b>"] * 30)
    cloud.contribute(learner)
    cloud.give_images(columns(30, 1, 1), ["mug"] * 30, learner, consent=True)


def test_page_reads_well_in_a_browser(tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    with running(tmp_path) as service:
        fill(service)
        size = service.service.gifts.list()[0].bytes
        picture = tmp_path / "page.png"
        with letting_in(service, service.token("watcher", ["watch"])) as url:
            dom = browse(tmp_path, f"--screenshot={picture}", "--dump-dom", url)
    assert picture.read_bytes().startswith(_PNG)
    found = Cells(dom)
    assert {"script", "b", "img", "link"}.isdisjoint(found.tags)
    rows = {row[0]: row for row in found.rows if row}
    assert rows[NAME][:5] == [NAME, "2", "low, middle, high, mug <b>of tin</b>", "270", "1"]
    assert [row[3:6] for row in found.rows if row[2:3] == ["kitchen"]] == [
        ["mug <b>of tin</b>", "30", "counted"],
        ["mug (30)", "30", f"{size:,}"],
    ]
    assert rows["kitchen"][2] == "contribute, images, read"
    for title in ("Students", "Contributions (0 held for review)", "Given images", "Devices"):
        assert f"<h2>{title}</h2>" in dom
    width = int.from_bytes(picture.read_bytes()[16:20], "big")
    assert width == 1100
