"""`replay`: the verdict again, from the evidence ConfigMap that a decision rested on, and under other margins."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import typer
from rich.table import Table

from promptrollout.analysis import AnalysisPlan, Assessment, MetricKind, MetricPlan
from promptrollout.analysis.encoding import EncodingError
from promptrollout.analysis.keeping import DECISION, ENGINE, Kept, Replayed, figures, judge, read, replay
from promptrollout.analysis.plan import DeltaMargin, HistogramMargin, LineMargin, Margin
from promptrollout.api.quantities import parse_decimal
from promptrollout.cli.printing import FAILED, Output, console, fail, load_documents, structured

#: Another processor or another release of numpy may round the last bits otherwise.
_ROUNDING = 1e-9


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay")(replay_command)


def replay_command(
    file: Annotated[str, typer.Argument(help="An evidence ConfigMap as YAML or JSON; - is standard input.")],
    margin: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=VALUE", help="As spec.analysis.metrics[].margin.")
    ] = None,
    ratio: Annotated[list[str] | None, typer.Option(metavar="METRIC=VALUE", help="As .ratio.")] = None,
    promote_margin: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=VALUE", help="As .promoteMargin.")
    ] = None,
    promote_ratio: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=VALUE", help="As .promoteRatio.")
    ] = None,
    confidence: Annotated[str | None, typer.Option(help="As spec.analysis.confidence.")] = None,
    output: Output = None,
) -> None:
    """Recompute what was decided from its evidence, and say whether it is the same, to the bit.

    With other margins, say besides what the verdict would have been. Exit code 0: the recorded verdict follows from
    the evidence; 1: it does not, or the file is no evidence. Where an earlier version's engine has decided, numbers may
    differ, and the verdict counts.

        kubectl promptrollout evidence support > evidence.yaml
        kubectl promptrollout replay evidence.yaml --margin errors=0.02
    """
    wanted = {
        "margin": _pairs("--margin", margin),
        "ratio": _pairs("--ratio", ratio),
        "promote_margin": _pairs("--promote-margin", promote_margin),
        "promote_ratio": _pairs("--promote-ratio", promote_ratio),
    }
    kept = load(file)
    found = replay(kept)
    other = None
    if any(wanted.values()) or confidence:
        plan = changed(kept.plan, wanted, confidence)
        other = judge(kept, plan)
    if not structured(_told(kept, found, other), output):
        _print(kept, found, other)
    if not all(sound(one, kept) for one in found):
        raise typer.Exit(FAILED)


def sound(one: Replayed, kept: Kept) -> bool:
    """Whether the recorded verdict follows from the evidence; rounding, and another engine's numbers, apart."""
    return one.same_verdict and (one.worst <= _ROUNDING or kept.engine != ENGINE)


def load(file: str) -> Kept:
    """The evidence in a file; CliError if it is none."""
    documents = [one for one in load_documents(file) if one.get("kind") == "ConfigMap"]
    if len(documents) != 1:
        many = "no ConfigMap" if not documents else f"{len(documents)} ConfigMaps"
        fail(f"{file} holds {many}; replay takes one evidence ConfigMap")
    data, binary = documents[0].get("data") or {}, documents[0].get("binaryData") or {}
    if not isinstance(data, Mapping) or not isinstance(binary, Mapping) or DECISION not in data:
        fail(f"{file} is no evidence ConfigMap: {DECISION} is missing; status.decisions names those that are")
    try:
        packed = {str(k): base64.b64decode(str(v), validate=True) for k, v in binary.items()}
        return read({str(k): str(v) for k, v in data.items()}, packed)
    except (EncodingError, binascii.Error) as error:
        fail(f"{file} is no whole evidence: {error}")


def _pairs(option: str, given: Sequence[str] | None) -> dict[str, float]:
    found = {}
    for text in given or ():
        name, equals, value = text.rpartition("=")
        if not equals or not name:
            fail(f"{option} {text}: write METRIC=VALUE, such as errors=0.01", 2)
        try:
            found[name] = parse_decimal(value)
        except ValueError as error:
            fail(f"{option} {text}: {error}", 2)
    return found


def changed(
    plan: AnalysisPlan, wanted: Mapping[str, Mapping[str, float]], confidence: str | None
) -> AnalysisPlan:
    """The plan with other margins, which mean what they mean in the spec."""
    known = ", ".join(plan.positions)
    for option, pairs in wanted.items():
        for name in pairs:
            if name not in plan.positions:
                fail(
                    f"--{option.replace('_', '-')} {name}: the evidence has no such metric; it has {known}", 2
                )
    try:
        metrics = tuple(
            _metric(metric, {option: pairs.get(metric.name) for option, pairs in wanted.items()})
            for metric in plan.metrics
        )
        made = replace(plan, metrics=metrics)
        if confidence is not None:
            alpha = round(1.0 - parse_decimal(confidence), 12)
            made = replace(made, alpha_rollback=alpha, alpha_promote=alpha)
    except ValueError as error:
        fail(str(error), 2)
    return made


def _metric(metric: MetricPlan, wanted: Mapping[str, float | None]) -> MetricPlan:
    margin, ratio = wanted["margin"], wanted["ratio"]
    # As in the spec: but for events, promotion follows the margin for harm unless it is set itself.
    follows = metric.kind is not MetricKind.Events
    promote = wanted["promote_margin"]
    promote = margin if promote is None and follows else promote
    promote_ratio = wanted["promote_ratio"]
    promote_ratio = ratio if promote_ratio is None and follows else promote_ratio
    return replace(
        metric,
        margin=_margin(metric, metric.margin, margin, ratio),
        promote_margin=_margin(metric, metric.promote_margin, promote, promote_ratio),
    )


def _margin(metric: MetricPlan, old: Margin, margin: float | None, ratio: float | None) -> Margin:
    match old:
        case LineMargin(r, d):
            return LineMargin(r if ratio is None else ratio, d if margin is None else margin)
        case HistogramMargin(ridit, exceedance, threshold):
            return HistogramMargin(
                ridit if margin is None else margin, exceedance if ratio is None else ratio, threshold
            )
        case DeltaMargin(delta):
            if ratio is not None:
                fail(f"--ratio {metric.name}: scores have no ratio; use --margin", 2)
            return DeltaMargin(delta if margin is None else margin)


def _told(kept: Kept, found: Sequence[Replayed], other: Assessment | None) -> dict[str, object]:
    whole: dict[str, object] = {
        "about": dict(kept.about),
        "windows": len(kept.windows),
        "beginsAt": kept.dropped or "the beginning of the trial",
        "decisions": [
            {
                "kind": one.decision.get("kind"),
                "at": one.decision.get("at"),
                "recorded": _verdict(one),
                "recomputed": one.assessment.verdict.value,
                "identical": one.identical,
                "sound": sound(one, kept),
                "numbers": figures(one.assessment),
            }
            for one in found
        ],
    }
    if other is not None:
        whole["otherwise"] = figures(other)
    # No number in it is infinite or NaN: those are text already.
    return dict(json.loads(json.dumps(whole)))


def _verdict(one: Replayed) -> str:
    numbers = one.decision.get("numbers")
    return str(numbers.get("verdict")) if isinstance(numbers, Mapping) else ""


def _print(kept: Kept, found: Sequence[Replayed], other: Assessment | None) -> None:
    out = console()
    about = kept.about
    out.print(
        f"{about.get('rollout')}: candidate {about.get('candidate')} against {about.get('stable')}, "
        f"{len(kept.windows)} windows, kept by operator {about.get('operator')}",
        markup=False,
    )
    if kept.dropped:
        out.print(f"They do not begin with the trial: {kept.dropped}.", markup=False)
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for head in ("DECISION", "AT", "RECORDED", "RECOMPUTED", "NUMBERS"):
        table.add_column(head, no_wrap=True)
    for one in found:
        same = "identical, to the bit" if one.identical else _differ(one, kept)
        table.add_row(
            str(one.decision.get("kind")),
            str(one.decision.get("at")),
            _verdict(one),
            one.assessment.verdict.value,
            same,
        )
    out.print(table)
    if found:
        out.print(f"\n{found[-1].assessment.reason}", markup=False)
    if other is not None:
        out.print("\nUnder the margins given:", style="bold")
        out.print(f"{other.verdict.value}: {other.reason}", markup=False)
        for metric in other.metrics:
            out.print(
                f"  {metric.name}: {metric.verdict.value}, harm {metric.harm}, non-inferior {metric.promote}, "
                f"{metric.guarantee.value}",
                markup=False,
            )


def _differ(one: Replayed, kept: Kept) -> str:
    if one.worst <= _ROUNDING and one.same_verdict:
        return f"the same but for rounding ({one.worst:.0e}): another processor or library"
    amount = f" (up to {one.worst:.1e})" if math.isfinite(one.worst) else ""
    if kept.engine != ENGINE:
        return f"of engine {kept.engine}, this one is {ENGINE}: others{amount}"
    return f"DIFFERENT{amount}"
