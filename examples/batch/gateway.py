"""Counts of a process that is gone before anybody scrapes it: pushed under a group of its own for each run.

A push replaces what the same group pushed before. So a run pushes as often as it likes, its counters only grow, and the
next run, whose counters begin at zero, has another group: no counter ever goes back. Groups stay in the Pushgateway
until somebody deletes them; `tidy` does, when Prometheus has long read them.
"""

from __future__ import annotations

import json
import logging
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, delete_from_gateway, push_to_gateway

log = logging.getLogger(__name__)

JOB = "catalogue"
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Group:
    """What is known of a run's group: its name, and when it was pushed to (Unix seconds)."""

    run: str
    pushed_at: float


class Gateway:
    """One run's group in the Pushgateway at `url`."""

    def __init__(self, url: str, run: str, registry: CollectorRegistry) -> None:
        self._url = url.rstrip("/")
        self._run = run
        self._registry = registry

    def push(self) -> bool:
        """Push all counts so far; False, and a log line, when it could not be done: the next push has them all."""
        try:
            push_to_gateway(self._url, JOB, self._registry, {"run": self._run}, _TIMEOUT_S)
        except OSError as error:
            log.warning("nothing could be pushed to %s: %s", self._url, error)
            return False
        return True

    def tidy(self, before: float) -> list[str]:
        """Delete the groups of this job's runs that were pushed to last before that moment; their names."""
        old = [group.run for group in self.groups() if group.pushed_at < before and group.run != self._run]
        for run in old:
            delete_from_gateway(self._url, JOB, {"run": run}, _TIMEOUT_S)
        return old

    def groups(self) -> Iterator[Group]:
        """Those of this job's runs."""
        with urllib.request.urlopen(f"{self._url}/api/v1/metrics", timeout=_TIMEOUT_S) as answer:
            groups = json.load(answer)["data"]
        for group in groups:
            labels = group["labels"]
            if labels.get("job") == JOB and "run" in labels:
                pushed = group["push_time_seconds"]["metrics"][0]["value"]
                yield Group(labels["run"], float(pushed))
