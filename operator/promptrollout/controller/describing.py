"""From evidence to what `decide` is told and people read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from promptrollout.analysis import (
    Assessment,
    Evidence,
    MetricAssessment,
    RatioAssessment,
    SideEvidence,
    assess,
    describe_remaining,
)
from promptrollout.analysis.ledger import Ledger
from promptrollout.api.status import MetricStatus
from promptrollout.rollout import Better, Comparison, Sampling
from promptrollout.sources.planning import Planned
from promptrollout.sources.protocol import NoData, Problem, SourceError


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a source: of which pair, up to which window, when it was done, and what was wrong with it.

    `ledger` has the windows since the trial began.
    """

    sampling: Sampling
    through: datetime
    read_at: datetime
    problems: Mapping[str, Problem]
    ledger: Ledger | None = None


def describe(planned: Planned, evidence: Evidence, reading: Reading) -> Comparison:
    """What the evidence says after a reading."""
    said = assess(planned.plan, evidence)
    shown = [metric for metric in said.metrics if metric.name not in planned.contests]
    problems = {name: p for name, p in reading.problems.items() if name not in planned.contests}
    broken = [f"{name}: {p.message}" for name, p in problems.items() if isinstance(p, SourceError)]
    empty = [f"{name}: {p.message}" for name, p in problems.items() if isinstance(p, NoData)]
    return Comparison(
        trial=reading.sampling.trial,
        arm=reading.sampling.arm,
        against=reading.sampling.against,
        shadow=reading.sampling.shadow,
        verdict=said.verdict,
        through=reading.through,
        read_at=reading.read_at,
        harm=str(said.harm),
        harm_reason=said.reason,
        samples=_samples(said),
        metrics=tuple(_metric(metric, reading.problems.get(metric.name)) for metric in shown),
        outlook=said.reason,
        state=evidence,
        unreadable="; ".join(broken[:2]),
        mismatch=_mismatch(said.sample_ratio),
        nothing_matched="; ".join(empty[:2]),
        better=_better(planned, said),
        ledger=reading.ledger,
    )


def _better(planned: Planned, said: Assessment) -> Better | None:
    """Whether it is better by any Required metric: the mean of these e-values is an e-value again.

    Vovk and Wang, "E-values: calibration, combination and applications" (Annals of Statistics 2021): no correction
    for the number of metrics is needed. That for the number of challengers is in the plan's threshold.
    """
    evidence = [metric.promote.log_e for metric in said.metrics if metric.name in planned.contests]
    if not evidence:
        return None
    joint = SideEvidence(_log_mean(evidence), planned.plan.promote_threshold)
    return Better(joint.log_e, joint.reached, str(joint))


def _log_mean(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(math.fsum(math.exp(each - top) for each in logs) / len(logs))


def _samples(said: Assessment) -> int:
    """The candidate's answers: the metric that has counted the most of them knows best."""
    return int(max((metric.values.candidate_samples for metric in said.metrics), default=0.0))


def _metric(metric: MetricAssessment, problem: Problem | None) -> MetricStatus:
    values = metric.values
    rate = metric.statistic == "rate"
    return MetricStatus(
        name=metric.name,
        role=metric.role.value,
        verdict=metric.verdict.value,
        candidate=_value(values.candidate, rate=rate),
        stable=_value(values.stable, rate=rate),
        difference=_difference(metric),
        samples=int(values.candidate_samples),
        stable_samples=int(values.stable_samples),
        statistic=metric.statistic,
        harm=str(metric.harm),
        non_inferiority=str(metric.promote),
        remaining=describe_remaining(metric),
        guarantee=metric.guarantee.value,
        message=problem.message if problem else "",
    )


def _difference(metric: MetricAssessment) -> str:
    """Candidate minus stable with its confidence sequence; of histograms how often the candidate's value is larger."""
    difference = metric.difference
    if difference is None:
        return ""
    numbers = (difference.estimate, difference.low, difference.high)
    if metric.statistic == "p95":
        # Ranks are compared: the chance to be larger, minus one half.
        shown = [f"{100.0 * min(max(0.5 + number, 0.0), 1.0):.3g}%" for number in numbers]
        return f"larger than stable's in {shown[0]} of pairs ({shown[1]} to {shown[2]})"
    rate = metric.statistic == "rate"
    shown = [f"{100 * number:+.3g} pp" if rate else f"{number:+.4g}" for number in numbers]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def _value(value: float, *, rate: bool) -> str:
    if math.isnan(value):
        return ""
    return f"{100 * value:.3g}%" if rate else f"{value:.4g}"


def _mismatch(ratio: RatioAssessment | None) -> str:
    if ratio is None or not ratio.mismatch:
        return ""
    return (
        f"the candidate got {100 * ratio.observed:.3g}% of {ratio.requests:,.0f} requests instead of "
        f"{100 * ratio.expected:.3g}%: the assignment is broken, so the numbers are not to be trusted"
    )
