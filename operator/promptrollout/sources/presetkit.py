"""What presets are made of: parts, cells, and how cells make the counts that the analysis takes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from promptrollout.analysis.counts import (
    SCORE_NODES,
    Counts,
    EventCounts,
    HistogramCounts,
    PairedCounts,
    ScoreCounts,
    SumCounts,
)
from promptrollout.analysis.plan import LineMargin, MetricKind
from promptrollout.sources.families import Family, Labels, number_in
from promptrollout.sources.protocol import MetricQuery

#: A cell of a count: "bad", "node/7", "le/0.25" ...
Cell = str
#: Per cell the deltas of all series that feed it, one a series.
Cells = Mapping[Cell, Sequence[float]]


class Inconsistent(ValueError):  # noqa: N818 - says what the counters are
    """Counters that contradict each other or the query; the message is for people."""


@dataclass(frozen=True, slots=True)
class Part:
    """One family and the cells that each of its series feeds (none: it is not wanted).

    `parameter` is the value of the family's parameter label; "" takes the query's score.
    """

    family: Family
    cells: Callable[[Labels], tuple[Cell, ...]]
    parameter: str = ""


@dataclass(frozen=True, slots=True)
class ClusterFamilies:
    """Where the sums by hash cluster of units come from (statistics-correlated.md, "What the SDK exports")."""

    requests: Family
    sums: Family
    parameter: str = ""
    squares: Family | None = None


class Build(Protocol):
    """Makes counts of cells; Inconsistent if they contradict each other."""

    def __call__(self, cells: Cells, query: MetricQuery) -> Counts:
        """The counts of one window, exposure and arm."""
        ...


@dataclass(frozen=True, slots=True)
class Preset:
    """One known metric. `edges` are a histogram's usual finite bucket edges, `unit` is for reports.

    Without a series of the first part, or of one in `instead` (positions), the metric has no data; a missing other part
    counts as zero, but those in `anywhere` must have a series in one arm at least. `units` are the
    first-event-per-unit counts; `clusters` and `unit_clusters` the sums by cluster of requests and of those. `wants`
    says what a metric must name besides: a "score" or an "event". `margin` is the usual one where the kind's does not
    fit, with `higher_is_better` an event is a good one. `one_armed` counts have no stable side. `weight` is its
    share among the guards. `waits`: its events may come much later than the requests they belong to, so these wait
    for the first one.
    """

    kind: MetricKind
    parts: tuple[Part, ...]
    build: Build
    edges: tuple[float, ...] = ()
    unit: str = ""
    anywhere: tuple[int, ...] = ()
    instead: tuple[int, ...] = ()
    units: tuple[Part, ...] = ()
    clusters: ClusterFamilies | None = None
    unit_clusters: ClusterFamilies | None = None
    margin: LineMargin | None = None
    higher_is_better: bool | None = None
    weight: float = 1.0
    one_armed: bool = False
    wants: str = ""
    waits: bool = False


def total(cells: Cells, cell: Cell) -> float:
    """The sum over all series, exactly rounded: it does not depend on their order."""
    return math.fsum(cells.get(cell, ()))


def build_events(cells: Cells, query: MetricQuery) -> EventCounts:  # noqa: ARG001 - the shape of Build
    """Bad of total."""
    return EventCounts(total=total(cells, "total"), bad=total(cells, "bad"))


def build_sums(cells: Cells, query: MetricQuery) -> SumCounts:  # noqa: ARG001 - the shape of Build
    """Count and sum; the SDK exports no sum of squares of tokens and cost."""
    return SumCounts(count=total(cells, "total"), sum=total(cells, "sum"))


def build_scores(cells: Cells, query: MetricQuery) -> ScoreCounts:  # noqa: ARG001 - the shape of Build
    """Weights on the 21 nodes, with count, sum and sum of squares of the scores themselves."""
    nodes = tuple(total(cells, f"node/{i}") for i in range(SCORE_NODES))
    has_nodes = any(cells.get(f"node/{i}") for i in range(SCORE_NODES))
    return ScoreCounts(
        count=total(cells, "count"),
        nodes=nodes if has_nodes else (),
        sum=total(cells, "sum"),
        sumsq=total(cells, "sumsq"),
    )


def build_pairs(cells: Cells, query: MetricQuery) -> PairedCounts:  # noqa: ARG001 - the shape of Build
    """Differences of pairs: what they gained less what they lost."""
    return PairedCounts(
        count=total(cells, "count"),
        sum=total(cells, "gain") - total(cells, "loss"),
        sumsq=total(cells, "sumsq"),
    )


def build_histogram(cells: Cells, query: MetricQuery) -> HistogramCounts:
    """Counts between the query's edges, the last bucket open.

    Pods of two releases may have different buckets: only edges that all of them have can be summed.
    """
    by_edge = {float(cell.removeprefix("le/")): values for cell, values in cells.items()}
    if not by_edge:
        return HistogramCounts((0.0,) * (len(query.edges) + 1))
    series = len(by_edge.get(math.inf, ()))
    missing = [edge for edge in query.edges if len(by_edge.get(edge, ())) != series]
    if series == 0 or missing:
        common = sorted(e for e, values in by_edge.items() if len(values) == series and math.isfinite(e))
        raise Inconsistent(
            f"not all pods have the bucket edges {_listed(missing or [math.inf])}; all have {_listed(common)}"
        )
    below = [math.fsum(by_edge[edge]) for edge in (*query.edges, math.inf)]
    buckets = tuple(b - a for a, b in zip([0.0, *below], below, strict=False))
    if any(bucket < 0 for bucket in buckets):
        raise Inconsistent("a bucket of the histogram counts more than the next larger one")
    return HistogramCounts(buckets)


def _listed(edges: Sequence[float]) -> str:
    shown = [f"{edge:g}" for edge in edges[:8]] + (["…"] if len(edges) > 8 else [])
    return ", ".join(shown) or "none"


def settle(counts: Counts, owed: float) -> tuple[Counts, float]:
    """The counts with what an earlier window owed them, and what they owe the next one.

    Two counters are read one after the other: an event may be seen a scrape before the request it belongs to. Such
    an excess waits for its request.
    """
    if isinstance(counts, EventCounts):
        bad = counts.bad + owed
        return EventCounts(counts.total, min(bad, counts.total)), max(0.0, bad - counts.total)
    if isinstance(counts, SumCounts):
        whole = counts.sum + owed
        return (SumCounts(0.0, 0.0), whole) if counts.count <= 0 else (SumCounts(counts.count, whole), 0.0)
    return counts, 0.0


def outcome(labels: Labels) -> tuple[Cell, ...]:
    """Requests by outcome: errors are bad."""
    return ("total", "bad") if labels.get("outcome") == "error" else ("total",)


def bucket(labels: Labels) -> tuple[Cell, ...]:
    """A histogram's cumulative bucket by its edge."""
    try:
        return (f"le/{float(labels.get('le', ''))!r}",)
    except ValueError:
        return ()


def node(labels: Labels) -> tuple[Cell, ...]:
    """A score's node."""
    at = number_in(labels, "node")
    return (f"node/{at}",) if at is not None and at < SCORE_NODES else ()


def fixed(cell: Cell) -> Callable[[Labels], tuple[Cell, ...]]:
    """All series feed one cell."""
    return lambda _labels: (cell,)


def histogram(metric: str, edges: tuple[float, ...], unit: str) -> Preset:
    """The preset of a Prometheus histogram; `metric` without `_bucket`."""
    return Preset(
        MetricKind.Histogram, (Part(Family(f"{metric}_bucket"), bucket),), build_histogram, edges, unit
    )
