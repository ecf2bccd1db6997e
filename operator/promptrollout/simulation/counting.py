"""What the metric source counts in each window, for many runs at once."""

from __future__ import annotations

from collections.abc import Sequence
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
from promptrollout.simulation.world import MetricWorld, ScoreWorld, World

Array = NDArray[np.float64]
Places = NDArray[np.int64]

#: Variants of answers: stable, candidate like stable (before the onset or warm), and with cold caches.
_STABLE, _WARM, _COLD = range(3)
#: Stable's past before a trial: at most so long and about so many requests (as the source reads it).
_HISTORY_HOURS, _HISTORY_REQUESTS, _SEED_REQUESTS = 24, 200_000.0, 5000
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Arms:
    """What is served during a window, per run: candidate's share in [0, 1], exposure, whether its caches are cold."""

    share: Array
    exposure: Places
    cold: NDArray[np.bool_]
    alive: NDArray[np.bool_]  #: whether anything is to be drawn for this run at all


@dataclass(slots=True)
class Counted:
    """One metric's counts of a window: by run, arm (candidate, stable) and level; unit counts and cluster sums."""

    levels: Array  #: [R, 2, L]
    values: tuple[Array, Array]  #: values of the levels, candidate and stable
    units: Array | None = None  #: [R, 2, 2] (exposed, affected)
    clusters: Array | None = None  #: [R, 2, 3, K] requests, sums, sums of squares
    unit_clusters: Array | None = None  #: [R, 2, 2, K]


class Counter:
    """Draws the counts of all metrics, window after window."""

    def __init__(
        self, metrics: Sequence[MetricPlan], world: World, runs: int, rng: np.random.Generator
    ) -> None:
        self._metrics = [(m, world.metrics[m.name]) for m in metrics if m.name in world.metrics]
        self._world = world
        self._runs = runs
        self._rng = rng
        self._crowd = None
        if world.traffic.requests_per_unit > 1.0:
            self._crowd = Crowd(world, runs, len(self._metrics), rng)
        self._block = Requests(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0, dtype=np.int64))
        self._until: float | None = None

    @property
    def metrics(self) -> list[MetricPlan]:
        """The metrics that have data."""
        return [metric for metric, _ in self._metrics]

    def history(self) -> list[dict[str, History]]:
        """Stable's past by run and metric: its latest requests and hourly cluster sums."""
        arms = Arms(
            np.zeros(self._runs),
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
                levels += here.levels[run, 1]
                values = here.values[1]
                if here.units is not None:
                    units += here.units[run, 1]
            sums = [
                clusters
                for start, counted in blocks
                if (clusters := clusters_of(metric, counted[metric.name], run, (start, start + _HOUR)))
            ]
            of_units = EventCounts(float(units.sum()), float(units[1])) if units.any() else None
            found[metric.name] = History(as_counts(metric, levels, values), of_units, tuple(sums))
        return found

    def window(self, start: float, end: float, arms: Arms) -> tuple[dict[str, Counted], Array]:
        """All metrics' counts in [start, end), and requests [R, 2] by arm (candidate, stable)."""
        if self._crowd is None:
            return self._independent(start, end, arms)
        return self._crowded(start, end, arms)

    def _variants(self, metric: MetricPlan, world: MetricWorld, at: float) -> list[Variant]:
        course = world.course
        drifted = course.drifted(at, self._world.seconds)
        warm = variant(metric, world, drifted, candidate=at >= course.onset)
        cold = warm
        if course.cold_seconds > 0.0:
            cold = variant(metric, world, drifted * course.cold_factor, candidate=at >= course.onset)
        return [variant(metric, world, drifted, candidate=False), warm, cold]

    # requests that are units of their own

    def _independent(self, start: float, end: float, arms: Arms) -> tuple[dict[str, Counted], Array]:
        rng, mean = self._rng, self._world.rate((start + end) / 2.0) * (end - start)
        shares = np.stack([arms.share, 1.0 - arms.share], axis=1) * arms.alive[:, None]
        requests = rng.poisson(shares * mean).astype(float)
        found = {}
        for metric, world in self._metrics:
            variants = self._variants(metric, world, (start + end) / 2.0)
            seen = requests.astype(np.int64)
            if isinstance(world, ScoreWorld) and world.judged < 1.0:
                seen = rng.binomial(seen, world.judged)
            chances = np.where(arms.cold[:, None], variants[_COLD].chances, variants[_WARM].chances)
            levels = np.empty((self._runs, 2, width(metric)))
            levels[:, 0] = rng.multinomial(seen[:, 0], chances)
            levels[:, 1] = rng.multinomial(seen[:, 1], variants[_STABLE].chances)
            counted = Counted(levels, (variants[_WARM].values, variants[_STABLE].values))
            self._spread(metric, counted)
            found[metric.name] = counted
        return found, requests

    def _spread(self, metric: MetricPlan, counted: Counted) -> None:
        """Cluster sums of independent requests: every level's count falls evenly on the clusters."""
        if not has_clusters(metric):
            return
        even = np.full(CLUSTERS, 1.0 / CLUSTERS)
        worth = badness(metric)
        clusters = np.zeros((self._runs, 2, 3, CLUSTERS))
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
        here = self._due(start, end, arms.alive)
        assert self._crowd is not None  # noqa: S101 - only called with one
        units, rng = self._crowd.units, self._rng
        on_stable = (units.bucket[here.unit] >= arms.share[here.run]).astype(np.int64)
        cell = here.run * 2 + on_stable
        requests = np.bincount(cell, minlength=2 * self._runs).reshape(self._runs, 2).astype(float)
        kind = np.where(on_stable == 1, _STABLE, np.where(arms.cold[here.run], _COLD, _WARM))
        found = {}
        for position, (metric, world) in enumerate(self._metrics):
            variants = self._variants(metric, world, (start + end) / 2.0)
            luck = rng.random(len(here.run))
            shared = rng.random(len(here.run)) ** 2 < world.course.icc
            luck[shared] = units.luck[here.unit[shared], position]
            level = np.empty(len(here.run), dtype=np.int64)
            for number, each in enumerate(variants):
                some = np.flatnonzero(kind == number)
                level[some] = np.searchsorted(each.cumulative, luck[some], side="right")
            seen, at = here, cell
            if isinstance(world, ScoreWorld) and world.judged < 1.0:
                judged = np.flatnonzero(rng.random(len(here.run)) < world.judged)
                seen, at, level = here.take(judged), cell[judged], level[judged]
            levels = np.bincount(at * width(metric) + level, minlength=2 * self._runs * width(metric))
            counted = Counted(
                levels.reshape(self._runs, 2, width(metric)).astype(float),
                (variants[_WARM].values, variants[_STABLE].values),
            )
            if has_clusters(metric):
                self._sum_clusters(metric, counted, seen, (at, level), arms, position)
            found[metric.name] = counted
        return found, requests

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
        cell, level = drawn
        place = cell * CLUSTERS + units.cluster[here.unit]
        size = 2 * self._runs * CLUSTERS
        worth = badness(metric)[level]
        shape = (self._runs, 2, CLUSTERS)
        counted.clusters = np.stack(
            [np.bincount(place, w, size).reshape(shape) for w in (np.ones(len(level)), worth, worth * worth)],
            axis=2,
        )
        if not metric.correlation.units or metric.kind is not MetricKind.Events:
            return
        fresh = units.affected[here.unit, position] != arms.exposure[here.run]
        first = fresh & until_first(here.unit, fresh & (level == 1))
        bad = first & (level == 1)
        units.affected[here.unit[bad], position] = arms.exposure[here.run[bad]]
        exposed = np.bincount(place[first], minlength=size).reshape(shape).astype(float)
        affected = np.bincount(place[bad], minlength=size).reshape(shape).astype(float)
        counted.unit_clusters = np.stack([exposed, affected], axis=2)
        totals = counted.unit_clusters.sum(axis=3)
        counted.units = np.stack([totals[:, :, 0] - totals[:, :, 1], totals[:, :, 1]], axis=2)


def has_clusters(metric: MetricPlan) -> bool:
    """Whether the SDK exports cluster sums for this metric, and the plan asks for them."""
    clustered = metric.correlation.basis is CorrelationBasis.Clusters
    return clustered and metric.kind in (MetricKind.Events, MetricKind.Score)


def clusters_of(
    metric: MetricPlan, counted: Counted, run: int, span: tuple[float, float]
) -> MetricClusters | None:
    """One run's cluster sums as the source hands them over."""
    if counted.clusters is None:
        return None
    squares = metric.kind is MetricKind.Score
    units = None
    if counted.unit_clusters is not None:
        units = _cluster_counts(counted.unit_clusters[run], span, squares=False)
    return MetricClusters(_cluster_counts(counted.clusters[run], span, squares=squares), units)


def _cluster_counts(sums: Array, span: tuple[float, float], *, squares: bool) -> ClusterCounts:
    arms = [
        ArmClusters(tuple(arm[0].tolist()), tuple(arm[1].tolist()), float(arm[2].sum()) if squares else None)
        for arm in sums
    ]
    return ClusterCounts(span[0], span[1], stable=arms[1], candidate=arms[0])
