"""A rollout as it is drawn in a terminal: where it stands, what it waits for, and on which numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from promptrollout.api.quantities import format_duration, format_weight
from promptrollout.api.status import (
    AnalysisStatus,
    ArmAnalysis,
    DecisionRecord,
    MetricStatus,
    Phase,
    RolloutStatus,
)
from promptrollout.cli.access import Seen
from promptrollout.cluster.values import mapping_at

_PHASES = {
    Phase.HEALTHY: "bold green",
    Phase.PROGRESSING: "bold cyan",
    Phase.DELIVERING: "cyan",
    Phase.DEGRADED: "bold red",
    Phase.ROLLING_BACK: "bold red",
    Phase.INVALID: "bold red",
    Phase.PAUSED: "bold yellow",
    Phase.AWAITING_APPROVAL: "bold yellow",
}
_VERDICTS = {"Harmed": "bold red", "NonInferior": "bold green", "Inconclusive": "yellow", "NoData": "dim"}
_WIDTH = 20
#: The bar's scale: evidence of 1/10 or less is its left end, that of the threshold its right end.
_LOWEST = 0.1


def evidence_bar(text: str, width: int = _WIDTH) -> str:
    """`4.1 of 20` as a bar on a logarithmic scale that ends at the threshold; empty if it is no such text.

    The mark is where evidence of 1 lies: to the left of it, the data speak for the opposite.
    """
    found = re.fullmatch(r"\s*([\d.,e+-]+) of ([\d.,e+-]+)\s*", text)
    if not found:
        return ""
    try:
        have, need = (float(part.replace(",", "")) for part in found.groups())
    except ValueError:
        return ""
    if not (need > 1.0 and math.isfinite(have) and have >= 0.0):
        return ""
    span = math.log(need / _LOWEST)
    share = min(max(math.log(max(have, _LOWEST) / _LOWEST) / span, 0.0), 1.0)
    one = min(round(math.log(1.0 / _LOWEST) / span * width), width - 1)
    filled = round(share * width)
    if filled == width and have < need:
        filled = width - 1
    cells = ["█" if i < filled else "·" for i in range(width)]
    if filled <= one:
        cells[one] = "│"
    return "".join(cells)


def status_view(seen: Seen, now: datetime) -> RenderableType:
    """One rollout, well told."""
    status = seen.status
    parts: list[RenderableType] = [_head(seen, status, now), Text(status.message)]
    ladder = _steps(seen, status)
    if ladder is not None:
        parts += ["", ladder]
    if status.analysis and (status.candidate or status.rollback):
        parts += ["", *_analysis(status.analysis)]
    if status.rollback and status.rejected:
        parts += ["", _rollback(status)]
    if status.decisions:
        parts += ["", Text("Decisions", style="bold"), decisions_table(status.decisions[:6], now)]
    parts += ["", _conditions(status)]
    if status.last_command:
        last = status.last_command
        parts.append(
            Text(f"Last command: {last.verb}, {last.result.lower()} {_ago(last.at, now)}: {last.message}")
        )
    return Group(*parts)


def _head(seen: Seen, status: RolloutStatus, now: datetime) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_row(Text("Rollout", style="dim"), Text(seen.key, style="bold"))
    phase = Text(status.phase.value, style=_PHASES.get(status.phase, ""))
    if status.candidate:
        phase.append(f"   step {status.step} at {status.weight}", style="default")
        phase.append(f"   since {_ago(status.candidate.started_at, now)}", style="dim")
    table.add_row(Text("Phase", style="dim"), phase)
    table.add_row(Text("Stable", style="dim"), status.stable_revision or "none yet")
    if status.candidate_revision:
        table.add_row(Text("Candidate", style="dim"), status.candidate_revision)
    for arm in status.candidate.arms if status.candidate else ():
        table.add_row("", f"{arm.name}: {arm.revision}{f' (dropped: {arm.dropped})' if arm.dropped else ''}")
    if policy := status.policy:
        in_force = (
            f"{policy.name} ({policy.kind}), generation {policy.generation}, since {_ago(policy.since, now)}"
        )
        gone = "; does not exist any more" if policy.gone_since else ""
        table.add_row(Text("Policy", style="dim"), f"{in_force}{gone}")
    if status.delivered:
        loaded = status.delivered.acknowledged
        table.add_row(
            Text("Pods", style="dim"),
            f"{loaded.pods} of {loaded.of} have loaded sequence {status.delivered.sequence}",
        )
    return table


def _steps(seen: Seen, status: RolloutStatus) -> RenderableType | None:
    steps = mapping_at(mapping_at(seen.spec_in_force, "strategy"), "canary").get("steps")
    if not isinstance(steps, list) or not status.candidate:
        return None
    at = status.candidate.progress.step
    table = Table.grid(padding=(0, 2))
    for number, step in enumerate(steps, 1):
        mark = "✔" if number < at else "▶" if number == at else "·"
        style = "green" if number < at else "bold cyan" if number == at else "dim"
        table.add_row(
            Text(mark, style=style), Text(f"step {number}", style=style), Text(_said(step), style=style)
        )
    return table


def _said(step: object) -> str:
    if not isinstance(step, dict):
        return str(step)
    weight = step.get("weight")
    parts = [] if weight is None else [weight if isinstance(weight, str) else f"{weight}%"]
    parts += [
        f"{name} {value if not isinstance(value, dict) else ', '.join(value)}"
        for name, value in step.items()
        if name != "weight"
    ]
    return ", ".join(map(str, parts))


def _analysis(analysis: AnalysisStatus) -> Iterable[RenderableType]:
    verdict = Text("Evidence  ", style="bold")
    verdict.append(analysis.verdict, style=_VERDICTS.get(analysis.verdict, ""))
    if analysis.harm:
        verdict.append(f"   harm in all: {analysis.harm}  {evidence_bar(analysis.harm)}", style="default")
    yield verdict
    if analysis.unavailable:
        yield Text(f"metrics cannot be read: {analysis.unavailable}", style="bold red")
    yield metrics_table(analysis.metrics)
    for arm in analysis.arms:
        yield _arm(arm)


def _arm(arm: ArmAnalysis) -> RenderableType:
    head = Text(f"{arm.arm} against {arm.against}: ", style="bold")
    head.append(arm.verdict, style=_VERDICTS.get(arm.verdict, ""))
    if arm.better:
        head.append(f"   better: {arm.better}  {evidence_bar(arm.better)}", style="default")
    return Group(head, metrics_table(arm.metrics))


def metrics_table(metrics: Sequence[MetricStatus]) -> RenderableType:
    """Each metric: both values, the difference with its confidence sequence, the evidence on a log scale."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("METRIC", "CANDIDATE", "STABLE", "DIFFERENCE", "EVIDENCE", "", "VERDICT"):
        table.add_column(name, no_wrap=name not in {"DIFFERENCE"})
    for one in metrics:
        note = one.message or one.remaining
        table.add_row(
            Text.assemble(
                (one.name, "bold"), f"\n{one.role}", (f" {one.statistic}" if one.statistic else "", "dim")
            ),
            f"{one.candidate or '-'}\n" + f"of {one.samples:,}",
            f"{one.stable or '-'}\n" + (f"of {one.stable_samples:,}" if one.stable_samples else ""),
            one.difference or "-",
            f"harm {one.harm}\nnon-inferior {one.non_inferiority}",
            Text.assemble(
                (evidence_bar(one.harm), "red"), "\n", (evidence_bar(one.non_inferiority), "green")
            ),
            Text.assemble(
                (one.verdict, _VERDICTS.get(one.verdict, "")),
                f"\n{note}" if note else "",
                (f"\n{one.guarantee}", "dim"),
            ),
        )
    return table


def _rollback(status: RolloutStatus) -> RenderableType:
    rollback = status.rollback
    if rollback is None:
        return Text("")
    table = Table.grid(padding=(0, 2))
    table.add_row(Text("Rolled back", style="bold red"), rollback.reason)
    for label, moment in (
        ("ConfigMap written", rollback.written_at),
        ("last pod back", rollback.acknowledged_at),
    ):
        if moment is not None:
            took = max((moment - rollback.decided_at).total_seconds(), 0.0)
            table.add_row(Text(label, style="dim"), f"{took:.2f} s after the decision")
    table.add_row(Text("evidence", style="dim"), rollback.evidence or "not kept yet")
    return table


def decisions_table(decisions: Sequence[DecisionRecord], now: datetime) -> Table:
    """What was decided, on which verdict, and where its evidence is."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("AGE", "REVISION", "DECISION", "REASON", "STEP", "WEIGHT", "VERDICT", "EVIDENCE"):
        table.add_column(name, no_wrap=True)
    for one in decisions:
        pair = "" if (one.arm, one.against) == ("candidate", "stable") else f" ({one.arm} / {one.against})"
        table.add_row(
            _ago(one.at, now, ""),
            one.revision + pair,
            one.kind,
            one.reason or "-",
            str(one.step),
            format_weight(one.weight),
            Text(one.verdict, style=_VERDICTS.get(one.verdict, "")),
            one.evidence or "-",
        )
    return table


def _conditions(status: RolloutStatus) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for one in status.conditions:
        wanted = one.type not in {"Paused", "Progressing"}
        style = "dim" if one.status == "Unknown" or not wanted else "green" if one.status == "True" else "red"
        said = one.message if one.message and one.message != status.message else ""
        table.add_row(
            Text(one.type, style=style), Text(one.status.value, style=style), Text(one.reason), Text(said)
        )
    return table


def _ago(moment: datetime, now: datetime, suffix: str = " ago") -> str:
    return f"{format_duration(now - moment)}{suffix}"


def age(created: str, now: datetime) -> str:
    """How old something is, as kubectl says it."""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return ""
    return format_duration(now - moment.astimezone(UTC))
