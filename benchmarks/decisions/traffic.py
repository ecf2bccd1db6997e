"""Counts per minute of many runs at once, by the simulator's own generators."""

from __future__ import annotations

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
from promptrollout.analysis import (
    AnalysisPlan,
    Correlation,
    MetricOptions,
    events_metric,
    histogram_metric,
    score_metric,
)
from promptrollout.analysis.plan import DeltaMargin, HistogramMargin, LineMargin, MetricPlan
from promptrollout.simulation import Course, EventWorld, LatencyWorld, ScoreWorld, Traffic, World
from promptrollout.simulation.counting import Arms, Counted, Counter

Array = NDArray[np.float64]

NAME = "metric"
#: Latency buckets of 2^(1/4) = 1.19 around a median of one second.
EDGES = tuple(float(e) for e in 2.0 ** (np.arange(-12, 17) / 4.0))
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
        drift=4.0 if cell.world == "drift" else 1.0,
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
    """The minutes of some runs, one after the other; runs that are over cost nothing."""

    def __init__(self, cell: Cell, runs: int, rng: np.random.Generator) -> None:
        self.metric = metric_plan(cell, zero=False)
        self._counter = Counter([self.metric], world_of(cell), runs, rng)
        self._runs = runs
        self.alive = np.ones(runs, dtype=bool)
        self.histories = [h[NAME] for h in self._counter.history()]

    def __iter__(self) -> Iterator[Minute]:
        for number in range(MINUTES):
            arms = Arms(
                np.full(self._runs, share(number)),
                np.full(self._runs, exposure(number), dtype=np.int64),
                np.zeros(self._runs, dtype=bool),
                self.alive,
            )
            found, requests = self._counter.window(60.0 * number, 60.0 * (number + 1), arms)
            yield Minute(number, found[NAME], requests)


def plan_of(metric: MetricPlan) -> AnalysisPlan:
    return AnalysisPlan((metric,))
