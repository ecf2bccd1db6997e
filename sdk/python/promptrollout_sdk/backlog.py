"""Exposures of units without an event, added up in memory where one increment costs a write to a shared file.

In prometheus_client's multi-process mode each increment takes a process-wide lock, asks for the process id and writes
into a mapped file. Most requests have no event, so all their exposures grow by one: of ten increments a request six
are these (with three events). They are kept here and written by the background thread, twenty times a second, and at
exit; a process that is killed loses what was kept since the last look.
"""

from __future__ import annotations

import threading
from typing import Protocol

from promptrollout_sdk.counting import ArmSeries, ClusterSeries


class Exposing(Protocol):
    """How a request without any event is counted."""

    def add(self, series: ArmSeries, clusters: ClusterSeries | None, cluster: int) -> None:
        """One more request of a unit that has had no event."""

    def flush(self) -> None:
        """Write what has been added up."""

    def forked(self) -> None:
        """The process is a child: what the parent has added up, the parent writes."""


class Direct:
    """At once."""

    def add(self, series: ArmSeries, clusters: ClusterSeries | None, cluster: int) -> None:
        """One more request of a unit that has had no event."""
        series.expose(1)
        if clusters:
            clusters.expose(cluster, 1)

    def flush(self) -> None:
        """There is nothing to write."""

    def forked(self) -> None:
        """Nothing is kept."""


class Backlog:
    """At the next flush."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[ArmSeries, ClusterSeries | None, int], int] = {}

    def add(self, series: ArmSeries, clusters: ClusterSeries | None, cluster: int) -> None:
        """One more request of a unit that has had no event."""
        where = (series, clusters, cluster)
        with self._lock:
            self._counts[where] = self._counts.get(where, 0) + 1

    def flush(self) -> None:
        """Write what has been added up."""
        with self._lock:
            counts, self._counts = self._counts, {}
        arms: dict[ArmSeries, int] = {}
        for (series, clusters, cluster), count in counts.items():
            arms[series] = arms.get(series, 0) + count
            if clusters:
                clusters.expose(cluster, count)
        for series, count in arms.items():
            series.expose(count)

    def forked(self) -> None:
        """The process is a child: what the parent has added up, the parent writes."""
        self._lock = threading.Lock()
        self._counts = {}
