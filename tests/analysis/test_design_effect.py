"""Requests that share a unit: what phi is, and when it is in force."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from promptrollout.analysis import (
    AnalysisPlan,
    ArmClusters,
    ClusterCounts,
    Correlation,
    EventCounts,
    Evidence,
    FoldItem,
    History,
    MetricClusters,
    MetricOptions,
    Pair,
    ProblemCode,
    Role,
    ScoreCounts,
    assess,
    dispersion,
    events_metric,
    fold,
    fold_many,
    score_counts,
    score_metric,
)
from promptrollout.analysis.kinds.base import Slot
from tests.analysis.builders import events, harm_log_e, promote_log_e, window

CLUSTERED = Correlation.clusters()
K = 16


def clustered_plan(*, units: bool = False) -> AnalysisPlan:
    metric = events_metric(
        "errors", options=MetricOptions(role=Role.Required, correlation=Correlation.clusters(units=units))
    )
    return AnalysisPlan((metric,))


def hour(
    number: int, sums: np.ndarray, requests: float = 100.0, units: bool = False
) -> dict[str, MetricClusters]:
    counts = ClusterCounts(
        3600.0 * number, 3600.0 * (number + 1), ArmClusters((requests,) * K, tuple(float(s) for s in sums))
    )
    return {"errors": MetricClusters(units=counts) if units else MetricClusters(counts)}


def phi_of(evidence: Evidence) -> float:
    return float(evidence.array(0)[Slot.PHI])


@pytest.mark.parametrize(
    ("correlation", "phi"),
    [
        (Correlation.independent(), 1.0),
        (Correlation.assumed(), 4.0),
        (Correlation.declared(8, 0.2), 3.8),
        (Correlation.clusters(), 4.0),
    ],
)
def test_the_design_effect_before_any_cluster_sums(correlation: Correlation, phi: float) -> None:
    plan = AnalysisPlan((events_metric("errors", options=MetricOptions(correlation=correlation)),))
    assert assess(plan, Evidence.initial(plan)).metrics[0].design_effect == pytest.approx(phi)


def test_evidence_is_divided_by_the_design_effect() -> None:
    pair = {"errors": events((100, 20), (900, 18))}
    values = {}
    for phi in (1.0, 2.0, 4.0):
        metric = events_metric(
            "errors", options=MetricOptions(correlation=replace(Correlation.assumed(), phi=phi))
        )
        plan = AnalysisPlan((metric,))
        values[phi] = harm_log_e(
            fold(plan, Evidence.initial(plan, {"errors": EventCounts(5000, 100)}), [window(0, pair)])
        )
    assert values[1.0] > 1.5 * values[2.0] > 2.0 * values[4.0] > 0.0


@pytest.mark.parametrize(("spread", "low", "high"), [(1.0, 1.0, 1.6), (4.0, 3.5, 5.5)])
def test_the_estimate_finds_the_spread_of_the_clusters(spread: float, low: float, high: float) -> None:
    rng = np.random.default_rng(4)
    state = dispersion.fresh(K)[None]
    for i in range(200):
        sums = rng.normal(20.0, np.sqrt(spread * 20.0 * 0.98), K).clip(0.0)
        read = dispersion.read(
            ClusterCounts(3600.0 * i, 3600.0 * (i + 1), ArmClusters((1000.0,) * K, tuple(sums)))
        )
        assert not isinstance(read, str)
        state = dispersion.absorb(state, read[0][None])
    assert low <= dispersion.design_effect(state, dispersion.Prior())[0] <= high


def test_conversations_that_straddle_two_blocks_count_through_the_product_with_the_block_before() -> None:
    rng = np.random.default_rng(4)

    def estimate(gap: float) -> float:
        state, bad = dispersion.fresh(K)[None], rng.normal(0.0, 4.0, K)
        for i in range(60):
            sums = 20.0 + bad + rng.normal(0.0, 1.0, K)
            bad = rng.normal(0.0, 4.0, K) if i % 2 else bad
            start = (3600.0 + gap) * i
            read = dispersion.read(
                ClusterCounts(start, start + 3600.0, ArmClusters((1000.0,) * K, tuple(sums.clip(0))))
            )
            assert not isinstance(read, str)
            state = dispersion.absorb(state, read[0][None])
        return float(dispersion.design_effect(state, dispersion.Prior())[0])

    rng_state = rng.bit_generator.state
    joined = estimate(0.0)
    rng.bit_generator.state = rng_state
    assert joined > 1.3 * estimate(7200.0)


def test_a_blocks_design_effect_is_in_force_only_for_windows_that_open_later() -> None:
    plan = clustered_plan()
    evidence = Evidence.initial(plan, {"errors": EventCounts(5000, 100)})
    sums = np.full(K, 20.0)
    sums[0] = 400.0
    pair = {"errors": events((100, 20), (900, 18))}
    plain = fold(plan, evidence, [window(0, pair)])
    with_block = fold(plan, evidence, [replace(window(0, pair), clusters=hour(0, sums))])
    assert harm_log_e(with_block) == harm_log_e(plain)
    assert phi_of(with_block) > 10.0
    assert harm_log_e(fold(plan, with_block, [window(1, pair)])) < harm_log_e(
        fold(plan, plain, [window(1, pair)])
    )


def test_a_pending_window_keeps_the_design_effect_it_opened_with() -> None:
    plan = clustered_plan()
    evidence = Evidence.initial(plan, {"errors": EventCounts(5000, 100)})
    sums = np.full(K, 20.0)
    sums[0] = 400.0
    small = {"errors": events((3, 3), (7, 0))}
    opened = fold(plan, evidence, [replace(window(0, small), clusters=hour(0, sums))])
    closed = fold(plan, opened, [window(1, small)])
    assert closed.array(0)[Slot.CLOSED] == 1
    same = fold(plan, evidence, [window(0, small), window(1, small)])
    assert harm_log_e(closed) == harm_log_e(same)


def test_cluster_sums_of_every_window_add_up_to_the_same_block() -> None:
    plan = clustered_plan()
    rng = np.random.default_rng(1)
    minutes = rng.integers(0, 4, (60, K))
    evidence = Evidence.initial(plan)
    for i, sums in enumerate(minutes):
        counts = ClusterCounts(
            60.0 * i, 60.0 * (i + 1), ArmClusters((10.0,) * K, tuple(float(s) for s in sums))
        )
        before = phi_of(evidence)
        evidence = fold(plan, evidence, [replace(window(i, {}), clusters={"errors": MetricClusters(counts)})])
        assert (phi_of(evidence) != before) == (i == 59)
    at_once = fold(
        plan, Evidence.initial(plan), [replace(window(59, {}), clusters=hour(0, minutes.sum(axis=0), 600.0))]
    )
    assert phi_of(evidence) == pytest.approx(phi_of(at_once))


def test_history_gives_the_design_effect_before_the_first_window() -> None:
    plan = clustered_plan()
    rng = np.random.default_rng(2)
    blocks = tuple(
        MetricClusters(
            ClusterCounts(-3600.0 * (24 - i), -3600.0 * (23 - i), ArmClusters((1000.0,) * K, tuple(sums)))
        )
        for i, sums in enumerate(rng.poisson(20.0, (24, K)).astype(float))
    )
    evidence = Evidence.initial(plan, {"errors": History(EventCounts(5000, 100), clusters=blocks)})
    assert 1.0 <= phi_of(evidence) < 2.0


@pytest.mark.parametrize(
    "bad",
    [
        ArmClusters((1.0,), (0.0,)),
        ArmClusters((1.0,) * K, (0.0,) * 3),
        ArmClusters((float("nan"),) * K, (0.0,) * K),
        ArmClusters((1.0,) * K, (-1.0,) * K),
        ArmClusters((1.0,) * K, ("x",) * K),  # type: ignore[arg-type]
    ],
)
def test_bad_cluster_sums_are_left_out_and_named(bad: ArmClusters) -> None:
    plan = clustered_plan()
    item = replace(window(0, {}), clusters={"errors": MetricClusters(ClusterCounts(0.0, 3600.0, bad))})
    after = fold(plan, Evidence.initial(plan), [item])
    assert phi_of(after) == 4.0
    assert [(p.code, p.metric) for p in after.problems] == [(ProblemCode.InvalidClusters, "errors")]


def block(
    number: int, stable: np.ndarray, candidate: np.ndarray | None, requests: tuple[float, float]
) -> np.ndarray:
    arms = [
        None if sums is None else ArmClusters((n,) * K, tuple(float(s) for s in sums))
        for sums, n in zip((stable, candidate), requests, strict=True)
    ]
    assert arms[0] is not None
    read = dispersion.read(ClusterCounts(3600.0 * number, 3600.0 * (number + 1), arms[0], arms[1]))
    assert not isinstance(read, str)
    return read[0]


def correlated_candidate(rng: np.random.Generator, hours: int, spread: float, lengths: float) -> np.ndarray:
    """States whose candidate's sums vary `spread` times as much as stable's; requests a cluster vary by `lengths`."""
    state = dispersion.fresh(K)[None]
    for i in range(hours):
        stable = rng.normal(20.0, np.sqrt(20.0), K).clip(0.0)
        candidate = rng.normal(2.0, np.sqrt(spread * 2.0), K).clip(0.0)
        row = block(i, stable, candidate, (1000.0, 100.0))
        row[2 : 2 + K] = np.maximum(1000.0 + rng.normal(0.0, np.sqrt(lengths * 1000.0), K), 20.0)
        state = dispersion.absorb(state, row[None])
    return state


def test_a_candidate_that_alone_is_correlated_counts_with_its_own_design_effect() -> None:
    rng = np.random.default_rng(8)
    state = correlated_candidate(rng, 48, 8.0, 15.0)
    alike = correlated_candidate(rng, 48, 1.0, 15.0)
    assert 3.0 < dispersion.design_effect(state, dispersion.Prior())[0] < 10.0
    assert dispersion.design_effect(alike, dispersion.Prior())[0] < 2.5


def test_before_the_candidate_has_been_seen_it_may_be_half_as_much_again_as_is_believed_of_both() -> None:
    rng = np.random.default_rng(8)
    stable_only = dispersion.fresh(K)[None]
    for i in range(24):
        row = block(i, rng.poisson(20.0, K).astype(float), None, (1000.0, 0.0))
        row[2 : 2 + K] = np.maximum(1000.0 + rng.normal(0.0, np.sqrt(15_000.0), K), 20.0)
        stable_only = dispersion.absorb(stable_only, row[None])
    assert dispersion.design_effect(stable_only, dispersion.Prior())[0] == 6.0
    assert dispersion.design_effect(stable_only, dispersion.Prior(dispersion.PHI0_UNITS))[0] == 3.0


def test_requests_that_come_one_by_one_cannot_be_correlated_whoever_answers() -> None:
    rng = np.random.default_rng(8)
    state = dispersion.fresh(K)[None]
    for i in range(24):
        row = block(i, rng.poisson(20.0, K).astype(float), None, (1000.0, 0.0))
        row[2 : 2 + K] = rng.poisson(1000.0, K)
        state = dispersion.absorb(state, row[None])
    assert dispersion.design_effect(state, dispersion.Prior())[0] < 1.7


@pytest.mark.parametrize("clusters", [2, 7, 16, 64])
def test_blocks_of_an_older_operator_go_on_and_only_the_candidates_own_sums_begin_anew(clusters: int) -> None:
    state = dispersion.fresh(clusters)
    state[: dispersion.SUMS] = np.arange(1.0, dispersion.SUMS + 1.0)
    old = np.concatenate([state[:7], state[dispersion.SUMS :]])
    new = dispersion.modern(old)
    assert len(new) == dispersion.width(clusters)
    assert new[:7].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert not new[7 : dispersion.SUMS].any()
    assert dispersion.modern(state) is state
    assert dispersion.learned(old)


def test_another_number_of_clusters_starts_the_blocks_anew() -> None:
    plan = clustered_plan()
    evidence = fold(
        plan, Evidence.initial(plan), [replace(window(0, {}), clusters=hour(0, np.full(K, 20.0)))]
    )
    eight = ClusterCounts(3600.0, 7200.0, ArmClusters((100.0,) * 8, (20.0,) * 8))
    after = fold(plan, evidence, [replace(window(61, {}), clusters={"errors": MetricClusters(eight)})])
    assert len(after.blocks[0][0]) == dispersion.width(8) * 8


def test_scores_take_their_variance_from_the_squares() -> None:
    metric = score_metric("helpful", options=MetricOptions(correlation=CLUSTERED))
    plan = AnalysisPlan((metric,))
    rng = np.random.default_rng(3)
    evidence = Evidence.initial(plan)
    assert phi_of(evidence) == 4.0
    for i in range(48):
        scores = rng.beta(8, 2, (K, 100))
        counts = ClusterCounts(
            3600.0 * i,
            3600.0 * (i + 1),
            ArmClusters((100.0,) * K, tuple(scores.sum(axis=1)), float((scores**2).sum())),
        )
        item = replace(window(60 * i, {}), clusters={"helpful": MetricClusters(counts)})
        evidence = fold(plan, evidence, [item])
    assert 1.0 <= phi_of(evidence) < 1.6


def unit_pair(
    candidate: tuple[int, int], stable: tuple[int, int], requests: tuple[int, int] = (2, 18)
) -> Pair:
    bad, good = requests
    return Pair(EventCounts(100, bad), EventCounts(900, good), EventCounts(*candidate), EventCounts(*stable))


def test_harm_rests_on_the_mean_of_request_and_unit_evidence_and_promotion_on_requests() -> None:
    plan, alone = clustered_plan(units=True), clustered_plan()
    seed = {"errors": History(EventCounts(5000, 100), units=EventCounts(3000, 60))}
    windows = [window(i, {"errors": unit_pair((60, 20), (540, 11), (6, 18))}) for i in range(10)]
    both, requests = (
        fold(plan, Evidence.initial(plan, seed), windows),
        fold(alone, Evidence.initial(alone, seed), windows),
    )
    assert np.log(5.0) < harm_log_e(requests) < plan.harm_threshold
    assert harm_log_e(both) > plan.harm_threshold
    assert promote_log_e(both) == promote_log_e(requests)


def test_more_units_with_an_error_are_no_harm_while_there_are_no_more_errors() -> None:
    # A candidate whose errors are less alike within a conversation spreads as many of them over more conversations.
    plan, alone = clustered_plan(units=True), clustered_plan()
    seed = {"errors": History(EventCounts(5000, 100), units=EventCounts(3000, 60))}
    windows = [window(i, {"errors": unit_pair((60, 20), (540, 11))}) for i in range(50)]
    both, requests = (
        fold(plan, Evidence.initial(plan, seed), windows),
        fold(alone, Evidence.initial(alone, seed), windows),
    )
    assert both.harmed is None
    assert harm_log_e(both) == pytest.approx(harm_log_e(requests) + np.log(4.0))


def test_missing_unit_counts_cost_half_of_the_evidence_and_no_more() -> None:
    plan, alone = clustered_plan(units=True), clustered_plan()
    seed = {"errors": EventCounts(5000, 100)}
    windows = [window(i, {"errors": events((100, 30), (900, 18))}) for i in range(5)]
    both, requests = (
        fold(plan, Evidence.initial(plan, seed), windows),
        fold(alone, Evidence.initial(alone, seed), windows),
    )
    assert np.exp(harm_log_e(both)) == pytest.approx((np.exp(harm_log_e(requests)) + 1.0) / 2.0)


def test_units_have_a_design_effect_of_their_own() -> None:
    plan = clustered_plan(units=True)
    evidence = Evidence.initial(plan)
    assert evidence.array(0)[Slot.PHI_UNITS] == 2.0
    sums = np.full(K, 20.0)
    sums[0] = 400.0
    after = fold(plan, evidence, [replace(window(0, {}), clusters=hour(0, sums, units=True))])
    assert after.array(0)[Slot.PHI_UNITS] > 10.0
    assert phi_of(after) == 4.0


def test_clusters_survive_a_checkpoint_in_less_than_two_kilobytes() -> None:
    plan = clustered_plan(units=True)
    rng = np.random.default_rng(9)
    evidence = Evidence.initial(plan, {"errors": EventCounts(5000, 100)})
    for i in range(30):
        requests, units = (
            ClusterCounts(
                3600.0 * i,
                3600.0 * (i + 1),
                ArmClusters(
                    tuple(rng.poisson(1000.0, K).astype(float)), tuple(rng.poisson(20.0, K).astype(float))
                ),
                ArmClusters(
                    tuple(rng.poisson(100.0, K).astype(float)), tuple(rng.poisson(2.0, K).astype(float))
                ),
            )
            for _ in range(2)
        )
        pair = {"errors": unit_pair((60, 2), (540, 11))}
        item = replace(window(60 * i, pair), clusters={"errors": MetricClusters(requests, units)})
        evidence = fold(plan, evidence, [item])
    stored = json.dumps(evidence.to_checkpoint())
    assert len(stored) < 2048
    assert Evidence.from_checkpoint(plan, json.loads(stored)) == evidence


def sessions(rng: np.random.Generator, icc: float, rate: float, units: int) -> tuple[float, float]:
    """Requests and bad ones of beta-binomial conversations with a mean of 8 requests."""
    sizes = rng.geometric(1 / 8, units)
    spread = (1 - icc) / icc
    chances = rng.beta(rate * spread, (1 - rate) * spread, units)
    return float(sizes.sum()), float(rng.binomial(sizes, chances).sum())


def test_correlated_conversations_do_not_cause_false_rollbacks() -> None:
    # Naive counting rolls back about a quarter of such harmless candidates (statistics-correlated.md).
    rng = np.random.default_rng(12)
    plans = {
        name: AnalysisPlan((events_metric("errors", options=MetricOptions(correlation=correlation)),))
        for name, correlation in (
            ("naive", Correlation.independent()),
            ("declared", Correlation.declared(8, 0.2)),
        )
    }
    seed = {"errors": EventCounts(5000, 100)}
    runs = [
        [
            window(i, {"errors": events(sessions(rng, 0.2, 0.025, 40), sessions(rng, 0.2, 0.02, 40))})
            for i in range(60)
        ]
        for _ in range(60)
    ]
    rollbacks = {}
    for name, plan in plans.items():
        folded = fold_many([FoldItem(plan, Evidence.initial(plan, seed), windows) for windows in runs])
        rollbacks[name] = sum(evidence.harmed is not None for evidence in folded)
    assert rollbacks["declared"] <= 3
    assert rollbacks["naive"] >= 10


def test_scores_without_clusters_still_fold() -> None:
    metric = score_metric("helpful", options=MetricOptions(correlation=CLUSTERED))
    plan = AnalysisPlan((metric,))
    evidence = Evidence.initial(plan, {"helpful": score_counts([0.8] * 400 + [0.2] * 100)})
    pair = Pair(score_counts([0.1] * 200), ScoreCounts(200, sum=160.0, sumsq=130.0))
    assert harm_log_e(fold(plan, evidence, [window(0, {"helpful": pair})])) > 1.0
