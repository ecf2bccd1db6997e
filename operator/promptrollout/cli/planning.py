"""`plan`: what a rollout can show at a given traffic, when, and a better ramp."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from promptrollout.analysis import AnalysisPlan, Counts
from promptrollout.api.quantities import parse_decimal, parse_duration
from promptrollout.cli.access import Where
from promptrollout.cli.assuming import assumed, given
from promptrollout.cli.loading import File, PolicyFile, Wanted, load_rollout
from promptrollout.cli.measuring import Measured, measure
from promptrollout.cli.outlooks import (
    CanaryOutlook,
    NothingCompared,
    Outlook,
    ShadowOutlook,
    TestOutlook,
)
from promptrollout.cli.printing import (
    UNDECIDABLE,
    USAGE,
    CliError,
    Context,
    Kubeconfig,
    Output,
    fail,
    structured,
)
from promptrollout.rollout.abplan import plan_test
from promptrollout.rollout.forecasting import (
    RolloutPlan,
    better_ramp,
    in_pairs,
    is_better,
    plan_rollout,
    usual_ramp,
)
from promptrollout.rollout.outlook import Facts
from promptrollout.rollout.ramp import Ramp

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
    shown = [m for m in analysis.metrics if m.name not in wanted.planned.contests]
    guessed = {m.name: assumed(m) for m in shown if m.name not in known}
    effects = {**measured.design_effects, **design_effects(analysis, design_effect)}
    facts = Facts(rate, {**guessed, **known}, effects, max(requests_per_user, 1.0))
    reaction = parse_duration(wanted.spec.analysis.interval).total_seconds() + 2.0
    if not structured(told := (found := _planned(wanted, facts, reaction)).data(set(guessed)), output):
        found.show(set(guessed))
    if told["decidable"]["status"] is not True:  # type: ignore[index] # it is made so
        raise typer.Exit(UNDECIDABLE)


def _planned(wanted: Wanted, facts: Facts, reaction: float) -> Outlook:
    """What the rollout's strategy can show."""
    strategy, analysis = wanted.spec.strategy, wanted.planned.plan
    if strategy.ab_test is not None:
        test = plan_test(strategy.ab_test, analysis, wanted.planned.contests, facts, reaction)
        return TestOutlook(wanted, facts, test)
    ramp = Ramp.of(wanted.spec, facts.per_second)
    if strategy.immediate is not None:
        canary = usual_ramp(wanted.spec, analysis, facts)
        return NothingCompared(wanted, facts, plan_rollout(canary, analysis, facts, reaction))
    if ramp is None:
        fail("no step of this rollout has a weight, so there is nothing to plan")
    if wanted.shadowed is not None:
        first = plan_rollout(ramp, wanted.shadowed.plan, in_pairs(facts, wanted.shadowed.plan), reaction)
        later = Ramp.after_shadow(wanted.spec, facts.per_second)
        then = plan_rollout(later, analysis, facts, reaction) if later else None
        return ShadowOutlook(wanted, facts, first, then)
    mine = plan_rollout(ramp, analysis, facts, reaction)
    other = _confirmed(mine, better_ramp(ramp, analysis, facts), analysis, facts, reaction)
    return CanaryOutlook(wanted, facts, mine, other)


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
