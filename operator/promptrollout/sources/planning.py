"""From `spec.analysis` to what the analysis computes and what the source is asked. Pure."""

from collections.abc import Callable, Mapping, Sequence
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
    paired_metric,
    score_metric,
    sum_metric,
)
from promptrollout.analysis.plan import (
    ASSUMED_DESIGN_EFFECT,
    EVENT_MARGIN,
    EVENT_PROMOTE_MARGIN,
    HISTOGRAM_MARGIN,
    SCORE_MARGIN,
    SUM_MARGIN,
    MetricKind,
)
from promptrollout.api.metrics import SCORE_PRESET, Metric, MetricRole
from promptrollout.api.problem import Problem
from promptrollout.api.quantities import parse_decimal, parse_duration
from promptrollout.api.spec import Analysis
from promptrollout.sources.presets import COVERAGE, PRESETS, Preset
from promptrollout.sources.protocol import EventSelectors, MetricQuery
from promptrollout.sources.selector import check_selector

#: What a score is compared by in a shadow.
_PAIRED = "sdk/shadow-score"


@dataclass(frozen=True, slots=True)
class Planned:
    """What is to be computed, and what to ask for it; metric by metric in the same order.

    `contests` are the names of the metrics that ask whether the candidate is better; they decide nothing else.
    """

    plan: AnalysisPlan
    queries: tuple[MetricQuery, ...]
    contests: frozenset[str] = frozenset()


def plan_of(analysis: Analysis, rivals: int = 0, *, shadow: bool = False) -> Planned | tuple[Problem, ...]:
    """The plan and the queries of a spec's analysis, or what is wrong with it, by field path.

    With `rivals`, so many challengers compete to be better than stable: each Required metric is also compared without
    a margin, and promotion needs 1 / (alpha / rivals), Bonferroni's correction for picking one of them. Within one
    challenger all must pass (intersection-union), so nothing else is corrected. In a `shadow` both answer the same
    request, so scores are compared in pairs.
    """
    problems: list[Problem] = []
    plans: list[MetricPlan] = []
    queries: list[MetricQuery] = []
    for index, metric in enumerate((*analysis.metrics, *_coverage(analysis.metrics))):
        path = f"spec.analysis.metrics[{index}]"
        found = _check(metric, path)
        if found:
            problems += found
            continue
        asked = _in_pairs(metric) if shadow else metric
        try:
            plans.append(_plan(asked, analysis))
            queries.append(_query(asked, plans[-1]))
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


def _in_pairs(metric: Metric) -> Metric:
    return metric.model_copy(update={"preset": _PAIRED}) if metric.preset == SCORE_PRESET else metric


def _contest(metric: MetricPlan) -> MetricPlan:
    """The same metric without a margin: promotion's null is "not better". The name cannot be a user's."""
    return replace(
        metric,
        name=f"{metric.name} better",
        role=Role.Observe,
        promote_margin=_NO_MARGIN[type(metric.promote_margin)],
    )


def _coverage(metrics: Sequence[Metric]) -> list[Metric]:
    """A guard for each score that counts, unless there is one: that as many answers of both arms are scored."""
    guarded = {metric.score for metric in metrics if metric.preset == COVERAGE}
    names = {metric.name for metric in metrics}
    found: list[Metric] = []
    for metric in metrics:
        name = f"{metric.name[:54]}-coverage"
        counts = metric.preset == "sdk/score" and metric.role is not MetricRole.OBSERVE
        if counts and metric.score and metric.score not in guarded and name not in names:
            guarded.add(metric.score)
            found.append(Metric(name=name, preset=COVERAGE, score=metric.score, role=MetricRole.GUARD))
    return found


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
    return [
        Problem(
            f"{path}.{what}",
            f"{metric.preset} {f'needs the name of its {what}' if preset.wants == what else f'has no {what}'}",
            f"set or remove metrics[].{what}",
        )
        for what, named in (("score", metric.score), ("event", metric.event))
        if (preset.wants == what) != bool(named)
    ]


def _plan(metric: Metric, analysis: Analysis) -> MetricPlan:
    preset = PRESETS.get(metric.preset or "")
    build = _KINDS["events" if preset is None else _kind(preset)]
    return build(metric, preset, _options(metric, analysis, preset))


def _query(metric: Metric, plan: MetricPlan) -> MetricQuery:
    events = metric.events
    return MetricQuery(
        name=metric.name,
        preset="" if events else (metric.preset or ""),
        score=metric.score or metric.event or "",
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
    elif preset is None or not _clustered(metric, preset):
        correlation = Correlation.assumed()
    else:
        correlation = _measured(_kind(preset) == "events")
    if metric.preset == COVERAGE and correlation.phi < ASSUMED_DESIGN_EFFECT:
        # A score that comes minutes after its request is counted in another window: then the scored of a window vary
        # more than a share of its requests would, however independent these are.
        correlation = Correlation.assumed()
    return MetricOptions(
        role=Role(metric.role.value),
        correlation=correlation,
        source=_source(metric),
        weight=preset.weight if preset else 1.0,
        higher_is_better=preset.higher_is_better if preset else None,
    )


def _clustered(metric: Metric, preset: Preset) -> bool:
    """Whether sums by cluster come with it; without them first events per unit cannot be told either."""
    return preset.clusters is not None or (preset.kind is not MetricKind.Events and _of_sdk(metric))


def _of_sdk(metric: Metric) -> bool:
    return (metric.preset or "").startswith("sdk/")


def _measured(units: bool) -> Correlation:  # noqa: FBT001 - private, named at each call by what it is
    return Correlation.clusters(units=units)


def _source(metric: Metric) -> str:
    events = metric.events
    return (
        f"{events.bad}|{events.total}" if events else f"{metric.preset}|{metric.score or metric.event or ''}"
    )


def _number(text: str | None, default: float) -> float:
    return default if text is None else parse_decimal(text)


def _events(metric: Metric, preset: Preset | None, options: MetricOptions) -> MetricPlan:
    harm, promote = EVENT_MARGIN, EVENT_PROMOTE_MARGIN
    if preset is not None and preset.margin is not None:
        harm = promote = preset.margin
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


def _paired(metric: Metric, _: Preset | None, options: MetricOptions) -> MetricPlan:
    harm = DeltaMargin(_number(metric.margin, SCORE_MARGIN.delta))
    return paired_metric(metric.name, harm, DeltaMargin(_number(metric.promote_margin, harm.delta)), options)


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
    "paired": _paired,
}
