"""What answers look like, as levels: every metric's outcome is one of a few levels, with chances that change in time.

Events have two levels (good, bad), scores their 21 nodes, histograms their buckets, sums 32 equally likely values,
pairs 41 differences of scores.
That is all the engine ever sees of them, so nothing is lost, and a window's counts are one multinomial draw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr, ndtri

from promptrollout.analysis import (
    SCORE_NODES,
    Counts,
    EventCounts,
    HistogramCounts,
    MetricKind,
    MetricPlan,
    PairedCounts,
    ScoreCounts,
    SumCounts,
)
from promptrollout.simulation.world import (
    CoverageWorld,
    EventWorld,
    LatencyWorld,
    MetricWorld,
    ScoreWorld,
    SumWorld,
)

Array = NDArray[np.float64]

_SUM_LEVELS = 32
_DIFFERENCES = np.linspace(-1.0, 1.0, 41)
#: Points a side at which a joint distribution of both scores of a request is split onto differences.
_PAIR_POINTS = 80
#: Points at which a score's distribution is split onto nodes.
_POINTS = 400
_BADNESS = np.linspace(0.0, 1.0, SCORE_NODES)
#: Chances and values change with drift in steps of this share: fine enough, and each is computed once.
_STEP = 0.002


@dataclass(frozen=True, slots=True)
class Variant:
    """One way in which an arm answers: chances of the levels, and their values where they have any (sums)."""

    chances: Array
    values: Array
    cumulative: Array


_KINDS: dict[MetricKind, tuple[type, ...]] = {
    MetricKind.Events: (EventWorld, CoverageWorld),
    MetricKind.Score: (ScoreWorld,),
    MetricKind.Histogram: (LatencyWorld,),
    MetricKind.Sum: (SumWorld,),
    MetricKind.Paired: (ScoreWorld,),
}


def check_world(metric: MetricPlan, world: MetricWorld) -> None:
    """Raise ValueError where a world does not fit the metric's kind."""
    wanted = _KINDS[metric.kind]
    if not isinstance(world, wanted):
        raise ValueError(  # noqa: TRY004 - one kind of error for every wrong world
            f"metric {metric.name} of kind {metric.kind} needs a {wanted[0].__name__}, got {type(world).__name__}"
        )


def variant(metric: MetricPlan, world: MetricWorld, badness: float, *, candidate: bool) -> Variant:
    """How an arm answers when its badness is `badness` times the usual (drift, cold caches)."""
    rounded = math.exp(round(math.log(max(badness, 1e-9)) / _STEP) * _STEP)
    if metric.kind is MetricKind.Paired:
        return _pairs(world, rounded, candidate)
    return _variant(metric.edges, world, rounded, candidate)


@lru_cache(maxsize=20_000)
def _variant(edges: tuple[float, ...], world: MetricWorld, badness: float, candidate: bool) -> Variant:  # noqa: FBT001 - a cache key
    values = np.zeros(0)
    match world:
        case EventWorld():
            rate = min((world.candidate if candidate else world.stable) * badness, 1.0)
            chances = np.array([1.0 - rate, rate])
        case ScoreWorld():
            mean = 1.0 - (world.candidate if candidate else world.stable)
            chances = _nodes(min(mean * badness, 0.999), world.spread)
        case LatencyWorld():
            chances = _buckets(edges, world, badness, candidate=candidate)
        case SumWorld():
            chances = np.full(_SUM_LEVELS, 1.0 / _SUM_LEVELS)
            scale = badness * (world.factor if candidate else 1.0)
            values = _values(world.variation) * world.mean * scale
        case CoverageWorld():
            raise ValueError("coverage follows from another metric's scores")
    return Variant(chances, values, np.cumsum(chances)[:-1])


def _nodes(mean: float, spread: float) -> Array:
    """A beta distribution of badness on nodes; the mean is kept by the linear split."""
    points = _quantiles(mean, spread, (np.arange(_POINTS) + 0.5) / _POINTS)
    return _split(points * (SCORE_NODES - 1), SCORE_NODES)


@lru_cache(maxsize=2000)
def _pairs(world: MetricWorld, badness: float, candidate: bool) -> Variant:  # noqa: FBT001 - a cache key
    """Differences candidate - stable of two beta distributed scores that are joined by a Gaussian copula.

    The difference of the means is kept by the linear split.
    """
    if not isinstance(world, ScoreWorld):
        raise ValueError("pairs are of scores")  # noqa: TRY004 - as above
    normal = ndtri((np.arange(_PAIR_POINTS) + 0.5) / _PAIR_POINTS)
    own = math.sqrt(1.0 - world.pairing**2)
    other = ndtr(world.pairing * normal[:, None] + own * normal[None, :])
    means = (world.candidate if candidate else world.stable, world.stable)
    worse = [min((1.0 - mean) * badness, 0.999) for mean in means]
    points = [
        _quantiles(mean, world.spread, at) for mean, at in zip(worse, (other, ndtr(normal)), strict=True)
    ]
    # Badness of stable minus badness of the candidate.
    places = (points[1][:, None] - points[0] + 1.0) / 2.0 * (len(_DIFFERENCES) - 1)
    chances = _split(places.ravel(), len(_DIFFERENCES))
    return Variant(chances, np.zeros(0), np.cumsum(chances)[:-1])


def _quantiles(mean: float, spread: float, at: Array) -> Array:
    """Of a beta distribution on [0, 1]."""
    variance = min(spread * spread, 0.98 * mean * (1.0 - mean))
    size = mean * (1.0 - mean) / variance - 1.0
    result: Array = np.clip(betaincinv(mean * size, (1.0 - mean) * size, at), 0.0, 1.0)
    return result


def _split(places: Array, levels: int) -> Array:
    """Chances of levels from equally likely places between them: a place in between counts for both."""
    low = np.clip(places.astype(np.intp), 0, levels - 2)
    share = places - low
    weights = np.bincount(low, 1.0 - share, levels) + np.bincount(low + 1, share, levels)
    result: Array = np.maximum(weights, 0.0) / weights.sum()
    return result


def _buckets(edges: tuple[float, ...], world: LatencyWorld, badness: float, *, candidate: bool) -> Array:
    factor, tail = (world.factor, world.tail) if candidate else (1.0, 0.0)
    logs = np.log(np.maximum(np.asarray(edges), 1e-300))
    centre = math.log(world.median * badness * factor)
    below = (1.0 - tail) * ndtr((logs - centre) / world.sigma)
    below += tail * ndtr((logs - centre - math.log(world.tail_factor)) / world.sigma)
    between = np.maximum(np.diff(below, prepend=0.0, append=1.0), 0.0)
    result: Array = between / between.sum()
    return result


def _values(variation: float) -> Array:
    """Equally likely lognormal values with mean 1 and about this coefficient of variation."""
    sigma = math.sqrt(math.log1p(variation * variation))
    values: Array = np.exp(sigma * ndtri((np.arange(_SUM_LEVELS) + 0.5) / _SUM_LEVELS))
    values /= values.mean()
    return values


def width(metric: MetricPlan) -> int:
    """How many levels a metric has."""
    match metric.kind:
        case MetricKind.Events:
            return 2
        case MetricKind.Score:
            return SCORE_NODES
        case MetricKind.Histogram:
            return len(metric.edges) + 1
        case MetricKind.Paired:
            return len(_DIFFERENCES)
        case _:
            return _SUM_LEVELS


def badness(metric: MetricPlan) -> Array:
    """What one outcome of each level adds to a cluster's sum: bad events, or the score."""
    if metric.kind is MetricKind.Events:
        return np.array([0.0, 1.0])
    return 1.0 - _BADNESS


def as_counts(metric: MetricPlan, levels: Array, values: Array) -> Counts:
    """Counts per level as the source would hand them over."""
    match metric.kind:
        case MetricKind.Events:
            good, bad = levels.tolist()
            return EventCounts(good + bad, bad)
        case MetricKind.Score:
            nodes = levels if metric.higher_is_better else levels[::-1]
            return ScoreCounts(float(levels.sum()), tuple(nodes.tolist()))
        case MetricKind.Histogram:
            return HistogramCounts(tuple(levels.tolist()))
        case MetricKind.Paired:
            gain = float((levels * _DIFFERENCES).sum()) * (1.0 if metric.higher_is_better else -1.0)
            return PairedCounts(float(levels.sum()), gain, float((levels * _DIFFERENCES**2).sum()))
        case _:
            # As the presets read them: sums of squares are not exported.
            return SumCounts(float(levels.sum()), float((levels * values).sum()))
