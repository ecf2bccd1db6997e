"""What a rollout can show, and when."""

from __future__ import annotations

import math

import numpy as np
import pytest

from promptrollout.analysis import (
    AnalysisPlan,
    Counts,
    EventCounts,
    Evidence,
    FoldItem,
    LineMargin,
    PairedCounts,
    RampStep,
    Role,
    Scenario,
    ScoreCounts,
    SumCounts,
    closed_form,
    events_metric,
    fold_many,
    forecast,
    histogram_counts,
    histogram_metric,
    paired_metric,
    score_counts,
    score_metric,
    step_limits,
    sum_metric,
    worsened,
)
from promptrollout.analysis.effect import information
from promptrollout.analysis.planner import scaled
from tests.analysis.builders import EDGES, event_windows, options

RAMP = [RampStep(weight, 6 * 3600.0) for weight in (100, 500, 2500, 5000)]
STABLE = EventCounts(100, 2)
ERRORS = events_metric("errors", options=options(Role.Required))


@pytest.mark.parametrize(
    ("weight", "harm", "promote"), [(100, 383, 1563), (500, 403, 1651), (2500, 538, 2230), (5000, 856, 3597)]
)
def test_the_bound_of_the_design(weight: int, harm: float, promote: float) -> None:
    metric = events_metric("errors", LineMargin(1.0), LineMargin(1.5), options())
    worse, equal = Scenario(metric, EventCounts(100, 4), STABLE), Scenario(metric, STABLE, STABLE)
    assert closed_form(worse, RampStep(weight, 1.0), math.log(20), factor=1.0) == pytest.approx(harm, abs=0.6)
    assert closed_form(equal, RampStep(weight, 1.0), math.log(20), promote=True, factor=1.0) == pytest.approx(
        promote, abs=0.6
    )


def test_scores_gain_what_the_normal_approximation_says() -> None:
    stable, worse = score_counts([0.6, 1.0] * 50), score_counts([0.5, 0.9] * 50)
    known = information(score_metric("helpful"), worse, stable, ratio=3.0)
    assert known.harm == pytest.approx((0.1 - 0.02) ** 2 / (2 * 0.04 * (1 + 1 / 3)))
    assert known.promote == 0.0


def test_a_forecast_is_near_the_closed_form_and_near_simulated_runs() -> None:
    traffic = 10.0
    scenario = Scenario(ERRORS, EventCounts(100, 10), STABLE)
    found = forecast([scenario], RAMP, traffic)[0].harm
    assert found is not None
    assert found.step == 0
    bound = closed_form(scenario, RampStep(100, 1.0), math.log(20), factor=1.0)
    assert bound < found.candidate_samples < 2.0 * bound
    plan = AnalysisPlan((ERRORS,))
    rng = np.random.default_rng(4)
    windows = [event_windows(rng, (0.1, 0.02), (6, 594), 40) for _ in range(60)]
    start = Evidence.initial(plan, {"errors": EventCounts(5000, 100)})
    ends = [e.harmed.at if e.harmed else 1e9 for e in fold_many([FoldItem(plan, start, w) for w in windows])]
    assert 0.6 < found.seconds / float(np.median(ends)) < 1.6


def test_too_little_traffic_decides_nothing_and_the_forecast_says_so() -> None:
    found = forecast([Scenario(ERRORS, EventCounts(100, 4), STABLE)], RAMP, 1000 / 86_400)
    assert found[0].harm is None
    assert found[0].promote is None


def test_an_equal_candidate_is_promoted_and_never_harmed() -> None:
    found = forecast([Scenario(ERRORS, STABLE, STABLE)], RAMP, 10.0)[0]
    assert found.harm is None
    assert found.promote is not None


def test_correlation_and_further_guards_take_longer() -> None:
    scenario = Scenario(ERRORS, EventCounts(100, 6), STABLE)
    correlated = Scenario(ERRORS, EventCounts(100, 6), STABLE, design_effect=4.0)
    alone, slow = (f.harm for f in forecast([scenario, correlated], RAMP, 10.0))
    guards = AnalysisPlan(tuple(events_metric(f"m{i}", options=options()) for i in range(6)))
    among = forecast([scenario], RAMP, 10.0, guards)[0].harm
    assert alone is not None
    assert slow is not None
    assert among is not None
    assert slow.candidate_samples > 2.5 * alone.candidate_samples
    assert among.candidate_samples > alone.candidate_samples


def test_larger_weights_and_longer_steps_see_smaller_effects() -> None:
    limits = step_limits(ERRORS, STABLE, RAMP, 1.0, math.log(20))
    seen = [limit.smallest_share for limit in limits]
    assert all(share is not None for share in seen)
    assert seen == sorted(seen, reverse=True)  # type: ignore[type-var]
    last = limits[-1]
    assert last.candidate is not None
    scenario = Scenario(ERRORS, last.candidate, STABLE)
    assert closed_form(scenario, RampStep(last.weight, 1.0), math.log(20)) == pytest.approx(
        last.candidate_samples, rel=1e-3
    )


def test_a_step_that_can_see_nothing_says_so() -> None:
    limits = step_limits(ERRORS, STABLE, [RampStep(1, 60.0), RampStep(0, 60.0)], 1.0, math.log(20))
    assert [limit.smallest_share for limit in limits] == [None, None]


EVERY_KIND: list[tuple[object, Counts]] = [
    (events_metric("e"), EventCounts(100, 5)),
    (events_metric("e", options=options(higher_is_better=True)), EventCounts(100, 95)),
    (score_metric("s"), score_counts([0.9, 0.6, 0.8])),
    (score_metric("s", options=options(higher_is_better=False)), score_counts([0.1, 0.4, 0.2])),
    (histogram_metric("h", EDGES), histogram_counts([0.5, 0.7, 1.0, 2.0, 3.0] * 20, EDGES)),
    (
        histogram_metric("h", EDGES, options=options(higher_is_better=True)),
        histogram_counts([0.5, 0.7, 1.0, 2.0, 3.0] * 20, EDGES),
    ),
    (sum_metric("c"), SumCounts(100, 100, 150)),
    (sum_metric("c", options=options(higher_is_better=True)), SumCounts(100, 100, 150)),
    (paired_metric("p"), PairedCounts(100, 0, 5)),
    (paired_metric("p", options=options(higher_is_better=False)), PairedCounts(100, 0, 5)),
]


@pytest.mark.parametrize(
    ("metric", "counts"), EVERY_KIND, ids=lambda v: getattr(v, "kind", "") and str(v.kind)
)
def test_every_kind_can_be_worsened_and_planned(metric: object, counts: Counts) -> None:
    stable = None if isinstance(counts, PairedCounts) else counts
    direction = metric.higher_is_better  # type: ignore[attr-defined]
    worse = worsened(counts, 0.3, higher_is_better=direction)
    assert information(metric, counts, stable, 1.0).promote > 0.0  # type: ignore[arg-type]
    assert information(metric, counts, stable, 1.0).harm == 0.0  # type: ignore[arg-type]
    assert information(metric, worse, stable, 1.0).harm > 0.0  # type: ignore[arg-type]
    ramp = [RampStep(5000, 3 * 3600.0)]
    bad, equal = forecast(
        [Scenario(metric, worse, stable, 1.0), Scenario(metric, counts, stable, 1.0)], ramp, 5.0
    )  # type: ignore[arg-type]
    assert bad.harm is not None
    assert equal.harm is None
    assert equal.promote is not None
    assert worsened(counts, 0.0, higher_is_better=direction) == counts


@pytest.mark.parametrize(
    ("metric", "counts"), EVERY_KIND, ids=lambda v: getattr(v, "kind", "") and str(v.kind)
)
def test_scaling_keeps_proportions_and_empty_counts_stay_empty(metric: object, counts: Counts) -> None:
    doubled = scaled(scaled(counts, 1000.0), 2000.0)
    for ratio in (1.0, 4.0):
        stable = None if isinstance(counts, PairedCounts) else counts
        assert information(metric, doubled, stable, ratio).promote == pytest.approx(  # type: ignore[arg-type]
            information(metric, counts, stable, ratio).promote  # type: ignore[arg-type]
        )
    assert scaled(EventCounts(0, 0), 100.0) == EventCounts(0.0, 0.0)


@pytest.mark.parametrize("share", [1e-6, 0.05, 0.4, 0.95, 1.0])
@pytest.mark.parametrize("higher", [True, False])
def test_scores_that_fall_by_so_much_on_average_all_fall(share: float, higher: bool) -> None:
    stable = score_counts(np.random.default_rng(1).beta(8, 2, 400).tolist())
    worse = worsened(stable, share, higher_is_better=higher)
    assert isinstance(worse, ScoreCounts)
    values = 1.0 - np.arange(21) / 20.0
    mean, before = (float(np.dot(c.nodes, values)) / 400.0 for c in (worse, stable))
    assert sum(worse.nodes) == pytest.approx(400.0)
    assert mean == pytest.approx(before + share * ((0.0 if higher else 1.0) - before))
    # Least divergence of all with that mean: the logarithm of the ratio is a straight line.
    bent = np.diff(np.log(np.array(worse.nodes) + 1e-300) - np.log(np.array(stable.nodes) + 1e-300), 2)
    if share < 0.5:
        assert np.abs(bent[np.array(stable.nodes)[1:-1] > 0.0][2:-2]).max() < 1e-6


def test_scores_that_nothing_can_tilt_move_to_the_worst() -> None:
    always = worsened(score_counts([1.0] * 10), 0.3, higher_is_better=True)
    assert isinstance(always, ScoreCounts)
    assert (always.nodes[0], always.nodes[-1]) == pytest.approx((7.0, 3.0))


def test_information_of_nothing_is_nothing() -> None:
    assert information(ERRORS, EventCounts(0, 0), STABLE, 1.0).harm == 0.0
    assert information(score_metric("s"), STABLE, STABLE, 1.0).harm == 0.0
