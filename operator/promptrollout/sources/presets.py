"""The registry of known metrics. A new one (another SDK, a gateway, a model server) is one entry of `PRESETS`.

A preset says which families of counters it reads, which cells of the count each series feeds, and how the cells make
the counts that the analysis takes. Names and labels of `sdk/*` are as the SDK exports them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from promptrollout.analysis.counts import (
    SCORE_NODES,
    Counts,
    EventCounts,
    HistogramCounts,
    ScoreCounts,
    SumCounts,
)
from promptrollout.analysis.plan import MetricKind
from promptrollout.sources.families import Family, Labels
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

    Without a series of the first part the metric has no data; a missing other part counts as zero, but those in
    `anywhere` (positions) must have a series in one arm at least. `units` are the first-event-per-unit counts;
    `clusters` and `unit_clusters` the sums by cluster of requests and of those.
    """

    kind: MetricKind
    parts: tuple[Part, ...]
    build: Build
    edges: tuple[float, ...] = ()
    unit: str = ""
    anywhere: tuple[int, ...] = ()
    units: tuple[Part, ...] = ()
    clusters: ClusterFamilies | None = None
    unit_clusters: ClusterFamilies | None = None

    @property
    def scored(self) -> bool:
        """Whether the query must name a score."""
        return self.kind is MetricKind.Score


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


def _outcome(labels: Labels) -> tuple[Cell, ...]:
    return ("total", "bad") if labels.get("outcome") == "error" else ("total",)


def _bucket(labels: Labels) -> tuple[Cell, ...]:
    try:
        return (f"le/{float(labels.get('le', ''))!r}",)
    except ValueError:
        return ()


def _node(labels: Labels) -> tuple[Cell, ...]:
    node = labels.get("node", "")
    return (f"node/{int(node)}",) if node.isascii() and node.isdigit() and int(node) < SCORE_NODES else ()


def _fixed(cell: Cell) -> Callable[[Labels], tuple[Cell, ...]]:
    return lambda _labels: (cell,)


def histogram(metric: str, edges: tuple[float, ...], unit: str) -> Preset:
    """The preset of a Prometheus histogram; `metric` without `_bucket`."""
    return Preset(
        MetricKind.Histogram, (Part(Family(f"{metric}_bucket"), _bucket),), build_histogram, edges, unit
    )


def _sdk(name: str, parameter: str = "") -> Family:
    return Family(f"promptrollout_{name}", parameter=parameter)


def _by_cluster(name: str, parameter: str = "") -> Family:
    return Family(f"promptrollout_cluster_{name}", revision="arm", step="", parameter=parameter, by_arm=True)


#: All requests of a rollout; the sample-ratio test reads it whatever the metrics are.
REQUESTS = Part(_sdk("requests_total"), _outcome)
_ALL = Part(REQUESTS.family, _fixed("total"))

#: The SDK's buckets of times: 10 ms ... 328 s in steps of 2^(1/4) (statistics-sharper.md: "x1.19 buckets").
SECONDS = tuple(float(f"{0.01 * 2 ** (k / 4):.4g}") for k in range(61))

#: What the SDK calls the event that is a request's failure.
_ERRORS = "errors"

PRESETS: Mapping[str, Preset] = {
    "sdk/errors": Preset(
        MetricKind.Events,
        (REQUESTS,),
        build_events,
        units=(
            Part(_sdk("unit_exposure_total", "metric"), _fixed("total"), _ERRORS),
            Part(_sdk("unit_events_total", "metric"), _fixed("bad"), _ERRORS),
        ),
        clusters=ClusterFamilies(
            _by_cluster("requests_total"), _by_cluster("events_total", "metric"), _ERRORS
        ),
        unit_clusters=ClusterFamilies(
            _by_cluster("unit_exposure_total", "metric"), _by_cluster("unit_events_total", "metric"), _ERRORS
        ),
    ),
    "sdk/score": Preset(
        MetricKind.Score,
        (
            Part(_sdk("score_count", "score"), _fixed("count")),
            Part(_sdk("score_sum", "score"), _fixed("sum")),
            Part(_sdk("score_sumsq", "score"), _fixed("sumsq")),
            Part(_sdk("score_nodes_total", "score"), _node),
        ),
        build_scores,
        clusters=ClusterFamilies(
            _by_cluster("score_count", "score"),
            _by_cluster("score_sum", "score"),
            squares=_sdk("score_sumsq", "score"),
        ),
    ),
    "sdk/latency": histogram("promptrollout_request_duration_seconds", SECONDS, "s"),
    "sdk/ttft": histogram("promptrollout_time_to_first_token_seconds", SECONDS, "s"),
    "sdk/tokens": Preset(
        MetricKind.Sum, (_ALL, Part(_sdk("tokens_total"), _fixed("sum"))), build_sums, unit="tokens"
    ),
    "sdk/cost": Preset(
        MetricKind.Sum, (_ALL, Part(_sdk("cost_usd_total"), _fixed("sum"))), build_sums, unit="USD"
    ),
}


def custom(query: MetricQuery) -> Preset:
    """The preset of two counters of the application's own; SelectorError if a selector is none.

    A counter that has never been raised has no series in many applications. If it is the total's own metric
    (`{code="500"}` of all codes) it is known to be zero; one of another name must have been seen once, or a
    typing error in it would look like a candidate without errors.
    """
    if query.events is None:
        raise ValueError(f"metric {query.name} has neither a preset nor counters")
    bad, all_of = Family.custom(query.events.bad), Family.custom(query.events.total)
    known = bool(bad.name) and bad.name == all_of.name
    parts = (Part(all_of, _fixed("total")), Part(bad, _fixed("bad")))
    return Preset(MetricKind.Events, parts, build_events, anywhere=() if known else (1,))


def preset_of(query: MetricQuery) -> Preset:
    """What a query reads; ValueError, in words, if it cannot be asked."""
    if not query.preset:
        return custom(query)
    preset = PRESETS.get(query.preset)
    if preset is None:
        raise ValueError(f"preset {query.preset!r} is not known; use one of {', '.join(PRESETS)}")
    if preset.scored and not query.score:
        raise ValueError(f"preset {query.preset} needs the score's name")
    return preset
