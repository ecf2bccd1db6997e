"""What a rollout can show, and when: the engine itself on expected counts.

For each scenario (what the candidate would be like) the planner walks the ramp with the counts one expects and notes
when the evidence first reaches a decision. Expected counts are what the median run looks like: the answer is up to a
third pessimistic against simulated medians (statistics.md, "Planner"). `closed_form` checks it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from promptrollout.analysis.counts import (
    Counts,
    EventCounts,
    HistogramCounts,
    History,
    Pair,
    PairedCounts,
    ScoreCounts,
    SumCounts,
    Window,
)
from promptrollout.analysis.effect import MEAN_FACTOR, information
from promptrollout.analysis.evidence import Evidence
from promptrollout.analysis.fold import FoldItem, fold_many
from promptrollout.analysis.kinds.base import HISTORY_LIMIT, Slot
from promptrollout.analysis.plan import AnalysisPlan, Correlation, CorrelationBasis, MetricPlan
from promptrollout.analysis.sampleratio import FULL_WEIGHT

#: Windows of the walk: a step's first one is this long, and each is so much longer than the one before; so a time
#: is known to that share of what went before in its step.
_FIRST_WINDOW, _GROWTH = 60.0, 1.03
#: Bisections for the smallest effect.
_HALVINGS = 30
#: Bisections for a tilt, and the steepest: two nodes are 1/20 apart, and e^-50 of one is nothing beside the other.
_TILTINGS, _STEEPEST = 60, 1000.0


@dataclass(frozen=True, slots=True)
class RampStep:
    """A weight in 1/10,000 and how many seconds it lasts; `mirrored`: the candidate answers beside stable."""

    weight: int
    seconds: float
    mirrored: bool = False

    @property
    def ratio(self) -> float:
        """Stable samples per candidate sample."""
        others = FULL_WEIGHT if self.mirrored else FULL_WEIGHT - self.weight
        return others / self.weight if self.weight else math.inf


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one sample of each arm looks like: counts of any size, of which the proportions matter.

    `design_effect` replaces the metric's own (say, one estimated from history).
    """

    metric: MetricPlan
    candidate: Counts
    stable: Counts | None
    design_effect: float | None = None


def scenario_of(metric: MetricPlan, candidate: Counts, stable: Counts, phi: float | None = None) -> Scenario:
    """A scenario; of pairs, `stable` is what they look like where both arms are alike, and no arm of its own."""
    return Scenario(metric, candidate, None if isinstance(stable, PairedCounts) else stable, phi)


@dataclass(frozen=True, slots=True)
class Crossing:
    """When expected evidence suffices: seconds and candidate samples since the start, and the ramp's step."""

    seconds: float
    candidate_samples: float
    step: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of one scenario: when harm and non-inferiority would be shown, None if not before the ramp ends."""

    harm: Crossing | None
    promote: Crossing | None


def forecast(
    scenarios: Sequence[Scenario], ramp: Sequence[RampStep], traffic: float, plan: AnalysisPlan | None = None
) -> list[Forecast]:
    """Walk the ramp under each scenario.

    Args:
        scenarios: what to suppose; each is looked at by itself.
        ramp: steps in order.
        traffic: samples a second of both arms together (of pairs, for paired metrics: candidate's share of them).
        plan: error rates, and with several guards the dilution of their mean; None takes the defaults and one guard.

    """
    rates = plan or AnalysisPlan(())
    # One guard among several has to bring the whole mean over the threshold.
    total = math.fsum(m.weight for m in rates.metrics if m.guards)
    plans = [AnalysisPlan((_with_effect(s),)) for s in scenarios]
    evidence = [Evidence.initial(p, _seed(s)) for p, s in zip(plans, scenarios, strict=True)]
    thresholds = [
        rates.harm_threshold + (math.log(max(total / s.metric.weight, 1.0)) if total else 0.0)
        for s in scenarios
    ]
    found: list[Forecast] = [Forecast(None, None) for _ in scenarios]
    clock = samples = 0.0
    for step, seconds in _walk(ramp):
        share = ramp[step].weight / FULL_WEIGHT
        batch = [
            FoldItem(p, e, (_expected(s, (clock, clock + seconds), (step, ramp[step]), traffic),))
            for p, e, s in zip(plans, evidence, scenarios, strict=True)
        ]
        evidence = fold_many(batch)
        clock += seconds
        samples += traffic * seconds * share
        here = Crossing(clock, samples, step)
        found = [
            _crossed(f, e, threshold, rates.promote_threshold, here)
            for f, e, threshold in zip(found, evidence, thresholds, strict=True)
        ]
        if all(f.harm is not None or f.promote is not None for f in found):
            break
    return found


def _crossed(found: Forecast, evidence: Evidence, harm: float, promote: float, here: Crossing) -> Forecast:
    row = evidence.array(0)
    return Forecast(
        found.harm or (here if row[Slot.HARM] >= harm else None),
        found.promote or (here if row[Slot.PROMOTE] >= promote else None),
    )


def _walk(ramp: Sequence[RampStep]) -> list[tuple[int, float]]:
    """(step, seconds) of the walk's windows."""
    windows = []
    for number, step in enumerate(ramp):
        left, length = step.seconds, _FIRST_WINDOW
        while left > 0.0:
            length = min(length, left)
            windows.append((number, length))
            left -= length
            length *= _GROWTH
    return windows


def _with_effect(scenario: Scenario) -> MetricPlan:
    """The metric with its design effect fixed."""
    correlation = scenario.metric.correlation
    phi = scenario.design_effect or correlation.phi
    return replace(
        scenario.metric,
        correlation=Correlation(CorrelationBasis.Declared, phi, correlation.allocation),
    )


def _seed(scenario: Scenario) -> dict[str, History]:
    if scenario.stable is None:
        return {}
    return {scenario.metric.name: History(scaled(scenario.stable, HISTORY_LIMIT))}


def _expected(
    scenario: Scenario, times: tuple[float, float], at: tuple[int, RampStep], traffic: float
) -> Window:
    number, step = at
    samples = traffic * (times[1] - times[0]) * step.weight / FULL_WEIGHT
    stable = None
    if scenario.stable is not None:
        stable = scaled(scenario.stable, samples * step.ratio if step.weight else 0.0)
    pair = Pair(scaled(scenario.candidate, samples), stable)
    return Window(times[0], times[1], number, step.weight, {scenario.metric.name: pair})


def scaled(counts: Counts, samples: float) -> Counts:
    """Counts in the same proportions, of `samples` samples. Empty counts stay empty."""
    match counts:
        case EventCounts(total, bad):
            f = samples / total if total else 0.0
            return EventCounts(samples if total else 0.0, bad * f)
        case ScoreCounts():
            size = math.fsum(counts.nodes) if counts.nodes else counts.count
            f = samples / size if size else 0.0
            return ScoreCounts(
                counts.count * f,
                tuple(n * f for n in counts.nodes),
                None if counts.sum is None else counts.sum * f,
                None if counts.sumsq is None else counts.sumsq * f,
            )
        case HistogramCounts(buckets):
            size = math.fsum(buckets)
            f = samples / size if size else 0.0
            return HistogramCounts(tuple(n * f for n in buckets))
        case SumCounts(count, total, sumsq):
            f = samples / count if count else 0.0
            return SumCounts(count * f, total * f, None if sumsq is None else sumsq * f)
        case PairedCounts(count, total, sumsq):
            f = samples / count if count else 0.0
            return PairedCounts(count * f, total * f, sumsq * f)


def worsened(counts: Counts, share: float, *, higher_is_better: bool = False) -> Counts:
    """A candidate like stable, but for a share of its samples that are as bad as can be.

    Scores and pairs fall by as much on average, but all of them do: a prompt whose mean is lower by .1 has not
    failed at one answer in eight. Sums have no worst value: they grow (or shrink) by the share instead.
    """
    if share == 0.0:
        return counts
    match counts:
        case EventCounts(total, bad):
            target = 0.0 if higher_is_better else total
            return EventCounts(total, bad + share * (target - bad))
        case ScoreCounts():
            return _worsened_scores(counts, share, higher_is_better=higher_is_better)
        case HistogramCounts(buckets):
            return HistogramCounts(_towards(buckets, share, last=not higher_is_better))
        case SumCounts(count, total, sumsq):
            f = 1.0 / (1.0 + share) if higher_is_better else 1.0 + share
            return SumCounts(count, total * f, None if sumsq is None else sumsq * f * f)
        case PairedCounts(count, total, sumsq):
            moved = total + share * ((-count if higher_is_better else count) - total)
            # Their variance stays what it was, as far as differences within [-1, 1] can have it.
            spread = (moved * moved - total * total) / count if count else 0.0
            return PairedCounts(count, moved, min(sumsq + spread, count))


def _worsened_scores(counts: ScoreCounts, share: float, *, higher_is_better: bool) -> ScoreCounts:
    """The worst score is 0 where higher is better, and 1 otherwise."""
    worst = 0.0 if higher_is_better else counts.count
    return ScoreCounts(
        counts.count,
        # Nodes count down from a score of 1, so the worst of a score that should be high is the last.
        _tilted(counts.nodes, share, last=higher_is_better),
        None if counts.sum is None else counts.sum + share * (worst - counts.sum),
        None if counts.sumsq is None else counts.sumsq + share * (worst - counts.sumsq),
    )


def _tilted(nodes: tuple[float, ...], share: float, *, last: bool) -> tuple[float, ...]:
    """Nodes whose mean is as much worse as if a share of them were at the worst, by exponential tilting.

    Of all distributions with that mean w_i e^{t i} is nearest to the nodes in Kullback-Leibler divergence. Where no
    node with anything on it is as bad as that mean, a share moves to the worst one.
    """
    weights = np.asarray(nodes, dtype=float)
    total = float(weights.sum())
    if not total:
        return nodes
    worse = np.linspace(0.0, 1.0, len(nodes)) if last else np.linspace(1.0, 0.0, len(nodes))
    mean = float(weights @ worse) / total
    target = mean + share * (1.0 - mean)
    farthest = float(worse[weights > 0.0].max())
    if target >= farthest:
        return _towards(nodes, share, last=last)
    # Off the farthest node, so that no power is too large for a float.
    off, low, high = worse - farthest, 0.0, _STEEPEST
    tilted = weights
    for _ in range(_TILTINGS):
        middle = (low + high) / 2.0
        tilted = weights * np.exp(middle * np.minimum(off, 0.0))
        low, high = (middle, high) if float(tilted @ worse) < target * float(tilted.sum()) else (low, middle)
    return tuple((tilted * (total / tilted.sum())).tolist())


def _towards(levels: tuple[float, ...], share: float, *, last: bool) -> tuple[float, ...]:
    worst = len(levels) - 1 if last else 0
    total = math.fsum(levels)
    return tuple((1.0 - share) * n + (share * total if i == worst else 0.0) for i, n in enumerate(levels))


def closed_form(
    scenario: Scenario,
    step: RampStep,
    log_needed: float,
    *,
    promote: bool = False,
    factor: float = MEAN_FACTOR,
) -> float:
    """Candidate samples to a decision at a step's weight: factor * ln(1 / alpha) * phi / I, inf if never."""
    ratio = step.ratio
    if not 0.0 < ratio < math.inf:
        return math.inf
    known = information(scenario.metric, scenario.candidate, scenario.stable, ratio)
    nats = known.promote if promote else known.harm
    phi = scenario.design_effect or scenario.metric.correlation.phi
    return factor * log_needed * phi / nats if nats > 0.0 else math.inf


def expected_crossing(
    scenario: Scenario,
    ramp: Sequence[RampStep],
    traffic: float,
    log_needed: float,
    *,
    promote: bool = False,
    factor: float = MEAN_FACTOR,
) -> Crossing | None:
    """When the closed form adds up to a decision along a ramp, None if it does not before the ramp's end.

    A thousand times as fast as `forecast`, and coarser: for comparing ramps, and for looking often.
    """
    needed, clock, samples = 1.0, 0.0, 0.0
    for number, step in enumerate(ramp):
        pace = traffic * step.weight / FULL_WEIGHT
        whole = closed_form(scenario, step, log_needed, promote=promote, factor=factor)
        # The share of a decision that this step brings a second.
        speed = pace / whole if whole > 0.0 else math.inf
        if speed > 0.0 and (lasts := needed / speed) <= step.seconds:
            return Crossing(clock + lasts, samples + lasts * pace, number)
        needed -= speed * step.seconds
        clock += step.seconds
        samples += pace * step.seconds
    return None


@dataclass(frozen=True, slots=True)
class StepLimit:
    """What one step of a ramp can see by itself: candidate samples, and the smallest harm they show (None: none)."""

    step: int
    weight: int
    candidate_samples: float
    smallest_share: float | None  #: of samples as bad as can be, see `worsened`
    candidate: Counts | None


def step_limits(
    metric: MetricPlan, stable: Counts, ramp: Sequence[RampStep], traffic: float, log_needed: float
) -> list[StepLimit]:
    """The smallest harm each step can be expected to show within its own time, by the closed form."""
    limits = []
    for number, step in enumerate(ramp):
        samples = traffic * step.seconds * step.weight / FULL_WEIGHT

        def shown(share: float, step: RampStep = step, samples: float = samples) -> bool:
            candidate = worsened(stable, share, higher_is_better=metric.higher_is_better)
            return closed_form(scenario_of(metric, candidate, stable), step, log_needed) <= samples

        low, high = 0.0, 1.0
        if not shown(high):
            limits.append(StepLimit(number, step.weight, samples, None, None))
            continue
        for _ in range(_HALVINGS):
            middle = (low + high) / 2.0
            low, high = (low, middle) if shown(middle) else (middle, high)
        candidate = worsened(stable, high, higher_is_better=metric.higher_is_better)
        limits.append(StepLimit(number, step.weight, samples, high, candidate))
    return limits
