"""From `spec.analysis` to what the analysis computes and what the source is asked. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from promptrollout.analysis import (
    AnalysisPlan,
    Correlation,
    DeltaMargin,
    HistogramMargin,
    LineMargin,
    Margin,
    MetricOptions,
    MetricPlan,
    Role,
    events_metric,
    histogram_metric,
    score_metric,
    sum_metric,
)
from promptrollout.analysis.plan import (
    EVENT_MARGIN,
    EVENT_PROMOTE_MARGIN,
    HISTOGRAM_MARGIN,
    SCORE_MARGIN,
    SUM_MARGIN,
)
from promptrollout.api.problem import Problem
from promptrollout.api.quantities import parse_decimal, parse_duration
from promptrollout.api.spec import Analysis, Metric
from promptrollout.sources.presets import PRESETS, Preset
from promptrollout.sources.protocol import EventSelectors, MetricQuery
from promptrollout.sources.selector import check_selector


@dataclass(frozen=True, slots=True)
class Planned:
    """What is to be computed, and what to ask for it; metric by metric in the same order.

    `contests` are the names of the metrics that ask whether the candidate is better; they decide nothing else.
    """

    plan: AnalysisPlan
    queries: tuple[MetricQuery, ...]
    contests: frozenset[str] = frozenset()


def plan_of(analysis: Analysis, rivals: int = 0) -> Planned | tuple[Problem, ...]:
    """The plan and the queries of a spec's analysis, or what is wrong with it, by field path.

    With `rivals`, so many challengers compete to be better than stable: each Required metric is also compared without
    a margin, and promotion needs 1 / (alpha / rivals), Bonferroni's correction for picking one of them. Within one
    challenger all must pass (intersection-union), so nothing else is corrected.
    """
    problems: list[Problem] = []
    plans: list[MetricPlan] = []
    queries: list[MetricQuery] = []
    for index, metric in enumerate(analysis.metrics):
        path = f"spec.analysis.metrics[{index}]"
        found = _check(metric, path)
        if found:
            problems += found
            continue
        try:
            plans.append(_plan(metric, analysis))
            queries.append(_query(metric, plans[-1]))
        except ValueError as error:
            problems.append(Problem(path, str(error), "correct the margin"))
    if problems:
        return tuple(problems)
    try:
        alpha = round(1.0 - parse_decimal(analysis.confidence), 12)
        warm_up = parse_duration(analysis.warm_up).total_seconds()
        contests = {
            q.name: _contest(p) for p, q in zip(plans, queries, strict=True) if p.role is Role.Required
        }
        contests = contests if rivals else {}
        plan = AnalysisPlan(
            (*plans, *contests.values()),
            alpha_rollback=alpha,
            alpha_promote=alpha / max(rivals, 1),
            warm_up=warm_up,
        )
    except ValueError as error:
        return (Problem("spec.analysis", str(error), 'write a confidence such as "0.95" and unique names'),)
    again = tuple(replace(q, name=contests[q.name].name) for q in queries if q.name in contests)
    return Planned(plan, (*queries, *again), frozenset(metric.name for metric in contests.values()))


def _contest(metric: MetricPlan) -> MetricPlan:
    """The same metric without a margin: promotion's null is "not better". The name cannot be a user's."""
    return replace(
        metric,
        name=f"{metric.name} better",
        role=Role.Observe,
        promote_margin=_NO_MARGIN[type(metric.promote_margin)],
    )


def _check(metric: Metric, path: str) -> list[Problem]:
    if metric.events:
        return [
            Problem(f"{path}.events.{field}", problem, 'write one like app_errors_total{rev="{{revision}}"}')
            for field, selector in (("bad", metric.events.bad), ("total", metric.events.total))
            if (problem := check_selector(selector))
        ]
    preset = PRESETS.get(metric.preset or "")
    if preset is None:
        known = ", ".join(PRESETS)
        return [
            Problem(f"{path}.preset", f"{metric.preset!r} is not known", f"use one of {known}, or events")
        ]
    if preset.scored != bool(metric.score):
        said = "needs the score's name" if preset.scored else "is no score"
        return [Problem(f"{path}.score", f"{metric.preset} {said}", "set or remove metrics[].score")]
    return []


def _plan(metric: Metric, analysis: Analysis) -> MetricPlan:
    preset = PRESETS.get(metric.preset or "")
    build = _KINDS["events" if preset is None else _kind(preset)]
    return build(metric, preset, _options(metric, analysis, preset))


def _query(metric: Metric, plan: MetricPlan) -> MetricQuery:
    events = metric.events
    return MetricQuery(
        name=metric.name,
        preset="" if events else (metric.preset or ""),
        score=metric.score or "",
        edges=plan.edges,
        events=EventSelectors(events.bad, events.total) if events else None,
        correlated=plan.correlation == _measured(plan.correlation.units),
    )


def _kind(preset: Preset) -> str:
    return preset.kind.value.lower()


def _options(metric: Metric, analysis: Analysis, preset: Preset | None) -> MetricOptions:
    declared = analysis.correlation
    if declared is not None:
        correlation = Correlation.declared(
            parse_decimal(declared.mean_requests_per_unit), parse_decimal(declared.icc)
        )
    elif preset is None:
        correlation = Correlation.assumed()
    else:
        correlation = _measured(_kind(preset) == "events")
    return MetricOptions(role=Role(metric.role.value), correlation=correlation, source=_source(metric))


def _measured(units: bool) -> Correlation:  # noqa: FBT001 - private, named at each call by what it is
    return Correlation.clusters(units=units)


def _source(metric: Metric) -> str:
    events = metric.events
    return f"{events.bad}|{events.total}" if events else f"{metric.preset}|{metric.score or ''}"


def _number(text: str | None, default: float) -> float:
    return default if text is None else parse_decimal(text)


def _events(metric: Metric, _: Preset | None, options: MetricOptions) -> MetricPlan:
    harm, promote = EVENT_MARGIN, EVENT_PROMOTE_MARGIN
    return events_metric(
        metric.name,
        LineMargin(_number(metric.ratio, harm.r), _number(metric.margin, harm.d)),
        LineMargin(_number(metric.promote_ratio, promote.r), _number(metric.promote_margin, promote.d)),
        options,
    )


def _score(metric: Metric, _: Preset | None, options: MetricOptions) -> MetricPlan:
    harm = DeltaMargin(_number(metric.margin, SCORE_MARGIN.delta))
    # A wider harm margin means a wider idea of harmless: promotion follows it unless it is set itself.
    return score_metric(metric.name, harm, DeltaMargin(_number(metric.promote_margin, harm.delta)), options)


def _histogram(metric: Metric, preset: Preset | None, options: MetricOptions) -> MetricPlan:
    ridit, exceedance = HISTOGRAM_MARGIN.ridit, HISTOGRAM_MARGIN.exceedance
    harm = HistogramMargin(_number(metric.margin, ridit), _number(metric.ratio, exceedance))
    promote = HistogramMargin(
        _number(metric.promote_margin, harm.ridit), _number(metric.promote_ratio, harm.exceedance)
    )
    return histogram_metric(metric.name, preset.edges if preset else (), harm, promote, options)


def _sum(metric: Metric, _: Preset | None, options: MetricOptions) -> MetricPlan:
    harm = LineMargin(_number(metric.ratio, SUM_MARGIN.r), _number(metric.margin, SUM_MARGIN.d))
    promote = LineMargin(_number(metric.promote_ratio, harm.r), _number(metric.promote_margin, harm.d))
    return sum_metric(metric.name, harm, promote, options)


_NO_MARGIN: Mapping[type[Margin], Margin] = {
    LineMargin: LineMargin(1.0, 0.0),
    DeltaMargin: DeltaMargin(0.0),
    HistogramMargin: HistogramMargin(0.0, 1.0),
}

_KINDS: Mapping[str, Callable[[Metric, Preset | None, MetricOptions], MetricPlan]] = {
    "events": _events,
    "score": _score,
    "histogram": _histogram,
    "sum": _sum,
}
