"""What the metric source counts in each window, for many runs at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptrollout.analysis import (
    ArmClusters,
    ClusterCounts,
    CorrelationBasis,
    EventCounts,
    History,
    MetricClusters,
    MetricKind,
    MetricPlan,
)
from promptrollout.simulation.crowd import CLUSTERS, Crowd, Requests, until_first
from promptrollout.simulation.levels import Variant, as_counts, badness, variant, width
from promptrollout.simulation.world import CoverageWorld, MetricWorld, ScoreWorld, World

Array = NDArray[np.float64]
Places = NDArray[np.int64]

#: Stable's past before a trial: at most so long and about so many requests (as the source reads it).
_HISTORY_HOURS, _HISTORY_REQUESTS, _SEED_REQUESTS = 24, 200_000.0, 5000
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Arms:
    """What is served during a window, per run.

    `share`: of each challenger in [0, 1], [R] or [R, challengers]; stable serves the rest. `exposure`, `cold` (whether
    the challengers' caches are) and `alive` (whether anything is to be drawn for this run at all): [R]. `dropped`:
    whose share stable serves, [R, challengers]. `mirrored`: challengers answer beside stable, which serves all.
    """

    share: Array
    exposure: Places
    cold: NDArray[np.bool_]
    alive: NDArray[np.bool_]
    dropped: NDArray[np.bool_] | None = None
    mirrored: bool = False

    @property
    def ranges(self) -> Array:
        """Shares of the challengers, those that were dropped too, [R, challengers]."""
        return self.share.reshape(len(self.exposure), -1)

    @property
    def shares(self) -> Array:
        """Shares of all arms, stable last, [R, challengers + 1]."""
        theirs = self.ranges if self.dropped is None else np.where(self.dropped, 0.0, self.ranges)
        rest = 1.0 - (0.0 if self.mirrored else theirs.sum(axis=1, keepdims=True))
        return np.concatenate([theirs, np.broadcast_to(rest, (len(theirs), 1))], axis=1)


@dataclass(slots=True)
class Counted:
    """One metric's counts of a window: by run, arm (challengers, then stable) and level; unit counts, cluster sums."""

    levels: Array  #: [R, A, L]
    values: tuple[Array, ...]  #: values of the levels, by arm
    units: Array | None = None  #: [R, A, 2] (exposed, affected)
    clusters: Array | None = None  #: [R, A, 3, K] requests, sums, sums of squares
    unit_clusters: Array | None = None  #: [R, A, 2, K]


class Counter:
    """Draws the counts of all metrics, window after window.

    `arms` are the challengers' names; `same` names metrics that are others once more, under other margins.
    """

    def __init__(
        self,
        metrics: Sequence[MetricPlan],
        world: World,
        runs: int,
        rng: np.random.Generator,
        arms: Sequence[str] = ("candidate",),
        same: Mapping[str, str] | None = None,
    ) -> None:
        self._same = same or {}
        named = [(m, self._same.get(m.name, m.name)) for m in metrics]
        self._metrics = [
            (m, [world.metric(name, arm) for arm in arms]) for m, name in named if name in world.metrics
        ]
        self._drawn = [
            (position, m, worlds)
            for position, (m, worlds) in enumerate(self._metrics)
            if m.name not in self._same and not isinstance(worlds[0], CoverageWorld)
        ]
        self._world = world
        self._runs = runs
        self._rng = rng
        self._arms = len(arms) + 1
        self._crowd = None
        if world.traffic.requests_per_unit > 1.0:
            self._crowd = Crowd(world, runs, len(self._metrics), rng, self._arms)
        self._block = Requests(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.int64))
        self._until: float | None = None

    @property
    def metrics(self) -> list[MetricPlan]:
        """The metrics that have data."""
        return [metric for metric, _ in self._metrics]

    @property
    def worlds(self) -> list[tuple[str, MetricWorld]]:
        """What stable and the first challenger are like, by metric; what is another once more is left out."""
        return [(metric.name, worlds[0]) for metric, worlds in self._metrics if metric.name not in self._same]

    def history(self) -> list[dict[str, History]]:
        """Stable's past by run and metric: its latest requests and hourly cluster sums."""
        arms = Arms(
            np.zeros((self._runs, self._arms - 1)),
            np.full(self._runs, -2, dtype=np.int64),
            np.zeros(self._runs, dtype=bool),
            np.ones(self._runs, dtype=bool),
        )
        hourly = max(self._world.rate(0.0) * _HOUR, 1e-9)
        hours = int(np.clip(_HISTORY_REQUESTS / hourly, 3, _HISTORY_HOURS))
        blocks: list[tuple[float, dict[str, Counted]]] = []
        for hour in range(-hours, 0):
            start = hour * _HOUR
            blocks.append((start, self.window(start, start + _HOUR, arms)[0]))
        return [self._history_of(run, blocks) for run in range(self._runs)]

    def _history_of(self, run: int, blocks: list[tuple[float, dict[str, Counted]]]) -> dict[str, History]:
        found = {}
        for metric, _ in self._metrics:
            levels, units = np.zeros(width(metric)), np.zeros(2)
            values = np.zeros(0)
            for _, counted in reversed(blocks):
                if levels.sum() >= _SEED_REQUESTS:
                    break
                here = counted[metric.name]
                levels += here.levels[run, -1]
                values = here.values[-1]
                if here.units is not None:
                    units += here.units[run, -1]
            sums = [
                clusters
                for start, counted in blocks
                if (clusters := clusters_of(metric, counted[metric.name], run, (start, start + _HOUR)))
            ]
            of_units = EventCounts(float(units.sum()), float(units[1])) if units.any() else None
            found[metric.name] = History(as_counts(metric, levels, values), of_units, tuple(sums))
        return found

    def window(self, start: float, end: float, arms: Arms) -> tuple[dict[str, Counted], Array]:
        """All metrics' counts in [start, end), and requests [R, A] by arm (challengers, then stable)."""
        found, requests = (self._independent if self._crowd is None else self._crowded)(start, end, arms)
        for metric, worlds in self._metrics:
            if isinstance(world := worlds[0], CoverageWorld) and world.score in found:
                scored = found[world.score].levels.sum(axis=2)
                found[metric.name] = coverage(requests, scored)
        return found | {
            m.name: found[self._same[m.name]] for m, _ in self._metrics if m.name in self._same
        }, requests

    def _variants(
        self, metric: MetricPlan, worlds: Sequence[MetricWorld], at: float
    ) -> list[tuple[Variant, Variant]]:
        """Of each arm, when its caches are warm and when they are cold."""
        found = []
        for world in worlds:
            course = world.course
            drifted = course.drifted(at, self._world.seconds)
            warm = cold = variant(metric, world, drifted, candidate=at >= course.onset)
            if course.cold_seconds > 0.0:
                cold = variant(metric, world, drifted * course.cold_factor, candidate=at >= course.onset)
            found.append((warm, cold))
        world = worlds[0]
        stable = variant(metric, world, world.course.drifted(at, self._world.seconds), candidate=False)
        return [*found, (stable, stable)]

    # requests that are units of their own

    def _independent(self, start: float, end: float, arms: Arms) -> tuple[dict[str, Counted], Array]:
        rng, mean = self._rng, self._world.rate((start + end) / 2.0) * (end - start)
        requests = rng.poisson(arms.shares * arms.alive[:, None] * mean).astype(float)
        found = {}
        for _, metric, worlds in self._drawn:
            variants = self._variants(metric, worlds, (start + end) / 2.0)
            seen = requests.astype(np.int64)
            for arm, judged in enumerate(_judged(worlds)):
                if judged < 1.0:
                    seen[:, arm] = rng.binomial(seen[:, arm], judged)
            levels = np.empty((self._runs, self._arms, width(metric)))
            for arm, (warm, cold) in enumerate(variants):
                chances = (
                    warm.chances if cold is warm else np.where(arms.cold[:, None], cold.chances, warm.chances)
                )
                levels[:, arm] = rng.multinomial(seen[:, arm], chances)
            counted = Counted(levels, tuple(warm.values for warm, _ in variants))
            self._spread(metric, counted)
            found[metric.name] = counted
        return found, requests

    def _spread(self, metric: MetricPlan, counted: Counted) -> None:
        """Cluster sums of independent requests: every level's count falls evenly on the clusters."""
        if not has_clusters(metric):
            return
        even = np.full(CLUSTERS, 1.0 / CLUSTERS)
        worth = badness(metric)
        clusters = np.zeros((self._runs, self._arms, 3, CLUSTERS))
        for level in np.flatnonzero(counted.levels.any(axis=(0, 1))).tolist():
            fallen = self._rng.multinomial(counted.levels[:, :, level].astype(np.int64), even)
            for i, factor in enumerate((1.0, worth[level], worth[level] ** 2)):
                clusters[:, :, i] += factor * fallen
        counted.clusters = clusters
        if metric.correlation.units:
            # Every request is a unit's first: requests that had no event, and those that had.
            counted.units = counted.levels.copy()
            counted.unit_clusters = clusters[:, :, :2].copy()

    # conversations

    def _crowded(self, start: float, end: float, arms: Arms) -> tuple[dict[str, Counted], Array]:
        here, arm = self._served(start, end, arms)
        assert self._crowd is not None  # noqa: S101 - only called with one
        units, rng = self._crowd.units, self._rng
        cells = self._runs * self._arms
        cell = here.run * self._arms + arm
        requests = np.bincount(cell, minlength=cells).reshape(self._runs, self._arms).astype(float)
        found = {}
        for position, metric, worlds in self._drawn:
            icc = np.array([*(w.course.icc_of_candidate for w in worlds), worlds[0].course.icc])
            luck = rng.random(len(here.run))
            shared = rng.random(len(here.run)) ** 2 < icc[arm]
            luck[shared] = units.luck[here.unit[shared], position]
            level = np.empty(len(here.run), dtype=np.int64)
            variants = self._variants(metric, worlds, (start + end) / 2.0)
            for number, both in enumerate(variants):
                mine = arm == number
                for each, cold in ((both[0], False), (both[1], True)):
                    some = np.flatnonzero(mine & (arms.cold[here.run] == cold))
                    level[some] = np.searchsorted(each.cumulative, luck[some], side="right")
            judged = np.array(_judged(worlds))
            seen, at, whose = here, cell, arm
            if (judged < 1.0).any():
                scored = np.flatnonzero(rng.random(len(here.run)) < judged[arm])
                seen, at, whose, level = here.take(scored), cell[scored], arm[scored], level[scored]
            size = width(metric)
            levels = np.bincount(at * size + level, minlength=cells * size)
            counted = Counted(
                levels.reshape(self._runs, self._arms, size).astype(float),
                tuple(warm.values for warm, _ in variants),
            )
            if has_clusters(metric):
                self._sum_clusters(metric, counted, seen, (whose, level), arms, position)
            found[metric.name] = counted
        return found, requests

    def _served(self, start: float, end: float, arms: Arms) -> tuple[Requests, Places]:
        """Requests and the arms that answer them; where challengers only answer beside stable, twice."""
        here = self._due(start, end, arms.alive)
        assert self._crowd is not None  # noqa: S101 - only called with one
        stable = np.full(len(here.run), self._arms - 1, dtype=np.int64)
        if arms.mirrored:
            sampled = np.flatnonzero(self._rng.random(len(here.run)) < arms.ranges[here.run, 0])
            twice = np.concatenate([np.arange(len(here.run)), sampled])
            return here.take(twice), np.concatenate([stable, np.zeros(len(sampled), dtype=np.int64)])
        bucket = self._crowd.units.bucket[here.unit]
        ends = np.cumsum(arms.ranges, axis=1)[here.run]
        arm: Places = (bucket[:, None] >= ends).sum(axis=1)
        if arms.dropped is not None:
            gone = np.concatenate([arms.dropped, np.zeros((self._runs, 1), dtype=bool)], axis=1)
            arm = np.where(gone[here.run, arm], stable, arm)
        return here, arm

    def _due(self, start: float, end: float, alive: NDArray[np.bool_]) -> Requests:
        assert self._crowd is not None  # noqa: S101 - only called with one
        if self._until is None or start >= self._until:
            span = max(_HOUR, end - start) if start >= 0.0 else end - start
            self._block = self._crowd.block(start, start + span)
            self._until = start + span
        low, high = np.searchsorted(self._block.at, (start, end))
        here = self._block.take(slice(int(low), int(high)))
        return here if alive.all() else here.take(np.flatnonzero(alive[here.run]))

    def _sum_clusters(
        self,
        metric: MetricPlan,
        counted: Counted,
        here: Requests,
        drawn: tuple[Places, Places],
        arms: Arms,
        position: int,
    ) -> None:
        assert self._crowd is not None  # noqa: S101 - only called with one
        units = self._crowd.units
        arm, level = drawn
        place = (here.run * self._arms + arm) * CLUSTERS + units.cluster[here.unit]
        shape = (self._runs, self._arms, CLUSTERS)
        size = self._runs * self._arms * CLUSTERS
        worth = badness(metric)[level]
        counted.clusters = np.stack(
            [np.bincount(place, w, size).reshape(shape) for w in (np.ones(len(level)), worth, worth * worth)],
            axis=2,
        )
        if not metric.correlation.units or metric.kind is not MetricKind.Events:
            return
        fresh = units.affected[here.unit, position, arm] != arms.exposure[here.run]
        first = fresh & until_first(here.unit * self._arms + arm, fresh & (level == 1))
        bad = first & (level == 1)
        units.affected[here.unit[bad], position, arm[bad]] = arms.exposure[here.run[bad]]
        exposed = np.bincount(place[first], minlength=size).reshape(shape).astype(float)
        affected = np.bincount(place[bad], minlength=size).reshape(shape).astype(float)
        counted.unit_clusters = np.stack([exposed, affected], axis=2)
        totals = counted.unit_clusters.sum(axis=3)
        counted.units = np.stack([totals[:, :, 0] - totals[:, :, 1], totals[:, :, 1]], axis=2)


def _judged(worlds: Sequence[MetricWorld]) -> list[float]:
    """The share of each arm's answers that get a score."""
    shares = [w.judged_of(candidate=True) if isinstance(w, ScoreWorld) else 1.0 for w in worlds]
    first = worlds[0]
    return [*shares, first.judged_of(candidate=False) if isinstance(first, ScoreWorld) else 1.0]


def coverage(requests: Array, scored: Array) -> Counted:
    """Answers without and with a score, from requests and scores [R, A]; never more scored than there are."""
    scored = np.minimum(scored, requests)
    levels = np.stack([requests - scored, scored], axis=2)
    return Counted(levels, (np.zeros(0),) * requests.shape[1])


def has_clusters(metric: MetricPlan) -> bool:
    """Whether the SDK exports cluster sums for this metric, and the plan asks for them."""
    clustered = metric.correlation.basis is CorrelationBasis.Clusters
    return clustered and metric.kind in (MetricKind.Events, MetricKind.Score)


def clusters_of(
    metric: MetricPlan, counted: Counted, run: int, span: tuple[float, float], pair: tuple[int, int] = (0, -1)
) -> MetricClusters | None:
    """One run's cluster sums of two arms, as the source hands them over."""
    if counted.clusters is None:
        return None
    squares = metric.kind is MetricKind.Score
    units = None
    if counted.unit_clusters is not None:
        units = _cluster_counts(counted.unit_clusters[run][list(pair)], span, squares=False)
    return MetricClusters(_cluster_counts(counted.clusters[run][list(pair)], span, squares=squares), units)


def _cluster_counts(sums: Array, span: tuple[float, float], *, squares: bool) -> ClusterCounts:
    arms = [
        ArmClusters(tuple(arm[0].tolist()), tuple(arm[1].tolist()), float(arm[2].sum()) if squares else None)
        for arm in sums
    ]
    return ClusterCounts(span[0], span[1], stable=arms[1], candidate=arms[0])
