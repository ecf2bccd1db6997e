"""`simulate`: a rollout many times over in virtual time, with the operator's own decision core and engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from promptrollout.api.spec import RolloutSpec
from promptrollout.cli.access import Where
from promptrollout.cli.imagining import Judge, course, imagine, outage, seconds, start, two
from promptrollout.cli.loading import File, PolicyFile, load_rollout
from promptrollout.cli.picturing import check_picture, draw
from promptrollout.cli.planning import parse_traffic
from promptrollout.cli.printing import USAGE, Context, Kubeconfig, Output, console, fail, structured
from promptrollout.rollout.ramp import round_duration
from promptrollout.simulation import Plans, Report, World, challengers, simulate
from promptrollout.simulation import Traffic as Requests

_KINDS = "rates for events, means for scores, factors for latency, tokens and cost"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(simulate_command)


def simulate_command(
    file: File,
    traffic: Annotated[str, typer.Option(help="Requests of all arms: 10000/day, 10/s, 600/min.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC[@ARM]=STABLE:CANDIDATE",
            help=f"What both are like ({_KINDS}): errors=0.02:0.06, helpful=0.8:0.76, latency=1:1.3; of one arm of a "
            "test alone: errors@brief=0.02:0.01. Metrics that are not named are usual, and the same in both.",
        ),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many rollouts.")] = 500,
    lasting: Annotated[str, typer.Option("--for", help="How long each is followed.")] = "24h",
    begin: Annotated[str, typer.Option("--start", help="Day of the week and time (UTC).")] = "Mon 09:00",
    onset: Annotated[str, typer.Option(help="When the candidate begins to differ.")] = "0s",
    drift: Annotated[float, typer.Option(help="How many times as bad both get in the course of it.")] = 1.0,
    daily: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="By how much traffic swings over the day.")
    ] = 0.0,
    requests_per_unit: Annotated[float, typer.Option(help="Requests of one conversation.")] = 1.0,
    icc: Annotated[
        str, typer.Option(metavar="STABLE[:CANDIDATE]", help="How much they resemble each other, 0 to 1.")
    ] = "0",
    cold: Annotated[str | None, typer.Option(metavar="TIME:FACTOR", help="Cold caches: 10m:1.5.")] = None,
    judged: Annotated[
        str, typer.Option(metavar="STABLE[:CANDIDATE]", help="The share of answers that get a score.")
    ] = "1",
    judge_delay: Annotated[str, typer.Option(help="How long scores take to arrive.")] = "0s",
    pairing: Annotated[
        float, typer.Option(help="In a shadow: how much both scores of one request resemble, 0 to 1.")
    ] = 0.5,
    outages: Annotated[
        list[str] | None,
        typer.Option("--outage", metavar="START:LENGTH", help="When metrics cannot be read: 2h:30m."),
    ] = None,
    gates: Annotated[str, typer.Option(help="How long each gate (an approval too) takes to pass.")] = "0s",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same result.")] = 0,
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
    if picture is not None:
        check_picture(picture)
    plans = Plans(
        wanted.planned.plan, wanted.shadowed.plan if wanted.shadowed else None, wanted.planned.contests
    )
    judge = Judge(two("--judged", judged), seconds("--judge-delay", judge_delay), pairing)
    imagined = imagine(plans, challengers(wanted.spec), metric or (), course(onset, drift, icc, cold), judge)
    day, hour = start(begin)
    try:
        world = World(
            Requests(parse_traffic(traffic), daily=daily, requests_per_unit=requests_per_unit),
            imagined.metrics,
            seconds=seconds("--for", lasting),
            hour=hour,
            day=day,
            gates=seconds("--gates", gates),
            outages=tuple(outage(text) for text in outages or ()),
            arms=imagined.arms,
        )
        report = _simulated(wanted.spec, plans, world, (runs, seed, processes or os.cpu_count() or 1))
    except ValueError as error:
        fail(str(error), USAGE)
    told = structured(report.to_dict(), output)
    if not told:
        _print(report, wanted.name)
    if picture is not None:
        draw(report, picture, wanted.name)
        if not told:
            console().print(f"\n{picture} is drawn", markup=False)


def _simulated(spec: RolloutSpec, plans: Plans, world: World, how: tuple[int, int, int]) -> Report:
    runs, seed, processes = how
    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=runs)
        return simulate(
            spec,
            plans,
            world,
            runs=runs,
            seed=seed,
            processes=min(processes, runs),
            progress=lambda done, _: bar.update(task, completed=done),
        )


def _print(report: Report, name: str) -> None:
    out = console()
    worse = "worse than" if report.harmful else "like"
    out.print(
        f"{name or 'rollout'}: {len(report.runs)} runs of {round_duration(report.seconds)}, a candidate {worse} stable",
        markup=False,
    )
    unseen = any(run.shadow_runs for run in report.runs)
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
        *(["IN THE SHADOW"] if unseen else []),
    ):
        table.add_column(head, no_wrap=True)
    for one in report.endings:
        low, high = one.share.interval
        table.add_row(
            one.outcome.value,
            (one.reason or "-") + (f" ({one.arm})" if one.arm else ""),
            f"{100.0 * one.share.value:.1f} %",
            f"{100.0 * low:.1f}-{100.0 * high:.1f}",
            round_duration(one.seconds.median),
            round_duration(one.seconds.p90),
            f"{one.candidate_requests.mean:,.0f}",
            f"{one.bad_requests.mean:,.0f}",
            *([f"{one.shadow_runs.mean:,.0f}"] if unseen else []),
        )
    out.print(table)
    for arm, share in report.dropped.items():
        out.print(
            f"arm {arm} was dropped as harmful in {100.0 * share.value:.1f} % of the runs", markup=False
        )
