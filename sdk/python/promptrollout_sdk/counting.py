"""The bound series of one arm in one exposure, and of one arm's clusters: at zero from load on, cheap to count in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from promptrollout_sdk.hashing import CLUSTERS, NODES, split_score
from promptrollout_sdk.metrics import Families, remove

OUTCOMES = ("ok", "error", "aborted")
ERRORS = "errors"


class Key(NamedTuple):
    """What identifies an arm's series."""

    rollout: str
    revision: str
    arm: str
    step: str


class ScoreSeries:
    """One score of one arm."""

    def __init__(self, families: Families, key: Key, name: str) -> None:
        self._families = families
        self._labels = (*key, name)
        self._score = families.score.labels(*key, name)
        self._sumsq = families.score_sumsq.labels(*key, name)
        self._nodes = [families.score_nodes.labels(*key, name, str(node)) for node in range(NODES)]

    def add(self, value: float) -> None:
        """Count a score in [0, 1]."""
        node, here, beyond = split_score(value)
        self._score.observe(value)
        self._sumsq.inc(value * value)
        self._nodes[node].inc(here)
        if beyond:
            self._nodes[node + 1].inc(beyond)

    def drop(self) -> None:
        """Remove the series from the registry."""
        remove(self._families.score, *self._labels)
        remove(self._families.score_sumsq, *self._labels)
        for node in range(NODES):
            remove(self._families.score_nodes, *self._labels, str(node))


class ArmSeries:
    """Everything that is counted by rollout, revision, arm and step."""

    def __init__(self, families: Families, key: Key, events: tuple[str, ...], scores: Iterable[str]) -> None:
        self.key = key
        self.idle = 0
        self.dropped = False
        self._families = families
        self.outcomes = {name: families.requests.labels(*key, name) for name in OUTCOMES}
        self.duration = families.duration.labels(*key)
        self.first_token = families.first_token.labels(*key)
        self.tokens_in = families.tokens.labels(*key, "input")
        self.tokens_out = families.tokens.labels(*key, "output")
        self.cost = families.cost.labels(*key)
        self.events = {name: families.events.labels(*key, name) for name in events if name != ERRORS}
        self.unit_exposure = [(name, families.unit_exposure.labels(*key, name)) for name in events]
        self.unit_events = {name: families.unit_events.labels(*key, name) for name in events}
        self._scores = {name: ScoreSeries(families, key, name) for name in scores}
        # Units of this exposure that have had an event, by event. Only they are remembered, at most `_LIMIT`.
        self._affected: dict[str, frozenset[str]] = {}

    def score(self, name: str) -> ScoreSeries:
        """The series of a score, made at its first use."""
        series = self._scores.get(name)
        if series is None:
            series = self._scores.setdefault(name, ScoreSeries(self._families, self.key, name))
        return series

    def expose(self, requests: int) -> None:
        """Count requests of units that have had no event."""
        for _, exposure in self.unit_exposure:
            exposure.inc(requests)

    def affected(self, unit: str) -> frozenset[str]:
        """Events that the unit has had in this exposure, as far as this process knows."""
        return self._affected.get(unit, _NONE)

    def affect(self, unit: str, events: Iterable[str]) -> None:
        """Remember a unit's events; the oldest units are forgotten first."""
        self._affected[unit] = self.affected(unit).union(events)
        while len(self._affected) > _LIMIT:
            self._affected.pop(next(iter(self._affected), ""), None)

    def drop(self) -> None:
        """Remove the series from the registry."""
        self.dropped = True
        key, families = self.key, self._families
        for outcome in OUTCOMES:
            remove(families.requests, *key, outcome)
        for family in (families.duration, families.first_token, families.cost):
            remove(family, *key)
        for direction in ("input", "output"):
            remove(families.tokens, *key, direction)
        for event in self.unit_events:
            for family in (families.events, families.unit_exposure, families.unit_events):
                remove(family, *key, event)
        for series in self._scores.values():
            series.drop()


class ClusterSeries:
    """Everything that is counted by rollout, arm and cluster: for the variance that conversations add."""

    def __init__(
        self, families: Families, rollout: str, arm: str, events: tuple[str, ...], scores: Iterable[str]
    ) -> None:
        self._families, self._rollout, self._arm = families, rollout, arm
        labels = [(rollout, arm, str(cluster)) for cluster in range(CLUSTERS)]
        self._labels = labels
        self._names: dict[str, None] = {}
        self.requests = [families.cluster_requests.labels(*where) for where in labels]
        self.events = {e: [families.cluster_events.labels(*where, e) for where in labels] for e in events}
        self.unit_exposure = {
            e: [families.cluster_unit_exposure.labels(*where, e) for where in labels] for e in events
        }
        self.unit_events = {
            e: [families.cluster_unit_events.labels(*where, e) for where in labels] for e in events
        }
        for name in scores:
            self._make_score(name)

    def expose(self, cluster: int, requests: int) -> None:
        """Count requests of units that have had no event."""
        for exposure in self.unit_exposure.values():
            exposure[cluster].inc(requests)

    def score(self, name: str, cluster: int, value: float) -> None:
        """Count a score."""
        if name not in self._names:
            self._make_score(name)
        self._families.cluster_score.labels(*self._labels[cluster], name).observe(value)

    def drop(self) -> None:
        """Remove the series from the registry."""
        families = self._families
        for where in self._labels:
            remove(families.cluster_requests, *where)
            for event in self.events:
                for family in (
                    families.cluster_events,
                    families.cluster_unit_exposure,
                    families.cluster_unit_events,
                ):
                    remove(family, *where, event)
            for name in self._names:
                remove(families.cluster_score, *where, name)

    def _make_score(self, name: str) -> None:
        self._names[name] = None
        for where in self._labels:
            self._families.cluster_score.labels(*where, name)


_NONE: frozenset[str] = frozenset()
_LIMIT = 10_000
