r"""How much evidence one candidate sample brings at a given difference: the ground of forecasts.

The best possible e-process gains, per candidate sample and to first order, the least divergence between what is the
case and anything the null allows (statistics.md, "How fast it is"):

    events:  I = min_m KL(p_c || A m + B) + k KL(p_s || m),   k = n_s / n_c,
    means:   I = (Delta - delta)^2 / (2 (v_c + v_s / k)),

zero inside the null. The engine's mixtures need about 1.2 to 1.8 times ln(1 / alpha) / I samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from promptrollout.analysis.bounded import mid_ranks
from promptrollout.analysis.counts import (
    SCORE_NODES,
    Counts,
    EventCounts,
    HistogramCounts,
    PairedCounts,
    ScoreCounts,
    SumCounts,
)
from promptrollout.analysis.plan import DeltaMargin, HistogramMargin, LineMargin, Margin, MetricPlan

#: Candidate samples to a decision as a multiple of ln(1 / alpha) / I, on average (statistics.md, "Planner").
MEAN_FACTOR, HIGH_FACTOR = 1.5, 3.3
_TAIL = 0.05
#: Bisections of a rate, and what stands for a variance of nothing.
_HALVINGS, _TINY = 48, 1e-300


@dataclass(frozen=True, slots=True)
class Information:
    """Nats per candidate sample towards each decision; zero where the difference does not support it."""

    harm: float
    promote: float


def information(metric: MetricPlan, candidate: Counts, stable: Counts | None, ratio: float) -> Information:
    """Nats per candidate sample at these distributions.

    Args:
        metric: its kind, margins and direction.
        candidate: counts of any size, of which the proportions matter.
        stable: the same of the stable arm; None for paired differences.
        ratio: stable samples per candidate sample, positive.

    Returns:
        Zero for both where the counts are empty or do not fit the kind.

    """
    harm, promote = metric.margin, metric.promote_margin
    match candidate, stable:
        case EventCounts(), EventCounts() if candidate.total > 0.0 and stable.total > 0.0:
            rates = (candidate.bad / candidate.total, stable.bad / stable.total)
            return Information(
                _event_information(metric, harm, rates, ratio, upward=True),
                _event_information(metric, promote, rates, ratio, upward=False),
            )
        case HistogramCounts(), HistogramCounts():
            return _histogram_information(metric, candidate, stable, ratio)
        case ScoreCounts(), ScoreCounts():
            return _mean_information(metric, _score_moments(candidate), _score_moments(stable), ratio)
        case SumCounts(), SumCounts():
            return _mean_information(metric, _sum_moments(candidate), _sum_moments(stable), ratio)
        case PairedCounts(), _ if candidate.count > 0.0:
            return _paired_information(metric, candidate)
        case _:
            return Information(0.0, 0.0)


def _kl(p: float, q: float) -> float:
    """Divergence of Bernoulli(p) from Bernoulli(q)."""
    total = 0.0
    for a, b in ((p, q), (1.0 - p, 1.0 - q)):
        if a > 0.0:
            total += a * math.log(a / b) if b > 0.0 else math.inf
    return total


def _event_information(
    metric: MetricPlan, margin: Margin, rates: tuple[float, float], ratio: float, *, upward: bool
) -> float:
    """`upward`: towards harm; harm is a low rate where higher is better."""
    if not isinstance(margin, LineMargin):
        return 0.0
    slope, intercept = margin.r, margin.d
    if metric.higher_is_better:
        slope, intercept, upward = 1.0 / margin.r, -margin.d / margin.r, not upward
    return line_information(rates, (slope, intercept), ratio, upward=upward)


def line_information(
    rates: tuple[float, float], line: tuple[float, float], ratio: float, *, upward: bool
) -> float:
    """Least divergence of (p_c, p_s) from the line p_c = slope p_s + intercept; zero on the null's side of it."""
    p_c, p_s = rates
    slope, intercept = line
    limit = slope * p_s + intercept
    if (p_c <= limit) if upward else (p_c >= limit):
        return 0.0
    meets = (p_c - intercept) / slope
    low, high = (
        max(0.0, -intercept / slope, min(p_s, meets)),
        min(1.0, (1.0 - intercept) / slope, max(p_s, meets)),
    )
    if high <= low:
        return 0.0

    # The divergence is convex in m: its least value lies where the slope changes its sign.
    for _ in range(_HALVINGS):
        m = (low + high) / 2.0
        c = slope * m + intercept
        rise = slope * (c - p_c) / max(c * (1.0 - c), _TINY) + ratio * (m - p_s) / max(m * (1.0 - m), _TINY)
        low, high = (low, m) if rise > 0.0 else (m, high)
    m = (low + high) / 2.0
    return max(0.0, _kl(p_c, min(max(slope * m + intercept, 0.0), 1.0)) + ratio * _kl(p_s, m))


def _score_moments(counts: ScoreCounts) -> tuple[float, float] | None:
    """Mean and variance of one score, None without scores."""
    if counts.nodes:
        weights = np.asarray(counts.nodes, dtype=float)
        total = float(weights.sum())
        if total <= 0.0:
            return None
        values = 1.0 - np.arange(SCORE_NODES) / (SCORE_NODES - 1.0)
        mean = float((weights * values).sum()) / total
        return mean, max(float((weights * values * values).sum()) / total - mean * mean, 1e-6)
    if counts.count <= 0.0 or counts.sum is None or counts.sumsq is None:
        return None
    mean = counts.sum / counts.count
    return mean, max(counts.sumsq / counts.count - mean * mean, 1e-6)


def _sum_moments(counts: SumCounts) -> tuple[float, float] | None:
    """Mean and variance of one value; without squares, None: nothing is known about the spread."""
    if counts.count <= 0.0 or counts.sumsq is None:
        return None
    mean = counts.sum / counts.count
    return mean, max(counts.sumsq / counts.count - mean * mean, 1e-12 + 1e-4 * mean * mean)


def _mean_information(
    metric: MetricPlan,
    candidate: tuple[float, float] | None,
    stable: tuple[float, float] | None,
    ratio: float,
) -> Information:
    if candidate is None or stable is None:
        return Information(0.0, 0.0)
    (mean_c, var_c), (mean_s, var_s) = candidate, stable
    sides = []
    for margin in (metric.margin, metric.promote_margin):
        if isinstance(margin, DeltaMargin):
            worse = mean_s - mean_c if metric.higher_is_better else mean_c - mean_s
            sides.append((worse - margin.delta, var_c + var_s / ratio))
        elif isinstance(margin, LineMargin):
            r, d = margin.r, margin.d
            if metric.higher_is_better:
                sides.append((mean_s - r * mean_c - d, r * r * var_c + var_s / ratio))
            else:
                sides.append((mean_c - r * mean_s - d, var_c + r * r * var_s / ratio))
        else:
            sides.append((0.0, 1.0))
    (harm, harm_var), (promote, promote_var) = sides
    return Information(max(harm, 0.0) ** 2 / (2.0 * harm_var), min(promote, 0.0) ** 2 / (2.0 * promote_var))


def _paired_information(metric: MetricPlan, counts: PairedCounts) -> Information:
    mean = counts.sum / counts.count
    variance = max(counts.sumsq / counts.count - mean * mean, 1e-6)
    worse = -mean if metric.higher_is_better else mean
    harm, promote = (
        worse - (margin.delta if isinstance(margin, DeltaMargin) else 0.0)
        for margin in (metric.margin, metric.promote_margin)
    )
    return Information(max(harm, 0.0) ** 2 / (2.0 * variance), min(promote, 0.0) ** 2 / (2.0 * variance))


def _histogram_information(
    metric: MetricPlan, candidate: HistogramCounts, stable: HistogramCounts, ratio: float
) -> Information:
    """Harm: the better of body and tail. Non-inferiority needs both: the worse of them."""
    harm_margin, promote_margin = metric.margin, metric.promote_margin
    arms = [np.asarray(c.buckets, dtype=float) for c in (candidate, stable)]
    sums = [float(a.sum()) for a in arms]
    same = len(arms[0]) == len(arms[1]) == len(metric.edges) + 1
    margins = isinstance(harm_margin, HistogramMargin) and isinstance(promote_margin, HistogramMargin)
    if not (same and min(sums) > 0.0 and margins):
        return Information(0.0, 0.0)
    assert isinstance(harm_margin, HistogramMargin)  # noqa: S101 - tells mypy what `margins` holds
    assert isinstance(promote_margin, HistogramMargin)  # noqa: S101 - the same
    shares = [(a[::-1] if metric.higher_is_better else a) / s for a, s in zip(arms, sums, strict=True)]
    ranks = mid_ranks(shares[1][None])[0]
    shift = float((shares[0] * ranks).sum()) - 0.5
    spread = 2.0 * (1.0 + 1.0 / ratio) / 12.0
    tails = [_tail(metric, margin.threshold, shares) for margin in (harm_margin, promote_margin)]
    body = (
        max(shift - harm_margin.ridit, 0.0) ** 2 / spread,
        min(shift - promote_margin.ridit, 0.0) ** 2 / spread,
    )
    tail = (
        line_information(tails[0], (harm_margin.exceedance, 0.0), ratio, upward=True),
        line_information(tails[1], (promote_margin.exceedance, 0.0), ratio, upward=False),
    )
    return Information(max(body[0], tail[0]), min(body[1], tail[1]))


def _tail(
    metric: MetricPlan,
    threshold: float | None,
    shares: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]],
) -> tuple[float, float]:
    """Shares beyond the threshold's edge, of candidate and stable."""
    beyond = [np.cumsum(s[::-1])[::-1][1:] for s in shares]
    if threshold is None:
        # As the engine does: nearest in ratio, and an edge nothing exceeds is no tail.
        edge = int(np.argmin(np.abs(np.log(np.maximum(beyond[1], 1e-9) / _TAIL))))
    else:
        edge = min(range(len(metric.edges)), key=lambda i: abs(metric.edges[i] - threshold))
        edge = len(metric.edges) - 1 - edge if metric.higher_is_better else edge
    return float(beyond[0][edge]), float(beyond[1][edge])
