"""Windows, histories and plans as JSON and back, exactly: every float comes back as the same bits.

Counts are lists that begin with a letter for their kind, so that a window is one short line:

    [start, end, exposure, weight, {metric: pair}, {late, requests, clusters}]

A number that is not finite becomes "nan", and that NaN: what `fold` refused once it refuses again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast

from promptrollout.analysis.counts import (
    ArmClusters,
    ArmRequests,
    ClusterCounts,
    Counts,
    EventCounts,
    HistogramCounts,
    History,
    LateCounts,
    MetricClusters,
    Pair,
    PairedCounts,
    ScoreCounts,
    SumCounts,
    Window,
)
from promptrollout.analysis.plan import (
    AnalysisPlan,
    Correlation,
    CorrelationBasis,
    DeltaMargin,
    HistogramMargin,
    LineMargin,
    Margin,
    MetricKind,
    MetricPlan,
    Role,
)

Json = object
_T = TypeVar("_T")
_NOT_FINITE = "nan"


class EncodingError(ValueError):
    """What was to be read is not what this module writes; says where."""


def encode_window(window: Window) -> list[Json]:
    """A window as one JSON-able list."""
    extra: dict[str, Json] = {}
    if window.late:
        extra["late"] = [[late.metric, late.exposure, _pair(late.pair)] for late in window.late]
    if window.requests is not None:
        extra["requests"] = _requests(window.requests)
    if window.clusters:
        extra["clusters"] = {name: _metric_clusters(c) for name, c in window.clusters.items()}
    metrics = {name: _pair(pair) for name, pair in window.metrics.items()}
    head: list[Json] = [_number(window.start), _number(window.end), window.exposure, window.weight, metrics]
    return [*head, extra] if extra else head


def decode_window(value: Json) -> Window:
    """The window that `encode_window` wrote.

    Raises:
        EncodingError: it is none.

    """
    return _reading("a window", lambda: _window(_items(value)))


def encode_history(history: History) -> dict[str, Json]:
    """A metric's history as JSON-able data."""
    return {
        "counts": None if history.counts is None else _counts(history.counts),
        "units": None if history.units is None else _counts(history.units),
        "clusters": [_metric_clusters(c) for c in history.clusters],
    }


def decode_history(value: Json) -> History:
    """The history that `encode_history` wrote; EncodingError if it is none."""
    return _reading("a history", lambda: _history(_members(value)))


def encode_plan(plan: AnalysisPlan) -> dict[str, Json]:
    """A plan as JSON-able data, with names for people."""
    return {
        "alphaRollback": plan.alpha_rollback,
        "alphaPromote": plan.alpha_promote,
        "alphaSampleRatio": plan.alpha_sample_ratio,
        "warmUp": plan.warm_up,
        "metrics": [_metric_plan(metric) for metric in plan.metrics],
    }


def decode_plan(value: Json) -> AnalysisPlan:
    """The plan that `encode_plan` wrote; EncodingError if it is none, or not one that can be."""
    return _reading("a plan", lambda: _plan(_members(value)))


def _reading(what: str, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except EncodingError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as error:
        raise EncodingError(f"not {what}: {error}") from None


# Numbers.


def _number(value: object) -> float | int | str | None:
    """A number as JSON has it, an integer where it is one (shorter, and the same float); None stays None."""
    if value is None:
        return None
    try:
        number = float(cast("float", value))
    except (TypeError, ValueError, OverflowError):
        return _NOT_FINITE
    if number.is_integer():
        # Minus zero has no integer.
        whole = abs(number) < 2**53 and (number != 0.0 or math.copysign(1.0, number) > 0)
        return int(number) if whole else number
    return number if math.isfinite(number) else _NOT_FINITE


def _numbers(values: Sequence[float]) -> list[Json]:
    return [_number(v) for v in values]


def _float(value: Json) -> float:
    if value == _NOT_FINITE:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise EncodingError(f"not a number: {value!r}")
    return float(value)


def _maybe(value: Json) -> float | None:
    return None if value is None else _float(value)


def _floats(value: Json) -> tuple[float, ...]:
    return tuple(_float(v) for v in _items(value))


def _whole(value: Json) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise EncodingError(f"not a whole number: {value!r}")
    return value


def _items(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise EncodingError(f"a list was expected, not {type(value).__name__}")
    return value


def _members(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise EncodingError(f"an object was expected, not {type(value).__name__}")
    return value


# Counts.


def _counts(counts: Counts | None) -> list[Json] | None:
    match counts:
        case None:
            return None
        case EventCounts(total, bad):
            return ["e", _number(total), _number(bad)]
        case ScoreCounts(count, nodes, total, sumsq):
            return ["s", _number(count), _numbers(nodes), _number(total), _number(sumsq)]
        case HistogramCounts(buckets):
            return ["h", _numbers(buckets)]
        case SumCounts(count, total, sumsq):
            return ["m", _number(count), _number(total), _number(sumsq)]
        case PairedCounts(count, total, sumsq, candidate, stable):
            return ["p", *_numbers((count, total, sumsq)), _number(candidate), _number(stable)]


def _read_counts(value: Json) -> Counts:
    kind, *rest = _items(value)
    match kind:
        case "e":
            return EventCounts(*(_float(v) for v in rest))
        case "s":
            return ScoreCounts(_float(rest[0]), _floats(rest[1]), _maybe(rest[2]), _maybe(rest[3]))
        case "h":
            return HistogramCounts(_floats(rest[0]))
        case "m":
            return SumCounts(_float(rest[0]), _float(rest[1]), _maybe(rest[2]))
        case "p":
            count, total, sumsq = (_float(v) for v in rest[:3])
            return PairedCounts(count, total, sumsq, _maybe(rest[3]), _maybe(rest[4]))
        case _:
            raise EncodingError(f"unknown kind of counts {kind!r}")


def _read_events(value: Json) -> EventCounts | None:
    if value is None:
        return None
    counts = _read_counts(value)
    if not isinstance(counts, EventCounts):
        raise EncodingError("counts of units must be events")
    return counts


def _pair(pair: Pair) -> list[Json]:
    parts = [pair.candidate, pair.stable, pair.candidate_units, pair.stable_units]
    encoded: list[Json] = [_counts(part) for part in parts]
    while encoded and encoded[-1] is None:
        encoded.pop()
    return encoded


def _read_pair(value: Json) -> Pair:
    candidate, stable, first, second = (*_items(value), None, None, None)[:4]
    return Pair(
        _read_counts(candidate),
        None if stable is None else _read_counts(stable),
        _read_events(first),
        _read_events(second),
    )


def _arm(arm: ArmClusters | None) -> list[Json] | None:
    return None if arm is None else [_numbers(arm.requests), _numbers(arm.sums), _number(arm.sumsq)]


def _read_arm(value: Json) -> ArmClusters:
    requests, sums, sumsq = _items(value)
    return ArmClusters(_floats(requests), _floats(sums), _maybe(sumsq))


def _clusters(counts: ClusterCounts | None) -> list[Json] | None:
    if counts is None:
        return None
    return [_number(counts.start), _number(counts.end), _arm(counts.stable), _arm(counts.candidate)]


def _read_clusters(value: Json) -> ClusterCounts | None:
    if value is None:
        return None
    start, end, stable, candidate = _items(value)
    second = None if candidate is None else _read_arm(candidate)
    return ClusterCounts(_float(start), _float(end), _read_arm(stable), second)


def _metric_clusters(clusters: MetricClusters) -> list[Json]:
    return [_clusters(clusters.requests), _clusters(clusters.units)]


def _read_metric_clusters(value: Json) -> MetricClusters:
    requests, units = _items(value)
    return MetricClusters(_read_clusters(requests), _read_clusters(units))


def _requests(requests: ArmRequests) -> list[Json]:
    head: list[Json] = [_number(requests.candidate), _number(requests.stable)]
    return head if requests.clusters is None else [*head, [_numbers(arm) for arm in requests.clusters]]


def _read_requests(value: Json) -> ArmRequests | None:
    if value is None:
        return None
    candidate, stable, *rest = _items(value)
    if not rest:
        return ArmRequests(_float(candidate), _float(stable))
    first, second = _items(rest[0])
    return ArmRequests(_float(candidate), _float(stable), (_floats(first), _floats(second)))


def _window(parts: Sequence[Json]) -> Window:
    start, end, exposure, weight, metrics = parts[:5]
    extra = _members(parts[5]) if len(parts) > 5 else {}
    late = (_items(item) for item in _items(extra.get("late", [])))
    return Window(
        _float(start),
        _float(end),
        _whole(exposure),
        _whole(weight),
        {name: _read_pair(pair) for name, pair in _members(metrics).items()},
        tuple(LateCounts(str(name), _whole(at), _read_pair(pair)) for name, at, pair in late),
        _read_requests(extra.get("requests")),
        {name: _read_metric_clusters(c) for name, c in _members(extra.get("clusters", {})).items()},
    )


def _history(members: Mapping[str, Json]) -> History:
    counts = members["counts"]
    return History(
        None if counts is None else _read_counts(counts),
        _read_events(members["units"]),
        tuple(_read_metric_clusters(c) for c in _items(members["clusters"])),
    )


# Plans.


def _margin(margin: Margin) -> dict[str, Json]:
    match margin:
        case LineMargin(r, d):
            return {"ratio": r, "margin": d}
        case DeltaMargin(delta):
            return {"margin": delta}
        case HistogramMargin(ridit, exceedance, threshold):
            return {"margin": ridit, "ratio": exceedance, "threshold": threshold}


def _read_margin(kind: MetricKind, value: Json) -> Margin:
    members = _members(value)
    match kind:
        case MetricKind.Events | MetricKind.Sum:
            return LineMargin(_float(members["ratio"]), _float(members["margin"]))
        case MetricKind.Histogram:
            threshold = _maybe(members.get("threshold"))
            return HistogramMargin(_float(members["margin"]), _float(members["ratio"]), threshold)
        case _:
            return DeltaMargin(_float(members["margin"]))


def _metric_plan(metric: MetricPlan) -> dict[str, Json]:
    correlation = metric.correlation
    return {
        "name": metric.name,
        "kind": metric.kind.value,
        "role": metric.role.value,
        "weight": metric.weight,
        "harm": _margin(metric.margin),
        "promote": _margin(metric.promote_margin),
        "higherIsBetter": metric.higher_is_better,
        "edges": list(metric.edges),
        "correlation": {
            "basis": correlation.basis.value,
            "phi": correlation.phi,
            "allocation": correlation.allocation,
            "units": correlation.units,
        },
        "source": metric.source,
    }


def _plan(members: Mapping[str, Json]) -> AnalysisPlan:
    return AnalysisPlan(
        tuple(_read_metric(_members(metric)) for metric in _items(members["metrics"])),
        _float(members["alphaRollback"]),
        _float(members["alphaPromote"]),
        _float(members["alphaSampleRatio"]),
        _float(members["warmUp"]),
    )


def _read_metric(members: Mapping[str, Json]) -> MetricPlan:
    kind = MetricKind(str(members["kind"]))
    correlation = _members(members["correlation"])
    return MetricPlan(
        name=str(members["name"]),
        kind=kind,
        margin=_read_margin(kind, members["harm"]),
        promote_margin=_read_margin(kind, members["promote"]),
        role=Role(str(members["role"])),
        weight=_float(members["weight"]),
        edges=_floats(members["edges"]),
        higher_is_better=bool(members["higherIsBetter"]),
        correlation=Correlation(
            CorrelationBasis(str(correlation["basis"])),
            _float(correlation["phi"]),
            _float(correlation["allocation"]),
            bool(correlation["units"]),
        ),
        source=str(members["source"]),
    )
