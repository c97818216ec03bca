"""Refusals: why a request is not answered, in words that hold nobody else's secrets."""

from __future__ import annotations


class RefusalError(Exception):
    """An answer other than success. status: of HTTP. code: one word for programs."""

    def __init__(
        self, status: int, code: str, message: str, *, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


def not_found(what: str) -> RefusalError:
    """Return the answer for a name or digest that the store does not have."""
    return RefusalError(404, "not_found", f"{what}: the service has none of this name")


def invalid(message: str) -> RefusalError:
    """Return the answer for a value or a file that cannot be taken."""
    return RefusalError(422, "invalid", message)
