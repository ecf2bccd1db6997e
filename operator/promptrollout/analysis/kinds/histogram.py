"""Histograms of latency, tokens, cost: a sequential Mann-Whitney for the body, an exceedance rate for the tail."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from promptrollout.analysis.bounded import Levels, Places, harmonic, level_increments, mid_ranks, running
from promptrollout.analysis.counts import Counts, HistogramCounts, History, Pair
from promptrollout.analysis.events import EventWindow, Line, past_rate
from promptrollout.analysis.kinds.base import (
    STABLE_NEEDED,
    ArmValues,
    Closed,
    Closing,
    Contrast,
    Kind,
    Mask,
    keep,
    not_negative,
    packer,
    per_sample,
    scaled_history,
    usable,
)
from promptrollout.analysis.kinds.event import bet_on_events
from promptrollout.analysis.mixture import (
    BOUNDED,
    BOUNDED_CLOCK,
    EVENTS_DOWN,
    EVENTS_UP,
    PROCESS,
    Array,
    advance,
    fresh,
    log_mean,
)
from promptrollout.analysis.plan import HistogramMargin, MetricKind, MetricPlan

#: Variance of a rank that is uniform on [0, 1].
_RIDIT_VARIANCE = 1.0 / 12.0
#: Share of stable values beyond the edge that stands for the tail.
_TAIL = 0.05
#: Which quantile is shown.
_SHOWN = 0.95
#: Margins of one side: ridit, exceedance ratio, index of the threshold's edge (-1: nearest the stable p95).
_SIDE = 3
_AUTOMATIC = -1.0


class HistogramKind(Kind):
    """Columns: candidate buckets, then stable buckets, both ordered from good to bad.

    Own state: past stable buckets, then ridit and exceedance processes of harm, then those of promotion. Harm rests
    on the mean of both (an average of e-values is one). Non-inferiority needs both: a mean would show only that one
    of body and tail is not worse, so the smaller one speaks.
    """

    kind = MetricKind.Histogram
    statistic = "p95"
    difference = "rank"

    def __init__(self, *, buckets: int) -> None:
        self._buckets = buckets
        self._pack = packer(buckets)
        self.columns = 2 * buckets
        self.width = buckets + 4 * PROCESS

    def params(self, metric: MetricPlan) -> tuple[float, ...]:
        """Margins of rollback and of promotion."""
        result: list[float] = []
        for margin in (metric.margin, metric.promote_margin):
            assert isinstance(margin, HistogramMargin)  # noqa: S101 - MetricPlan checked it; this tells mypy
            result += [margin.ridit, margin.exceedance, _edge_index(metric, margin.threshold)]
        return tuple(result)

    def seed(self, metric: MetricPlan, history: History) -> Array:
        """Past stable buckets from the history, fresh processes."""
        state = np.zeros(self.width)
        row = self._arm(history.counts, metric)
        if not isinstance(row, str) and usable(history.counts, row):
            state[: self._buckets] = scaled_history(np.array(row), sum(row))
        grids = (BOUNDED, EVENTS_UP, BOUNDED, EVENTS_DOWN)
        state[self._buckets :] = np.concatenate([fresh(grid) for grid in grids])
        return state

    def read(self, pair: Pair, metric: MetricPlan) -> bytes | str:
        """Both arms' buckets, worst last."""
        candidate, stable = self._arm(pair.candidate, metric), self._arm(pair.stable, metric)
        if isinstance(candidate, str):
            return f"candidate {candidate}"
        if isinstance(stable, str):
            return f"stable {stable}"
        return self._pack(*candidate) + self._pack(*stable)

    def gather(self, pairs: Sequence[Pair], metric: MetricPlan) -> Array | None:
        """Both arms' buckets of many pairs."""
        arms: list[bytes] = []
        pack = self._pack
        for pair in pairs:
            candidate, stable = pair.candidate, pair.stable
            if not (isinstance(candidate, HistogramCounts) and isinstance(stable, HistogramCounts)):
                return None
            arms += (pack(*candidate.buckets), pack(*stable.buckets))
        counts = np.frombuffer(b"".join(arms), dtype="<f8").reshape(len(pairs), 2, self._buckets)
        return (counts[:, :, ::-1] if metric.higher_is_better else counts).reshape(len(pairs), -1)

    def _arm(self, counts: Counts | None, metric: MetricPlan) -> tuple[float, ...] | str:
        if not isinstance(counts, HistogramCounts):
            return "needs HistogramCounts"
        buckets = counts.buckets
        if len(buckets) != self._buckets:
            return f"has {len(buckets)} buckets, the metric's edges make {self._buckets}"
        return buckets[::-1] if metric.higher_is_better else buckets

    def sound(self, counts: Array) -> Mask:
        """Nothing negative."""
        return not_negative(counts)

    def sizes(self, counts: Array) -> tuple[Array, Array]:
        """Values of both arms."""
        candidate, stable = self._split(counts)
        return candidate.sum(axis=1), stable.sum(axis=1)

    def _split(self, counts: Array) -> tuple[Array, Array]:
        return counts[:, : self._buckets], counts[:, self._buckets :]

    def close(self, closing: Closing) -> Closed:
        """Ridit and exceedance processes of both sides, on the past stable distribution."""
        state, past = closing.state, closing.state[:, : self._buckets]
        candidate, stable = self._split(closing.counts)
        upto = running(past)
        known = upto[:, -1].copy()
        levels = Levels(candidate, stable, mid_ranks(past, upto))
        beyond = known[:, None] - upto
        edges = _edges(beyond, known, closing.params)
        tails = [_beyond(levels, beyond, known, edges[0])]
        same = np.array_equal(edges[0], edges[1])
        tails.append(tails[0] if same else _beyond(levels, beyond, known, edges[1]))
        h = harmonic(*levels.sizes)
        share = np.where((known >= STABLE_NEEDED) & (h > 0.0), 1.0 / closing.phi, 0.0)
        information = h * _RIDIT_VARIANCE * BOUNDED_CLOCK
        half = np.full(len(h), 0.5)
        evidence = []
        for side, grid in enumerate((EVENTS_UP, EVENTS_DOWN)):
            ridit, tail = (state[:, self._process(2 * side + i)] for i in (0, 1))
            margin, ratio = (closing.params[:, side * _SIDE + i] for i in (0, 1))
            # Inferiority is harm of the mirror image, and the null lies on the other side of the margin.
            facing, d = (levels.mirrored(), -margin) if side else (levels, margin)
            increments = level_increments(facing, half, d, BOUNDED)
            evidence.append(advance(ridit, BOUNDED, information, increments, share))
            window, seen = tails[side]
            line = Line(ratio, np.zeros(len(h)))
            evidence.append(bet_on_events(tail, seen, window, line, grid, closing.phi))
        past *= keep(levels.sizes[1])[:, None]
        past += stable
        harm, promote = log_mean(*evidence[:2]), np.minimum(*evidence[2:])
        return Closed(harm, promote, _contrast(levels, known, h, closing.phi))

    def _process(self, index: int) -> slice:
        start = self._buckets + index * PROCESS
        return slice(start, start + PROCESS)

    def values(self, totals: Array, metric: MetricPlan) -> ArmValues:
        """95th percentiles (5th where higher is better), linear within a bucket."""
        candidate, stable = totals[: self._buckets], totals[self._buckets :]
        return ArmValues(
            _quantile(candidate, metric),
            _quantile(stable, metric),
            float(candidate.sum()),
            float(stable.sum()),
        )

    def totals(self, totals: Array, metric: MetricPlan) -> Pair:
        """Both arms' buckets."""
        step = -1 if metric.higher_is_better else 1
        arms = [tuple(float(n) for n in part[::step]) for part in np.split(totals, 2)]
        return Pair(HistogramCounts(arms[0]), HistogramCounts(arms[1]))

    def sign(self, metric: MetricPlan) -> float:
        """Ranks are stored with the worst values highest."""
        return -1.0 if metric.higher_is_better else 1.0


def _edge_index(metric: MetricPlan, threshold: float | None) -> float:
    """The edge nearest a threshold, as a position in buckets ordered from good to bad."""
    if threshold is None:
        return _AUTOMATIC
    edges = metric.edges
    nearest = min(range(len(edges)), key=lambda i: abs(edges[i] - threshold))
    return float(len(edges) - 1 - nearest if metric.higher_is_better else nearest)


def _edges(beyond: Array, known: Array, params: Array) -> list[Places]:
    """Position of the threshold's edge [B] for both sides: as given, or nearest to the past stable 95th percentile.

    `beyond` [B, G] are the past stable values beyond each bucket, of `known` [B] in all.
    """
    given = [params[:, side * _SIDE + 2] for side in (0, 1)]
    if min(edge.min(initial=0.0) for edge in given) >= 0.0:
        return [edge.astype(np.intp) for edge in given]
    edges = beyond.T[:-1]
    # The share beyond an edge falls from edge to edge: the last one above the tail and the first one below it.
    below = _how_many(past_rate(known, edges) >= _TAIL)
    row, last = np.arange(len(known)), len(edges) - 1
    upper, lower = (edges[np.clip(i, 0, last), row] for i in (below - 1, below))
    # Nearest in ratio; among edges with nothing between them, the first.
    above = past_rate(known, upper) * past_rate(known, lower) <= _TAIL * _TAIL
    nearest = _how_many(edges > np.where(above, upper, lower))
    return [np.where(edge >= 0.0, edge, nearest).astype(np.intp) for edge in given]


def _how_many(flags: Mask) -> Places:
    """How many of the first axis hold; a metric has at most 100 edges."""
    found: Places = np.add.reduce(flags.view(np.uint8), axis=0, dtype=np.uint8).astype(np.intp)
    return found


def _beyond(levels: Levels, beyond: Array, known: Array, edge: Places) -> tuple[EventWindow, Array]:
    """The tail as events: values beyond the edge, in the window and (total, beyond) [B, 2] in the past."""
    n_c, n_s = levels.sizes
    x_c, x_s = (arm.total(np.where(arm.level > arm.spread(edge), arm.count, 0.0)) for arm in levels.filled)
    return EventWindow(n_c, x_c, n_s, x_s), np.stack([known, beyond[np.arange(len(edge)), edge]], axis=1)


def _contrast(levels: Levels, known: Array, h: Array, phi: Array) -> Contrast:
    """Difference of mean ranks: the chance that a candidate value is worse than a stable one, minus one half."""
    n_c, n_s = levels.sizes
    rank_c, rank_s = (
        per_sample(arm.total(arm.count * arm.badness), n)
        for arm, n in zip(levels.filled, levels.sizes, strict=True)
    )
    weight = np.where(known > 0.0, h, 0.0)
    variance = _RIDIT_VARIANCE * (per_sample(np.ones(len(n_c)), n_c) + per_sample(np.ones(len(n_s)), n_s))
    return Contrast(weight, rank_c - rank_s, variance * phi)


def _quantile(buckets: Array, metric: MetricPlan) -> float:
    """The shown quantile; the open bucket answers with its lower edge, as Prometheus does."""
    total = float(buckets.sum())
    if not total:
        return math.nan
    counts = buckets[::-1] if metric.higher_is_better else buckets
    rank = (1.0 - _SHOWN if metric.higher_is_better else _SHOWN) * total
    edges, below = metric.edges, 0.0
    for i, upper in enumerate(edges):
        count = float(counts[i])
        if below + count >= rank and count > 0.0:
            lower = edges[i - 1] if i else min(0.0, upper)
            return lower + (upper - lower) * max(rank - below, 0.0) / count
        below += count
    return edges[-1]
