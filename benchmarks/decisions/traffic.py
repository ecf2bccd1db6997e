"""Counts per minute of many runs at once, by the simulator's own generators."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.decisions.cells import (
    BASE_RATE,
    MINUTES,
    RAMP,
    STEP_MINUTES,
    TAIL_FACTOR,
    TRAFFIC,
    Cell,
)
from benchmarks.decisions.conversations import Habits, Past, Talks, Tally, geometric, talks
from promptrollout.analysis import (
    Correlation,
    MetricOptions,
    events_metric,
    histogram_metric,
    score_metric,
)
from promptrollout.analysis.plan import DeltaMargin, HistogramMargin, LineMargin, MetricPlan
from promptrollout.simulation import Course, EventWorld, LatencyWorld, ScoreWorld, Traffic, World
from promptrollout.simulation.counting import Arms, Counted, Counter
from promptrollout.simulation.levels import badness, variant

Array = NDArray[np.float64]

NAME = "metric"
#: Latency buckets of 2^(1/4) = 1.19 around a median of one second.
EDGES = tuple(float(e) for e in 2.0 ** (np.arange(-12, 17) / 4.0))
#: So many times as bad are both arms at the end of a day of drift.
DRIFT = {"events": 4.0, "score": 2.0, "latency": 2.0}
#: Conversations of the correlated world: mean requests, and the correlation within.
PER_UNIT, ICC = 8.0, 0.2


def metric_plan(cell: Cell, *, zero: bool) -> MetricPlan:
    """The metric as the product plans it; `zero`: without a margin, as the rivals test."""
    clustered = cell.world == "correlated"
    correlation = (
        Correlation.clusters(units=cell.metric == "events") if clustered else Correlation.independent()
    )
    options = MetricOptions(correlation=correlation)
    if cell.metric == "events":
        return (
            events_metric(NAME, LineMargin(1.0), options=options)
            if zero
            else events_metric(NAME, options=options)
        )
    if cell.metric == "score":
        return (
            score_metric(NAME, DeltaMargin(0.0), options=options)
            if zero
            else score_metric(NAME, options=options)
        )
    if zero:
        return histogram_metric(NAME, EDGES, HistogramMargin(0.0, 1.0), options=options)
    return histogram_metric(NAME, EDGES, options=options)


def world_of(cell: Cell) -> World:
    per_unit = PER_UNIT if cell.world == "correlated" else 1.0
    course = Course(
        onset=60.0 * cell.onset,
        drift=DRIFT[cell.metric] if cell.world == "drift" else 1.0,
        icc=ICC if cell.world == "correlated" else 0.0,
    )
    rate = 0.01 if cell.world == "drift" else BASE_RATE
    match cell.metric:
        case "events":
            metric = EventWorld(rate, rate * (cell.effect or 1.0), course)
        case "score":
            metric = ScoreWorld(0.80, cell.effect or 0.80, 0.25, course=course)
        case _:
            metric = LatencyWorld(1.0, 0.6, cell.effect or 1.0, cell.tail, TAIL_FACTOR, course)
    return World(Traffic(TRAFFIC[cell.traffic], requests_per_unit=per_unit), {NAME: metric}, 60.0 * MINUTES)


def share(minute: int) -> float:
    """The candidate's share of requests."""
    return RAMP[minute // STEP_MINUTES]


def exposure(minute: int) -> int:
    """Number of the weights in force."""
    return 1 + minute // STEP_MINUTES


@dataclass
class Minute:
    """One window of all runs."""

    number: int
    counted: Counted
    requests: Array  #: [R, 2] candidate, stable


class Stream:
    """The minutes of some runs, one after the other."""

    def __init__(self, cell: Cell, runs: int, rng: np.random.Generator) -> None:
        self._counter = Counter([metric_plan(cell, zero=False)], world_of(cell), runs, rng)
        self._runs = runs
        self.past = Past([h[NAME] for h in self._counter.history()])

    def __iter__(self) -> Iterator[Minute]:
        for number in range(MINUTES):
            arms = Arms(
                np.full(self._runs, share(number)),
                np.full(self._runs, exposure(number), dtype=np.int64),
                np.zeros(self._runs, dtype=bool),
                np.ones(self._runs, dtype=bool),
            )
            found, requests = self._counter.window(60.0 * number, 60.0 * (number + 1), arms)
            yield Minute(number, found[NAME], requests)


class TalkStream:
    """The same for conversations, which are all made beforehand."""

    def __init__(self, cell: Cell, runs: int, rng: np.random.Generator) -> None:
        metric, world = metric_plan(cell, zero=False), world_of(cell)
        units = cell.metric == "events"
        # Stable's past is as long as the simulator makes it.
        hours = int(np.clip(200_000.0 / (3600.0 * TRAFFIC[cell.traffic]), 3, 24))
        self._tally = Tally(runs, hours, badness(metric), (1,) if units else ())
        self._pods = 1 if units else None
        habits = Habits(TRAFFIC[cell.traffic], PER_UNIT, geometric(PER_UNIT), world.traffic.pause)
        arms = [variant(metric, world.metrics[NAME], 1.0, candidate=c).cumulative for c in (True, False)]

        def level_of(some: Talks, arm: NDArray[np.int64]) -> NDArray[np.int64]:
            """A request has its conversation's luck or its own, in one draw."""
            luck = rng.random(len(arm))
            shared = np.flatnonzero(luck < math.sqrt(ICC))
            luck -= math.sqrt(ICC)
            luck /= 1.0 - math.sqrt(ICC)
            luck[shared] = rng.random(len(some.run))[some.unit[shared]]
            level = np.searchsorted(arms[1], luck, side="right")
            mine = np.flatnonzero(arm == 0)
            level[mine] = np.searchsorted(arms[0], luck[mine], side="right")
            return level

        for some in talks(habits, runs, self._tally.span, rng):
            self._tally.add(some, level_of, rng)
        self.past = self._tally.past(metric, self._pods)

    def __iter__(self) -> Iterator[Minute]:
        for number in range(MINUTES):
            counted = self._tally.minute(number, self._pods)
            yield Minute(number, counted, counted.levels.sum(axis=2))


def stream(cell: Cell, runs: int, rng: np.random.Generator) -> Stream | TalkStream:
    """The traffic of a cell."""
    return (TalkStream if cell.world == "correlated" else Stream)(cell, runs, rng)
