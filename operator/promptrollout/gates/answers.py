"""From what a Job or a service says to passed or failed."""

import json
from dataclasses import dataclass

from promptrollout.api.quantities import parse_decimal

#: Characters of a report that are kept in status.
_LONGEST_REPORT = 2048
_LONGEST_NUMBER = 20


@dataclass(frozen=True, slots=True)
class Report:
    """What was said: a JSON object with score, report and passed, all optional; else the text is the report."""

    score: float | None = None
    shown: str = ""
    text: str = ""
    passed: bool | None = None


def read_report(said: str) -> Report:
    """Read a termination message or the body of an answer. All text in it is valid Unicode afterwards."""
    try:
        data: object = json.loads(said)
    except (ValueError, RecursionError):
        return Report(text=_cut(said.strip()))
    if not isinstance(data, dict):
        return Report(text=_cut(said.strip()))
    score, passed, text = data.get("score"), data.get("passed"), data.get("report", data.get("message"))
    number = _number(score)
    return Report(
        score=number,
        shown="" if number is None else str(score)[:_LONGEST_NUMBER],
        text=_cut(text if isinstance(text, str) else "" if text is None else json.dumps(text)),
        passed=passed if isinstance(passed, bool) else None,
    )


def judge(report: Report, threshold: str | None, *, default: bool | None) -> tuple[bool, str]:
    """Whether it has passed, and why, as a phrase.

    `default`: what holds if neither a threshold nor the report decides; None: then it is a failure.
    """
    if report.passed is False:
        return False, "it says that it has not passed"
    if threshold is not None:
        if report.score is None:
            return False, f"no score was reported, and {threshold} is needed"
        enough = report.score >= parse_decimal(threshold)
        return enough, f"score {report.shown} {'is at least' if enough else 'is below'} {threshold}"
    if report.passed is None and default is None:
        return False, "the answer says neither passed nor, with a threshold to compare it with, a score"
    return True, "passed"


def _number(score: object) -> float | None:
    if isinstance(score, bool) or not isinstance(score, int | float | str):
        return None
    try:
        number = float(score)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None


def _cut(text: str) -> str:
    # JSON may spell half of a surrogate pair, which no UTF-8 can hold.
    text = text.encode(errors="replace").decode()
    return text if len(text) <= _LONGEST_REPORT else text[: _LONGEST_REPORT - 1] + "…"
