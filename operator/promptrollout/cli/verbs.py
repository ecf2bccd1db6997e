"""Commands to a rollout: the annotation with a fresh id, then the operator's answer."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated

import typer

from promptrollout.api.status import CommandResult
from promptrollout.cli.access import Cluster, Where, run
from promptrollout.cli.printing import (
    FAILED,
    LATE,
    Context,
    Format,
    Kubeconfig,
    Namespace,
    Output,
    console,
    fail,
    structured,
)
from promptrollout.cli.words import VERBS

_PAUSE_S = 0.2

Name = Annotated[str, typer.Argument(help="The rollout's name.", show_default=False)]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds to wait for the operator's answer.")]
ToRevision = Annotated[
    str | None,
    typer.Option(
        "--to-revision", help="A revision of `history`; by default the latest one that was stable before."
    ),
]
Arm = Annotated[
    str | None,
    typer.Option("--arm", help="The arm of an A/B test to promote; by default the one that leads."),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the operator's answer.")]


def register(app: typer.Typer) -> None:
    """Add all verbs."""
    for verb, said in VERBS.items():
        app.command(verb, help=said)(_WITH_OPTIONS.get(verb) or _command(verb))


def _command(verb: str) -> Callable[..., None]:
    def command(
        name: Name,
        namespace: Namespace = None,
        context: Context = None,
        kubeconfig: Kubeconfig = None,
        output: Output = None,
        timeout: Timeout = 30.0,
        wait: Wait = True,
    ) -> None:
        _ask(Where(namespace, context, kubeconfig), name, verb, timeout if wait else 0.0, output)

    return command


def _undo(
    name: Name,
    to_revision: ToRevision = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = None,
    timeout: Timeout = 30.0,
    wait: Wait = True,
) -> None:
    verb = f"undo/{to_revision}" if to_revision else "undo"
    _ask(Where(namespace, context, kubeconfig), name, verb, timeout if wait else 0.0, output)


def _promote_full(
    name: Name,
    arm: Arm = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    output: Output = None,
    timeout: Timeout = 30.0,
    wait: Wait = True,
) -> None:
    verb = f"promote-full/{arm}" if arm else "promote-full"
    _ask(Where(namespace, context, kubeconfig), name, verb, timeout if wait else 0.0, output)


_WITH_OPTIONS: Mapping[str, Callable[..., None]] = {"undo": _undo, "promote-full": _promote_full}


def _ask(where: Where, name: str, verb: str, patience: float, form: Format | None) -> None:
    result = run(where, lambda cluster: say(cluster, plain_name(name), verb, patience))
    _tell(name, verb, result, form)


def plain_name(name: str) -> str:
    """`prollout/support` is `support`, as everywhere in kubectl."""
    kind, slash, rest = name.partition("/")
    if not slash:
        return name
    if kind.lower() not in {
        "prollout",
        "promptrollout",
        "promptrollouts",
        "promptrollouts.promptrollout.dev",
    }:
        fail(f"{kind} is no PromptRollout")
    return rest


async def say(cluster: Cluster, name: str, verb: str, patience: float) -> CommandResult | None:
    """Command a rollout, and wait until its status says what became of it; None without a wait."""
    mark = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    seen = await cluster.command(name, verb, mark)
    if patience <= 0.0:
        return None
    ends = time.monotonic() + patience
    while True:
        last = seen.status.last_command
        if last is not None and (last.id, last.verb) == (mark, verb):
            return last
        if time.monotonic() >= ends:
            fail(
                f"no answer from the operator within {patience:g} s: {verb}:{mark} stands in the annotation and is "
                "executed as soon as the operator works on this rollout",
                LATE,
            )
        await asyncio.sleep(_PAUSE_S)
        seen = await cluster.rollout(name)


def _tell(name: str, verb: str, result: CommandResult | None, form: Format | None) -> None:
    if result is None:
        console().print(f"{verb} {name}: asked for", markup=False)
        return
    if not structured(result.to_wire(), form):
        done = result.result == "Executed"
        console().print(
            f"{verb} {name}: {result.message}" if done else f"{verb} {name} is refused: {result.message}",
            markup=False,
        )
    if result.result != "Executed":
        raise typer.Exit(FAILED)
