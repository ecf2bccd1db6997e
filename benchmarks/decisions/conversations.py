"""Conversations under a ramp that is known beforehand: whole lives at once, counted by minute.

The simulator's `Crowd` makes requests in order of time, because a rollout's weights depend on what it has seen. Here
they do not, so a conversation can be made from its first to its last request and only be counted by window: the same
law without sorting, some ten times as fast (tests/benchmarks compares both).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.decisions.cells import MINUTES, RAMP, STEP_MINUTES
from promptrollout.analysis import EventCounts, History
from promptrollout.analysis.plan import MetricPlan
from promptrollout.simulation.counting import Counted
from promptrollout.simulation.crowd import CLUSTERS
from promptrollout.simulation.levels import as_counts

Array = NDArray[np.float64]
Places = NDArray[np.int64]

HOUR = 3600.0
#: About so many requests of stable's past seed a metric, as in the simulator.
SEED_REQUESTS = 5000.0
#: Conversations begin before the first window, earlier by so many times what an ordinary one may last.
_LEAD_IN = 4.0
#: Exposure of the time before the candidate, as the simulator numbers it.
_BEFORE = 0
_EXPOSURES = len(RAMP) + 1
#: Requests that are in the works at a time: bounded by the processor's cache.
_REQUESTS_AT_A_TIME = 2e5


@dataclass(frozen=True, slots=True)
class Past:
    """Stable's past by run; cluster sums of requests and of first events [H, R, 2, 2 or 3, K] by hour, where known."""

    histories: list[History]
    clusters: Array | None = None
    unit_clusters: Array | None = None


@dataclass(frozen=True, slots=True)
class Talks:
    """Conversations: run, hash bucket and cluster [U]; their requests: whose, and when [N], in order within each."""

    run: Places
    bucket: Array
    cluster: Places
    unit: Places
    at: Array


@dataclass(frozen=True, slots=True)
class Habits:
    """Requests a second of all conversations of a run, how many a conversation has [count], and pauses in seconds."""

    per_second: float
    mean: float
    lengths: Callable[[np.random.Generator, int], Places]
    pause: tuple[float, float]


def geometric(mean: float) -> Callable[[np.random.Generator, int], Places]:
    """Lengths of conversations: as the simulator's."""
    return lambda rng, count: rng.geometric(1.0 / mean, count)


def talks(habits: Habits, runs: int, span: tuple[float, float], rng: np.random.Generator) -> Iterator[Talks]:
    """All conversations of some runs with requests in `span` (seconds), those that begin together together."""
    begin, end = span[0] - _LEAD_IN * habits.mean * habits.pause[1], span[1]
    a_second = habits.per_second / habits.mean * runs
    step = _REQUESTS_AT_A_TIME / (habits.per_second * runs)
    while begin < end:
        until = min(begin + step, end)
        count = int(rng.poisson(a_second * (until - begin)))
        turns = habits.lengths(rng, count)
        opening = np.cumsum(turns) - turns
        unit = np.repeat(np.arange(count), turns)
        at = rng.random(len(unit))
        at *= habits.pause[1] - habits.pause[0]
        at += habits.pause[0]
        at[opening] = 0.0
        np.cumsum(at, out=at)
        first = rng.uniform(begin, until, count) - at[opening]
        at += np.repeat(first, turns)
        inside = np.flatnonzero((at >= span[0]) & (at < end))
        cluster = rng.integers(0, CLUSTERS, count)
        yield Talks(rng.integers(0, runs, count), rng.random(count), cluster, unit[inside], at[inside])
        begin = until


class Tally:
    """Counts of some runs: `hours` of stable alone, then a day by minute; cluster sums by hour.

    `units`: for each number of pods that a conversation's requests may go to, first events as those pods see them.
    """

    def __init__(self, runs: int, hours: int, worth: Array, pods: tuple[int, ...]) -> None:
        self.runs, self.hours, self.worth = runs, hours, worth
        blocks = (hours + MINUTES // 60, runs, 2)
        self.levels = np.zeros((hours + MINUTES, runs, 2, len(worth)), dtype=np.float32)
        self.clusters = np.zeros((*blocks, 3, CLUSTERS), dtype=np.float32)
        self.units = {p: np.zeros((hours + MINUTES, runs, 2, 2), dtype=np.float32) for p in pods}
        self.unit_clusters = {p: np.zeros((*blocks, 2, CLUSTERS), dtype=np.float32) for p in pods}
        steps = np.repeat(np.arange(len(RAMP)), STEP_MINUTES)
        before = np.repeat(np.arange(hours), 60)
        self._window = np.concatenate([before, hours + np.arange(MINUTES)])
        self._share = np.concatenate([np.zeros(hours), np.array(RAMP)[steps]])
        self._exposure = np.concatenate([np.full(hours, _BEFORE), 1 + steps])

    @property
    def span(self) -> tuple[float, float]:
        """Seconds of the first window's beginning and the last one's end."""
        return -HOUR * self.hours, 60.0 * MINUTES

    def add(self, some: Talks, level_of: Callable[[Talks, Places], Places], rng: np.random.Generator) -> None:
        """Count conversations; `level_of` draws the level of each request from its arm (0: candidate)."""
        minute = ((some.at - self.span[0]) / 60.0).astype(np.int64)
        window, hour = self._window[minute], minute // 60
        arm = (some.bucket[some.unit] >= self._share[window]).astype(np.int64)
        level = level_of(some, arm)
        row = some.run[some.unit] * 2 + arm
        place, cluster = window * (2 * self.runs) + row, some.cluster[some.unit]
        spot = (hour * (2 * self.runs) + row) * CLUSTERS + cluster
        _count(self.levels, place * len(self.worth) + level)
        worth = self.worth[level]
        worthy = np.flatnonzero(worth)
        _count(self.clusters[..., 0, :], spot)
        _count(self.clusters[..., 1, :], spot[worthy], worth[worthy])
        _count(self.clusters[..., 2, :], spot[worthy], worth[worthy] ** 2)
        for pods in self.units:
            own = some.unit * pods + rng.integers(0, pods, len(row)) if pods > 1 else some.unit
            self._add_units(pods, own * _EXPOSURES + self._exposure[window], level == 1, (place, spot))

    def _add_units(self, pods: int, own: Places, bad: NDArray[np.bool_], at: tuple[Places, Places]) -> None:
        """Requests count up to the first bad one of the same `own` (conversation, pod and step)."""
        place, spot = at
        first = np.full(int(own.max(initial=0)) + 1, len(own))
        places = np.flatnonzero(bad)[::-1]
        first[own[places]] = places  # the last to be written stays, which is the first in time
        mine = first[own]
        number = np.arange(len(own))
        hit = np.flatnonzero(mine == number)
        seen = np.flatnonzero(number <= mine)
        of_units = self.unit_clusters[pods]
        _count(of_units[..., 0, :], spot[seen])
        _count(of_units[..., 1, :], spot[hit])
        _count(self.units[pods], place[seen] * 2 + bad[seen])

    def past(self, metric: MetricPlan, pods: int | None) -> Past:
        """Stable's past, its latest hours with so many requests as the simulator gives for a seed."""
        hours, none = self.hours, np.zeros(0)
        levels = self.levels[:hours, :, 1].astype(float)
        newer = np.cumsum(levels.sum(axis=2)[::-1], axis=0)[::-1]
        wanted = newer - levels.sum(axis=2) < SEED_REQUESTS
        units = None if pods is None else (self.units[pods][:hours, :, 1] * wanted[..., None]).sum(axis=0)
        histories = []
        for run, row in enumerate((levels * wanted[..., None]).sum(axis=0)):
            of_units = None if units is None else EventCounts(float(units[run].sum()), float(units[run, 1]))
            histories.append(History(as_counts(metric, row, none), of_units))
        first = None if pods is None else self.unit_clusters[pods][:hours].astype(float)
        return Past(histories, self.clusters[:hours].astype(float), first)

    def minute(self, number: int, pods: int | None) -> Counted:
        """One minute of the day as the simulator gives it; an hour's cluster sums come with its last minute."""
        window, none = self.hours + number, np.zeros(0)
        counted = Counted(self.levels[window].astype(float), (none, none))
        if pods is not None:
            counted.units = self.units[pods][window].astype(float)
        if number % 60 == 59:
            hour = self.hours + number // 60
            counted.clusters = self.clusters[hour].astype(float)
            if pods is not None:
                counted.unit_clusters = self.unit_clusters[pods][hour].astype(float)
        return counted


def _count(into: NDArray[np.float32], places: Places, weights: Array | None = None) -> None:
    """Add to a C-ordered array, or to one part of its last axis but one, at flat places of that part."""
    if not places.size:
        return
    size = int(np.prod(into.shape[1:]))
    low, high = int(places.min()) // size, int(places.max()) // size + 1
    found = np.bincount(places - low * size, weights, (high - low) * size)
    into[low:high] += found.reshape(high - low, *into.shape[1:])
