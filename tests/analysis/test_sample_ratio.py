"""Do requests split as the weights say, and not: does one tenant talk a lot."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from promptrollout.analysis import AnalysisPlan, ArmRequests, Evidence, events_metric, fold
from promptrollout.analysis.sampleratio import RatioCounts, allocation_effect, assess_ratio, log_bayes_factor
from tests.analysis.builders import event_windows, events_plan, seeded, window


def test_the_published_three_arm_example_stops_where_it_should() -> None:
    # savvi's documentation: theta0 = [.1, .4, .5], truth [.1, .3, .6], numpy seed 1: n = 402, p = .0485.
    rng = np.random.RandomState(1)
    draws = rng.multinomial(1, [0.1, 0.3, 0.6], size=1000).cumsum(axis=0)
    values = [math.exp(-log_bayes_factor(tuple(counts), (0.1, 0.4, 0.5))) for counts in draws]
    stop = next(n for n, p in enumerate(values, start=1) if p <= 0.05)
    assert stop == 402
    assert values[stop - 1] == pytest.approx(0.0485, abs=5e-5)


@pytest.mark.parametrize("weight", [1, 100, 5000, 9999])
@pytest.mark.parametrize("counts", [(0.0, 0.0), (0.0, 1e9), (1e9, 0.0), (3.0, 2.0), (5e8, 5e8)])
def test_the_factor_is_finite_for_every_count(weight: int, counts: tuple[float, float]) -> None:
    assert math.isfinite(log_bayes_factor(counts, (weight / 1e4, 1 - weight / 1e4)))


def test_right_splits_are_rarely_called_wrong_however_often_one_looks() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(300):
        candidate = rng.binomial(100, 0.1, 200).cumsum()
        factors = [
            log_bayes_factor((float(c), 100.0 * i - c), (0.1, 0.9)) for i, c in enumerate(candidate, 1)
        ]
        alarms += max(factors) >= math.log(20)
    assert alarms / 300 <= 0.05


@pytest.mark.parametrize("weight", [0, 10_000])
def test_all_weight_on_one_arm_leaves_nothing_to_test(weight: int) -> None:
    assert assess_ratio(RatioCounts(1, weight, 50.0, 50.0), 1.0, 0.001) is None


def test_the_test_starts_anew_with_every_exposure() -> None:
    plan = events_plan()
    windows = event_windows(np.random.default_rng(1), (0.02, 0.02), (100, 900), 4)
    second = [replace(w, exposure=2, weight=2000) for w in windows[2:]]
    after = fold(plan, seeded(plan), [*windows[:2], *second])
    wanted = [w.requests for w in second]
    assert after.ratio is not None
    assert (after.ratio.exposure, after.ratio.weight) == (2, 2000)
    assert after.ratio.candidate == sum(r.candidate for r in wanted if r)


def test_without_knowledge_of_units_the_counts_are_trusted_less() -> None:
    counts = RatioCounts(1, 5000, 560.0, 440.0)
    exact, assumed = assess_ratio(counts, 1.0, 0.05), assess_ratio(counts, 15.0, 0.05)
    assert exact is not None
    assert assumed is not None
    assert exact.mismatch
    assert not assumed.mismatch


def cluster_counts(rng: np.random.Generator, share: float, heavy: float) -> RatioCounts:
    """16 clusters of 1,000 requests each at a candidate share; the heavy tenant's requests all go to the candidate."""
    candidate = rng.binomial(1000, share, 16).astype(float)
    stable = 1000.0 - candidate
    candidate[3] += heavy
    return RatioCounts(
        1, 1000, float(candidate.sum()), float(stable.sum()), (tuple(candidate), tuple(stable))
    )


def test_a_heavy_tenant_in_the_candidate_is_no_mismatch_but_a_wrong_split_is() -> None:
    rng = np.random.default_rng(5)
    tenant, broken = cluster_counts(rng, 0.1, 3000.0), cluster_counts(rng, 0.2, 0.0)
    heavy = assess_ratio(tenant, 15.0, 0.001)
    wrong = assess_ratio(broken, 15.0, 0.001)
    assert heavy is not None
    assert wrong is not None
    assert heavy.observed > wrong.observed
    assert not heavy.mismatch
    assert wrong.mismatch
    assert allocation_effect(broken, 15.0) < 3.0 < allocation_effect(tenant, 15.0)


def test_clusters_count_only_while_every_window_has_them() -> None:
    counts = RatioCounts(1, 5000).plus(ArmRequests(2, 2, ((1.0, 1.0), (1.0, 1.0))))
    assert counts.plus(ArmRequests(2, 2, ((0.0, 2.0), (1.0, 1.0)))).clusters == ((1.0, 3.0), (2.0, 2.0))
    assert counts.plus(ArmRequests(2, 2)).clusters is None
    assert counts.plus(ArmRequests(2, 2)).plus(ArmRequests(2, 2, ((1.0, 1.0), (1.0, 1.0)))).clusters is None


def test_the_largest_assumed_effect_of_the_metrics_is_taken() -> None:
    plan = AnalysisPlan((events_metric("a"), events_metric("b")))
    assert plan.allocation == 15.0
    assert events_plan().allocation == 1.0


def test_a_ratio_survives_a_checkpoint() -> None:
    plan = events_plan()
    requests = ArmRequests(10, 90, ((4.0, 6.0), (50.0, 40.0)))
    evidence = fold(plan, seeded(plan), [window(0, {}, requests=requests)])
    assert Evidence.from_checkpoint(plan, evidence.to_checkpoint()).ratio == evidence.ratio
