"""`get`, `status`, `history` and `evidence`: looking at rollouts."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table

from promptrollout.cli.access import Cluster, Seen, Where, run
from promptrollout.cli.drawing import age, decisions_table, status_view
from promptrollout.cli.printing import (
    AllNamespaces,
    Context,
    Format,
    Kubeconfig,
    Namespace,
    Output,
    console,
    fail,
    structured,
)
from promptrollout.cli.verbs import Name, plain_name
from promptrollout.cluster.values import Json

OptionalName = Annotated[str | None, typer.Argument(help="The rollout's name.", show_default=False)]
Watch = Annotated[bool, typer.Option("-w", "--watch", help="Draw it again every second until Ctrl-C.")]
_REDRAW_S = 1.0


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("get", help="List rollouts, or one of them.")(get)
    app.command(
        "status", help="One rollout, well told: where it stands, what it waits for, on which numbers."
    )(status)
    app.command("history", help="What became of earlier revisions, and what was decided on which evidence.")(
        history
    )
    app.command(
        "evidence", help="The ConfigMap that a decision's evidence is kept in (default: the latest)."
    )(evidence)


def get(
    name: OptionalName = None,
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = None,
) -> None:
    """List rollouts."""

    async def read(cluster: Cluster) -> list[Seen]:
        if name:
            return [await cluster.rollout(plain_name(name))]
        return await cluster.rollouts(everywhere=all_namespaces)

    found = run(Where(namespace, context, kubeconfig), read)
    raw = [dict(seen.raw) for seen in found]
    listed: object = raw[0] if name else {"apiVersion": "v1", "kind": "List", "items": raw}
    if structured(listed, output):
        return
    if not found:
        where = "" if all_namespaces else f" in namespace {Where(namespace, context, kubeconfig).resolved()}"
        typer.echo(f"No rollouts found{where}.", err=True)
        return
    console().print(_listing(found, wide=output is Format.wide, everywhere=all_namespaces))


def _listing(found: list[Seen], *, wide: bool, everywhere: bool) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="")
    heads = [*(["NAMESPACE"] if everywhere else []), "NAME", "PHASE", "STEP", "WEIGHT", "VERDICT", "AGE"]
    for head in [*heads, *(["STABLE", "CANDIDATE", "MESSAGE"] if wide else [])]:
        table.add_column(head, no_wrap=True, overflow="ignore" if head == "MESSAGE" else "fold")
    now = datetime.now(UTC)
    for seen in found:
        said = seen.status
        row = [seen.name, said.phase.value, said.step, said.weight, said.verdict, age(seen.created, now)]
        more = [said.stable_revision, said.candidate_revision, said.message] if wide else []
        table.add_row(*([seen.namespace] if everywhere else []), *row, *more)
    return table


def status(
    name: Name,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = None,
    watch: Watch = False,
) -> None:
    """One rollout, well told."""
    where = Where(namespace, context, kubeconfig)

    def read() -> Seen:
        return run(where, lambda cluster: cluster.rollout(plain_name(name)))

    seen = read()
    if structured(seen.status.to_wire(), output):
        return
    if not watch:
        console().print(status_view(seen, datetime.now(UTC)))
        return
    with Live(status_view(seen, datetime.now(UTC)), console=console(), auto_refresh=False) as live:
        while True:
            time.sleep(_REDRAW_S)
            live.update(status_view(read(), datetime.now(UTC)), refresh=True)


def history(
    name: Name,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = None,
) -> None:
    """What became of earlier revisions."""
    seen = run(Where(namespace, context, kubeconfig), lambda cluster: cluster.rollout(plain_name(name)))
    said, now = seen.status, datetime.now(UTC)
    whole = {
        "history": [one.to_wire() for one in said.history],
        "decisions": [one.to_wire() for one in said.decisions],
    }
    if structured(whole, output):
        return
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for head in ("REVISION", "OUTCOME", "REASON", "STARTED", "TOOK", "EVIDENCE"):
        table.add_column(head, no_wrap=True)
    for one in said.history:
        took = age(one.started_at.isoformat(), one.ended_at)
        started = age(one.started_at.isoformat(), now)
        row = (
            one.revision,
            one.outcome.value,
            one.reason or "-",
            f"{started} ago",
            took,
            one.evidence or "-",
        )
        table.add_row(*row)
    console().print(table)
    if said.decisions:
        console().print("\nDecisions on evidence, the latest first:")
        console().print(decisions_table(said.decisions, now))


def evidence(
    name: Name,
    decision: Annotated[int, typer.Option("--decision", help="Which, from the latest: 1, 2 …")] = 1,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = Format.yaml,
) -> None:
    """Print the evidence ConfigMap, for a file that `replay` takes."""

    async def read(cluster: Cluster) -> Json:
        said = (await cluster.rollout(plain_name(name))).status
        kept = [one.evidence for one in said.decisions if one.evidence]
        names = list(dict.fromkeys(kept))
        if not names:
            fail(f"no evidence of {name} is kept: nothing has been decided on a comparison yet")
        if not 1 <= decision <= len(names):
            fail(f"{name} has {len(names)} evidence ConfigMaps: --decision 1 to {len(names)}")
        return await cluster.config_map(names[decision - 1])

    found = run(Where(namespace, context, kubeconfig), read)
    structured(dict(found), Format.json if output is Format.json else Format.yaml)
