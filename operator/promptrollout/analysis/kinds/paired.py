"""Paired differences of answers to the same request (shadow): they need far fewer samples than two arms."""

from __future__ import annotations

import math

import numpy as np

from promptrollout.analysis.bounded import Moments, paired_increments
from promptrollout.analysis.counts import History, Pair, PairedCounts
from promptrollout.analysis.kinds.base import (
    ArmValues,
    Closed,
    Closing,
    Contrast,
    Kind,
    Mask,
    keep,
    packer,
    per_sample,
)
from promptrollout.analysis.mixture import BOUNDED, BOUNDED_CLOCK, PROCESS, Array, advance, fresh
from promptrollout.analysis.plan import DeltaMargin, MetricKind, MetricPlan

#: Own state: past (count, sum, sum of squares) of losses, harm, promotion.
_PAST, _HARM, _PROMOTE = slice(0, 3), slice(3, 3 + PROCESS), slice(3 + PROCESS, 3 + 2 * PROCESS)
#: Before this many pairs the information clock runs on an assumed variance.
_PAIRS_KNOWN, _ASSUMED_VARIANCE = 20.0, 0.05
_SLACK = 1e-6
_PACK = packer(6)


class PairedKind(Kind):
    """Columns: pairs, sum and sum of squares of the loss; sums of both arms' values and the pairs that have them.

    The loss is stable - candidate, or the reverse where lower is better, so that a positive mean is harm.
    """

    kind = MetricKind.Paired
    statistic = "mean"
    difference = "mean"
    columns = 6
    width = 3 + 2 * PROCESS

    def params(self, metric: MetricPlan) -> tuple[float, ...]:
        """Margins of rollback and of promotion."""
        deltas = []
        for margin in (metric.margin, metric.promote_margin):
            assert isinstance(margin, DeltaMargin)  # noqa: S101 - MetricPlan checked it; this tells mypy
            deltas.append(margin.delta)
        return tuple(deltas)

    def seed(self, metric: MetricPlan, history: History) -> Array:  # noqa: ARG002 - same for every kind
        """Fresh processes: there are no pairs before the shadow runs."""
        state = np.zeros(self.width)
        state[_HARM] = state[_PROMOTE] = fresh(BOUNDED)
        return state

    def read(self, pair: Pair, metric: MetricPlan) -> bytes | str:
        """Moments of the loss."""
        counts = pair.candidate
        if not isinstance(counts, PairedCounts):
            return "needs PairedCounts as the candidate's counts"
        loss = -counts.sum if metric.higher_is_better else counts.sum
        if counts.candidate is None or counts.stable is None:
            return _PACK(counts.count, loss, counts.sumsq, 0.0, 0.0, 0.0)
        return _PACK(counts.count, loss, counts.sumsq, counts.candidate, counts.stable, counts.count)

    def sound(self, counts: Array) -> Mask:
        """Moments that differences within [-1, 1] can have."""
        n, plain, square = counts[:, 0], counts[:, 1], counts[:, 2]
        slack = _SLACK * (1.0 + n)
        mask: Mask = (n >= 0.0) & (np.abs(plain) <= n + slack) & (square >= -slack) & (square <= n + slack)
        return mask & (plain * plain <= n * square + slack * (1.0 + n))

    def sizes(self, counts: Array) -> tuple[Array, Array]:
        """Each pair is a sample of both arms."""
        return counts[:, 0], counts[:, 0]

    def close(self, closing: Closing) -> Closed:
        """Both processes on the moments of the loss."""
        state, past = closing.state, closing.state[:, _PAST].copy()
        losses = Moments(*(np.ascontiguousarray(closing.counts[:, i]) for i in range(3)))
        known = np.maximum(past[:, 0], 1.0)
        mean = past[:, 1] / known
        spread = np.maximum(past[:, 2] / known - mean * mean, 0.0)
        spread = np.where(past[:, 0] >= _PAIRS_KNOWN, spread, _ASSUMED_VARIANCE)
        information = losses.count * spread * BOUNDED_CLOCK
        gains = Moments(losses.count, -losses.sum, losses.sumsq)
        share = 1.0 / closing.phi
        harm, promote = (
            advance(state[:, part], BOUNDED, information, paired_increments(moments, delta, BOUNDED), share)
            for part, moments, delta in (
                (_HARM, losses, closing.params[:, 0]),
                (_PROMOTE, gains, -closing.params[:, 1]),
            )
        )
        state[:, _PAST] = keep(losses.count)[:, None] * past + closing.counts[:, :3]
        return Closed(harm, promote, _contrast(losses, closing))

    def values(self, totals: Array, metric: MetricPlan) -> ArmValues:  # noqa: ARG002 - same for every kind
        """Means of both arms' own values, where the source has them."""
        n, known = float(totals[0]), float(totals[5])
        candidate = float(totals[3]) / known if known else math.nan
        stable = float(totals[4]) / known if known else math.nan
        return ArmValues(candidate, stable, n, n)

    def totals(self, totals: Array, metric: MetricPlan) -> Pair:
        """Moments of the differences."""
        count, loss, square = (float(v) for v in totals[:3])
        return Pair(PairedCounts(count, -loss if metric.higher_is_better else loss, square))

    def sign(self, metric: MetricPlan) -> float:
        """The contrast is stored as a loss."""
        return -1.0 if metric.higher_is_better else 1.0


def _contrast(losses: Moments, closing: Closing) -> Contrast:
    count = closing.totals[:, 0]
    mean = per_sample(closing.totals[:, 1], count)
    spread = np.maximum(per_sample(closing.totals[:, 2], count) - mean * mean, 1.0 / (count + 1.0))
    variance = per_sample(spread, losses.count)
    return Contrast(losses.count, per_sample(losses.sum, losses.count), variance * closing.phi)
