"""`plan`: what a rollout can show at a given traffic, when, and a better ramp."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.table import Table

from promptrollout.analysis import AnalysisPlan, Counts, MetricPlan
from promptrollout.api.quantities import format_weight, parse_decimal, parse_duration
from promptrollout.cli.access import Where
from promptrollout.cli.assuming import assumed, describe, given
from promptrollout.cli.loading import File, PolicyFile, Wanted, load_rollout
from promptrollout.cli.measuring import Measured, measure
from promptrollout.cli.printing import (
    UNDECIDABLE,
    USAGE,
    CliError,
    Context,
    Kubeconfig,
    Output,
    as_yaml,
    console,
    fail,
    structured,
)
from promptrollout.rollout.forecasting import RolloutPlan, better_ramp, is_better, plan_rollout
from promptrollout.rollout.outlook import Facts
from promptrollout.rollout.ramp import Ramp, as_yaml_steps, round_duration

_DAY = 86_400.0
_PER = {
    "s": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "d": _DAY,
    "day": _DAY,
}

Traffic = Annotated[str | None, typer.Option(help="Requests of both arms: 10000/day, 10/s, 600/min.")]
Stable = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METRIC=VALUE",
        help="What stable is like: a rate (errors=0.02), a mean score and its deviation (helpful=0.8:0.2), "
        "a median and sigma (latency=1.5:0.6).",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("plan")(plan)


def parse_traffic(text: str) -> float:
    """`10000/day` as requests a second; CliError for what is none."""
    number, _, unit = text.replace(",", "").replace("_", "").partition("/")
    try:
        per = _PER[(unit or "s").strip().rstrip("s") or "s"]
        rate = float(number) / per
    except (KeyError, ValueError):
        fail(f"--traffic {text}: write for example 10000/day, 10/s or 600/min", USAGE)
    if not (math.isfinite(rate) and rate > 0.0):
        fail(f"--traffic {text}: it must be more than 0", USAGE)
    return rate


def design_effects(plan: AnalysisPlan, pairs: Sequence[str] | None) -> dict[str, float]:
    """`--design-effect errors=1.5`."""
    found = {}
    for text in pairs or ():
        name, _, value = text.rpartition("=")
        if name not in plan.positions:
            fail(f"--design-effect {text}: the rollout compares {', '.join(plan.positions)}", USAGE)
        try:
            found[name] = parse_decimal(value)
        except ValueError as error:
            fail(f"--design-effect {text}: {error}", USAGE)
        if found[name] < 1.0:
            fail(f"--design-effect {text}: it is at least 1", USAGE)
    return found


def plan(
    file: File,
    traffic: Traffic = None,
    stable: Stable = None,
    from_prometheus: Annotated[
        str | None, typer.Option(metavar="URL", help="Read traffic and stable's values from this Prometheus.")
    ] = None,
    selector: Annotated[
        str | None, typer.Option(help="A counter of requests whose rate is the traffic, if not the SDK's.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Stable's revision in Prometheus; default: whichever answers there.")
    ] = None,
    since: Annotated[str, typer.Option(help="How far back Prometheus is read.")] = "24h",
    design_effect: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=VALUE", help="How much requests of one unit resemble.")
    ] = None,
    requests_per_user: Annotated[float, typer.Option(help="To count users instead of requests.")] = 1.0,
    policy: PolicyFile = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = None,
) -> None:
    """Say what a rollout can show at a given traffic, and when; and propose a better ramp if there is one.

    Exit code 0: a candidate like stable can be shown non-inferior within the deadline; 4: it cannot.

        kubectl promptrollout plan -f rollout.yaml --traffic 10000/day
        kubectl promptrollout plan -f rollout.yaml --from-prometheus http://localhost:9090
    """
    wanted = load_rollout(file, policy, Where(None, context, kubeconfig))
    analysis = wanted.planned.plan
    measured = Measured()
    if from_prometheus:
        key, span = f"{wanted.namespace}/{wanted.name}", (time.time(), _seconds(since))
        asked = measure(from_prometheus, wanted.planned, key, span, (selector, revision))
        measured = asyncio.run(asked)
    if traffic is None and not measured.per_second:
        fail(
            measured.problem or "how much traffic is there? --traffic 10000/day, or --from-prometheus URL",
            USAGE,
        )
    rate = parse_traffic(traffic) if traffic else measured.per_second
    known: dict[str, Counts] = {**measured.stable, **given(analysis, stable)}
    guessed = {m.name: assumed(m) for m in analysis.metrics if m.name not in known}
    effects = {**measured.design_effects, **design_effects(analysis, design_effect)}
    facts = Facts(rate, {**guessed, **known}, effects, max(requests_per_user, 1.0))
    ramp = Ramp.of(wanted.spec, rate)
    if ramp is None:
        fail("only canaries are planned: this rollout's strategy is another one")
    reaction = parse_duration(wanted.spec.analysis.interval).total_seconds() + 2.0
    mine = plan_rollout(ramp, analysis, facts, reaction)
    other = _confirmed(mine, better_ramp(ramp, analysis, facts), analysis, facts, reaction)
    told = _told(wanted, facts, guessed, mine, other)
    if not structured(told, output):
        _print(wanted, facts, guessed, mine, other)
    if mine.decidable.status is not True:
        raise typer.Exit(UNDECIDABLE)


def _seconds(text: str) -> float:
    try:
        return max(parse_duration(text).total_seconds(), 60.0)
    except ValueError as error:
        raise CliError(f"--since {error}", USAGE) from None


def _confirmed(
    mine: RolloutPlan, ramp: Ramp | None, analysis: AnalysisPlan, facts: Facts, reaction: float
) -> RolloutPlan | None:
    """The proposal, if the forecast bears the closed form out."""
    if ramp is None:
        return None
    found = plan_rollout(ramp, analysis, facts, reaction)
    figures = [(math.inf if one.promotion is None else one.promotion, one.exposure) for one in (found, mine)]
    return found if is_better(figures[0], figures[1]) else None


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


def _told(
    wanted: Wanted,
    facts: Facts,
    guessed: Mapping[str, Counts],
    mine: RolloutPlan,
    other: RolloutPlan | None,
) -> dict[str, object]:
    told: dict[str, object] = {
        "requestsPerSecond": facts.per_second,
        "assumed": sorted(guessed),
        "decidable": {
            "status": mine.decidable.status,
            "reason": mine.decidable.reason,
            "message": mine.decidable.message,
        },
        **_as_data(mine),
    }
    if other is not None:
        told["proposal"] = {**_as_data(other), **proposal_yaml(other, wanted)}
    return told


def _as_data(found: RolloutPlan) -> dict[str, object]:
    return {
        "promotionSeconds": found.promotion,
        "exposure": found.exposure,
        "effects": [
            {
                "metric": row.metric,
                "effect": row.effect,
                "seconds": row.harm.seconds if row.harm else None,
                "candidateRequests": row.requests,
                "users": row.users,
                "step": row.step,
            }
            for row in found.effects
        ],
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


def _print(
    wanted: Wanted,
    facts: Facts,
    guessed: Mapping[str, Counts],
    mine: RolloutPlan,
    other: RolloutPlan | None,
) -> None:
    out = console()
    out.print(f"{wanted.name or 'rollout'} at {facts.per_second * _DAY:,.0f} requests a day", style="bold")
    for metric in wanted.planned.plan.metrics:
        source = "assumed, say it with --stable" if metric.name in guessed else "given"
        value = describe(metric, facts.stable[metric.name])
        out.print(f"  {metric.name}: {value} ({source}), {_phi(metric, facts)}", markup=False)
    verdict = mine.decidable
    out.print(f"\nDecidable: {verdict.status if verdict.status is not None else 'Unknown'}", style="bold")
    out.print(verdict.message, markup=False)
    out.print("\nIf the candidate is worse, it is rolled back (median run, about):", style="bold")
    out.print(_effects(mine, other, facts))
    out.print("\nThe smallest effect that each step shows by itself:", style="bold")
    out.print(_steps(mine))
    if other is None:
        out.print("\nNo better ramp found.")
        return
    out.print("\nA better ramp:", style="bold")
    out.print(
        f"promoted after {_time(other.promotion)} instead of {_time(mine.promotion)}; "
        f"{other.exposure:,.0f} candidate requests to a rollback on average instead of {mine.exposure:,.0f}",
        markup=False,
    )
    out.print(as_yaml(proposal_yaml(other, wanted)), markup=False)


def _phi(metric: MetricPlan, facts: Facts) -> str:
    phi = facts.design_effects.get(metric.name, metric.correlation.phi)
    return f"design effect {phi:.3g}"


def _effects(mine: RolloutPlan, other: RolloutPlan | None, facts: Facts) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    users = "USERS" if facts.per_user > 1.0 else "REQUESTS"
    heads = ["METRIC", "STABLE → CANDIDATE", "AFTER", "IN STEP", f"{users} THAT SEE IT"]
    for head in [*heads, *(["BETTER RAMP: AFTER", users] if other else [])]:
        table.add_column(head, no_wrap=True)
    others = {(row.metric, row.effect): row for row in other.effects} if other else {}
    for row in mine.effects:
        cells = [row.metric, row.effect, _time(row.harm.seconds if row.harm else None)]
        cells += [str(row.step or "-"), "-" if row.users is None else f"{row.users:,.0f}"]
        if other:
            twin = others.get((row.metric, row.effect))
            cells.append(_time(twin.harm.seconds if twin and twin.harm else None))
            cells.append("-" if twin is None or twin.users is None else f"{twin.users:,.0f}")
        table.add_row(*cells)
    return table


def _steps(found: RolloutPlan) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    names = list(found.stages[0].smallest) if found.stages else []
    for head in ("STEP", "WEIGHT", "AT MOST", "CANDIDATE REQUESTS", *(name.upper() for name in names)):
        table.add_column(head, no_wrap=True)
    for row in found.stages:
        seen = [row.smallest[name] or "nothing" for name in names]
        requests = f"{row.requests:,.0f}"
        table.add_row(str(row.step), format_weight(row.weight), round_duration(row.seconds), requests, *seen)
    return table


def _time(seconds: float | None) -> str:
    return (
        "not in time"
        if seconds is None
        else round_duration(seconds)
        if seconds >= 60.0
        else f"{seconds:.0f}s"
    )
