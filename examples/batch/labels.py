"""Labels that people write hours or days later: scores by the token that was kept with each result.

This process has never seen a prompt. A token says which revision answered, in which step, so the scores count there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from examples.batch.extraction import Attributes, agreement
from examples.batch.feed import FeedError
from examples.batch.work import AGREEMENT
from promptrollout_sdk import Judge


def score(results: Path, labels: Path, judge: Judge) -> int:
    """Score each result that has a label; how many. FeedError for a line of labels that is none."""
    known = {one["id"]: one["label"] for one in _read(labels)}
    latest = {one["id"]: one for one in _lines(results) if one.get("token")}
    return sum(
        judge.score(one["token"], AGREEMENT, agreement(_attributes(one), known[name]))
        for name, one in latest.items()
        if name in known
    )


def _attributes(result: Mapping[str, Any]) -> Attributes | None:
    found = result.get("attributes")
    return Attributes.model_validate(found) if found else None


def _read(labels: Path) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(_lines(labels), 1):
        if not isinstance(line.get("id"), str) or not isinstance(line.get("label"), dict):
            raise FeedError(f'{labels}, line {number}: a label is {{"id": …, "label": {{…}}}}')
        yield line


def _lines(file: Path) -> Iterator[Mapping[str, Any]]:
    """The objects of a file of JSON lines. FeedError for a line that is none."""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found = json.loads(line)
        except ValueError as error:
            raise FeedError(f"{file}, line {number}: not JSON: {error}") from error
        if not isinstance(found, dict):
            raise FeedError(f"{file}, line {number}: not an object")
        yield found
