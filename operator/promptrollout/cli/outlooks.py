"""What `plan` has found, for people and as data: of canaries, shadows, A/B tests, and of what compares nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.table import Table

from promptrollout.analysis import MetricPlan, guarantee_of
from promptrollout.api.quantities import format_weight, parse_duration
from promptrollout.cli.assuming import describe
from promptrollout.cli.loading import Wanted
from promptrollout.cli.printing import as_yaml, console
from promptrollout.rollout.abplan import TestPlan
from promptrollout.rollout.forecasting import EffectRow, RolloutPlan
from promptrollout.rollout.outlook import Decidable, Facts, words
from promptrollout.rollout.ramp import as_yaml_steps, round_duration

_DAY = 86_400.0
Data = dict[str, object]


class Outlook(Protocol):
    """A plan that can be shown; `guessed` names the metrics of which nothing is known."""

    def data(self, guessed: Collection[str]) -> Data:
        """As JSON-able data, with `decidable.status`."""

    def show(self, guessed: Collection[str]) -> None:
        """For people."""


@dataclass(frozen=True)
class CanaryOutlook:
    """A canary's ramp, and a better one if there is one."""

    wanted: Wanted
    facts: Facts
    mine: RolloutPlan
    other: RolloutPlan | None

    def data(self, guessed: Collection[str]) -> Data:
        """See Outlook."""
        told = {**_head(self.facts, guessed, self.mine.decidable), **_as_data(self.mine)}
        if self.other is not None:
            told["proposal"] = {**_as_data(self.other), **proposal_yaml(self.other, self.wanted)}
        return told

    def show(self, guessed: Collection[str]) -> None:
        """See Outlook."""
        out, mine, other = console(), self.mine, self.other
        _show_head(self.wanted, self.facts, guessed, mine.decidable)
        _show_ramp(mine, other, self.facts)
        if other is None:
            out.print("\nNo better ramp found.")
            return
        out.print("\nA better ramp:", style="bold")
        out.print(
            f"promoted after about {_about(other)} instead of {_about(mine)}; "
            f"{other.exposure:,.0f} candidate requests to a rollback on average instead of {mine.exposure:,.0f}",
            markup=False,
        )
        out.print(as_yaml(proposal_yaml(other, self.wanted)), markup=False)


@dataclass(frozen=True)
class ShadowOutlook:
    """A shadow, and the canary that may follow with evidence of its own."""

    wanted: Wanted
    facts: Facts
    first: RolloutPlan
    then: RolloutPlan | None

    @property
    def decidable(self) -> Decidable:
        """Of what can be decided least."""
        if self.then is None or self.first.decidable.status is not True:
            return self.first.decidable
        if self.then.decidable.status is not True:
            return self.then.decidable
        both = f"{self.first.decidable.message}; then, in the canary, {self.then.decidable.message}"
        together, deadline = (
            (self.first.promotion or 0.0) + (self.then.promotion or 0.0),
            self.first.ramp.deadline,
        )
        if together > deadline:
            cure = f"allow {round_duration(1.5 * together)} in progressDeadline"
            return Decidable(False, "TooLittleTraffic", f"{both}; together that is too long: {cure}")
        return Decidable(True, "Decidable", both)

    def data(self, guessed: Collection[str]) -> Data:
        """See Outlook."""
        told = {**_head(self.facts, guessed, self.decidable), **_as_data(self.first)}
        if self.then is not None:
            told["then"] = {
                "decidable": _decidable_data(self.then.decidable),
                **_as_data(self.then),
            }
        return told

    def show(self, guessed: Collection[str]) -> None:
        """See Outlook."""
        out = console()
        _show_head(self.wanted, self.facts, guessed, self.decidable)
        out.print("\nIn the shadow, where scores are compared in pairs:", style="bold")
        _show_ramp(self.first, None, self.facts)
        if self.then is not None:
            out.print("\nIn the canary that follows:", style="bold")
            _show_ramp(self.then, None, self.facts)


@dataclass(frozen=True)
class TestOutlook:
    """An A/B test."""

    __test__ = False  # pytest takes it for a test

    wanted: Wanted
    facts: Facts
    test: TestPlan

    def data(self, guessed: Collection[str]) -> Data:
        """See Outlook."""
        test = self.test
        return {
            **_head(self.facts, guessed, test.decidable),
            "horizonSeconds": test.horizon,
            "wins": [{"metric": r.metric, "effect": r.effect, "seconds": r.seconds} for r in test.wins],
            "smallestWin": dict(test.smallest),
            "effects": _effects_data(test.effects),
        }

    def show(self, guessed: Collection[str]) -> None:
        """See Outlook."""
        out, test = console(), self.test
        _show_head(self.wanted, self.facts, guessed, test.decidable)
        out.print("\nIf an arm is better, it wins (median run, about):", style="bold")
        table = _table(["METRIC", "CONTROL → ARM", "AFTER"])
        for row in test.wins:
            table.add_row(row.metric, row.effect, _time(row.seconds))
        out.print(table)
        out.print("\nIf an arm is worse, it is dropped:", style="bold")
        out.print(_effects(test.effects, None, self.facts))


@dataclass(frozen=True)
class NothingCompared:
    """A strategy that compares nothing, and what a canary would do instead."""

    wanted: Wanted
    facts: Facts
    instead: RolloutPlan

    @property
    def decidable(self) -> Decidable:
        """That there is nothing to decide."""
        said = (
            "the strategy is immediate, which compares nothing: from the moment the pods have it, all "
            f"{self.facts.per_second * _DAY:,.0f} requests a day get the new prompt, and a bad one goes on until "
            "someone says undo"
        )
        return Decidable(None, "NothingCompared", said)

    def data(self, guessed: Collection[str]) -> Data:
        """See Outlook."""
        found = self.instead
        told = {**_head(self.facts, guessed, self.decidable)}
        told["proposal"] = {**_as_data(found), **proposal_yaml(found, self.wanted)}
        return told

    def show(self, guessed: Collection[str]) -> None:
        """See Outlook."""
        out = console()
        _show_head(self.wanted, self.facts, guessed, self.decidable)
        out.print("\nA canary instead would roll a bad prompt back (median run, about):", style="bold")
        out.print(_effects(self.instead.effects, None, self.facts))
        out.print(self.instead.decidable.message, markup=False)
        out.print(f"\n{as_yaml(proposal_yaml(self.instead, self.wanted))}", markup=False)


def proposal_yaml(found: RolloutPlan, wanted: Wanted) -> dict[str, object]:
    """What to paste."""
    return {
        "spec": {
            "progressDeadline": _deadline(found, wanted),
            "strategy": {"canary": {"steps": as_yaml_steps(found.ramp.stages)}},
        }
    }


def _deadline(found: RolloutPlan, wanted: Wanted) -> str:
    own = wanted.spec.progress_deadline
    same = parse_duration(own).total_seconds() >= found.ramp.deadline
    return own if same else round_duration(found.ramp.deadline)


def _head(facts: Facts, guessed: Collection[str], decidable: Decidable) -> Data:
    return {
        "requestsPerSecond": facts.per_second,
        "assumed": sorted(guessed),
        "decidable": _decidable_data(decidable),
    }


def _decidable_data(decidable: Decidable) -> Data:
    return {"status": decidable.status, "reason": decidable.reason, "message": decidable.message}


def _as_data(found: RolloutPlan) -> dict[str, object]:
    return {
        "promotionSeconds": found.promotion,
        "exposure": found.exposure,
        "effects": _effects_data(found.effects),
        "steps": [
            {
                "step": row.step,
                "weight": format_weight(row.weight),
                "seconds": row.seconds,
                "candidateRequests": row.requests,
                "smallestEffect": dict(row.smallest),
            }
            for row in found.stages
        ],
    }


def _effects_data(rows: Sequence[EffectRow]) -> list[Data]:
    return [
        {
            "metric": row.metric,
            "effect": row.effect,
            "seconds": row.harm.seconds if row.harm else None,
            "candidateRequests": row.requests,
            "users": row.users,
            "step": row.step,
            "withinMargin": row.tolerated,
        }
        for row in rows
    ]


def _show_head(wanted: Wanted, facts: Facts, guessed: Collection[str], verdict: Decidable) -> None:
    out = console()
    out.print(f"{wanted.name or 'rollout'} at {facts.per_second * _DAY:,.0f} requests a day", style="bold")
    for metric in wanted.planned.plan.metrics:
        if metric.name in wanted.planned.contests:
            continue
        source = "assumed, say it with --stable" if metric.name in guessed else "given"
        value = describe(metric, facts.stable[metric.name])
        out.print(f"  {metric.name}: {value} ({source}), {_phi(metric, facts)}", markup=False)
    out.print(f"\nDecidable: {verdict.status if verdict.status is not None else 'Unknown'}", style="bold")
    out.print(verdict.message, markup=False)


def _show_ramp(mine: RolloutPlan, other: RolloutPlan | None, facts: Facts) -> None:
    out = console()
    out.print("\nIf the candidate is worse, it is rolled back (median run, about):", style="bold")
    out.print(_effects(mine.effects, other, facts))
    out.print("\nThe smallest effect that each step shows by itself:", style="bold")
    out.print(_steps(mine))


def _phi(metric: MetricPlan, facts: Facts) -> str:
    known = facts.design_effects.get(metric.name)
    phi = metric.correlation.phi if known is None else known
    told = guarantee_of(metric, estimated=known is not None)
    return f"design effect {phi:.3g}, {told.value}"


def _effects(mine: Sequence[EffectRow], other: RolloutPlan | None, facts: Facts) -> Table:
    users = "USERS" if facts.per_user > 1.0 else "REQUESTS"
    heads = ["METRIC", "STABLE → CANDIDATE", "AFTER", "IN STEP", f"{users} THAT SEE IT"]
    table = _table([*heads, *(["BETTER RAMP: AFTER", users] if other else [])])
    others = {(row.metric, row.effect): row for row in other.effects} if other else {}
    for row in mine:
        after = "never: within the margin" if row.tolerated else _time(row.harm.seconds if row.harm else None)
        cells = [row.metric, row.effect, after]
        cells += [str(row.step or "-"), "-" if row.users is None else f"{row.users:,.0f}"]
        if other:
            twin = others.get((row.metric, row.effect))
            cells.append(_time(twin.harm.seconds if twin and twin.harm else None))
            cells.append("-" if twin is None or twin.users is None else f"{twin.users:,.0f}")
        table.add_row(*cells)
    return table


def _steps(found: RolloutPlan) -> Table:
    names = list(found.stages[0].smallest) if found.stages else []
    table = _table(["STEP", "WEIGHT", "AT MOST", "CANDIDATE REQUESTS", *(name.upper() for name in names)])
    for row in found.stages:
        seen = [row.smallest[name] or "nothing" for name in names]
        requests = f"{row.requests:,.0f}"
        table.add_row(str(row.step), format_weight(row.weight), round_duration(row.seconds), requests, *seen)
    return table


def _table(heads: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for head in heads:
        table.add_column(head, no_wrap=True)
    return table


def _about(plan: RolloutPlan) -> str:
    return "not in time" if plan.promotion is None else words(plan.promotion)


def _time(seconds: float | None) -> str:
    return (
        "not in time"
        if seconds is None
        else round_duration(seconds)
        if seconds >= 60.0
        else f"{seconds:.0f}s"
    )
