"""Scores in [0, 1]: exact bets on 21 nodes of badness, or the moment form where no nodes are exported."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from promptrollout.analysis.bounded import Levels, Moments, harmonic, level_increments, moment_increments
from promptrollout.analysis.counts import SCORE_NODES, Counts, History, Pair, ScoreCounts
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
from promptrollout.analysis.mixture import BOUNDED, BOUNDED_CLOCK, PROCESS, Array, advance, fresh
from promptrollout.analysis.plan import DeltaMargin, MetricKind, MetricPlan

#: Badness of the nodes.
NODES: Array = np.linspace(0.0, 1.0, SCORE_NODES)
NODES.setflags(write=False)
_NO_NODES = (0.0,) * SCORE_NODES
#: One arm's columns: nodes, then count, sum and sum of squares of the badness.
_ARM = SCORE_NODES + 3
_PACK, _PACK_NODES = packer(_ARM), packer(SCORE_NODES)
#: Own state: past stable (count, sum, sum of squares of badness), harm, promotion.
_PAST, _HARM, _PROMOTE = slice(0, 3), slice(3, 3 + PROCESS), slice(3 + PROCESS, 3 + 2 * PROCESS)
#: Sums are floats added up over scrapes: this much disagreement is rounding.
_SLACK = 1e-6


class ScoreKind(Kind):
    """Columns: candidate nodes, count, sum, sum of squares of badness; then the same for stable."""

    kind = MetricKind.Score
    statistic = "mean"
    difference = "mean"
    columns = 2 * _ARM
    width = 3 + 2 * PROCESS

    def params(self, metric: MetricPlan) -> tuple[float, ...]:
        """Margins of rollback and of promotion."""
        deltas = []
        for margin in (metric.margin, metric.promote_margin):
            assert isinstance(margin, DeltaMargin)  # noqa: S101 - MetricPlan checked it; this tells mypy
            deltas.append(margin.delta)
        return tuple(deltas)

    def seed(self, metric: MetricPlan, history: History) -> Array:
        """Past stable badness from the history, fresh processes."""
        state = np.zeros(self.width)
        row = _arm(history.counts, higher_is_better=metric.higher_is_better)
        if not isinstance(row, str) and usable(history.counts, row):
            arm = np.array([row], dtype=np.float64)
            _complete_moments(arm)
            if _sound(arm)[0]:
                state[_PAST] = scaled_history(arm[0, SCORE_NODES:], float(arm[0, SCORE_NODES]))
        state[_HARM] = state[_PROMOTE] = fresh(BOUNDED)
        return state

    def read(self, pair: Pair, metric: MetricPlan) -> bytes | str:
        """Both arms' nodes and moments of badness."""
        candidate = _arm(pair.candidate, higher_is_better=metric.higher_is_better)
        stable = _arm(pair.stable, higher_is_better=metric.higher_is_better)
        if isinstance(candidate, str):
            return f"candidate {candidate}"
        if isinstance(stable, str):
            return f"stable {stable}"
        return _PACK(*candidate) + _PACK(*stable)

    def gather(self, pairs: Sequence[Pair], metric: MetricPlan) -> Array | None:
        """Both arms' nodes of many pairs; without nodes they are read one by one."""
        arms: list[bytes] = []
        for pair in pairs:
            candidate, stable = pair.candidate, pair.stable
            if not (isinstance(candidate, ScoreCounts) and isinstance(stable, ScoreCounts)):
                return None
            arms += (_PACK_NODES(*candidate.nodes), _PACK_NODES(*stable.nodes))
        nodes = np.frombuffer(b"".join(arms), dtype="<f8").reshape(len(pairs), 2, SCORE_NODES)
        counts = np.zeros((len(pairs), 2, _ARM))
        counts[:, :, :SCORE_NODES] = nodes if metric.higher_is_better else nodes[:, :, ::-1]
        return counts.reshape(len(pairs), -1)

    def complete(self, counts: Array) -> Array:
        """Moments of the nodes."""
        completed = counts.copy()
        for start in (0, _ARM):
            _complete_moments(completed[:, start : start + _ARM])
        return completed

    def sound(self, counts: Array) -> Mask:
        """Nothing negative, and moments that scores within [0, 1] can have."""
        return _sound(counts[:, :_ARM]) & _sound(counts[:, _ARM:])

    def sizes(self, counts: Array) -> tuple[Array, Array]:
        """Scores of both arms."""
        return counts[:, SCORE_NODES], counts[:, _ARM + SCORE_NODES]

    def close(self, closing: Closing) -> Closed:
        """Both processes on the nodes, on the moments where a node histogram is missing."""
        state, past = closing.state, closing.state[:, _PAST].copy()
        n_c, n_s = (np.ascontiguousarray(n) for n in self.sizes(closing.counts))
        known = np.maximum(past[:, 0], 1.0)
        mu = np.clip(past[:, 1] / known, 0.0, 1.0)
        spread = np.maximum(past[:, 2] / known - mu * mu, 0.0)
        h = harmonic(n_c, n_s)
        share = np.where((past[:, 0] >= STABLE_NEEDED) & (h > 0.0), 1.0 / closing.phi, 0.0)
        information = h * spread * BOUNDED_CLOCK
        harm, promote = (
            advance(state[:, part], BOUNDED, information, increments, share)
            for part, increments in zip(
                (_HARM, _PROMOTE), _increments(closing.counts, mu, closing.params), strict=True
            )
        )
        state[:, _PAST] = keep(n_s)[:, None] * past + closing.counts[:, _ARM + SCORE_NODES :]
        contrast = Contrast(h, -_mean_gap(closing.counts), _gap_variance(closing, n_c, n_s) * closing.phi)
        return Closed(harm, promote, contrast)

    def values(self, totals: Array, metric: MetricPlan) -> ArmValues:
        """Mean scores, in the direction in which they were given."""
        shown, samples = [], []
        for start in (0, _ARM):
            count, bad = float(totals[start + SCORE_NODES]), float(totals[start + SCORE_NODES + 1])
            badness = bad / count if count else math.nan
            shown.append(1.0 - badness if metric.higher_is_better else badness)
            samples.append(count)
        return ArmValues(shown[0], shown[1], samples[0], samples[1])

    def totals(self, totals: Array, metric: MetricPlan) -> Pair:
        """Moments of both arms' scores."""
        arms = []
        for start in (0, _ARM):
            count, plain, square = (float(v) for v in totals[start + SCORE_NODES : start + _ARM])
            if metric.higher_is_better:
                plain, square = count - plain, count - 2.0 * plain + square
            arms.append(ScoreCounts(count, sum=plain, sumsq=square))
        return Pair(arms[0], arms[1])

    def sign(self, metric: MetricPlan) -> float:
        """The contrast is stored as goodness."""
        return 1.0 if metric.higher_is_better else -1.0


def _arm(counts: Counts | None, *, higher_is_better: bool) -> tuple[float, ...] | str:
    """One arm's columns; nodes are turned round where a high score is bad, since nodes are 1 - score."""
    if not isinstance(counts, ScoreCounts):
        return "needs ScoreCounts"
    if counts.nodes:
        if len(counts.nodes) != SCORE_NODES:
            return f"has {len(counts.nodes)} nodes instead of {SCORE_NODES}"
        nodes = counts.nodes if higher_is_better else counts.nodes[::-1]
        return (*nodes, 0.0, 0.0, 0.0)
    if counts.count and (counts.sum is None or counts.sumsq is None):
        return "has neither nodes nor sum and sum of squares"
    total, plain, square = counts.count, counts.sum or 0.0, counts.sumsq or 0.0
    if higher_is_better:
        plain, square = total - plain, total - 2.0 * plain + square
    return (*_NO_NODES, total, plain, square)


def _complete_moments(arm: Array) -> None:
    """Count, sum and sum of squares from the nodes, where there are any, in place [B, _ARM].

    The nodes are the truth: a scrape can catch the count a moment earlier or later.
    """
    nodes, moments = arm[:, :SCORE_NODES], arm[:, SCORE_NODES:]
    total = nodes.sum(axis=1)
    weighted = nodes * NODES
    plain = weighted.sum(axis=1)
    weighted *= NODES
    for i, moment in enumerate((total, plain, weighted.sum(axis=1))):
        moments[:, i] = np.where(total > 0.0, moment, moments[:, i])


def _sound(arm: Array) -> Mask:
    count, plain, square = arm[:, SCORE_NODES], arm[:, SCORE_NODES + 1], arm[:, SCORE_NODES + 2]
    slack = _SLACK * (1.0 + count)
    mask = not_negative(arm[:, :SCORE_NODES])
    mask &= (count >= 0.0) & (plain >= -slack) & (plain <= count + slack)
    mask &= (square >= -slack) & (square <= plain + slack)
    return mask


def _increments(counts: Array, mu: Array, params: Array) -> tuple[Array, Array]:
    """Log e-variables of harm and of non-inferiority, [B, BETS] each."""
    candidate, stable = counts[:, :SCORE_NODES], counts[:, _ARM : _ARM + SCORE_NODES]
    margin, promote_margin = params[:, 0].copy(), params[:, 1].copy()
    levels = Levels(candidate, stable, NODES[None])
    harm = level_increments(levels, mu, margin, BOUNDED)
    # Inferiority is harm of the mirror image: badness 1 - g, and the null lies on the other side of the margin.
    promote = level_increments(levels.mirrored(), 1.0 - mu, -promote_margin, BOUNDED)
    node_total = levels.sizes[0] + levels.sizes[1]
    total = counts[:, SCORE_NODES] + counts[:, _ARM + SCORE_NODES]
    rows = np.flatnonzero(node_total < total * (1.0 - _SLACK))
    if rows.size:
        arms = [_moments(counts[rows, start : start + _ARM]) for start in (0, _ARM)]
        goods = [Moments(a.count, a.count - a.sum, a.count - 2.0 * a.sum + a.sumsq) for a in arms]
        harm[rows] = moment_increments(goods[0], goods[1], 1.0 - mu[rows], margin[rows], BOUNDED)
        promote[rows] = moment_increments(arms[0], arms[1], mu[rows], -promote_margin[rows], BOUNDED)
    return harm, promote


def _moments(arm: Array) -> Moments:
    return Moments(*(np.ascontiguousarray(arm[:, SCORE_NODES + i]) for i in range(3)))


def _mean_gap(counts: Array) -> Array:
    """Mean badness of the candidate minus that of stable."""
    candidate, stable = _moments(counts[:, :_ARM]), _moments(counts[:, _ARM:])
    return per_sample(candidate.sum, candidate.count) - per_sample(stable.sum, stable.count)


def _gap_variance(closing: Closing, n_c: Array, n_s: Array) -> Array:
    result = np.zeros(len(n_c))
    for start, n in ((0, n_c), (_ARM, n_s)):
        totals = _moments(closing.totals[:, start : start + _ARM])
        mean = per_sample(totals.sum, totals.count)
        # One imagined sample at either end keeps a constant score from looking certain.
        spread = np.maximum(per_sample(totals.sumsq, totals.count) - mean * mean, 0.25 / (totals.count + 1.0))
        result += per_sample(spread, n)
    return result
