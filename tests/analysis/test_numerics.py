"""What the fast forms must share with the plain formulas: growth, exactness at large counts, bits in any batch."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from promptrollout.analysis import (
    AnalysisPlan,
    Correlation,
    EventCounts,
    Evidence,
    FoldItem,
    HistogramCounts,
    Pair,
    PairedCounts,
    Role,
    ScoreCounts,
    Window,
    events_metric,
    fold,
    fold_many,
    histogram_metric,
    paired_metric,
)
from promptrollout.analysis.advance import rows_at_a_time
from promptrollout.analysis.bounded import Levels, level_increments, mid_ranks
from promptrollout.analysis.events import EventWindow, Line, log_increments
from promptrollout.analysis.kinds import kind_of
from promptrollout.analysis.mixture import BOUNDED, EVENTS_DOWN, EVENTS_UP, BetGrid
from tests.analysis.builders import all_kinds_plan, all_kinds_seed, all_kinds_window, options, window

#: r and d of harm, of promotion, and of a metric where higher is better.
LINES = [(1.0, 0.0), (1.2, 0.001), (1.4, 0.002), (1 / 1.2, -0.001 / 1.2), (1 / 1.4, -0.002 / 1.4)]


def best_growth(q: float, p: float, n_c: float, n_s: float, line: tuple[float, float]) -> float:
    """Expected log-wealth of the bet on (q, p) at the best point of the line: the two divergences to it."""
    a, b = line

    def divergence(one: float, other: float) -> float:
        return one * math.log(one / other) + (1.0 - one) * math.log((1.0 - one) / (1.0 - other))

    def away(m: float) -> float:
        return n_c * divergence(q, a * m + b) + n_s * divergence(p, m)

    ends = sorted((p, (q - b) / a))
    low, high = max(ends[0], -b / a, 0.0), min(ends[1], (1.0 - b) / a, 1.0)
    rim = 1e-9 * (high - low)
    found = minimize_scalar(away, bounds=(low + rim, high - rim), method="bounded", options={"xatol": 1e-12})
    return float(found.fun)


@pytest.mark.parametrize("grid", [EVENTS_UP, EVENTS_DOWN], ids=["harm", "promotion"])
@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_event_bets_grow_as_fast_as_the_best_point_of_the_margin_allows(
    grid: BetGrid, line: tuple[float, float], share: float
) -> None:
    n_c, n_s = 1000.0 * share, 1000.0 * (1.0 - share)
    for p in (0.002, 0.02, 0.1, 0.3, 0.9):
        g = line[0] * p + line[1]
        if not 0.0 < g < (0.5 if grid is EVENTS_UP else 0.999):
            continue
        for i in (2, 6, 11):
            odds = grid.values[i]
            q = odds * g / (1.0 + g * (odds - 1.0))
            counts = (np.array([v]) for v in (n_c, n_c * q, n_s, n_s * p))
            one = np.ones(1)
            # Linear in the counts, so expected counts give the expected growth.
            grown = log_increments(EventWindow(*counts), p * one, Line(line[0] * one, line[1] * one), grid)
            best = best_growth(q, p, n_c, n_s, line)
            assert grown[0, i] == pytest.approx(best, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("count", [1.0, 1e3, 1e9])
def test_bets_on_levels_are_the_formula_at_any_count(count: float) -> None:
    rng = np.random.default_rng(3)
    candidate, stable = (count * rng.integers(0, 4, (5, 21)).astype(float) for _ in range(2))
    stable[:, 0] += count
    candidate[:, 0] += count
    badness, mu, d = np.linspace(0.0, 1.0, 21), rng.uniform(0.1, 0.9, 5), np.full(5, 0.02)
    found = level_increments(Levels(candidate, stable, badness[None]), mu, d, BOUNDED)
    n_c, n_s = candidate.sum(axis=1), stable.sum(axis=1)
    u_c, u_s = n_s / (n_c + n_s), n_c / (n_c + n_s)
    for b in range(5):
        most = 0.95 / max(u_c[b] * (mu[b] + d[b]), u_s[b] * (1.0 - mu[b]))
        for i, stake in enumerate(np.minimum(BOUNDED.values, most).astype(np.longdouble)):
            won = np.log1p(stake * u_c[b] * (badness - mu[b] - d[b])) @ candidate[b].astype(np.longdouble)
            lost = np.log1p(-stake * u_s[b] * (badness - mu[b])) @ stable[b].astype(np.longdouble)
            assert float(found[b, i]) == pytest.approx(float(won + lost), rel=1e-11, abs=1e-13 * n_c[b])


def test_mid_ranks_are_the_share_below_and_half_of_the_share_alike() -> None:
    stable = np.array([[2.0, 0.0, 5.0, 3.0]])
    kept = stable.copy()
    assert mid_ranks(stable)[0] == pytest.approx([0.1, 0.2, 0.45, 0.85])
    assert (stable == kept).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=13, max_size=13))
def test_the_tail_begins_at_the_edge_nearest_the_stable_95th_percentile(buckets: list[int]) -> None:
    plan = AnalysisPlan((histogram_metric("latency", tuple(float(i) for i in range(12))),))
    past = np.array(buckets, dtype=float)
    total = past.sum()
    beyond = np.cumsum(past[::-1])[::-1][1:]
    nearest = int(np.argmin(np.abs(np.log((beyond + 0.5) / (total + 25.0) / 0.05))))
    seed = HistogramCounts(tuple(past.tolist()))
    # The same evidence as with that edge declared.
    told = AnalysisPlan(
        (histogram_metric("latency", plan.metrics[0].edges, *declared(plan, float(nearest))),)
    )
    counts = HistogramCounts(tuple(float(3 * i % 7) for i in range(13)))
    turned = HistogramCounts(counts.buckets[::-1])
    rows = [
        fold(p, Evidence.initial(p, {"latency": seed}), [window(0, {"latency": Pair(counts, turned)})]).rows
        for p in (plan, told)
    ]
    assert rows[0] == rows[1]


def declared(plan: AnalysisPlan, threshold: float) -> tuple[object, object]:
    metric = plan.metrics[0]
    return tuple(replace(m, threshold=threshold) for m in (metric.margin, metric.promote_margin))  # type: ignore[type-var]


def test_one_unusual_pair_in_a_batch_changes_nothing_for_the_others() -> None:
    plan = all_kinds_plan()
    rng = np.random.default_rng(5)
    seed = all_kinds_seed(rng)
    windows = [all_kinds_window(rng, 0) for _ in range(6)]
    plain = windows[0].metrics["helpful"].candidate
    assert isinstance(plain, ScoreCounts)
    unusual: dict[str, Pair] = {
        # Without nodes, as whole numbers, of the wrong shape, and of another kind.
        "helpful": Pair(replace(plain, nodes=()), ScoreCounts(40.0, sum=30.0, sumsq=25.0)),
        "errors": Pair(EventCounts(30, 1), EventCounts(90, True)),
        "latency": Pair(HistogramCounts((1.0, 2.0)), HistogramCounts((1.0, 2.0))),
        "cost": Pair(EventCounts(30.0, 1.0), EventCounts(90.0, 2.0)),
        "resolved": Pair(EventCounts(30.0, float("nan")), EventCounts(90.0, 2.0)),
    }
    windows[3] = replace(windows[3], metrics={**windows[3].metrics, **unusual})
    items = [FoldItem(plan, Evidence.initial(plan, seed), (w,)) for w in windows]
    together = fold_many(items)
    assert together == [fold(plan, item.evidence, item.windows) for item in items]
    assert {p.metric for p in together[3].problems} == {"latency", "cost", "resolved"}
    assert not any(e.problems for i, e in enumerate(together) if i != 3)


def test_more_rollouts_than_are_worked_on_at_a_time_give_the_same_bits_as_alone() -> None:
    edges = tuple(float(e) for e in np.geomspace(0.01, 100.0, 100))
    clusters = options(Role.Required, correlation=Correlation.clusters(units=True))
    plan = AnalysisPlan((histogram_metric("latency", edges), events_metric("errors", options=clusters)))
    rows = rows_at_a_time(kind_of(plan.metrics[0])) + 3
    rng = np.random.default_rng(8)
    past = {"latency": HistogramCounts(tuple(rng.poisson(30, 101).astype(float).tolist()))}
    evidence = Evidence.initial(plan, past)
    windows = []
    for i in range(rows):
        arms = [HistogramCounts(tuple(rng.poisson(0.3, 101).astype(float).tolist())) for _ in range(2)]
        units = EventCounts(float(i % 30), float(i % 3))
        metrics = {
            "latency": Pair(arms[0], arms[1]),
            "errors": Pair(
                EventCounts(20.0 + i % 7, 3.0), EventCounts(300.0, 9.0), units, EventCounts(200.0, 5.0)
            ),
        }
        windows.append(Window(0.0, 60.0, 1, 1000, metrics))
    together = fold_many([FoldItem(plan, evidence, (w,)) for w in windows])
    for i in (0, 1, rows // 2, rows - 4, rows - 3, rows - 1):
        assert together[i] == fold(plan, evidence, [windows[i]])


def test_dust_that_waits_without_a_sample_is_counted_alike_alone_and_in_a_batch() -> None:
    plan = AnalysisPlan((paired_metric("shadow", options=options(Role.Required)),))
    dust = window(0, {"shadow": Pair(PairedCounts(0.0, 1e-7, 0.0))})
    later = window(1, {"shadow": Pair(PairedCounts(40.0, 1.0, 4.0))})
    small = window(1, {"shadow": Pair(PairedCounts(3.0, 0.1, 0.1))})
    start = Evidence.initial(plan)
    runs = [(dust, later), (later,), (small,), (dust, small)]
    together = fold_many([FoldItem(plan, start, windows) for windows in runs])
    assert together == [fold(plan, start, windows) for windows in runs]
    waited = fold(plan, fold(plan, start, [dust]), [later])
    assert waited.rows == together[0].rows
