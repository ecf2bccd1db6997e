"""What answers look like, as levels: every metric's outcome is one of a few levels, with chances that change in time.

Events have two levels (good, bad), scores their 21 nodes, histograms their buckets, sums 32 equally likely values.
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
    ScoreCounts,
    SumCounts,
)
from promptrollout.simulation.world import EventWorld, LatencyWorld, MetricWorld, ScoreWorld, SumWorld

Array = NDArray[np.float64]

_SUM_LEVELS = 32
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


_KINDS: dict[MetricKind, type[EventWorld] | type[ScoreWorld] | type[LatencyWorld] | type[SumWorld]] = {
    MetricKind.Events: EventWorld,
    MetricKind.Score: ScoreWorld,
    MetricKind.Histogram: LatencyWorld,
    MetricKind.Sum: SumWorld,
}


def check_world(metric: MetricPlan, world: MetricWorld) -> None:
    """Raise ValueError where a world does not fit the metric's kind."""
    wanted = _KINDS.get(metric.kind)
    if wanted is None:
        raise ValueError(f"metric {metric.name}: metrics of kind {metric.kind} cannot be simulated")
    if not isinstance(world, wanted):
        raise ValueError(  # noqa: TRY004 - one kind of error for every wrong world
            f"metric {metric.name} of kind {metric.kind} needs a {wanted.__name__}, got {type(world).__name__}"
        )


def variant(metric: MetricPlan, world: MetricWorld, badness: float, *, candidate: bool) -> Variant:
    """How an arm answers when its badness is `badness` times the usual (drift, cold caches)."""
    rounded = math.exp(round(math.log(max(badness, 1e-9)) / _STEP) * _STEP)
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
    return Variant(chances, values, np.cumsum(chances)[:-1])


def _nodes(mean: float, spread: float) -> Array:
    """A beta distribution of badness on nodes; the mean is kept by the linear split."""
    variance = min(spread * spread, 0.98 * mean * (1.0 - mean))
    size = mean * (1.0 - mean) / variance - 1.0
    quantiles = (np.arange(_POINTS) + 0.5) / _POINTS
    points = betaincinv(mean * size, (1.0 - mean) * size, quantiles)
    places = np.clip(points, 0.0, 1.0) * (SCORE_NODES - 1)
    low = np.minimum(places.astype(np.intp), SCORE_NODES - 2)
    share = places - low
    weights = np.bincount(low, 1.0 - share, SCORE_NODES) + np.bincount(low + 1, share, SCORE_NODES)
    result: Array = weights / weights.sum()
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
        case _:
            # As the presets read them: sums of squares are not exported.
            return SumCounts(float(levels.sum()), float((levels * values).sum()))
