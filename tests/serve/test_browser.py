"""The page as a person sees it, in headless Chromium."""

from __future__ import annotations

import struct
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

import pyedge
from pyedge.edge.learner import EdgeLearner

pytest.importorskip("fastapi")
from tests.support.chromium import FOUND, document, picture
from tests.support.cloud_service import NAME, Running, columns, running

pytestmark = pytest.mark.skipif(FOUND is None, reason="needs Chromium (apt-get install chromium)")
LONG = "a mug with a very long name that somebody typed by mistake " * 3
EVIL = "<img src=x onerror=alert(1)>"


def fill(service: Running) -> None:
    """Two devices with a new class each, one of which is long and one hostile."""
    for device, name in (("kitchen", LONG.strip()), ("hall", EVIL)):
        cloud = service.cloud(device)
        learner = EdgeLearner(cloud.download(NAME))
        learner.add_classes([name])
        learner.learn(columns(30, 1, 1), [name] * 30)
        assert cloud.contribute(learner) is not None
        path = service.folder / f"{device}.category"
        pyedge.make_category(learner, columns(30, 1, 1), name, path)
        cloud.offer(path, NAME)
    giving = service.cloud("giver", token=service.token("giver", ["read", "images"]))
    giving.give_images(columns(30, 1, 1), ["mug"] * 30, giving.download(NAME), consent=True)


def page_height(url: str, folder: Path, width: int) -> int:
    """Return the row of the picture with the page's last dark pixel."""
    pillow = pytest.importorskip("PIL.Image")
    folder.mkdir()
    with pillow.open(picture(url, folder, width, 4000)) as image:
        dark = np.asarray(image.convert("L")) < 128
    assert dark.any()
    return int(np.flatnonzero(dark.any(1))[-1])


def test_page_in_a_browser(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        fill(service)
        token = quote(service.token("watcher", ["watch"]), safe="")
        url = service.url.replace("//", f"//anybody:{token}@")
        text = document(url, tmp_path)
        for heading in (
            "Students", "Categories", "Contributions (0 held for review)",
            "Given images (30 in 1 files)", "Devices"
        ):  # fmt: skip
            assert f"<h2>{heading}</h2>" in text
        assert "mug (30)" in text
        assert "kitchen" in text
        assert LONG.strip() in text
        assert "<img" not in text
        png = picture(url, tmp_path).read_bytes()
        assert struct.unpack(">II", png[16:24]) == (1200, 1000)
        # a browser without a token is shown nothing of it
        assert "kitchen" not in document(service.url, tmp_path)


def test_words_are_whole_on_a_phone(tmp_path: Path) -> None:
    # a table wider than the screen scrolls; its columns are not squeezed to a letter a line
    with running(tmp_path) as service:
        fill(service)
        token = quote(service.token("watcher", ["watch"]), safe="")
        url = service.url.replace("//", f"//anybody:{token}@")
        high = {width: page_height(url, tmp_path / str(width), width) for width in (500, 1200)}
    assert high[500] < 2 * high[1200]
