"""What is special about each kind of metric."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from promptrollout.analysis import (
    AnalysisPlan,
    DeltaMargin,
    EventCounts,
    Evidence,
    FoldItem,
    HistogramMargin,
    LineMargin,
    MetricKind,
    MetricPlan,
    Pair,
    Role,
    ScoreCounts,
    SumCounts,
    assess,
    events_metric,
    fold,
    fold_many,
    histogram_counts,
    histogram_metric,
    paired_metric,
    score_counts,
    score_metric,
    sum_metric,
)
from promptrollout.analysis.advance import arrive
from promptrollout.analysis.counts import PairedCounts
from promptrollout.analysis.kinds import kind_of
from promptrollout.analysis.kinds.base import Slot
from tests.analysis.builders import EDGES, events, harm_log_e, options, promote_log_e, window

SCORES = [0.8] * 700 + [0.5] * 300


def folded(metric: MetricPlan, seed: object, *pairs: Pair) -> Evidence:
    plan = AnalysisPlan((metric,))
    start = Evidence.initial(plan, {metric.name: seed} if seed else None)  # type: ignore[dict-item]
    return fold(plan, start, [window(i, {metric.name: pair}) for i, pair in enumerate(pairs)])


def test_where_more_is_better_a_lower_rate_is_harm() -> None:
    metric = events_metric("resolved", options=options(higher_is_better=True))
    worse = folded(metric, EventCounts(5000, 1500), events((500, 80), (500, 150)))
    better = folded(metric, EventCounts(5000, 1500), events((500, 240), (500, 150)))
    assert harm_log_e(worse) > 3.0 > harm_log_e(better)
    assert promote_log_e(better) > 3.0 > promote_log_e(worse)


def test_a_scores_direction_can_be_turned_round() -> None:
    helpful = score_metric("s", options=options())
    toxic = score_metric("s", options=options(higher_is_better=False))
    low, high = score_counts([0.2] * 100), score_counts([0.8] * 100)
    turned = folded(toxic, score_counts([1 - s for s in SCORES]), Pair(high, low))
    plain = folded(helpful, score_counts(SCORES), Pair(low, high))
    assert harm_log_e(turned) == pytest.approx(harm_log_e(plain))
    assert harm_log_e(plain) > 10.0
    values = assess(AnalysisPlan((toxic,)), turned).metrics[0].values
    assert (values.candidate, values.stable) == pytest.approx((0.8, 0.2))


def test_scores_without_nodes_use_their_moments() -> None:
    metric = score_metric("s", options=options())
    low, high = score_counts([0.55, 0.65] * 100), score_counts([0.75, 0.85] * 100)
    bare = [replace(c, nodes=()) for c in (low, high)]
    exact = folded(metric, score_counts(SCORES), Pair(low, high))
    moments = folded(metric, score_counts(SCORES), Pair(*bare))
    mixed = folded(metric, score_counts(SCORES), Pair(low, bare[1]))
    assert harm_log_e(exact) > harm_log_e(moments) > 3.0
    assert harm_log_e(mixed) == pytest.approx(harm_log_e(moments))


def test_nodes_are_trusted_over_a_count_from_another_instant() -> None:
    metric = score_metric("s", options=options())
    low, high = score_counts([0.6] * 100), score_counts([0.8] * 100)
    torn = Pair(replace(low, count=104.0), replace(high, count=97.0))
    assert folded(metric, score_counts(SCORES), torn) == folded(metric, score_counts(SCORES), Pair(low, high))


def latency(rng: np.random.Generator, size: int, shift: float = 0.0, tail: float = 0.0) -> object:
    values = rng.lognormal(shift, 0.5, size)
    values[: int(tail * size)] *= 6.0
    return histogram_counts(list(values), EDGES)


def test_histograms_see_a_shift_of_the_body_and_a_heavier_tail() -> None:
    rng = np.random.default_rng(1)
    metric, seed = histogram_metric("latency", EDGES, options=options()), latency(rng, 4000)
    same, body, tail = (
        folded(metric, seed, *(Pair(latency(rng, 200, **how), latency(rng, 800)) for _ in range(10)))  # type: ignore[arg-type]
        for how in ({}, {"shift": 0.3}, {"tail": 0.08})
    )
    assert harm_log_e(body) > 3.0
    assert harm_log_e(tail) > 3.0
    assert harm_log_e(same) < 1.0
    assert promote_log_e(same) > promote_log_e(tail)


def test_non_inferiority_of_a_histogram_needs_body_and_tail() -> None:
    rng = np.random.default_rng(2)
    metric, seed = histogram_metric("latency", EDGES, options=options()), latency(rng, 4000)
    # Faster on the whole, with a tail twice as heavy: the body alone would be shown non-inferior.
    pairs = [Pair(latency(rng, 500, shift=-0.2, tail=0.12), latency(rng, 500)) for _ in range(20)]  # type: ignore[arg-type]
    assert promote_log_e(folded(metric, seed, *pairs)) < 1.0


def test_a_declared_threshold_is_taken_to_the_nearest_edge() -> None:
    rng = np.random.default_rng(3)
    seed = latency(rng, 4000)
    pairs = [Pair(latency(rng, 200, tail=0.03), latency(rng, 800)) for _ in range(10)]  # type: ignore[arg-type]
    results = {}
    for threshold in (EDGES[8], EDGES[8] * 1.02, EDGES[3]):
        margin = HistogramMargin(threshold=threshold)
        results[threshold] = harm_log_e(
            folded(histogram_metric("latency", EDGES, margin, margin, options()), seed, *pairs)
        )
    assert results[EDGES[8]] == results[EDGES[8] * 1.02] > results[EDGES[3]]


def test_a_histogram_where_more_is_better_mirrors_one_where_less_is() -> None:
    rng = np.random.default_rng(4)
    edges = (1.0, 2.0, 3.0)
    counts = [rng.integers(20, 100, 4).astype(float) for _ in range(3)]
    plain = histogram_metric("h", edges, options=options())
    turned = histogram_metric("h", edges, options=options(higher_is_better=True))

    def of(values: np.ndarray) -> object:
        return type(histogram_counts([1.0], edges))(tuple(values.tolist()))

    forward = folded(plain, of(counts[0]), Pair(of(counts[1]), of(counts[2])))  # type: ignore[arg-type]
    back = folded(turned, of(counts[0][::-1]), Pair(of(counts[1][::-1]), of(counts[2][::-1])))  # type: ignore[arg-type]
    assert harm_log_e(forward) == harm_log_e(back) != 0.0


def costs(rng: np.random.Generator, size: int, scale: float, *, squares: bool = True) -> SumCounts:
    values = rng.gamma(2.0, scale, size)
    return SumCounts(size, float(values.sum()), float((values**2).sum()) if squares else None)


@pytest.mark.parametrize("squares", [True, False])
def test_sums_wait_for_three_hundred_samples_and_then_find_a_dearer_candidate(squares: bool) -> None:
    rng = np.random.default_rng(5)
    metric = sum_metric("cost", options=options(Role.Required))
    pairs = [
        Pair(costs(rng, 25, 1.5, squares=squares), costs(rng, 75, 1.0, squares=squares)) for _ in range(40)
    ]
    assert harm_log_e(folded(metric, None, *pairs[:11])) == 0.0
    assert harm_log_e(folded(metric, None, *pairs)) > 3.0
    equal = [
        Pair(costs(rng, 100, 1.0, squares=squares), costs(rng, 100, 1.0, squares=squares)) for _ in range(60)
    ]
    assert promote_log_e(folded(metric, None, *equal)) > 3.0
    assert harm_log_e(folded(metric, None, *equal)) < 1.0


def test_wild_sums_are_not_called_non_inferior_on_few_samples() -> None:
    # On the margin, with a coefficient of variation of 2 and a baseline that trebles: 6 % of such candidates
    # passed when 300 samples sufficed, and 10 % of those on a ramp.
    rng = np.random.default_rng(1)
    runs, metric = 400, sum_metric("cost", options=options(Role.Required))
    kind = kind_of(metric)
    start = Evidence.initial(AnalysisPlan((metric,)), {})
    rows, params = np.tile(start.array(0), (runs, 1)), np.tile(kind.params(metric), (runs, 1))
    best = np.zeros(runs)
    for minute in range(360):
        counts = np.zeros((runs, 8))
        for i, (mean, dearer) in enumerate(((3.5, 1.1), (66.0, 1.0))):
            n = np.maximum(rng.poisson(mean, runs), 1)
            counts[:, 4 * i] = n
            counts[:, 4 * i + 1] = rng.gamma(n * 0.25, 4.0 * dearer * (1.0 + minute / 180.0))
        rows = arrive(kind, rows, counts, params, np.tile([1.0, 60.0], (runs, 1)))
        best = np.maximum(best, rows[:, Slot.PROMOTE])
    assert (best >= np.log(20.0)).mean() <= 0.05


def test_wild_sums_wait_longer() -> None:
    rng = np.random.default_rng(6)

    def wild(size: int, scale: float) -> SumCounts:
        values = scale * rng.lognormal(0.0, 1.8, size)
        return SumCounts(size, float(values.sum()), float((values**2).sum()))

    pairs = [Pair(wild(100, 10.0), wild(100, 1.0)) for _ in range(12)]
    assert harm_log_e(folded(sum_metric("cost", options=options()), None, *pairs[:8])) == 0.0
    assert harm_log_e(folded(sum_metric("cost", options=options()), None, *pairs)) > 3.0


def test_sums_hold_their_error_rate_on_the_margin() -> None:
    rng = np.random.default_rng(7)
    plan = AnalysisPlan((sum_metric("cost", LineMargin(1.1), LineMargin(1.1), options()),))
    items = []
    for _ in range(150):
        pairs = [Pair(costs(rng, 30, 1.1), costs(rng, 90, 1.0)) for _ in range(60)]
        items.append(
            FoldItem(plan, Evidence.initial(plan), [window(i, {"cost": p}) for i, p in enumerate(pairs)])
        )
    assert sum(e.harmed is not None for e in fold_many(items)) <= 13


def test_a_constant_sum_can_still_be_compared() -> None:
    metric = sum_metric("cost", options=options())
    pairs = [Pair(SumCounts(100, 200.0, 400.0), SumCounts(100, 100.0, 100.0)) for _ in range(5)]
    assert harm_log_e(folded(metric, None, *pairs)) > 3.0


def differences(rng: np.random.Generator, size: int, mean: float) -> Pair:
    values = np.clip(rng.normal(mean, 0.15, size), -1.0, 1.0)
    return Pair(PairedCounts(size, float(values.sum()), float((values**2).sum()), 0.6 * size, 0.7 * size))


def test_pairs_need_far_fewer_samples_than_two_arms() -> None:
    rng = np.random.default_rng(8)
    paired = paired_metric("shadow", options=options(Role.Required))
    worse = folded(paired, None, *(differences(rng, 30, -0.1) for _ in range(5)))
    equal = folded(paired, None, *(differences(rng, 100, 0.0) for _ in range(20)))
    assert harm_log_e(worse) > 3.0
    assert promote_log_e(equal) > 3.0
    values = assess(AnalysisPlan((paired,)), worse).metrics[0].values
    assert (values.candidate, values.stable, values.candidate_samples) == pytest.approx((0.6, 0.7, 150))


def test_pairs_without_the_arms_values_show_the_difference_only() -> None:
    paired = paired_metric("shadow", options=options())
    after = folded(paired, None, Pair(PairedCounts(50, -5.0, 2.0)))
    metric = assess(AnalysisPlan((paired,)), after).metrics[0]
    assert math.isnan(metric.values.candidate)
    assert metric.difference is not None
    assert metric.difference.estimate == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: LineMargin(0.9), "margin.r"),
        (lambda: LineMargin(1.2, -0.1), "margin.d"),
        (lambda: DeltaMargin(1.0), "margin.delta"),
        (lambda: HistogramMargin(ridit=0.6), "margin.ridit"),
        (lambda: HistogramMargin(exceedance=0.5), "margin.exceedance"),
        (lambda: histogram_metric("h", ()), "1 to 100 bucket edges"),
        (lambda: histogram_metric("h", (2.0, 1.0)), "ascending"),
        (
            lambda: MetricPlan("e", MetricKind.Events, DeltaMargin(0.1), LineMargin(1.2)),
            "must be a LineMargin",
        ),
        (lambda: MetricPlan("", MetricKind.Events, LineMargin(1.1), LineMargin(1.2)), "needs a name"),
        (lambda: AnalysisPlan((events_metric("a"), events_metric("a"))), "unique"),
        (lambda: AnalysisPlan((), alpha_rollback=0.0), "alpha_rollback"),
        (lambda: replace(events_metric("a"), weight=0.0), "weight"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_with_the_fields_name(build: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build()  # type: ignore[operator]


def test_a_margin_of_promotion_lies_within_the_old_two_part_margin() -> None:
    metric = events_metric("errors")
    assert isinstance(metric.promote_margin, LineMargin)
    for p in np.linspace(0.0, 0.3, 301):
        allowed = metric.promote_margin.r * p + metric.promote_margin.d
        assert allowed <= max(1.5 * p, p + 0.01) + 1e-12


def test_the_largest_number_of_scores_at_one_node_is_no_trouble() -> None:
    metric = score_metric("s", options=options())
    perfect = ScoreCounts(1e9, (1e9,) + (0.0,) * 20)
    after = folded(metric, perfect, *(Pair(perfect, perfect) for _ in range(3)))
    assert promote_log_e(after) > 100.0
    assert math.isfinite(promote_log_e(after))
