"""Which series a rollout has: made when an arm is loaded, dropped once they can no longer matter."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from promptrollout_sdk.counting import ERRORS, ArmSeries, ClusterSeries, Key, ScoreSeries
from promptrollout_sdk.metrics import Families

# A key that is no longer served stays while it is counted in, and then for an hour, so that its last values are scraped
# many times. At most `KEPT` idle ones stay, and `KEPT_AT_ALL` of any kind, so that forged or very old pins and tokens
# cannot fill the registry.
IDLE_SECONDS = 3600.0
KEPT = 16
KEPT_AT_ALL = 48
KEPT_ARMS = 4
MAX_SCORES = 32
MAX_LATE = 64
MAX_ARMS = 16


class Ledger:
    """The series of one rollout. Making and dropping is locked, finding is not."""

    def __init__(self, families: Families, events: Iterable[str], scores: Iterable[str]) -> None:
        self.families = families
        self.events = (ERRORS, *(event for event in dict.fromkeys(events) if event != ERRORS))
        self._scores = dict.fromkeys(scores)
        self._lock = threading.Lock()
        self._arms: dict[Key, ArmSeries] = {}
        self._clusters: dict[tuple[str, str], ClusterSeries] = {}
        self._late: dict[tuple[Key, str], ScoreSeries] = {}
        self._live: set[Key] = set()
        self._seen: dict[Key, float] = {}

    @property
    def scores(self) -> tuple[str, ...]:
        """The scores known by now."""
        return tuple(self._scores)

    def arm(self, key: Key) -> ArmSeries:
        """The series of `key`, made if need be."""
        series = self._arms.get(key)
        if series is None:
            with self._lock:
                series = self._arms.get(key) or ArmSeries(self.families, key, self.events, self._scores)
                self._arms[key] = series
                self._trim()
        return series

    def score(self, key: Key, name: str) -> ScoreSeries:
        """The series of a score; for an arm that is not served any more it is all that is made."""
        if key in self._arms:
            self._arms[key].idle = 0
            return self._arms[key].score(name)
        with self._lock:
            series = self._late.pop((key, name), None) or ScoreSeries(self.families, key, name)
            self._late[key, name] = series  # the latest used last
            while len(self._late) > MAX_LATE:
                self._late.pop(next(iter(self._late))).drop()
        return series

    def clusters(self, rollout: str, arm: str) -> ClusterSeries | None:
        """The cluster series of an arm, made if need be; None beyond any number of arms that one rollout has."""
        series = self._clusters.get((rollout, arm))
        if series is None and len(self._clusters) < MAX_ARMS:
            with self._lock:
                series = self._clusters.get((rollout, arm)) or ClusterSeries(
                    self.families, rollout, arm, self.events, self._scores
                )
                self._clusters[rollout, arm] = series
        return series

    def admits_score(self, name: str) -> bool:
        """Whether `name` may be a label value: known, or one of the first few."""
        if name in self._scores:
            return True
        with self._lock:
            if len(self._scores) < MAX_SCORES:
                self._scores[name] = None
        return name in self._scores

    def serve(self, keys: Iterable[Key]) -> None:
        """What is served from now on; series of other arms may go."""
        with self._lock:
            self._live = set(keys)
            arms = {(key.rollout, key.arm) for key in self._live}
            # An arm's clusters outlive its candidate: their history is what tells how much units differ.
            gone = [where for where in self._clusters if where not in arms]
            for where in gone[: max(0, len(gone) - KEPT_ARMS)]:
                self._clusters.pop(where).drop()
            self._trim()

    def forked(self) -> None:
        """A lock that was held at the fork would be held for ever."""
        self._lock = threading.Lock()

    def sweep(self, now: float) -> None:
        """Drop what is neither served nor was counted in for an hour."""
        with self._lock:
            for key, series in list(self._arms.items()):
                if key in self._live or series.idle == 0:
                    self._seen[key] = now
                elif now - self._seen.setdefault(key, now) > IDLE_SECONDS:
                    self._drop(key)
                series.idle = 1

    def _trim(self) -> None:
        gone = [key for key in self._arms if key not in self._live]
        idle = [key for key in gone if self._arms[key].idle]
        excess = idle[: max(0, len(idle) - KEPT)]
        busy = [key for key in gone if key not in excess]
        for key in (*excess, *busy[: max(0, len(busy) - KEPT_AT_ALL)]):
            self._drop(key)

    def _drop(self, key: Key) -> None:
        self._seen.pop(key, None)
        self._arms.pop(key).drop()
