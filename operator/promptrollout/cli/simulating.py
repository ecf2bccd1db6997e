"""`simulate`: a rollout many times over in virtual time, with the operator's own decision core and engine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from promptrollout.analysis import AnalysisPlan, MetricKind, MetricPlan
from promptrollout.api.quantities import parse_duration
from promptrollout.api.spec import RolloutSpec
from promptrollout.cli.access import Where
from promptrollout.cli.loading import File, PolicyFile, load_rollout
from promptrollout.cli.planning import parse_traffic
from promptrollout.cli.printing import USAGE, Context, Kubeconfig, Output, console, fail, structured
from promptrollout.rollout.ramp import round_duration
from promptrollout.simulation import (
    Course,
    EventWorld,
    LatencyWorld,
    MetricWorld,
    Outage,
    Report,
    ScoreWorld,
    SumWorld,
    World,
    simulate,
)
from promptrollout.simulation import Traffic as Requests

_KINDS = "rates for events, means for scores, factors for latency, tokens and cost"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(simulate_command)


def simulate_command(
    file: File,
    traffic: Annotated[str, typer.Option(help="Requests of both arms: 10000/day, 10/s, 600/min.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=STABLE:CANDIDATE",
            help=f"What both are like ({_KINDS}): errors=0.02:0.06, helpful=0.8:0.76, latency=1:1.3. "
            "Metrics that are not named are usual, and the same in both.",
        ),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many rollouts.")] = 500,
    lasting: Annotated[str, typer.Option("--for", help="How long each is followed.")] = "24h",
    onset: Annotated[str, typer.Option(help="When the candidate begins to differ.")] = "0s",
    drift: Annotated[float, typer.Option(help="How many times as bad both get in the course of it.")] = 1.0,
    daily: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="By how much traffic swings over the day.")
    ] = 0.0,
    requests_per_unit: Annotated[float, typer.Option(help="Requests of one conversation.")] = 1.0,
    icc: Annotated[float, typer.Option(min=0.0, max=1.0, help="How much they resemble each other.")] = 0.0,
    cold: Annotated[str | None, typer.Option(metavar="TIME:FACTOR", help="Cold caches: 10m:1.5.")] = None,
    judge_delay: Annotated[str, typer.Option(help="How long scores take to arrive.")] = "0s",
    outage: Annotated[
        list[str] | None, typer.Option(metavar="START:LENGTH", help="When metrics cannot be read: 2h:30m.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same result.")] = 0,
    processes: Annotated[int, typer.Option(min=0, help="0: as many as there are cores.")] = 0,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the course of it here (.svg, .png or .pdf).")
    ] = None,
    policy: PolicyFile = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = None,
) -> None:
    """Simulate a rollout many times: how often it is promoted or rolled back, when, and who saw a bad prompt.

    kubectl promptrollout simulate -f rollout.yaml --traffic 10000/day --metric errors=0.02:0.06
    """
    wanted = load_rollout(file, policy, Where(None, context, kubeconfig))
    plan = wanted.planned.plan
    course = _course(onset, drift, icc, cold)
    delay = _seconds("--judge-delay", judge_delay)
    metrics = _metrics(plan, metric, course, delay)
    try:
        requests = Requests(parse_traffic(traffic), daily=daily, requests_per_unit=requests_per_unit)
        outages = tuple(_outage(text) for text in outage or ())
        world = World(requests, metrics, seconds=_seconds("--for", lasting), outages=outages)
        report = _simulated(wanted.spec, plan, world, (runs, seed, processes or os.cpu_count() or 1))
    except ValueError as error:
        fail(str(error), USAGE)
    if picture is not None:
        _draw(report, picture, wanted.name)
    if not structured(report.to_dict(), output):
        _print(report, wanted.name)
        if picture is not None:
            console().print(f"\n{picture} is drawn", markup=False)


def _simulated(spec: RolloutSpec, plan: AnalysisPlan, world: World, how: tuple[int, int, int]) -> Report:
    runs, seed, processes = how
    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=runs)
        return simulate(
            spec,
            plan,
            world,
            runs=runs,
            seed=seed,
            processes=min(processes, runs),
            progress=lambda done, _: bar.update(task, completed=done),
        )


def _seconds(option: str, text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        fail(f"{option} {error}", USAGE)


def _course(onset: str, drift: float, icc: float, cold: str | None) -> Course:
    length, _, factor = (cold or "0s:1").partition(":")
    try:
        return Course(
            onset=_seconds("--onset", onset),
            drift=drift,
            cold_seconds=_seconds("--cold", length),
            cold_factor=float(factor or "1"),
            icc=icc,
        )
    except ValueError as error:
        fail(str(error), USAGE)


def _outage(text: str) -> Outage:
    start, _, length = text.partition(":")
    return Outage(_seconds("--outage", start), _seconds("--outage", length))


def _metrics(
    plan: AnalysisPlan, texts: Sequence[str] | None, course: Course, delay: float
) -> Mapping[str, MetricWorld]:
    said: dict[str, tuple[float, float | None]] = {}
    for text in texts or ():
        name, _, values = text.rpartition("=")
        if name not in plan.positions:
            fail(f"--metric {text}: the rollout compares {', '.join(plan.positions)}", USAGE)
        stable, _, candidate = values.partition(":")
        try:
            said[name] = (float(stable), float(candidate) if candidate else None)
        except ValueError:
            fail(f"--metric {text}: write METRIC=STABLE:CANDIDATE in numbers", USAGE)
    try:
        return {
            one.name: _world(one, said.get(one.name), course, delay)
            for one in plan.metrics
            if one.kind is not MetricKind.Paired
        }
    except ValueError as error:
        fail(f"--metric: {error}", USAGE)


def _world(
    metric: MetricPlan, said: tuple[float, float | None] | None, course: Course, delay: float
) -> MetricWorld:
    match metric.kind:
        case MetricKind.Events:
            stable, candidate = said or (0.98 if metric.higher_is_better else 0.02, None)
            return EventWorld(stable, stable if candidate is None else candidate, course)
        case MetricKind.Score:
            stable, candidate = said or (0.8, None)
            return ScoreWorld(stable, stable if candidate is None else candidate, delay=delay, course=course)
        case MetricKind.Histogram:
            stable, candidate = said or (1.0, None)
            middle = metric.edges[len(metric.edges) // 2]
            return LatencyWorld(stable * middle, factor=(candidate or stable) / stable, course=course)
        case _:
            stable, candidate = said or (1.0, None)
            return SumWorld(stable, factor=(candidate or stable) / stable, course=course)


def _print(report: Report, name: str) -> None:
    out = console()
    worse = "worse than" if report.harmful else "like"
    out.print(
        f"{name or 'rollout'}: {len(report.runs)} runs of {round_duration(report.seconds)}, a candidate {worse} stable",
        markup=False,
    )
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for head in (
        "ENDED",
        "BECAUSE",
        "SHARE",
        "95 %",
        "AFTER (MEDIAN)",
        "90 % AFTER",
        "CANDIDATE REQUESTS",
        "BAD (MEAN)",
    ):
        table.add_column(head, no_wrap=True)
    for one in report.endings:
        low, high = one.share.interval
        table.add_row(
            one.outcome.value,
            one.reason or "-",
            f"{100.0 * one.share.value:.1f} %",
            f"{100.0 * low:.1f}-{100.0 * high:.1f}",
            round_duration(one.seconds.median),
            round_duration(one.seconds.p90),
            f"{one.candidate_requests.mean:,.0f}",
            f"{one.bad_requests.mean:,.0f}",
        )
    out.print(table)


def _draw(report: Report, file: Path, name: str) -> None:
    """Shares of the runs that are promoted and rolled back, and the mean weight, in the course of time."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    hours = [moment.seconds / 3600.0 for moment in report.timeline]
    axes.plot(hours, [100.0 * m.promoted for m in report.timeline], label="promoted", color="tab:green")
    axes.plot(hours, [100.0 * m.rolled_back for m in report.timeline], label="rolled back", color="tab:red")
    axes.plot(
        hours,
        [m.weight for m in report.timeline],
        label="candidate's weight (mean)",
        color="tab:blue",
        ls="--",
    )
    axes.set(
        xlabel="hours", ylabel="%", ylim=(-2, 102), title=f"{name}: {len(report.runs)} simulated rollouts"
    )
    axes.legend()
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        fail(f"--picture {file}: {error}")
