"""From evidence to a verdict in words and numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from promptrollout.analysis.confseq import best_rho, two_sided_bound
from promptrollout.analysis.effect import MEAN_FACTOR, information
from promptrollout.analysis.evidence import Evidence, estimated
from promptrollout.analysis.guards import guards_log_e
from promptrollout.analysis.kinds import Kind, kind_of
from promptrollout.analysis.kinds.base import HEADER, ArmValues, Slot
from promptrollout.analysis.mixture import Array
from promptrollout.analysis.plan import (
    AnalysisPlan,
    CorrelationBasis,
    MetricKind,
    MetricPlan,
    Role,
)
from promptrollout.analysis.sampleratio import RatioAssessment, assess_ratio

#: The shown confidence sequence is narrowest about here, in samples per arm at an even split.
_INTERVAL_AT = 1000.0
#: Forecasts suppose that besides what was seen, so many candidate samples (or bad events) were like stable.
_SOBERING_SAMPLES, _SOBERING_EVENTS, _MOST_SOBERING = 100.0, 5.0, 5000.0
#: A logarithm of evidence beyond this is shown as if it were this: no float holds more.
_LOG_LIMIT = 700.0


class Verdict(StrEnum):
    """What the evidence says. None of these is "failed" or "passed" for want of data."""

    Harmed = "Harmed"
    NonInferior = "NonInferior"
    Inconclusive = "Inconclusive"
    NoData = "NoData"


class Guarantee(StrEnum):
    """How the error rates are to be understood."""

    Exact = "exact"  #: at every sample size, under optional stopping
    DesignEffect = "asymptotic (design effect)"
    AssumedCorrelation = "asymptotic (correlation assumed)"
    Asymptotic = "asymptotic"  #: unbounded sums


@dataclass(frozen=True, slots=True)
class SideEvidence:
    """Evidence for one decision on one metric, and what it needs."""

    log_e: float
    threshold: float  #: logarithm, too

    @property
    def e_value(self) -> float:
        """The evidence itself, at most 1e304."""
        return math.exp(min(self.log_e, _LOG_LIMIT))

    @property
    def needed(self) -> float:
        """The evidence at which it suffices, 20 at an error rate of 5 %."""
        return math.exp(self.threshold)

    @property
    def reached(self) -> bool:
        """Whether it suffices."""
        return self.log_e >= self.threshold

    def __str__(self) -> str:
        """Say it as status does: `4.1 of 20`."""
        return f"{_figure(self.e_value)} of {_figure(self.needed)}"


@dataclass(frozen=True, slots=True)
class Interval:
    """Difference candidate - stable with an anytime-valid confidence sequence (asymptotic; for display only)."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Remaining:
    """How much longer at today's difference and traffic: a forecast, no promise.

    `towards` is what today's difference points to: NonInferior, Harmed, or Inconclusive where it lies between the
    margins, so that more of the same decides nothing (then both numbers are infinite).
    """

    towards: Verdict
    candidate_samples: float
    seconds: float  #: infinite without traffic


@dataclass(frozen=True, slots=True)
class MetricAssessment:
    """One metric's verdict. `harm` is that metric's own evidence; the rollout's rests on the guards' mean."""

    name: str
    role: Role
    verdict: Verdict
    values: ArmValues
    statistic: str  #: what the values are: rate, mean, p95
    harm: SideEvidence
    promote: SideEvidence
    difference: Interval | None  #: None before both arms have been compared
    design_effect: float
    guarantee: Guarantee
    remaining: Remaining | None  #: None once decided


@dataclass(frozen=True, slots=True)
class Assessment:
    """The verdict on a rollout, and in one sentence why."""

    verdict: Verdict
    harm_log_e: float
    harm_threshold: float
    metrics: tuple[MetricAssessment, ...]
    reason: str
    sample_ratio: RatioAssessment | None
    #: end of the window in which harm crossed its threshold, unix seconds
    harmed_at: float | None = None

    @property
    def harm(self) -> SideEvidence:
        """The guards' joint evidence of harm."""
        return SideEvidence(self.harm_log_e, self.harm_threshold)


def assess(plan: AnalysisPlan, evidence: Evidence) -> Assessment:
    """The verdict of `evidence` under `plan`.

    Harmed once the weighted mean of the guards' e-processes has reached 1 / alpha_rollback in any window (it stays
    so). NonInferior while every required metric's e-process stands at 1 / alpha_promote or more; without required
    metrics never. NoData when no metric has had a candidate sample. Inconclusive otherwise.
    """
    evidence = evidence.aligned(plan)
    metrics = tuple(
        _metric(plan, metric, evidence.array(i), estimated=estimated(evidence.blocks[i][0]))
        for i, metric in enumerate(plan.metrics)
    )
    harm_log_e = guards_log_e(plan.metrics, [m.harm.log_e for m in metrics])
    at = None
    if evidence.harmed is not None:
        # Latched: what crossed then is what the verdict rests on, whatever came after.
        harm_log_e, at = max(harm_log_e, evidence.harmed.log_e), evidence.harmed.at
    verdict = _verdict(plan, evidence, metrics, harm_log_e)
    return Assessment(
        verdict,
        harm_log_e,
        plan.harm_threshold,
        metrics,
        _reason(verdict, metrics, SideEvidence(harm_log_e, plan.harm_threshold)),
        assess_ratio(evidence.ratio, plan.allocation, plan.alpha_sample_ratio),
        at,
    )


def glance(plan: AnalysisPlan, evidence: Evidence) -> Verdict:
    """The verdict alone, as `assess` would give it for evidence of this very plan, at a hundredth of the cost."""
    if evidence.fingerprints != plan.fingerprints:
        return assess(plan, evidence).verdict
    if evidence.harmed is not None:
        return Verdict.Harmed
    rows = [evidence.array(i) for i in range(len(plan.metrics))]
    harm = [float(row[Slot.HARM]) for row in rows]
    if (
        max(harm, default=0.0) >= plan.harm_threshold
        and guards_log_e(plan.metrics, harm) >= plan.harm_threshold
    ):
        return Verdict.Harmed
    required = [row for metric, row in zip(plan.metrics, rows, strict=True) if metric.role is Role.Required]
    if required and all(row[Slot.PROMOTE] >= plan.promote_threshold for row in required):
        return Verdict.NonInferior
    seen = any(
        row[Slot.RATE_COUNT] > 0.0 or row[Slot.WEIGHT] > 0.0 or _candidate_samples(metric, row) > 0.0
        for metric, row in zip(plan.metrics, rows, strict=True)
    )
    return Verdict.Inconclusive if seen else Verdict.NoData


def _candidate_samples(metric: MetricPlan, row: Array) -> float:
    kind = kind_of(metric)
    return kind.values(row[HEADER + kind.columns : HEADER + 2 * kind.columns], metric).candidate_samples


def _verdict(
    plan: AnalysisPlan, evidence: Evidence, metrics: tuple[MetricAssessment, ...], harm_log_e: float
) -> Verdict:
    if evidence.harmed is not None or harm_log_e >= plan.harm_threshold:
        return Verdict.Harmed
    if all(m.values.candidate_samples == 0.0 for m in metrics):
        return Verdict.NoData
    required = [m for m in metrics if m.role is Role.Required]
    if required and all(m.promote.reached for m in required):
        return Verdict.NonInferior
    return Verdict.Inconclusive


def _metric(plan: AnalysisPlan, metric: MetricPlan, row: Array, *, estimated: bool) -> MetricAssessment:
    kind = kind_of(metric)
    values = kind.values(row[HEADER + kind.columns : HEADER + 2 * kind.columns], metric)
    harm = SideEvidence(float(row[Slot.HARM]), plan.harm_threshold)
    promote = SideEvidence(float(row[Slot.PROMOTE]), plan.promote_threshold)
    verdict = Verdict.Inconclusive
    if values.candidate_samples == 0.0 or values.stable_samples == 0.0:
        verdict = Verdict.NoData
    elif harm.reached:
        verdict = Verdict.Harmed
    elif promote.reached:
        verdict = Verdict.NonInferior
    return MetricAssessment(
        metric.name,
        metric.role,
        verdict,
        values,
        kind.statistic,
        harm,
        promote,
        _interval(metric, kind, row, plan.alpha_rollback),
        float(row[Slot.PHI]),
        guarantee_of(metric, estimated=estimated),
        _remaining(metric, row, harm, promote),
    )


def _remaining(metric: MetricPlan, row: Array, harm: SideEvidence, promote: SideEvidence) -> Remaining | None:
    """The missing evidence over what a candidate sample brings at today's difference (see `effect`)."""
    if harm.reached or promote.reached:
        return None
    kind = kind_of(metric)
    totals = row[HEADER + kind.columns : HEADER + 2 * kind.columns]
    n_c, n_s = (float(n[0]) for n in kind.sizes(totals[None]))
    if n_c <= 0.0 or n_s <= 0.0:
        return None
    pair = kind.totals(_sobered(kind, totals, n_s), metric)
    nats = information(metric, pair.candidate, pair.stable, n_s / n_c)
    rate = float(row[Slot.RATE_COUNT]) / max(float(row[Slot.RATE_SECONDS]), 1e-9)
    soonest = Remaining(Verdict.Inconclusive, math.inf, math.inf)
    # A rate between the two margins points to both: what comes first is shown.
    for towards, gain, side in (
        (Verdict.Harmed, nats.harm, harm),
        (Verdict.NonInferior, nats.promote, promote),
    ):
        if gain > 0.0:
            samples = MEAN_FACTOR * (side.threshold - side.log_e) * float(row[Slot.PHI]) / gain
            if samples < soonest.candidate_samples:
                soonest = Remaining(towards, samples, samples / rate if rate > 0.0 else math.inf)
    return soonest


def _sobered(kind: Kind, totals: Array, n_s: float) -> Array:
    """Totals whose candidate has some samples more that are like stable: few samples forecast nothing wild."""
    if kind.kind is MetricKind.Paired:
        return totals
    half = kind.columns // 2
    added = _SOBERING_SAMPLES
    if kind.kind is MetricKind.Events:
        half = 2
        added = min(_SOBERING_EVENTS * n_s / max(float(totals[3]), 1.0), _MOST_SOBERING)
    result = totals.copy()
    result[:half] += totals[half : 2 * half] * (added / n_s)
    return result


def guarantee_of(metric: MetricPlan, *, estimated: bool) -> Guarantee:
    """`estimated`: whether something has told the design effect; until it has, it is an assumption."""
    if kind_of(metric).asymptotic:
        return Guarantee.Asymptotic
    match metric.correlation.basis:
        case CorrelationBasis.Independent:
            return Guarantee.Exact
        case CorrelationBasis.Declared if metric.correlation.phi == 1.0:
            return Guarantee.Exact  # declared to be independent
        case CorrelationBasis.Assumed | CorrelationBasis.Clusters if not estimated:
            return Guarantee.AssumedCorrelation
        case _:
            return Guarantee.DesignEffect


def _interval(metric: MetricPlan, kind: Kind, row: Array, alpha: float) -> Interval | None:
    """Stratified asymptotic confidence sequence: S = sum h diff within the mixture boundary of its variance.

    Waudby-Smith et al. (2103.06476), two-sided, with rho in units of the variance per unit of weight.
    """
    weight, contrast, variance = (float(row[s]) for s in (Slot.WEIGHT, Slot.CONTRAST, Slot.VARIANCE))
    if weight <= 0.0 or variance <= 0.0:
        return None
    # rho must not follow the data closely; in units of the variance per weight only the scale does.
    rho = best_rho(_INTERVAL_AT / 2.0, alpha) * variance / weight
    half = two_sided_bound(variance, rho, alpha) / weight
    estimate = kind.sign(metric) * contrast / weight
    return Interval(estimate, estimate - half, estimate + half)


def _reason(verdict: Verdict, metrics: tuple[MetricAssessment, ...], harm: SideEvidence) -> str:
    guards = [m for m in metrics if m.role is not Role.Observe]
    match verdict:
        case Verdict.Harmed:
            worst = max(guards, key=lambda m: m.harm.log_e, default=None)
            if worst is None:
                return f"harm was shown earlier (evidence {harm})"
            return f"harm shown (evidence {harm}), most of it by {worst.name}: {describe(worst)}"
        case Verdict.NoData:
            return "no samples of the candidate in any metric yet" if metrics else "the plan has no metrics"
        case Verdict.NonInferior:
            names = ", ".join(m.name for m in metrics if m.role is Role.Required)
            return f"shown non-inferior: {names}"
        case Verdict.Inconclusive:
            return _waiting(metrics, harm)


def _waiting(metrics: tuple[MetricAssessment, ...], harm: SideEvidence) -> str:
    required = [m for m in metrics if m.role is Role.Required]
    if not required:
        return f"no harm shown (evidence {harm}); no metric is Required, so nothing can show non-inferiority"
    waiting = [m for m in required if not m.promote.reached]
    parts = [
        f"{m.name} not yet shown non-inferior (evidence {m.promote}, "
        f"{_figure(m.values.candidate_samples)} candidate samples{_longer(m.remaining)})"
        for m in waiting
    ]
    return "; ".join(parts)


def _longer(remaining: Remaining | None) -> str:
    """What status says about the time left."""
    if remaining is None:
        return ""
    if remaining.towards is Verdict.Harmed:
        return ", today's difference lies beyond the margin"
    if remaining.towards is Verdict.Inconclusive:
        return ", today's difference lies between the margins"
    if not math.isfinite(remaining.seconds):
        return f", about {_whole(remaining.candidate_samples)} more, none coming now"
    return f", about {_span(remaining.seconds)} more"


def describe_remaining(metric: MetricAssessment) -> str:
    """What today's difference points to, and how long it takes at today's traffic; empty once decided."""
    left = metric.remaining
    if left is None:
        return ""
    if left.towards is Verdict.Inconclusive:
        return "today's difference lies between the margins: more of the same decides nothing"
    goal = "harm" if left.towards is Verdict.Harmed else "non-inferiority"
    samples = f"{_whole(left.candidate_samples)} more candidate samples"
    if not math.isfinite(left.seconds):
        return f"{goal} in about {samples}, but none are coming now"
    return f"{goal} in about {_span(left.seconds)} ({samples})"


def _span(seconds: float) -> str:
    for unit, length in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2.0 * length:
            return f"{seconds / length:.0f} {unit}"
    return "1 min"


def describe(metric: MetricAssessment) -> str:
    """Both arms' values and samples in a few words."""
    values = metric.values
    return (
        f"{metric.statistic} {_value(metric, values.candidate)} of {_figure(values.candidate_samples)} against "
        f"{_value(metric, values.stable)} of {_figure(values.stable_samples)}"
    )


def _value(metric: MetricAssessment, value: float) -> str:
    if math.isnan(value):
        return "unknown"
    return f"{100.0 * value:.3g} %" if metric.statistic == "rate" else f"{value:.4g}"


def _whole(samples: float) -> str:
    """Samples that are still to come: there are no parts of one."""
    return _figure(math.ceil(samples))


def _figure(value: float) -> str:
    """Two digits below a hundred, whole numbers with separators above, powers of ten where those get long."""
    if value >= 1e9:
        return f"{value:.1e}"
    if value >= 99.5:  # two digits of it would be a power of ten
        return f"{value:,.0f}"
    return f"{value:.2g}"
