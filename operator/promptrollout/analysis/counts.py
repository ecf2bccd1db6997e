"""What both arms counted in one window, as the metric sources hand it over.

All counts are per window (deltas, never cumulative), non-negative and finite; they may be fractional (expected
counts of the planner, linearly split scores). Nothing here checks that: `fold` does, and reports what it rejects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

#: Nodes of a score's histogram: badness 0, 0.05, ..., 1 (statistics-sharper.md, "Scores").
SCORE_NODES = 21


@dataclass(frozen=True, slots=True)
class EventCounts:
    """`bad` of `total` requests."""

    total: float
    bad: float


@dataclass(frozen=True, slots=True)
class ScoreCounts:
    """`count` scores, as weights on 21 nodes of badness (1 - score): node i stands for a score of 1 - i / 20.

    `sum` and `sumsq` are those of the scores themselves, where the source has them; without nodes they are all the
    engine has, and it uses the slower form of statistics.md.
    """

    count: float
    nodes: tuple[float, ...] = ()
    sum: float | None = None
    sumsq: float | None = None


@dataclass(frozen=True, slots=True)
class HistogramCounts:
    """Counts per bucket (not cumulative), one more than the metric's edges: the last bucket is open."""

    buckets: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SumCounts:
    """Count, sum and (where exported) sum of squares of an unbounded quantity."""

    count: float
    sum: float
    sumsq: float | None = None


@dataclass(frozen=True, slots=True)
class PairedCounts:
    """Differences candidate - stable of `count` requests that both arms answered; each lies in [-1, 1].

    `candidate` and `stable` are the sums of both arms' own values, for display only.
    """

    count: float
    sum: float
    sumsq: float
    candidate: float | None = None
    stable: float | None = None


Counts = EventCounts | ScoreCounts | HistogramCounts | SumCounts | PairedCounts


@dataclass(frozen=True, slots=True)
class Pair:
    """One metric's counts in one window and one exposure; a paired metric has its differences in `candidate`.

    `candidate_units` and `stable_units` are the first-event-per-unit counts (form U of statistics-correlated.md).
    """

    candidate: Counts
    stable: Counts | None = None
    candidate_units: EventCounts | None = None
    stable_units: EventCounts | None = None


@dataclass(frozen=True, slots=True)
class LateCounts:
    """Counts that arrive in this window but belong to an earlier exposure (scores of a slow judge)."""

    metric: str
    exposure: int
    pair: Pair


@dataclass(frozen=True, slots=True)
class ArmClusters:
    """One arm's requests and (bad events or score sums) per hash cluster; `sumsq` for scores, all clusters together."""

    requests: tuple[float, ...]
    sums: tuple[float, ...]
    sumsq: float | None = None


@dataclass(frozen=True, slots=True)
class ClusterCounts:
    """Cluster sums of both arms from `start` to `end` (unix seconds), at most one block of an hour at a time.

    A source may hand them over with every window or once an hour with the window they end in: the engine adds them
    up to blocks of 60 minutes. Without a candidate (history) only the stable arm counts.
    """

    start: float
    end: float
    stable: ArmClusters
    candidate: ArmClusters | None = None


@dataclass(frozen=True, slots=True)
class MetricClusters:
    """Cluster sums of one metric: of its requests, and of its first-event-per-unit counts."""

    requests: ClusterCounts | None = None
    units: ClusterCounts | None = None


@dataclass(frozen=True, slots=True)
class ArmRequests:
    """Requests per arm in one window, for the sample-ratio test."""

    candidate: float
    stable: float
    #: requests per hash cluster, (candidate, stable), where known: they give the test its design effect
    clusters: tuple[tuple[float, ...], tuple[float, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """All that was counted in [start, end), unix seconds.

    `exposure` numbers the weights in force (it changes when a weight does), `weight` is the candidate's in 1/10,000.
    A metric without data in this window is simply absent.
    """

    start: float
    end: float
    exposure: int
    weight: int
    metrics: Mapping[str, Pair] = field(default_factory=dict)
    late: tuple[LateCounts, ...] = ()
    requests: ArmRequests | None = None
    clusters: Mapping[str, MetricClusters] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class History:
    """The stable arm before the rollout: its latest requests (5,000 suffice) and up to 24 h of hourly cluster sums."""

    counts: Counts | None = None
    units: EventCounts | None = None
    clusters: tuple[MetricClusters, ...] = ()


def split_score(score: float) -> tuple[tuple[int, float], tuple[int, float]]:
    """The two nodes between which a score's badness lies, with their weights (statistics-sharper.md, "Scores").

    Keeps the mean exactly. A score of 0.63 has badness 0.37: node 7 gets 0.6, node 8 gets 0.4.

    Raises:
        ValueError: the score is not within [0, 1].
    """
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"a score must be within 0 and 1, got {score}; rescale 1 to 5 as (x - 1) / 4")
    place = (1.0 - score) * (SCORE_NODES - 1)
    node = min(int(place), SCORE_NODES - 2)
    fraction = place - node
    return (node, 1.0 - fraction), (node + 1, fraction)


def score_counts(scores: Sequence[float]) -> ScoreCounts:
    """The counts of some scores, nodes and sums together.

    Raises:
        ValueError: a score is not within [0, 1].

    """
    values = np.asarray(scores, dtype=np.float64)
    if not ((values >= 0.0) & (values <= 1.0)).all():
        raise ValueError("scores must be within 0 and 1; rescale 1 to 5 as (x - 1) / 4")
    places = (1.0 - values) * (SCORE_NODES - 1)
    lower = np.minimum(places.astype(np.intp), SCORE_NODES - 2)
    fraction = places - lower
    nodes = np.bincount(lower, 1.0 - fraction, SCORE_NODES) + np.bincount(lower + 1, fraction, SCORE_NODES)
    return ScoreCounts(
        count=float(len(values)),
        nodes=tuple(nodes.tolist()),
        sum=float(values.sum()),
        sumsq=float((values * values).sum()),
    )


def histogram_counts(values: Sequence[float], edges: Sequence[float]) -> HistogramCounts:
    """The bucket counts of raw values; a value equal to an edge belongs to the bucket below it, as in Prometheus."""
    places = np.searchsorted(np.asarray(edges), np.asarray(values), side="left")
    return HistogramCounts(tuple(float(n) for n in np.bincount(places, minlength=len(edges) + 1)))
