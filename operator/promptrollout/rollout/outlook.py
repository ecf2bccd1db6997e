"""Whether a rollout can be decided at all, in the words of the condition `Decidable` and of the plugin's planner."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from promptrollout.analysis import (
    AnalysisPlan,
    Counts,
    Crossing,
    MetricPlan,
    Role,
    Scenario,
    expected_crossing,
    scenario_of,
)
from promptrollout.api.quantities import WHOLE
from promptrollout.rollout.ramp import Ramp, round_duration

#: Far enough to say how long something would take: a year.
_EVER = 365 * 86_400.0
_DAY = 86_400.0
YES, NO = True, False


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the traffic: requests a second of both arms, what stable is like, and its design effects."""

    per_second: float
    stable: Mapping[str, Counts]
    design_effects: Mapping[str, float] = field(default_factory=dict)
    #: requests of one user, on average
    per_user: float = 1.0

    def scenario(self, metric: MetricPlan, candidate: Counts | None = None) -> Scenario | None:
        """A candidate like stable, or like `candidate`; None if nothing is known of the metric."""
        stable = self.stable.get(metric.name)
        if stable is None:
            return None
        return scenario_of(metric, candidate or stable, stable, self.design_effects.get(metric.name))


@dataclass(frozen=True, slots=True)
class Decidable:
    """The condition: can non-inferiority of a candidate that is like stable be shown within the deadline?"""

    status: bool | None
    reason: str
    message: str
    #: seconds until it is shown, by metric; None: not before a year
    needs: Mapping[str, float | None] = field(default_factory=dict)


def required(plan: AnalysisPlan) -> list[MetricPlan]:
    """The metrics that must be shown non-inferior."""
    return [metric for metric in plan.metrics if metric.role is Role.Required]


def decidable(ramp: Ramp | None, plan: AnalysisPlan, facts: Facts) -> Decidable:
    """By the closed form (see analysis.planner), which is quick enough to be looked at often."""
    found = shown_after(ramp, plan, facts) if ramp is not None else {}
    return judge(ramp, plan, facts, found)


def judge(
    ramp: Ramp | None, plan: AnalysisPlan, facts: Facts, shown: Mapping[str, float | None]
) -> Decidable:
    """The same from known times: seconds by Required metric."""
    if ramp is None:
        return Decidable(None, "NotPlanned", "no step of this rollout has a weight, so nothing is compared")
    wanted = required(plan)
    if not wanted:
        said = "no metric is Required, so nothing can show non-inferiority: make one Required"
        return Decidable(NO, "NothingRequired", said)
    if facts.per_second <= 0.0:
        return Decidable(None, "NoTraffic", "no traffic has been seen yet")
    unknown = [metric.name for metric in wanted if metric.name not in facts.stable]
    if unknown:
        return Decidable(None, "NoData", f"nothing is known yet of stable's {', '.join(unknown)}")
    slowest = max(wanted, key=lambda m: _or_ever(shown.get(m.name)))
    longest = shown.get(slowest.name)
    end = ramp.promoted(longest)
    traffic = f"{facts.per_second * _DAY:,.0f} requests a day"
    if end is not None and longest is not None:
        where = " in the shadow" if ramp.in_shadow else ""
        what = "goes on" if ramp.in_shadow else "is promoted"
        said = (
            f"a candidate like stable is shown non-inferior{where} in about {words(longest)} at {traffic} "
            f"(slowest: {slowest.name}) and {what} after about {words(end)}; "
            f"progressDeadline is {words(ramp.deadline)}"
        )
        return Decidable(YES, "Decidable", said, shown)
    needs, limit, cure = _needs(longest), _limit(ramp, longest), _cure(ramp, longest)
    said = f"non-inferiority of {slowest.name} {needs} at {traffic}, {limit}: {cure}"
    return Decidable(NO, "TooLittleTraffic", said, shown)


def shown_after(ramp: Ramp, plan: AnalysisPlan, facts: Facts) -> dict[str, float | None]:
    """Seconds after which each Required metric is shown non-inferior if the candidate is like stable.

    What takes longer than the deadline is continued at the last weight, so that it can be said how much longer.
    """
    steps = ramp.undecided()
    steps = [*steps[:-1], replace(steps[-1], seconds=_EVER)] if steps else []
    found: dict[str, float | None] = {}
    for metric in required(plan):
        scenario = facts.scenario(metric)
        crossing = scenario and expected_crossing(
            scenario, steps, facts.per_second, plan.promote_threshold, promote=True
        )
        found[metric.name] = crossing.seconds if crossing else None
    return found


def _or_ever(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


def _needs(seconds: float | None) -> str:
    if seconds is None:
        return "cannot be shown within a year"
    return f"needs about {words(seconds)}"


def _limit(ramp: Ramp, longest: float | None) -> str:
    if ramp.holds or (longest is not None and longest > ramp.deadline):
        return f"progressDeadline is {words(ramp.deadline)}"
    return "and the steps end sooner"


def _cure(ramp: Ramp, longest: float | None) -> str:
    """What to change."""
    cures = []
    if longest is not None and longest < 30 * _DAY:
        waits = (
            "in the shadow's duration" if ramp.in_shadow else "in the timeout of a step with until: Evidence"
        )
        cures.append(
            f"allow {round_duration(longest * 1.5)} in progressDeadline"
            + ("" if ramp.holds else f" and {waits}")
        )
    heaviest = max(stage.weight for stage in ramp.stages)
    if ramp.in_shadow and heaviest < WHOLE:
        cures.append(f"sample more than {heaviest / 100:g}% of the requests")
    elif heaviest < WHOLE // 2:
        cures.append(f"end the ramp at 50% instead of {heaviest / 100:g}%")
    cures.append("widen promoteMargin")
    return " or ".join(cures)


def words(seconds: float) -> str:
    """A length of time for people, in two digits or so."""
    for unit, size in (("days", _DAY), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 1.0):.0f} s"


def exposure(crossings: Sequence[Crossing | None], ramp: Ramp, per_second: float) -> float:
    """Geometric mean of the candidate requests until harm is shown; what is never shown counts with all of them."""
    steps = ramp.undecided()
    most = sum(per_second * step.seconds * step.weight / WHOLE for step in steps)
    logs = [math.log(max(c.candidate_samples if c else most, 1.0)) for c in crossings]
    return math.exp(math.fsum(logs) / len(logs)) if logs else most
