"""What can be wrong outside the request path, and how it is said once."""

from __future__ import annotations

import logging

log = logging.getLogger("promptrollout_sdk")

_LONGEST = 1000


class PayloadError(Exception):
    """A payload that is not served. `reason` is a label value of promptrollout_payload_errors_total."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Once:
    """Says each distinct problem once, so that a broken caller cannot flood the log."""

    def __init__(self, limit: int = 256) -> None:
        self._said: set[str] = set()
        self._limit = limit

    def warn(self, message: str, *, trace: bool = False) -> None:
        """Log `message` unless it was said before."""
        message = message[:_LONGEST]
        if message not in self._said and len(self._said) < self._limit:
            self._said.add(message)
            log.warning("%s", message, exc_info=trace)


def said(value: object) -> str:
    """Any value as a text; one that refuses to be one is its type. What an application hands over may be anything."""
    try:
        return str(value)
    except Exception:
        return type(value).__name__
