"""Plans and windows for the analysis tests."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from promptrollout.analysis import (
    AnalysisPlan,
    ArmRequests,
    Correlation,
    EventCounts,
    Evidence,
    MetricOptions,
    MetricPlan,
    Pair,
    Role,
    Window,
    events_metric,
    histogram_counts,
    histogram_metric,
    paired_metric,
    score_counts,
    score_metric,
    sum_metric,
)
from promptrollout.analysis.counts import PairedCounts, SumCounts
from promptrollout.analysis.evidence import FLOAT
from promptrollout.analysis.kinds import kind_of
from promptrollout.analysis.kinds.base import Slot

INDEPENDENT = Correlation.independent()
EDGES = tuple(float(e) for e in np.geomspace(0.1, 10.0, 12))


def options(role: Role = Role.Guard, **more: object) -> MetricOptions:
    return MetricOptions(role=role, correlation=more.pop("correlation", INDEPENDENT), **more)  # type: ignore[arg-type]


def events_plan(role: Role = Role.Required, **more: object) -> AnalysisPlan:
    return AnalysisPlan((events_metric("errors", options=options(role, **more)),))


def seeded(plan: AnalysisPlan, total: float = 5000, bad: float = 100) -> Evidence:
    return Evidence.initial(plan, {m.name: EventCounts(total, bad) for m in plan.metrics})


def events(candidate: tuple[float, float], stable: tuple[float, float]) -> Pair:
    return Pair(EventCounts(*candidate), EventCounts(*stable))


def window(
    number: int, metrics: dict[str, Pair], exposure: int = 1, weight: int = 1000, **more: object
) -> Window:
    return Window(60.0 * number, 60.0 * number + 60.0, exposure, weight, metrics, **more)  # type: ignore[arg-type]


def event_windows(
    rng: np.random.Generator, rates: tuple[float, float], sizes: tuple[float, float], count: int
) -> list[Window]:
    """Poisson windows with (candidate, stable) rates and mean sizes."""
    result = []
    for i in range(count):
        n_c, n_s = (int(n) for n in rng.poisson(sizes))
        pair = events((n_c, int(rng.binomial(n_c, rates[0]))), (n_s, int(rng.binomial(n_s, rates[1]))))
        result.append(window(i, {"errors": pair}, requests=ArmRequests(n_c, n_s)))
    return result


def all_kinds_plan() -> AnalysisPlan:
    """One metric of every kind, and both directions of events."""
    required = options(Role.Required)
    return AnalysisPlan(
        (
            events_metric("errors", options=required),
            events_metric("resolved", options=options(Role.Required, higher_is_better=True)),
            score_metric("helpful", options=required),
            histogram_metric("latency", EDGES, options=required),
            sum_metric("cost", options=required),
            paired_metric("shadow", options=required),
        )
    )


def all_kinds_seed(rng: np.random.Generator) -> dict[str, object]:
    return {
        "errors": EventCounts(4000, 80),
        "resolved": EventCounts(4000, 1200),
        "helpful": score_counts(list(rng.beta(8, 2, 1000))),
        "latency": histogram_counts(list(rng.lognormal(0, 0.6, 2000)), EDGES),
    }


def all_kinds_window(rng: np.random.Generator, number: int, mean: float = 30.0, harm: float = 0.0) -> Window:
    """Random counts for `all_kinds_plan`; `harm` 0 is A/A, 1 is a much worse candidate."""
    n_c, n_s = (int(n) for n in rng.poisson((mean, 3 * mean)))

    def costs(n: int, scale: float) -> SumCounts:
        values = rng.gamma(4.0, scale, n)
        return SumCounts(n, float(values.sum()), float((values**2).sum()))

    differences = np.clip(rng.normal(-0.2 * harm, 0.2, n_c), -1.0, 1.0)
    metrics = {
        "errors": events(
            (n_c, int(rng.binomial(n_c, 0.02 + 0.2 * harm))), (n_s, int(rng.binomial(n_s, 0.02)))
        ),
        "resolved": events(
            (n_c, int(rng.binomial(n_c, 0.3 - 0.2 * harm))), (n_s, int(rng.binomial(n_s, 0.3)))
        ),
        "helpful": Pair(
            score_counts(list(rng.beta(8 - 5 * harm, 2, n_c))), score_counts(list(rng.beta(8, 2, n_s)))
        ),
        "latency": Pair(
            histogram_counts(list(rng.lognormal(harm, 0.6, n_c)), EDGES),
            histogram_counts(list(rng.lognormal(0, 0.6, n_s)), EDGES),
        ),
        "cost": Pair(costs(n_c, 1.0 + harm), costs(n_s, 1.0)),
        "shadow": Pair(PairedCounts(n_c, float(differences.sum()), float((differences**2).sum()))),
    }
    return window(number, metrics, requests=ArmRequests(n_c, n_s))


def harm_log_e(evidence: Evidence, position: int = 0) -> float:
    return float(np.frombuffer(evidence.rows[position], dtype=FLOAT)[Slot.HARM])


def promote_log_e(evidence: Evidence, position: int = 0) -> float:
    return float(np.frombuffer(evidence.rows[position], dtype=FLOAT)[Slot.PROMOTE])


def own_state(evidence: Evidence, metric: MetricPlan, position: int = 0) -> np.ndarray:
    kind = kind_of(metric)
    return evidence.array(position)[len(Slot) + 2 * kind.columns :]


def shifted(windows: Iterable[Window], by: int) -> list[Window]:
    return [
        Window(w.start + 60.0 * by, w.end + 60.0 * by, w.exposure, w.weight, w.metrics, w.late, w.requests)
        for w in windows
    ]
