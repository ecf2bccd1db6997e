"""The engine on arrays: the product's own `arrive` and `dispersion`, row by run, without the objects around them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.decisions.cells import MINUTES
from benchmarks.decisions.traffic import Minute, exposure
from promptrollout.analysis import AnalysisPlan, Evidence, History, dispersion
from promptrollout.analysis.advance import arrive, check
from promptrollout.analysis.evidence import FLOAT, prior
from promptrollout.analysis.kinds import kind_of
from promptrollout.analysis.kinds.base import Slot
from promptrollout.analysis.plan import MetricKind, MetricPlan
from promptrollout.simulation.counting import Counted

Array = NDArray[np.float64]
_BLOCK_MINUTES = 60


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

    def __init__(self, metric: MetricPlan, histories: list[History]) -> None:
        self.metric = metric
        self.plan = AnalysisPlan((metric,))
        self.kind = kind_of(metric)
        first = [Evidence.initial(self.plan, {metric.name: h}) for h in histories]
        self.rows = (
            np.frombuffer(b"".join(e.rows[0] for e in first), dtype=FLOAT).reshape(len(first), -1).copy()
        )
        self.params = np.array([self.kind.params(metric)] * len(first))
        self.stop = np.full(len(first), MINUTES)
        self._live = np.arange(len(first))
        self._blocks = [
            np.frombuffer(b"".join(e.blocks[0][i] for e in first), dtype=FLOAT).reshape(len(first), -1).copy()
            if first[0].blocks[0][i]
            else None
            for i in (0, 1)
        ]
        self._sums: list[Array | None] = [None, None]

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
        self._renew(minute)

    def _renew(self, minute: Minute) -> None:
        """Cluster sums by the hour; a design effect is in force for windows that open later."""
        if minute.counted.clusters is None:
            return
        for units, sums in ((0, minute.counted.clusters), (1, minute.counted.unit_clusters)):
            if sums is None:
                continue
            before = self._sums[units]
            self._sums[units] = sums.copy() if before is None else before + sums
        if (minute.number + 1) % _BLOCK_MINUTES:
            return
        for units in (0, 1):
            sums, state = self._sums[units], self._blocks[units]
            if sums is None or state is None:
                continue
            scores = self.metric.kind is MetricKind.Score
            end = 60.0 * (minute.number + 1)
            times = np.tile([end - 60.0 * _BLOCK_MINUTES, end], (len(sums), 1))
            body = []
            for arm in (1, 0):  # stable first
                square = sums[:, arm, 2].sum(axis=1) if scores else sums[:, arm, 1].sum(axis=1)
                body += [sums[:, arm, 0], sums[:, arm, 1], square[:, None]]
            packed = np.concatenate([times, *body], axis=1)
            live = self._live
            state[live] = dispersion.absorb(state[live], packed[live])
            known = prior(self.metric, units=bool(units))
            self.rows[live, Slot.PHI_UNITS if units else Slot.PHI] = dispersion.design_effect(
                state[live], known
            )
            self._sums[units] = None
