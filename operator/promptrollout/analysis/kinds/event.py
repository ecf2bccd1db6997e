"""Events: bad out of total, by request, and beside it by first event per unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from promptrollout.analysis.bounded import harmonic
from promptrollout.analysis.counts import EventCounts, History, Pair
from promptrollout.analysis.events import EventWindow, Line, log_increments, past_rate, reference_rate
from promptrollout.analysis.kinds.base import (
    STABLE_NEEDED,
    ArmValues,
    Closed,
    Closing,
    Contrast,
    Kind,
    Mask,
    flat_rows,
    keep,
    packer,
    per_sample,
    rate_variance,
    scaled_history,
    usable,
)
from promptrollout.analysis.mixture import (
    EVENTS_DOWN,
    EVENTS_UP,
    PROCESS,
    Array,
    BetGrid,
    advance,
    fresh,
    log_mean,
)
from promptrollout.analysis.plan import LineMargin, MetricKind, MetricPlan

#: Own state: past stable (total, bad), harm, promotion; with units again past (total, bad) and harm.
_PAST, _HARM, _PROMOTE = slice(0, 2), slice(2, 2 + PROCESS), slice(2 + PROCESS, 2 + 2 * PROCESS)
_REQUESTS = 2 + 2 * PROCESS
_UNITS_PAST, UNITS_HARM = slice(_REQUESTS, _REQUESTS + 2), slice(_REQUESTS + 2, _REQUESTS + 2 + PROCESS)

_PACK = packer(4)
_NO_UNITS = _PACK(0.0, 0.0, 0.0, 0.0)


def bet_on_events(
    process: Array, past: Array, window: EventWindow, line: Line, grid: BetGrid, phi: Array
) -> Array:
    """One window of one event process.

    Args:
        process: [B, PROCESS], advanced in place.
        past: [B, 2], decayed stable (total, bad) before the window.
        window: counts.
        line: boundary of the null.
        grid: upward or downward odds ratios.
        phi: [B], design effect.

    Returns:
        [B], log evidence after the window.

    """
    p_hat = past_rate(past[:, 0], past[:, 1])
    share = np.where((past[:, 0] >= STABLE_NEEDED) & window.comparable, 1.0 / phi, 0.0)
    g = np.maximum(reference_rate(p_hat, line, up=bool(grid.values[0] > 1.0)), 0.0)
    return advance(process, grid, window.n_c * g, log_increments(window, p_hat, line, grid), share)


class EventKind(Kind):
    """Columns: candidate total and bad, stable total and bad; with units the same four again for units."""

    kind = MetricKind.Events
    statistic = "rate"
    difference = "rate"

    def __init__(self, *, units: bool, higher_is_better: bool) -> None:
        self._units = units
        #: Harm is a rate that is too high, or, where higher is better, one that is too low.
        self._harm_grid, self._promote_grid = EVENTS_UP, EVENTS_DOWN
        if higher_is_better:
            self._harm_grid, self._promote_grid = EVENTS_DOWN, EVENTS_UP
        self.columns = 8 if units else 4
        self.width = _REQUESTS + (2 + PROCESS if units else 0)

    def params(self, metric: MetricPlan) -> tuple[float, ...]:
        """Slope and intercept of the harm line, then of the promotion line."""
        lines: list[float] = []
        for margin in (metric.margin, metric.promote_margin):
            assert isinstance(margin, LineMargin)  # noqa: S101 - MetricPlan checked it; this tells mypy
            lines += [1 / margin.r, -margin.d / margin.r] if metric.higher_is_better else [margin.r, margin.d]
        return tuple(lines)

    def seed(self, metric: MetricPlan, history: History) -> Array:  # noqa: ARG002 - same for every kind
        """Past stable counts from the history, fresh processes."""
        state = np.zeros(self.width)
        state[_PAST] = _past(history.counts)
        state[_HARM], state[_PROMOTE] = fresh(self._harm_grid), fresh(self._promote_grid)
        if self._units:
            state[_UNITS_PAST] = _past(history.units)
            state[UNITS_HARM] = fresh(self._harm_grid)
        return state

    def read(self, pair: Pair, metric: MetricPlan) -> bytes | str:  # noqa: ARG002 - same for every kind
        """Both arms' totals and bad counts; absent unit counts are zero."""
        candidate, stable = pair.candidate, pair.stable
        if not (isinstance(candidate, EventCounts) and isinstance(stable, EventCounts)):
            return "needs EventCounts of both arms"
        row = _PACK(candidate.total, candidate.bad, stable.total, stable.bad)
        if not self._units:
            return row
        first, second = pair.candidate_units, pair.stable_units
        if first is None or second is None:
            return row + _NO_UNITS
        return row + _PACK(first.total, first.bad, second.total, second.bad)

    def gather(self, pairs: Sequence[Pair], metric: MetricPlan) -> Array | None:  # noqa: ARG002 - same for every kind
        """Both arms' totals and bad counts of many pairs."""
        values: list[float] = []
        for pair in pairs:
            candidate, stable = pair.candidate, pair.stable
            if not (isinstance(candidate, EventCounts) and isinstance(stable, EventCounts)):
                return None
            values += (candidate.total, candidate.bad, stable.total, stable.bad)
            if self._units:
                first, second = pair.candidate_units, pair.stable_units
                if first is None or second is None:
                    return None
                values += (first.total, first.bad, second.total, second.bad)
        return flat_rows(values, self.columns)

    def sound(self, counts: Array) -> Mask:
        """Nothing negative, never more bad ones than there are."""
        total, bad = counts[:, 0::2], counts[:, 1::2]
        mask: Mask = np.logical_and.reduce((bad >= 0.0) & (bad <= total), axis=1)
        return mask

    def sizes(self, counts: Array) -> tuple[Array, Array]:
        """Requests of both arms."""
        return counts[:, 0], counts[:, 2]

    def close(self, closing: Closing) -> Closed:
        """Request processes, and the unit process beside them: rollback rests on the mean of both."""
        state = closing.state
        window = _window(closing.counts[:, :4])
        harm_line = Line(closing.params[:, 0].copy(), closing.params[:, 1].copy())
        promote_line = Line(closing.params[:, 2].copy(), closing.params[:, 3].copy())
        past = state[:, _PAST].copy()
        phi = closing.phi
        harm = bet_on_events(state[:, _HARM], past, window, harm_line, self._harm_grid, phi)
        promote = bet_on_events(state[:, _PROMOTE], past, window, promote_line, self._promote_grid, phi)
        state[:, _PAST] = _next_past(past, window)
        if self._units:
            units = _window(closing.counts[:, 4:])
            past = state[:, _UNITS_PAST].copy()
            by_units = bet_on_events(
                state[:, UNITS_HARM], past, units, harm_line, self._harm_grid, closing.phi_units
            )
            state[:, _UNITS_PAST] = _next_past(past, units)
            harm = log_mean(harm, by_units)
        return Closed(harm, promote, _contrast(window, closing))

    def values(self, totals: Array, metric: MetricPlan) -> ArmValues:  # noqa: ARG002 - same for every kind
        """Rates of bad requests."""
        n_c, x_c, n_s, x_s = (float(v) for v in totals[:4])
        return ArmValues(x_c / n_c if n_c else math.nan, x_s / n_s if n_s else math.nan, n_c, n_s)

    def totals(self, totals: Array, metric: MetricPlan) -> Pair:  # noqa: ARG002 - same for every kind
        """Requests of both arms."""
        n_c, x_c, n_s, x_s = (float(v) for v in totals[:4])
        return Pair(EventCounts(n_c, x_c), EventCounts(n_s, x_s))


def _past(counts: object) -> Array:
    if not isinstance(counts, EventCounts) or not usable(counts, [counts.total, counts.bad]):
        return np.zeros(2)
    if counts.bad > counts.total:
        return np.zeros(2)
    return scaled_history(np.array([counts.total, counts.bad], dtype=float), counts.total)


def _window(counts: Array) -> EventWindow:
    return EventWindow(*(np.ascontiguousarray(counts[:, i]) for i in range(4)))


def _next_past(past: Array, window: EventWindow) -> Array:
    return keep(window.n_s)[:, None] * past + np.stack([window.n_s, window.x_s], axis=1)


def _contrast(window: EventWindow, closing: Closing) -> Contrast:
    weight = harmonic(window.n_c, window.n_s)
    variance = per_sample(rate_variance(closing.totals[:, 0], closing.totals[:, 1]), window.n_c)
    variance += per_sample(rate_variance(closing.totals[:, 2], closing.totals[:, 3]), window.n_s)
    difference = per_sample(window.x_c, window.n_c) - per_sample(window.x_s, window.n_s)
    return Contrast(weight, difference, variance * closing.phi)
