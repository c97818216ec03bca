"""Requests as no client of ours would make them."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any


def ask(
    url: str, method: str, path: str, token: str | None = None, body: Any = None, **headers: str
) -> tuple[int, dict[str, str], Any]:
    """Make one request; return status, headers and the JSON (or bytes) of the answer."""
    host, _, port = url.partition("//")[2].rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        named.setdefault("Authorization", f"Bearer {token}")
    try:
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        data = answer.read()
        told = {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()
    is_json = bool(data) and told.get("content-type", "").startswith("application/json")
    return answer.status, told, json.loads(data) if is_json else data


def fault(answer: tuple[int, dict[str, str], Any]) -> tuple[int, str]:
    """Return the status and the code of an answer that must be an error in our form."""
    status, _, content = answer
    assert isinstance(content, dict), content
    assert set(content) == {"error"}
    assert set(content["error"]) == {"code", "message"}
    return status, content["error"]["code"]


def opened(url: str) -> socket.socket:
    """Open a bare connection."""
    host, _, port = url.partition("//")[2].rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)
