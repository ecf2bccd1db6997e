"""What nobody has: the test that knows the effect, stable's rate and the onset; and the bound below all of them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from benchmarks.decisions.cells import BASE_RATE, MINUTES, STEP_MINUTES, Cell
from benchmarks.decisions.traffic import NAME, Minute, exposure, share, world_of
from promptrollout.analysis.bounded import Levels, level_increments, mid_ranks
from promptrollout.analysis.counts import Counts
from promptrollout.analysis.effect import information
from promptrollout.analysis.events import EventWindow, Line, log_increments
from promptrollout.analysis.kinds.base import MERGE_BELOW
from promptrollout.analysis.kinds.score import NODES
from promptrollout.analysis.mixture import BetGrid
from promptrollout.analysis.plan import DeltaMargin, HistogramMargin, LineMargin, MetricPlan
from promptrollout.simulation.levels import as_counts, variant

Array = NDArray[np.float64]

_THRESHOLD = math.log(20.0)
_STAKES = np.exp(np.linspace(math.log(0.08), math.log(6.0), 24))
_ODDS = np.exp(np.linspace(math.log(1.1), math.log(12.0), 24))


class Oracle:
    """Bets that know everything, from the onset on, threshold 20.

    Events: the likelihood ratio of the true effect. Scores and latency: the best constant stake (of the body or of the
    tail), known beforehand; which one that is, is settled after the runs by the mean of exposed requests.
    """

    def __init__(self, cell: Cell, metric: MetricPlan, runs: int) -> None:
        self._cell = cell
        self._metric = metric
        self._known = variant(metric, world_of(cell).metrics[NAME], 1.0, candidate=False).chances
        self._bets = self._count_bets()
        self._log_e = np.zeros((runs, self._bets))
        self.stops = np.full((self._bets, runs), MINUTES)
        self._pending = np.zeros((runs, 2, len(self._known)))
        self._exposure = 0

    def _count_bets(self) -> int:
        if isinstance(self._metric.margin, LineMargin):
            return 1
        return len(_STAKES) if self._cell.metric == "score" else len(_STAKES) + len(_ODDS)

    def take(self, minute: Minute) -> None:
        """One window."""
        if minute.number < self._cell.onset:
            return
        # Small windows are merged as the engine merges them: one with an empty arm would be lost.
        if exposure(minute.number) != self._exposure:
            self._exposure = exposure(minute.number)
            self._close(np.flatnonzero(self._pending.any(axis=(1, 2))))
        self._pending += minute.counted.levels
        self._close(np.flatnonzero(self._pending.sum(axis=(1, 2)) >= MERGE_BELOW))
        crossed = (self._log_e.T >= _THRESHOLD) & (self.stops == MINUTES)
        self.stops[crossed] = minute.number

    def _close(self, rows: NDArray[np.intp]) -> None:
        if rows.size:
            self._log_e[rows] += self._increments(self._pending[rows, 0], self._pending[rows, 1])
            self._pending[rows] = 0.0

    @property
    def over(self) -> NDArray[np.bool_]:
        """Runs in which all candidates for the best bet have stopped."""
        result: NDArray[np.bool_] = (self.stops < MINUTES).all(axis=0)
        return result

    def _increments(self, candidate: Array, stable: Array) -> Array:
        margin, full = self._metric.margin, np.ones(len(candidate))
        if isinstance(margin, LineMargin):
            return self._events(candidate, stable, margin, full)
        if isinstance(margin, DeltaMargin):
            mu = float((self._known * NODES).sum())
            grid = BetGrid(_STAKES, np.zeros(len(_STAKES)))
            return level_increments(
                Levels(candidate, stable, NODES[None]), mu * full, margin.delta * full, grid
            )
        assert isinstance(margin, HistogramMargin)
        ranks = mid_ranks(self._known[None])
        body = level_increments(
            Levels(candidate, stable, ranks),
            0.5 * full,
            margin.ridit * full,
            BetGrid(_STAKES, np.zeros(len(_STAKES))),
        )
        beyond = np.cumsum(self._known[::-1])[::-1][1:]
        edge = int(np.argmin(np.abs(np.log(np.maximum(beyond, 1e-12) / 0.05))))
        window = EventWindow(
            candidate.sum(axis=1),
            candidate[:, edge + 1 :].sum(axis=1),
            stable.sum(axis=1),
            stable[:, edge + 1 :].sum(axis=1),
        )
        line = Line(margin.exceedance * full, 0.0 * full)
        tail = log_increments(window, float(beyond[edge]) * full, line, BetGrid(_ODDS, np.zeros(len(_ODDS))))
        return np.concatenate([body, tail], axis=1)

    def _events(self, candidate: Array, stable: Array, margin: LineMargin, full: Array) -> Array:
        bad = BASE_RATE * (self._cell.effect or 1.0)
        allowed = min(margin.r * BASE_RATE + margin.d, 0.5)
        if bad <= allowed:
            return np.zeros((len(full), 1))
        odds = bad * (1.0 - allowed) / (allowed * (1.0 - bad))
        window = EventWindow(candidate.sum(axis=1), candidate[:, 1], stable.sum(axis=1), stable[:, 1])
        line = Line(margin.r * full, margin.d * full)
        return log_increments(window, BASE_RATE * full, line, BetGrid(np.array([odds]), np.zeros(1)))


def bound(cell: Cell, metric: MetricPlan) -> float:
    """Candidate requests since the onset at which ln 20 nats are expected along the ramp; infinite if not in time."""
    world = world_of(cell)
    arms: list[Counts] = []
    for candidate in (True, False):
        known = variant(metric, world.metrics[NAME], 1.0, candidate=candidate)
        arms.append(as_counts(metric, known.chances, known.values))
    nats = exposed = 0.0
    for step in range(cell.onset // STEP_MINUTES, MINUTES // STEP_MINUTES):
        begin = max(cell.onset, step * STEP_MINUTES)
        w = share(begin)
        each = information(metric, arms[0], arms[1], (1.0 - w) / w).harm
        requests = world.traffic.per_second * 60.0 * w * ((step + 1) * STEP_MINUTES - begin)
        if nats + requests * each >= _THRESHOLD:
            return exposed + (_THRESHOLD - nats) / each
        nats, exposed = nats + requests * each, exposed + requests
    return math.inf
