"""Answers of the Prometheus HTTP API into series. Pure.

Format: https://prometheus.io/docs/prometheus/latest/querying/api/ ; values are strings, "NaN" and "+Inf" among them.
"""

from collections.abc import Iterable, Mapping
from typing import NoReturn

from promptrollout.sources.counters import STALE, Point
from promptrollout.sources.protocol import Reason
from promptrollout.sources.strands import Series, describe


class Fault(Exception):  # noqa: N818 - the source's word, as in SourceError
    """Why an answer cannot be used; becomes a SourceError."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def check_envelope(body: object) -> Mapping[str, object]:
    """The answer as a mapping if it is a complete success; Fault if it is anything less.

    The client library looks at `data.result` alone, so an answer with warnings (Thanos, a federated store with a
    shard down) would look whole.
    """
    if not isinstance(body, dict) or "status" not in body:
        raise Fault(
            Reason.MALFORMED, "the answer is not the JSON of the Prometheus API; is the address right?"
        )
    if body["status"] != "success":
        refuse(200, body)
    warnings = body.get("warnings") or []
    if warnings:
        told = "; ".join(str(w) for w in warnings) if isinstance(warnings, list) else str(warnings)
        raise Fault(Reason.PARTIAL, f"the answer may not be complete: {shorten(told)}")
    if body.get("isPartial"):
        raise Fault(Reason.PARTIAL, "the answer is not complete: isPartial is set")
    data = body.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("result"), list):
        raise Fault(Reason.MALFORMED, "the answer has no data.result")
    return body


_BY_STATUS = {401: Reason.UNAUTHORIZED, 403: Reason.UNAUTHORIZED, 408: Reason.TIMEOUT, 504: Reason.TIMEOUT}
_BY_TYPE = {"timeout": Reason.TIMEOUT, "canceled": Reason.TIMEOUT, "bad_data": Reason.REJECTED}


def refuse(status: int, body: object) -> NoReturn:
    """Raise the Fault that an error answer stands for."""
    error = str(body.get("error", "")) if isinstance(body, dict) else ""
    kind = str(body.get("errorType", "")) if isinstance(body, dict) else ""
    said = f"HTTP {status}" + (f": {shorten(error)}" if error else "")
    if "too many samples" in error or status == 413:
        raise Fault(Reason.TOO_LARGE, said)
    if status in _BY_STATUS:
        raise Fault(_BY_STATUS[status], said)
    if kind in _BY_TYPE:
        raise Fault(_BY_TYPE[kind], said)
    if status >= 500 or status == 429 or kind in ("unavailable", "internal"):
        raise Fault(Reason.UNAVAILABLE, said)
    if 300 <= status < 400:
        raise Fault(
            Reason.REJECTED, f"{said}: a redirect, which is not followed; configure the final address"
        )
    raise Fault(Reason.REJECTED, said)


def read_series(result: Iterable[object]) -> list[Series]:
    """The series of an instant or range query's `data.result`; Fault if one is not in the API's form."""
    return [_series(item) for item in result]


def _series(item: object) -> Series:
    if not isinstance(item, dict) or not isinstance(labels := item.get("metric"), dict):
        raise Fault(Reason.MALFORMED, "a series of the answer has no labels")
    pairs = item.get("values")
    if pairs is None and "value" in item:
        pairs = [item["value"]]
    if pairs is None and ("histogram" in item or "histograms" in item):
        raise Fault(
            Reason.MALFORMED,
            f"{describe(labels)} is a native histogram; counters are needed (classic buckets for presets)",
        )
    if not isinstance(pairs, list):
        raise Fault(Reason.MALFORMED, f"{describe(labels)} has no values")
    try:
        points = tuple(Point(float(at), STALE if value is None else float(value)) for at, value in pairs)
    except (TypeError, ValueError):
        raise Fault(Reason.MALFORMED, f"{describe(labels)} has a value that is no number") from None
    return Series(labels, points)


def shorten(text: str, most: int = 300) -> str:
    """One line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
