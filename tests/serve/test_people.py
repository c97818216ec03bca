"""What people see of a service: the page, metrics, health, the OpenAPI document, logs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyedge
from pyedge.edge.learner import EdgeLearner

pytest.importorskip("fastapi")
from pyedge.serve.app import inner_app
from pyedge.serve.logs import JsonLines
from tests.support.cloud_service import NAME, Running, columns, running
from tests.support.page_cells import Cells
from tests.support.paths import ROOT
from tests.support.raw_http import ask


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("people")) as found:
        yield found


def test_page_shows_what_there_is_and_runs_nothing_of_it(service: Running, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    cloud = service.cloud(evil, folder=tmp_path / "evil")
    learner = EdgeLearner(cloud.download(NAME))
    learner.add_classes([evil])
    learner.learn(columns(30, 1, 1), [evil] * 30)
    assert cloud.contribute(learner) is not None
    pyedge.make_category(learner, columns(30, 1, 1), evil, tmp_path / "c")
    cloud.offer(tmp_path / "c", NAME)
    token = service.token("watcher", ["watch"])
    status, headers, content = ask(service.url, "GET", "/", token)
    assert status == 200
    assert headers["content-security-policy"].startswith("default-src 'none'")
    found = Cells(content.decode())
    assert "script" not in found.tags
    cells = [cell for row in found.rows for cell in row]
    assert [NAME, "2", f"low, middle, high, {evil}", "270", "1"] == found.rows[1][:5]
    assert cells.count(evil) == 5  # category and device, contribution's device and class, device
    assert "counted" in cells
    assert any(row[0] == "/v1/students/{name}/contributions/{digest}" for row in found.rows)


def test_metrics_count_requests_by_route(service: Running) -> None:
    token = service.token("prometheus", ["watch"])
    ask(service.url, "GET", "/v1/students/secret-name", token)
    status, headers, content = ask(service.url, "GET", "/metrics", token)
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    text = content.decode()
    assert 'pyedge_requests_total{route="/v1/students/{name}",status="403"} 1.0' in text
    assert "secret-name" not in text
    assert "pyedge_request_seconds_bucket" in text


def test_ready_tells_when_the_database_is_gone(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(service.url, "GET", "/ready")[0] == 200
    monkeypatch.setattr(service.service.store.database, "answers", lambda: False)
    assert ask(service.url, "GET", "/ready")[0] == 503
    assert ask(service.url, "GET", "/health")[0] == 200


def test_failure_of_the_service_tells_its_sender_nothing(
    service: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("a secret path /etc/x")

    monkeypatch.setattr(service.service.students, "release", fail)
    status, _, content = ask(service.url, "GET", f"/v1/students/{NAME}", service.token("f"))
    assert status == 500
    assert "secret" not in json.dumps(content)
    assert content["error"]["code"] == "failed"
    number = content["error"]["message"].rpartition(" ")[2]
    assert any(record.__dict__.get("fields", {}).get("request") == number
               for record in caplog.records)  # fmt: skip


def test_log_lines_are_json_in_one_line() -> None:
    record = logging.makeLogRecord(
        {"msg": "request", "levelname": "INFO", "fields": {"route": "/\n\u00e9"}}
    )
    line = JsonLines().format(record)
    assert "\n" not in line
    assert line.isascii()
    assert json.loads(line)["route"] == "/\n\u00e9"


def test_openapi_document_is_that_of_the_service() -> None:
    """docs/openapi.json: python -m tools.openapi writes it."""
    written = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    made = json.loads(json.dumps(inner_app(None).openapi()))
    assert written["paths"].keys() == made["paths"].keys()
    for path, methods in made["paths"].items():
        for method, told in methods.items():
            there = written["paths"][path][method]
            assert there.get("parameters") == told.get("parameters"), (path, method)
            assert there["responses"].keys() == told["responses"].keys(), (path, method)
