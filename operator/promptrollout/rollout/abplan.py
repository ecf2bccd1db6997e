"""The planner of an A/B test: by how much an arm must be better to win within the horizon, and when a bad one goes.

An arm wins when it is shown better than the control by the Required metrics together, and not worse by any of them, and
not worse than each other arm (see strategies/abtest.py). The planner supposes that the other arms are like the control,
and looks at the challenger with the least weight, which takes longest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from promptrollout.analysis import (
    AnalysisPlan,
    Counts,
    EventCounts,
    MetricPlan,
    RampStep,
    Role,
    ScoreCounts,
    SumCounts,
    expected_crossing,
    forecast,
    worsened,
)
from promptrollout.api.abtest import AbTest
from promptrollout.api.quantities import WHOLE, parse_duration, parse_weight
from promptrollout.rollout.forecasting import EffectRow, describe_change, harmful, not_shown
from promptrollout.rollout.outlook import NO, YES, Decidable, Facts, words

#: By how much better an arm may be: shares of the bad events that do not happen, and how much a mean score rises.
_FEWER, _HIGHER = (0.1, 0.2, 0.33, 0.5, 0.75), (0.02, 0.05, 0.1)
_SHARES = (0.05, 0.1, 0.25, 0.5)
_HALVINGS = 20
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class WinRow:
    """What happens if an arm is like this in one metric, and like the control in the others; None: no win in time."""

    metric: str
    effect: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class TestPlan:
    """All of it. `smallest`: the smallest improvement that wins within the horizon, by metric; "" if none does."""

    __test__ = False  # pytest takes it for a test

    horizon: float
    decidable: Decidable
    wins: tuple[WinRow, ...]
    effects: tuple[EffectRow, ...]
    smallest: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Table:
    """The test as numbers: shares of the control, of the challenger with the least weight, and of the next arm."""

    horizon: float
    control: float
    arm: float
    other: float | None

    @classmethod
    def of(cls, test: AbTest) -> _Table:
        weights = {arm.name: parse_weight(arm.weight) / WHOLE for arm in test.arms}
        control = next(weights[arm.name] for arm in test.arms if arm.prompt is None)
        arms = sorted(weights[arm.name] for arm in test.arms if arm.prompt is not None)
        horizon = parse_duration(test.horizon).total_seconds()
        return cls(horizon, control, arms[0], arms[1] if len(arms) > 1 else None)

    def against(self, other: float) -> tuple[list[RampStep], float]:
        """One step in which the arm and another have their shares of what both get, and what share that is."""
        both = self.arm + other
        return [RampStep(round(WHOLE * self.arm / both), self.horizon)], both


def plan_test(
    test: AbTest, plan: AnalysisPlan, contests: frozenset[str], facts: Facts, reaction: float = 30.0
) -> TestPlan:
    """What the test can show, and when.

    Args:
        test: arms, weights and horizon.
        plan: of `plan_of(analysis, rivals)`: with the contests, and with thresholds for so many challengers.
        contests: the metrics that ask whether an arm is better.
        facts: traffic of all arms, and what the control is like.
        reaction: seconds between the evidence and the last request that a bad arm gets.

    """
    table = _Table.of(test)
    asked = [m for m in plan.metrics if m.role is Role.Required and m.name in facts.stable]
    by_source = {m.source: m for m in plan.metrics if m.name in contests}
    wins = tuple(
        WinRow(metric.name, describe_change(metric, facts.stable[metric.name], arm), found)
        for metric in asked
        for arm in improvements(metric, facts.stable[metric.name])
        for found in [_win(table, (plan, by_source, asked), facts, (metric, arm), coarse=False)]
    )
    smallest = {metric.name: _smallest(table, (plan, by_source, asked), facts, metric) for metric in asked}
    return TestPlan(
        table.horizon,
        _decidable(table, plan, facts, smallest),
        wins,
        tuple(_harms(table, plan, facts, reaction, contests)),
        smallest,
    )


def decidable_test(test: AbTest, plan: AnalysisPlan, contests: frozenset[str], facts: Facts) -> Decidable:
    """The condition alone, by the closed form: quick enough to be looked at often."""
    table = _Table.of(test)
    asked = [m for m in plan.metrics if m.role is Role.Required and m.name in facts.stable]
    by_source = {m.source: m for m in plan.metrics if m.name in contests}
    smallest = {m.name: _smallest(table, (plan, by_source, asked), facts, m) for m in asked}
    return _decidable(table, plan, facts, smallest)


def improvements(metric: MetricPlan, stable: Counts) -> list[Counts]:
    """Arms that are better than the control by so much."""
    match stable:
        case EventCounts():
            shares: Sequence[float] = _FEWER
        case ScoreCounts():
            shares = _HIGHER
        case _:
            shares = _SHARES
    found = [_bettered(metric, stable, share) for share in shares]
    return [one for one in found if one is not None]


def _bettered(metric: MetricPlan, stable: Counts, share: float) -> Counts | None:
    """Like the control, but for a share of its answers that are as good as can be (of scores: by so much better)."""
    if isinstance(stable, ScoreCounts):
        room = _room(metric, stable)
        share = share / room if room > 0.0 else 2.0
    if isinstance(stable, SumCounts):
        share = share / (1.0 + share) if metric.higher_is_better else share
    if share > 1.0:
        return None
    return worsened(stable, share, higher_is_better=not metric.higher_is_better)


def _room(metric: MetricPlan, stable: ScoreCounts) -> float:
    """How far a mean score is from its best."""
    size = math.fsum(stable.nodes)
    if not stable.nodes or not size:
        return 1.0
    badness = math.fsum(n * i / (len(stable.nodes) - 1) for i, n in enumerate(stable.nodes)) / size
    return badness if metric.higher_is_better else 1.0 - badness


Asked = tuple[AnalysisPlan, dict[str, MetricPlan], list[MetricPlan]]


def _win(
    table: _Table, what: Asked, facts: Facts, arm: tuple[MetricPlan, Counts], *, coarse: bool
) -> float | None:
    """Seconds until an arm that is better in one metric has won; None if it has not at the horizon."""
    plan, contests, asked = what
    better, counts = arm
    needs: list[float] = []
    contest = contests.get(better.source)
    if contest is None:
        return None
    # The mean over the Required metrics must reach the threshold, and the others say nothing.
    joint = replace(plan, alpha_promote=plan.alpha_promote / max(len(asked), 1))
    pairs = [(contest, joint, counts, table.control)]
    for metric in asked:
        mine = counts if metric is better else facts.stable[metric.name]
        pairs.append((metric, plan, mine, table.control))
        if table.other is not None:
            pairs.append((metric, plan, mine, table.other))
    for metric, rates, mine, other in pairs:
        steps, share = table.against(other)
        base = better if metric is contest else metric
        scenario = facts.scenario(base, mine)
        if scenario is None:
            return None
        scenario = replace(scenario, metric=metric)
        traffic = facts.per_second * share
        if coarse:
            found = expected_crossing(scenario, steps, traffic, rates.promote_threshold, promote=True)
        else:
            found = forecast([scenario], steps, traffic, rates)[0].promote
        if found is None:
            return None
        needs.append(found.seconds)
    return max(needs)


def _smallest(table: _Table, what: Asked, facts: Facts, metric: MetricPlan) -> str:
    """The smallest improvement in one metric that wins within the horizon, by the closed form."""
    stable = facts.stable[metric.name]
    low, high = 0.0, _room(metric, stable) if isinstance(stable, ScoreCounts) else 1.0

    def wins(share: float) -> bool:
        arm = _bettered(metric, stable, share)
        return arm is not None and _win(table, what, facts, (metric, arm), coarse=True) is not None

    if not wins(high):
        return ""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if wins(middle) else (middle, high)
    arm = _bettered(metric, stable, high)
    return "" if arm is None else describe_change(metric, stable, arm)


def _decidable(table: _Table, plan: AnalysisPlan, facts: Facts, smallest: dict[str, str]) -> Decidable:
    if not any(m.role is Role.Required for m in plan.metrics):
        said = "no metric is Required, so no arm can be shown better: make one Required"
        return Decidable(NO, "NothingRequired", said)
    if facts.per_second <= 0.0:
        return Decidable(None, "NoTraffic", "no traffic has been seen yet")
    if not smallest:
        return Decidable(None, "NoData", "nothing is known yet of the control's metrics")
    shown = [f"{name} {change}" for name, change in smallest.items() if change]
    traffic = f"{facts.per_second * _DAY:,.0f} requests a day"
    horizon = f"the horizon of {words(table.horizon)}"
    if shown:
        said = f"at {traffic} an arm wins within {horizon} if it brings {' or '.join(shown)}, or better"
        return Decidable(YES, "Decidable", said)
    cure = "choose a longer horizon, fewer arms, or more weight for the smallest"
    said = f"at {traffic} no arm can win within {horizon}, however much better it is: {cure}"
    return Decidable(NO, "TooLittleTraffic", said)


def _harms(
    table: _Table, plan: AnalysisPlan, facts: Facts, reaction: float, contests: frozenset[str]
) -> list[EffectRow]:
    """When an arm that is worse is dropped, and who has met it by then."""
    steps, share = table.against(table.control)
    guards = replace(plan, metrics=tuple(m for m in plan.metrics if m.name not in contests))
    bad = harmful(guards, facts)
    found = forecast([scenario for *_, scenario in bad], steps, facts.per_second * share, guards)
    rows = []
    for (metric, label, scenario), one in zip(bad, found, strict=True):
        if one.harm is None:
            rows.append(not_shown((metric.name, label), scenario))
            continue
        requests = one.harm.candidate_samples + facts.per_second * table.arm * reaction
        rows.append(EffectRow(metric.name, label, one.harm, 1, requests, requests / facts.per_user))
    return rows
