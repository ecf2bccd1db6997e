"""The kinds of metric. A new one is a file here and a line in `kind_of`."""

from __future__ import annotations

from functools import lru_cache

from promptrollout.analysis.kinds.base import Kind
from promptrollout.analysis.kinds.event import EventKind
from promptrollout.analysis.kinds.histogram import HistogramKind
from promptrollout.analysis.kinds.paired import PairedKind
from promptrollout.analysis.kinds.score import ScoreKind
from promptrollout.analysis.kinds.total import SumKind
from promptrollout.analysis.plan import MetricKind, MetricPlan

__all__ = ["Kind", "kind_of"]


def kind_of(metric: MetricPlan) -> Kind:
    """The shared kind of a metric: metrics with the same one can be folded in one batch."""
    return _shared(metric.kind, len(metric.edges), metric.correlation.units, metric.higher_is_better)


@lru_cache(maxsize=512)
def _shared(kind: MetricKind, edges: int, units: bool, higher_is_better: bool) -> Kind:  # noqa: FBT001 - a cache key
    match kind:
        case MetricKind.Events:
            return EventKind(units=units, higher_is_better=higher_is_better)
        case MetricKind.Score:
            return _SCORE
        case MetricKind.Histogram:
            return HistogramKind(buckets=edges + 1)
        case MetricKind.Sum:
            return _SUM
        case MetricKind.Paired:
            return _PAIRED


_SCORE, _SUM, _PAIRED = ScoreKind(), SumKind(), PairedKind()
