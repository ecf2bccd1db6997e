"""The planner of a whole rollout: what its ramp can show and when, who sees a bad prompt, and a better ramp.

Times come from `analysis.forecast`, the engine itself on expected counts; ramps are searched with the closed form and
the best one is then forecast like the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from promptrollout.analysis import (
    AnalysisPlan,
    Correlation,
    CorrelationBasis,
    Counts,
    Crossing,
    EventCounts,
    MetricKind,
    MetricPlan,
    PairedCounts,
    RampStep,
    Scenario,
    ScoreCounts,
    SumCounts,
    closed_form,
    expected_crossing,
    forecast,
    step_limits,
    worsened,
)
from promptrollout.api.quantities import WHOLE, parse_duration
from promptrollout.api.spec import RolloutSpec
from promptrollout.rollout.outlook import Decidable, Facts, decidable, exposure, judge, required, shown_after
from promptrollout.rollout.ramp import Ramp, Stage

_MULTIPLES = (1.25, 1.5, 2.0, 3.0, 5.0)
_DROPS = (0.02, 0.05, 0.1, 0.2)
_SHARES = (0.02, 0.05, 0.1, 0.25)
_GROWTHS = (0.1, 0.25, 0.5, 1.0)
#: Ladders of weights (1/10,000) that are tried.
_LADDERS = (
    (100, 500, 2500, 5000),
    (100, 1000, 5000),
    (200, 1000, 5000),
    (500, 2500, 5000),
    (500, 5000),
    (1000, 5000),
    (2500, 5000),
    (5000,),
)
_SHORTEST_STEP, _LONGEST_STEP = 300.0, 86_400.0
#: More time than this is not proposed.
_LONGEST_DEADLINE = 30 * 86_400.0
#: A ramp is better if time times exposure is so much less, and neither is so many times as much.
_LESS, _MOST_WORSE = 0.75, 1.25
#: Whatever needs more requests than this is on the margin, and rounding has put it beyond.
_NEVER = 1e12


@dataclass(frozen=True, slots=True)
class EffectRow:
    """What happens if the candidate is like this; None: not shown before the deadline.

    `users` are those who meet its answers: in a shadow nobody does, however many `requests` it answers. `tolerated`:
    it is no worse than the margin allows, so that no time is long enough.
    """

    metric: str
    effect: str
    harm: Crossing | None
    step: int | None
    requests: float | None  #: candidate requests until all are back at stable
    users: float | None
    tolerated: bool = False


@dataclass(frozen=True, slots=True)
class StageRow:
    """What one step shows by itself: the smallest effect by metric, "" if none."""

    step: int
    weight: int
    seconds: float
    requests: float
    smallest: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """All of it for one ramp. `promotion`: seconds until a candidate like stable is promoted."""

    ramp: Ramp
    decidable: Decidable
    promotion: float | None
    effects: tuple[EffectRow, ...]
    stages: tuple[StageRow, ...]
    exposure: float


def plan_rollout(ramp: Ramp, plan: AnalysisPlan, facts: Facts, reaction: float = 30.0) -> RolloutPlan:
    """What the ramp can show, and when.

    Args:
        ramp: of the rollout's spec.
        plan: its metrics.
        facts: traffic, and what stable is like.
        reaction: seconds between the evidence and the last request that the candidate gets (a window, the write,
            the pods).

    """
    steps = ramp.undecided()
    wanted = [(metric, scenario) for metric in required(plan) if (scenario := facts.scenario(metric))]
    bad = harmful(plan, facts)
    scenarios = [scenario for _, scenario in wanted] + [scenario for *_, scenario in bad]
    found = forecast(scenarios, steps, facts.per_second, plan)
    coarse = shown_after(ramp, plan, facts)
    shown = {
        metric.name: one.promote.seconds if one.promote else _beyond(coarse.get(metric.name), ramp.deadline)
        for (metric, _), one in zip(wanted, found, strict=False)
    }
    rows = tuple(
        _effect(ramp, facts, reaction, (metric.name, label), one.harm)
        if one.harm is not None
        else not_shown((metric.name, label), scenario)
        for (metric, label, scenario), one in zip(bad, found[len(wanted) :], strict=True)
    )
    verdict = judge(ramp, plan, facts, shown)
    slowest = max((_or_inf(shown.get(m.name)) for m in required(plan)), default=math.inf)
    return RolloutPlan(
        ramp,
        verdict,
        ramp.promoted(slowest) if math.isfinite(slowest) else None,
        rows,
        tuple(_stages(ramp, plan, facts)),
        exposure([row.harm for row in rows], ramp, facts.per_second),
    )


def _beyond(coarse: float | None, deadline: float) -> float | None:
    """What the forecast has not seen before the deadline cannot come before it, whatever the closed form says."""
    return None if coarse is None else max(coarse, deadline * 1.01)


def _or_inf(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


def not_shown(what: tuple[str, str], scenario: Scenario) -> EffectRow:
    """A candidate (metric, effect) that is not shown to be harmful: in time, or ever."""
    # Of sums without squares nothing tells how much they vary: no time can be told, whatever the margin.
    told = not (isinstance(scenario.candidate, SumCounts) and scenario.candidate.sumsq is None)
    tolerated = told and closed_form(scenario, RampStep(WHOLE // 2, 1.0), 1.0) > _NEVER
    return EffectRow(*what, None, None, None, None, tolerated)


def _effect(ramp: Ramp, facts: Facts, reaction: float, what: tuple[str, str], harm: Crossing) -> EffectRow:
    stage = ramp.stages[harm.step]
    requests = harm.candidate_samples + facts.per_second * stage.weight / WHOLE * reaction
    met = 0.0 if stage.mirrored else requests
    return EffectRow(*what, harm, ramp.number(harm), requests, met / facts.per_user)


def _stages(ramp: Ramp, plan: AnalysisPlan, facts: Facts) -> Iterable[StageRow]:
    steps = ramp.undecided()
    limits: dict[str, list[str]] = {}
    for metric in plan.metrics:
        stable = facts.stable.get(metric.name)
        if stable is None or not metric.guards:
            continue
        fixed = _fixed(metric, facts.design_effects.get(metric.name))
        needed = plan.harm_threshold + _dilution(plan, metric)
        limits[metric.name] = [
            "" if limit.candidate is None else describe_change(metric, stable, limit.candidate)
            for limit in step_limits(fixed, stable, steps, facts.per_second, needed)
        ]
    for number, (stage, step) in enumerate(zip(ramp.stages, steps, strict=False)):
        yield StageRow(
            stage.number,
            stage.weight,
            step.seconds,
            facts.per_second * step.seconds * stage.weight / WHOLE,
            {name: some[number] for name, some in limits.items()},
        )


def _fixed(metric: MetricPlan, phi: float | None) -> MetricPlan:
    if phi is None:
        return metric
    basis = Correlation(CorrelationBasis.Declared, phi, metric.correlation.allocation)
    return replace(metric, correlation=basis)


def _dilution(plan: AnalysisPlan, metric: MetricPlan) -> float:
    """One guard among several has to bring the whole mean over the threshold."""
    total = math.fsum(m.weight for m in plan.metrics if m.guards)
    return math.log(max(total / metric.weight, 1.0))


# Effects.


def harmful(plan: AnalysisPlan, facts: Facts) -> list[tuple[MetricPlan, str, Scenario]]:
    """Each guard with candidates that are worse in it, in words and as scenarios."""
    return [
        (metric, label, scenario)
        for metric in plan.metrics
        if metric.guards and metric.name in facts.stable
        for label, candidate in effects_of(metric, facts.stable[metric.name])
        if (scenario := facts.scenario(metric, candidate))
    ]


def effects_of(metric: MetricPlan, stable: Counts) -> list[tuple[str, Counts]]:
    """Candidates that are worse than stable by so much, in words that a reader of the metric understands."""
    shares: list[float] = []
    match stable:
        case EventCounts(total, bad) if total > 0.0 and not metric.higher_is_better:
            rate = bad / total
            rates = [m * rate for m in _MULTIPLES] if rate > 0.0 else [0.005, 0.01, 0.05, 0.2]
            shares = [(r - rate) / (1.0 - rate) for r in rates if r < 0.95]
        case ScoreCounts() if metric.higher_is_better and (mean := _mean(stable)) > 0.0:
            shares = [drop / mean for drop in _DROPS if drop < mean]
        case SumCounts():
            shares = list(_GROWTHS)
        case PairedCounts():
            shares = list(_DROPS)
        case _:
            shares = list(_SHARES)
    worse = [worsened(stable, share, higher_is_better=metric.higher_is_better) for share in shares]
    return [(describe_change(metric, stable, one), one) for one in worse]


def describe_change(metric: MetricPlan, stable: Counts, candidate: Counts) -> str:
    """`2 % → 4 %`, `0.86 → 0.81`: stable's value and the candidate's."""
    match stable, candidate:
        case EventCounts(), EventCounts():
            before, after = (100.0 * c.bad / c.total if c.total else 0.0 for c in (stable, candidate))
            return f"{before:.3g} % → {after:.3g} %"
        case ScoreCounts(), ScoreCounts():
            return f"{_mean(stable):.3g} → {_mean(candidate):.3g}"
        case SumCounts(), SumCounts() if stable.count and candidate.count and stable.sum:
            return f"mean x {candidate.sum / candidate.count / (stable.sum / stable.count):.3g}"
        case PairedCounts(), PairedCounts() if candidate.count:
            return f"{candidate.sum / candidate.count:+.3g} on average"
        case _:
            share = _worst_share(stable, candidate)
            worst = "lowest" if metric.higher_is_better else "highest"
            return f"{100.0 * share:.2g} % of answers moved to the {worst} bucket"


def _mean(counts: ScoreCounts) -> float:
    if counts.nodes:
        last = len(counts.nodes) - 1
        size = math.fsum(counts.nodes)
        return math.fsum(n * (1.0 - i / last) for i, n in enumerate(counts.nodes)) / size if size else 0.0
    return (counts.sum or 0.0) / counts.count if counts.count else 0.0


def _worst_share(stable: Counts, candidate: Counts) -> float:
    before, after = getattr(stable, "buckets", ()), getattr(candidate, "buckets", ())
    sizes = math.fsum(before), math.fsum(after)
    if not (before and min(sizes) > 0.0):
        return 0.0
    moved = [b / sizes[0] - a / sizes[1] for b, a in zip(before, after, strict=True)]
    lost = math.fsum(m for m in moved if m > 0.0)
    rest = 1.0 - min((before[-1] if moved[-1] < 0.0 else before[0]) / sizes[0], 1.0)
    return lost / rest if rest > 0.0 else 0.0


# Shadows, and what compares nothing.


def in_pairs(facts: Facts, plan: AnalysisPlan) -> Facts:
    """What is known of scores, as pairs: where nothing tells how alike both scores of a request are, half alike.

    Then their difference varies as much as one score does: sd sqrt(2 (1 - 1/2)).
    """
    pairs: dict[str, Counts] = {}
    for metric in plan.metrics:
        stable = facts.stable.get(metric.name)
        if metric.kind is MetricKind.Paired and isinstance(stable, ScoreCounts):
            pairs[metric.name] = PairedCounts(1e6, 0.0, _variance(stable) * 1e6)
    return replace(facts, stable={**facts.stable, **pairs})


def _variance(scores: ScoreCounts) -> float:
    last, size = len(scores.nodes) - 1, math.fsum(scores.nodes)
    if not size:
        return 0.04
    mean = math.fsum(n * i / last for i, n in enumerate(scores.nodes)) / size
    return math.fsum(n * (i / last - mean) ** 2 for i, n in enumerate(scores.nodes)) / size


def usual_ramp(spec: RolloutSpec, plan: AnalysisPlan, facts: Facts) -> Ramp:
    """A canary for a rollout that has none."""
    deadline = parse_duration(spec.progress_deadline).total_seconds()
    plain = Ramp(
        (Stage(1, WHOLE // 2, _SHORTEST_STEP, evidence=True, longest=deadline),), deadline, holds=True
    )
    return better_ramp(plain, plan, facts) or plain


# A better ramp.


def better_ramp(ramp: Ramp, plan: AnalysisPlan, facts: Facts) -> Ramp | None:
    """A ramp that decides sooner or exposes less, without being much worse in the other; None if there is none.

    If this ramp cannot show non-inferiority at all within the deadline, one that can, or that comes nearest.
    """
    mine = _figures(ramp, plan, facts)
    found = _best(ramp, mine, plan, facts)
    if found is None and not math.isfinite(mine[0]):
        # No ramp can within this deadline: which could, with more time?
        even = replace(
            ramp,
            stages=(Stage(1, WHOLE // 2, _SHORTEST_STEP, evidence=True, longest=ramp.deadline),),
            holds=True,
        )
        needs = [seconds for seconds in shown_after(even, plan, facts).values() if seconds is not None]
        longer = _rounded_days(1.5 * max(needs, default=math.inf))
        if ramp.deadline < longer <= _LONGEST_DEADLINE:
            found = _best(replace(ramp, deadline=longer), mine, plan, facts)
    return found


def _best(ramp: Ramp, mine: tuple[float, float], plan: AnalysisPlan, facts: Facts) -> Ramp | None:
    best, best_score = None, math.inf
    for ladder in _LADDERS:
        candidate = _laddered(ladder, ramp, plan, facts)
        if candidate is None or candidate.stages == ramp.stages:
            continue
        end, exposed = _figures(candidate, plan, facts)
        if not is_better((end, exposed), mine):
            continue
        score = math.log(max(end, 1.0)) + math.log(max(exposed, 1.0))
        if score < best_score:
            best, best_score = candidate, score
    return best


def _rounded_days(seconds: float) -> float:
    return math.ceil(seconds / _LONGEST_STEP) * _LONGEST_STEP if math.isfinite(seconds) else seconds


def is_better(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether a ramp with these seconds to promotion (infinite: never) and exposure is to be preferred."""
    if not math.isfinite(one[0]):
        return False
    if not math.isfinite(other[0]):
        return True
    time, exposed = one[0] / max(other[0], 1.0), one[1] / max(other[1], 1.0)
    return time * exposed <= _LESS and max(time, exposed) <= _MOST_WORSE


def _figures(ramp: Ramp, plan: AnalysisPlan, facts: Facts) -> tuple[float, float]:
    """Seconds to promotion (infinite: never within the deadline) and the exposure, both by the closed form."""
    found = decidable(ramp, plan, facts)
    slowest = max((_or_inf(s) for s in found.needs.values()), default=math.inf)
    end = ramp.promoted(slowest) if math.isfinite(slowest) else None
    crossings = [
        expected_crossing(
            scenario,
            ramp.undecided(),
            facts.per_second,
            plan.harm_threshold + _dilution(plan, metric),
        )
        for metric, _, scenario in harmful(plan, facts)
    ]
    return (math.inf if end is None else end), exposure(crossings, ramp, facts.per_second)


def _laddered(ladder: Sequence[int], ramp: Ramp, plan: AnalysisPlan, facts: Facts) -> Ramp | None:
    """A ramp on these weights: each step lasts until a coarse effect would have shown, the last until the evidence."""
    stages: list[Stage] = []
    clock = 0.0
    for number, (weight, _) in enumerate(pairwise(ladder), 1):
        lasts = _long_enough(weight, number, plan, facts)
        stages.append(Stage(number, weight, lasts))
        clock += lasts
    left = ramp.deadline - clock
    if left <= _SHORTEST_STEP:
        return None
    hours = math.floor(left / 3600.0) * 3600.0
    last = Stage(len(ladder), ladder[-1], _SHORTEST_STEP, evidence=True, longest=hours or left)
    return replace(ramp, stages=(*stages, last), holds=True)


def _long_enough(weight: int, number: int, plan: AnalysisPlan, facts: Facts) -> float:
    """Seconds in which a step shows the largest effect of some metric (first step), the next smaller one, and so on."""
    needed = []
    for metric in required(plan):
        stable = facts.stable.get(metric.name)
        effects = effects_of(metric, stable) if stable is not None else []
        if not effects or stable is None:
            continue
        _, candidate = effects[max(len(effects) - number, 0)]
        scenario = facts.scenario(metric, candidate)
        if scenario is not None:
            log_needed = plan.harm_threshold + _dilution(plan, metric)
            samples = closed_form(scenario, RampStep(weight, 1.0), log_needed)
            needed.append(samples / max(facts.per_second * weight / WHOLE, 1e-12))
    lasts = min(max(min(needed, default=_SHORTEST_STEP), _SHORTEST_STEP), _LONGEST_STEP)
    return _rounded(lasts)


def _rounded(seconds: float) -> float:
    """Up to a length that people write."""
    for size, most in ((300.0, 3600.0), (1800.0, 6 * 3600.0), (3600.0, math.inf)):
        rounded = math.ceil(seconds / size) * size
        if rounded <= most:
            return rounded
    return seconds
