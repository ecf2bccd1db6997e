"""What is said about the evidence."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from promptrollout.analysis import (
    AnalysisPlan,
    Correlation,
    EventCounts,
    Evidence,
    Guarantee,
    MetricOptions,
    Remaining,
    Role,
    SideEvidence,
    Verdict,
    assess,
    describe_remaining,
    events_metric,
    fold,
    sum_metric,
)
from promptrollout.analysis.guards import guards_log_e
from tests.analysis.builders import (
    all_kinds_plan,
    all_kinds_seed,
    all_kinds_window,
    event_windows,
    events,
    events_plan,
    options,
    seeded,
    window,
)


def test_nothing_seen_is_no_data_and_says_so() -> None:
    plan = events_plan()
    assessment = assess(plan, seeded(plan))
    assert assessment.verdict is Verdict.NoData
    assert assessment.metrics[0].verdict is Verdict.NoData
    assert math.isnan(assessment.metrics[0].values.candidate)
    assert "no samples of the candidate" in assessment.reason


def test_stable_traffic_alone_is_no_data() -> None:
    plan = events_plan()
    after = fold(plan, seeded(plan), [window(0, {"errors": events((0, 0), (500, 10))}, weight=0)])
    assert assess(plan, after).verdict is Verdict.NoData


def test_a_plan_without_metrics_can_be_assessed() -> None:
    plan = AnalysisPlan(())
    assert assess(plan, fold(plan, Evidence.initial(plan), [window(0, {})])).verdict is Verdict.NoData


def test_a_bad_candidate_is_harmed_and_the_reason_names_the_metric_with_its_numbers() -> None:
    plan = AnalysisPlan(
        (
            events_metric("errors", options=options()),
            events_metric("refusals", options=options(Role.Required)),
        )
    )
    windows = event_windows(np.random.default_rng(5), (0.2, 0.02), (60, 540), 6)
    calm = event_windows(np.random.default_rng(6), (0.02, 0.02), (60, 540), 6)
    both = [
        replace(w, metrics={**w.metrics, "refusals": c.metrics["errors"]})
        for w, c in zip(windows, calm, strict=True)
    ]
    assessment = assess(plan, fold(plan, seeded(plan), both))
    assert assessment.verdict is Verdict.Harmed
    assert assessment.harm.reached
    assert "errors: rate" in assessment.reason
    assert assessment.metrics[0].verdict is Verdict.Harmed
    assert assessment.metrics[1].verdict is not Verdict.Harmed


def test_an_equal_candidate_is_non_inferior_in_the_end_and_not_before() -> None:
    plan = events_plan()
    windows = event_windows(np.random.default_rng(8), (0.02, 0.02), (300, 300), 120)
    verdicts = []
    evidence = seeded(plan)
    for w in windows:
        evidence = fold(plan, evidence, [w])
        verdicts.append(assess(plan, evidence).verdict)
    assert verdicts[0] is Verdict.Inconclusive
    assert verdicts[-1] is Verdict.NonInferior
    assert Verdict.Harmed not in verdicts


def test_every_required_metric_must_be_shown_non_inferior() -> None:
    plan = AnalysisPlan(
        (
            events_metric("errors", options=options(Role.Required)),
            events_metric("refusals", options=options(Role.Required)),
        )
    )
    big = events((50_000, 1000), (50_000, 1000))
    one = fold(plan, seeded(plan), [window(0, {"errors": big})])
    assert assess(plan, one).verdict is Verdict.Inconclusive
    assert "refusals not yet shown non-inferior (evidence 1 of 20" in assess(plan, one).reason
    both = fold(plan, one, [window(1, {"refusals": big})])
    assert assess(plan, both).verdict is Verdict.NonInferior


def test_without_required_metrics_nothing_shows_non_inferiority_and_the_reason_says_so() -> None:
    plan = events_plan(Role.Guard)
    after = fold(plan, seeded(plan), [window(0, {"errors": events((50_000, 1000), (50_000, 1000))})])
    assessment = assess(plan, after)
    assert assessment.verdict is Verdict.Inconclusive
    assert assessment.metrics[0].promote.reached
    assert "no metric is Required" in assessment.reason


def test_the_guards_mean_is_weighted_and_leaves_observers_out() -> None:
    metrics = (
        replace(events_metric("a"), weight=3.0),
        events_metric("b"),
        events_metric("c", options=MetricOptions(role=Role.Observe)),
    )
    assert math.exp(guards_log_e(metrics, [math.log(10.0), math.log(2.0), 500.0])) == pytest.approx(8.0)
    assert guards_log_e(metrics, [5000.0, -5000.0, 0.0]) == pytest.approx(5000.0 + math.log(0.75))
    assert guards_log_e(metrics[2:], [500.0]) == 0.0


def test_evidence_is_shown_against_what_it_needs() -> None:
    plan = events_plan()
    after = fold(plan, seeded(plan), [window(0, {"errors": events((2000, 40), (2000, 40))})])
    side = assess(plan, after).metrics[0].promote
    assert side.needed == pytest.approx(20.0)
    assert side.e_value == pytest.approx(math.exp(side.log_e))
    assert str(side).endswith(" of 20")


@pytest.mark.parametrize(
    ("e", "shown"), [(0.043, "0.043"), (9.96, "10"), (99.7, "100"), (12_345.6, "12,346")]
)
def test_evidence_below_a_thousand_millions_is_shown_as_a_plain_number(e: float, shown: str) -> None:
    assert str(SideEvidence(math.log(e), math.log(20.0))) == f"{shown} of 20"


@pytest.mark.parametrize(("samples", "said"), [(0.3, "1 more"), (99.2, "100 more"), (5_310.4, "5,311 more")])
def test_what_is_still_to_come_is_told_in_whole_samples(samples: float, said: str) -> None:
    plan = events_plan()
    after = fold(plan, seeded(plan), [window(0, {"errors": events((50, 1), (50, 1))})])
    metric = assess(plan, after).metrics[0]
    left = replace(metric, remaining=Remaining(Verdict.NonInferior, samples, 7200.0))
    assert describe_remaining(left) == f"non-inferiority in about 2 h ({said} candidate samples)"


@pytest.mark.parametrize("seed", range(4))
def test_the_shown_interval_covers_the_true_difference_at_every_look(seed: int) -> None:
    plan = events_plan()
    evidence = seeded(plan)
    for w in event_windows(np.random.default_rng(seed), (0.05, 0.02), (100, 400), 100):
        evidence = fold(plan, evidence, [w])
        interval = assess(plan, evidence).metrics[0].difference
        assert interval is not None
        assert interval.low <= 0.03 <= interval.high
    assert interval.high - interval.low < 0.02


def test_differences_have_the_sign_of_the_metrics_own_direction() -> None:
    plan = all_kinds_plan()
    rng = np.random.default_rng(3)
    evidence = Evidence.initial(plan, all_kinds_seed(rng))  # type: ignore[arg-type]
    evidence = fold(plan, evidence, [all_kinds_window(rng, i, 60, harm=0.5) for i in range(20)])
    signs = {
        m.name: math.copysign(1.0, m.difference.estimate)
        for m in assess(plan, evidence).metrics
        if m.difference
    }
    assert signs == {"errors": 1, "resolved": -1, "helpful": -1, "latency": 1, "cost": 1, "shadow": -1}


def test_every_kind_finds_a_much_worse_candidate_and_clears_an_equal_one() -> None:
    plan = all_kinds_plan()
    for harm, wanted in ((0.8, Verdict.Harmed), (0.0, Verdict.NonInferior)):
        rng = np.random.default_rng(11)
        evidence = Evidence.initial(plan, all_kinds_seed(rng))  # type: ignore[arg-type]
        evidence = fold(plan, evidence, [all_kinds_window(rng, i, 600, harm) for i in range(40)])
        assert {m.name: m.verdict for m in assess(plan, evidence).metrics} == {
            m.name: wanted for m in plan.metrics
        }


def test_the_guarantee_names_its_premises() -> None:
    cases = {
        Guarantee.Exact: events_metric("e", options=MetricOptions(correlation=Correlation.independent())),
        Guarantee.AssumedCorrelation: events_metric("e"),
        Guarantee.DesignEffect: events_metric(
            "e", options=MetricOptions(correlation=Correlation.declared(8))
        ),
        Guarantee.Asymptotic: sum_metric("e"),
    }
    for guarantee, metric in cases.items():
        plan = AnalysisPlan((metric,))
        assert assess(plan, Evidence.initial(plan)).metrics[0].guarantee is guarantee


def test_time_left_is_forecast_from_todays_traffic() -> None:
    plan = events_plan()
    windows = event_windows(np.random.default_rng(2), (0.02, 0.02), (200, 200), 400)
    evidence = fold(plan, seeded(plan), windows[:4])
    first = assess(plan, evidence).metrics[0].remaining
    assert first is not None
    assert first.towards is Verdict.NonInferior
    assert first.seconds == pytest.approx(first.candidate_samples / (200 / 60), rel=0.15)
    needed = next(
        i
        for i in range(4, 400)
        if assess(plan, evidence := fold(plan, evidence, [windows[i]])).metrics[0].promote.reached
    )
    assert 0.2 < first.seconds / (60.0 * (needed - 3)) < 5.0
    assert assess(plan, evidence).metrics[0].remaining is None


def test_between_the_margins_more_of_the_same_decides_nothing() -> None:
    # Harm begins at 2.5 %, non-inferiority ends at 3 %: with both at one line, a rate just on it stays open.
    metric = events_metric("errors", options=options(Role.Required))
    plan = AnalysisPlan((replace(metric, promote_margin=metric.margin),))
    after = fold(plan, seeded(plan), [window(0, {"errors": events((200_000, 5000), (200_000, 4000))})])
    remaining = assess(plan, after).metrics[0].remaining
    assert remaining is None or remaining.candidate_samples > 1e5


def test_requests_that_split_otherwise_than_the_weights_are_reported() -> None:
    plan = events_plan()
    good = event_windows(np.random.default_rng(1), (0.02, 0.02), (100, 900), 30)
    fine = assess(plan, fold(plan, seeded(plan), good)).sample_ratio
    assert fine is not None
    assert not fine.mismatch
    skewed = [replace(w, weight=2000) for w in good]
    wrong = assess(plan, fold(plan, seeded(plan), skewed)).sample_ratio
    assert wrong is not None
    assert wrong.mismatch
    assert (wrong.expected, wrong.observed) == (0.2, pytest.approx(0.1, abs=0.01))


def test_a_seed_of_another_shape_is_ignored() -> None:
    plan = events_plan()
    assert Evidence.initial(plan, {"errors": EventCounts(math.nan, 3)}) == Evidence.initial(plan)
    assert Evidence.initial(plan, {"errors": EventCounts(10, 30)}) == Evidence.initial(plan)
