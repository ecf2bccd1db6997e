"""The engine on arrays: the product's own `arrive` and `dispersion`, row by run, without the objects around them."""

from __future__ import annotations

from copy import copy

import numpy as np
from numpy.typing import NDArray

from benchmarks.decisions.cells import MINUTES
from benchmarks.decisions.conversations import Past
from benchmarks.decisions.traffic import Minute, exposure
from promptrollout.analysis import AnalysisPlan, CorrelationBasis, Evidence, dispersion
from promptrollout.analysis.advance import arrive, check
from promptrollout.analysis.evidence import FLOAT, prior
from promptrollout.analysis.kinds import kind_of
from promptrollout.analysis.kinds.base import Slot
from promptrollout.analysis.plan import MetricKind, MetricPlan
from promptrollout.simulation.counting import Counted

Array = NDArray[np.float64]


def columns(metric: MetricPlan, counted: Counted) -> Array:
    """Counts [R, columns] as `Kind.read` makes them of one run's."""
    candidate, stable = counted.levels[:, 0], counted.levels[:, 1]
    if metric.kind is MetricKind.Histogram:
        return np.concatenate([candidate, stable], axis=1)
    if metric.kind is MetricKind.Score:
        moments = np.zeros((len(candidate), 3))
        return np.concatenate([candidate, moments, stable, moments], axis=1)
    parts = [candidate, stable]
    if metric.correlation.units:
        units = counted.units if counted.units is not None else np.zeros((len(candidate), 2, 2))
        parts += [units[:, 0], units[:, 1]]
    return np.concatenate([np.stack([a.sum(axis=1), a[:, 1]], axis=1) for a in parts], axis=1)


class Ours:
    """One metric under one plan, in many runs; a run stops where the guards' mean (here: this metric) crosses."""

    def __init__(self, metric: MetricPlan, past: Past) -> None:
        self.metric = metric
        self.plan = AnalysisPlan((metric,))
        self.kind = copy(kind_of(metric))
        self.kind.promotes = False
        first = [Evidence.initial(self.plan, {metric.name: h}).rows[0] for h in past.histories]
        self.rows = np.frombuffer(b"".join(first), dtype=FLOAT).reshape(len(first), -1).copy()
        self.params = np.array([self.kind.params(metric)] * len(first))
        self.stop = np.full(len(first), MINUTES)
        self._live = np.arange(len(first))
        self.blocks: list[Array | None] = [None, None]
        clustered = metric.correlation.basis is CorrelationBasis.Clusters
        for units, hours in enumerate((past.clusters, past.unit_clusters)):
            if hours is not None and clustered and (metric.correlation.units or not units):
                self.blocks[units] = np.tile(dispersion.fresh(hours.shape[-1]), (len(first), 1))
                for hour, sums in enumerate(hours):
                    self._absorb(bool(units), sums, 3600.0 * (hour - len(hours)))
        self.rows[:, Slot.PENDING_PHI] = self.rows[:, Slot.PHI]
        self.rows[:, Slot.PENDING_PHI_UNITS] = self.rows[:, Slot.PHI_UNITS]

    @property
    def over(self) -> NDArray[np.bool_]:
        """Which runs have stopped."""
        return self.stop < MINUTES

    def take(self, minute: Minute) -> None:
        """One window of all runs that are not over."""
        live = self._live
        if not live.size:
            return
        counts, fine = check(self.kind, columns(self.metric, minute.counted)[live])
        assert fine.all()
        moment = np.tile([float(exposure(minute.number)), 60.0], (len(live), 1))
        self.rows[live] = arrive(self.kind, self.rows[live], counts, self.params[live], moment)
        crossed = self.rows[live, Slot.HARM] >= self.plan.harm_threshold
        self.stop[live[crossed]] = minute.number
        self._live = live[~crossed]
        # An hour's sums come with its last minute; a design effect is in force for windows that open later.
        begin = 60.0 * (minute.number + 1) - 3600.0
        for units, sums in ((False, minute.counted.clusters), (True, minute.counted.unit_clusters)):
            if sums is not None:
                self._absorb(units, sums, begin)

    def _absorb(self, units: bool, sums: Array, begin: float) -> None:  # noqa: FBT001 - which of two
        """An hour's cluster sums [R, 2, 2 or 3, K] of the live runs close a block."""
        state, live = self.blocks[units], self._live
        if state is None or not live.size:
            return
        scores = self.metric.kind is MetricKind.Score
        body = [np.tile([begin, begin + 3600.0], (len(live), 1))]
        for arm in (1, 0):  # stable first
            n, total, square = sums[live, arm, 0], sums[live, arm, 1], sums[live, arm, 2 if scores else 1]
            body += [n, total, square.sum(axis=1)[:, None]]
        state[live] = dispersion.absorb(state[live], np.concatenate(body, axis=1))
        known = prior(self.metric, units=units)
        self.rows[live, Slot.PHI_UNITS if units else Slot.PHI] = dispersion.design_effect(state[live], known)
