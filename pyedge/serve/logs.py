"""Logs: one line of JSON on standard error for each event, without secrets or contents."""

from __future__ import annotations

import json
import logging
import sys
import time

LOGGER = logging.getLogger("pyedge.serve")


class JsonLines(logging.Formatter):
    """One object a line: time (UTC), level, event, and what the event has besides."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record in one line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def log(event: str, level: int = logging.INFO, **fields: object) -> None:
    """Log an event."""
    LOGGER.log(level, event, extra={"fields": fields})


def configure() -> None:
    """Send the service's, uvicorn's and asyncio's logs to standard error, each a line of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("pyedge.serve", "uvicorn", "uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn.access").disabled = True  # the door logs requests
