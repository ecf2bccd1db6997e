"""What stable is like, as a user says it on the command line, or as is assumed for want of better knowledge."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import betaincinv, ndtri

from promptrollout.analysis import (
    AnalysisPlan,
    Counts,
    EventCounts,
    HistogramCounts,
    MetricKind,
    MetricPlan,
    PairedCounts,
    ScoreCounts,
    SumCounts,
    histogram_counts,
    score_counts,
)
from promptrollout.cli.printing import USAGE, fail

#: Assumed where nothing is said: 2 % errors, scores of .8 (sd .2), latencies about the middle of the buckets.
_RATE, _SCORE, _SPREAD, _SIGMA, _VARIATION = 0.02, 0.8, 0.2, 0.6, 1.0
_POINTS = (np.arange(2000) + 0.5) / 2000


def given(plan: AnalysisPlan, texts: Sequence[str] | None) -> dict[str, Counts]:
    """`--stable errors=0.02 --stable helpful=0.8:0.2` as counts; CliError for what cannot be."""
    found: dict[str, Counts] = {}
    for text in texts or ():
        name, _, value = text.rpartition("=")
        if name not in plan.positions:
            fail(f"--stable {text}: the rollout compares {', '.join(plan.positions)}", USAGE)
        first, _, second = value.partition(":")
        try:
            numbers = (float(first), float(second) if second else None)
            found[name] = counts_of(plan.metrics[plan.positions[name]], *numbers)
        except ValueError as error:
            fail(f"--stable {text}: {error}", USAGE)
    return found


def assumed(metric: MetricPlan) -> Counts:
    """Something usual."""
    match metric.kind:
        case MetricKind.Events:
            return counts_of(metric, 1.0 - _RATE if metric.higher_is_better else _RATE)
        case MetricKind.Score:
            return counts_of(metric, _SCORE if metric.higher_is_better else 1.0 - _SCORE)
        case MetricKind.Histogram:
            return counts_of(metric, metric.edges[len(metric.edges) // 2])
        case _:
            return counts_of(metric, 1.0)


def counts_of(metric: MetricPlan, value: float, spread: float | None = None) -> Counts:
    """Counts with this rate, mean or median; ValueError, in words, for numbers that cannot be."""
    if not math.isfinite(value) or (spread is not None and not (math.isfinite(spread) and spread > 0.0)):
        raise ValueError("write finite numbers, the second one above 0")
    match metric.kind:
        case MetricKind.Events:
            if not 0.0 <= value <= 1.0:
                raise ValueError("a rate is between 0 and 1")
            return EventCounts(1e6, value * 1e6)
        case MetricKind.Score:
            return _scores(value, _SPREAD if spread is None else spread)
        case MetricKind.Histogram:
            if value <= 0.0:
                raise ValueError("a median is above 0")
            sigma = _SIGMA if spread is None else spread
            return histogram_counts(list(value * np.exp(sigma * ndtri(_POINTS))), metric.edges)
        case MetricKind.Sum:
            variation = _VARIATION if spread is None else spread
            return SumCounts(1e6, value * 1e6, (1.0 + variation**2) * value**2 * 1e6)
        case MetricKind.Paired:
            return PairedCounts(1e6, 0.0, (_SPREAD if spread is None else spread) ** 2 * 1e6)


def _scores(mean: float, spread: float) -> ScoreCounts:
    if not 0.0 < mean < 1.0:
        raise ValueError("a mean score is between 0 and 1")
    size = mean * (1.0 - mean) / spread**2 - 1.0
    if size <= 0.0:
        raise ValueError(
            f"scores with a mean of {mean} deviate by less than {math.sqrt(mean * (1 - mean)):.3g}"
        )
    return score_counts(list(betaincinv(mean * size, (1.0 - mean) * size, _POINTS)))


def describe(metric: MetricPlan, counts: Counts) -> str:
    """Stable's value in words."""
    match counts:
        case EventCounts(total, bad):
            return f"rate {100.0 * bad / total if total else 0.0:.3g} %"
        case ScoreCounts(count, _, total):
            return f"mean {(total or 0.0) / count if count else 0.0:.3g}"
        case HistogramCounts(buckets):
            edges = [*metric.edges, math.inf]
            half, below = math.fsum(buckets) / 2.0, 0.0
            for edge, n in zip(edges, buckets, strict=True):
                below += n
                if below >= half:
                    return f"median up to {edge:g}"
            return "no values"
        case SumCounts(count, total):
            return f"mean {total / count if count else 0.0:.3g}"
        case PairedCounts():
            return "pairs"
