"""The promise itself: processes gain nothing under the null, false alarms stay rare, bad candidates are found."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, multinomial

from promptrollout.analysis import (
    AnalysisPlan,
    Correlation,
    CorrelationBasis,
    EventCounts,
    Evidence,
    HistogramCounts,
    MetricPlan,
    Pair,
    ScoreCounts,
    SumCounts,
    Verdict,
    assess,
    dispersion,
    events_metric,
    fold,
    glance,
    histogram_counts,
    histogram_metric,
    paired_metric,
    score_counts,
    score_metric,
)
from promptrollout.analysis.advance import arrive
from promptrollout.analysis.counts import Counts, PairedCounts
from promptrollout.analysis.evidence import FLOAT
from promptrollout.analysis.kinds import kind_of
from promptrollout.analysis.kinds.base import Slot
from promptrollout.analysis.plan import DeltaMargin, HistogramMargin, LineMargin
from tests.analysis.builders import EDGES, all_kinds_plan, all_kinds_seed, all_kinds_window, options, window

ROUNDING = 1e-12


class Many:
    """One metric in many runs at once: rows of the engine, window after window."""

    def __init__(self, metric: MetricPlan, seed: Counts | None, runs: int) -> None:
        self.kind = kind_of(metric)
        first = Evidence.initial(AnalysisPlan((metric,)), {} if seed is None else {metric.name: seed})
        self.rows = np.tile(np.frombuffer(first.rows[0], dtype=FLOAT), (runs, 1))
        self._params = np.tile(self.kind.params(metric), (runs, 1))
        self.worst = np.zeros(runs)

    def take(self, counts: np.ndarray) -> Many:
        moment = np.tile([1.0, 60.0], (len(counts), 1))
        complete = self.kind.complete(np.ascontiguousarray(counts, dtype=float))
        assert self.kind.sound(complete).all()
        self.rows = arrive(self.kind, self.rows, complete, self._params, moment)
        self.worst = np.maximum(self.worst, self.rows[:, Slot.HARM])
        return self

    def harm(self) -> np.ndarray:
        return np.exp(self.rows[:, Slot.HARM])

    def promote(self) -> np.ndarray:
        return np.exp(self.rows[:, Slot.PROMOTE])


# whole processes, by enumeration


@pytest.mark.parametrize("phi", [1.0, 3.0])
@pytest.mark.parametrize("p_s", [0.005, 0.02, 0.2, 0.6])
def test_two_windows_of_events_gain_nothing_on_the_margin_whatever_the_first_one_was(
    p_s: float, phi: float
) -> None:
    # The second window's bets rest on the first one's outcomes: past rate, onset prior and wealth.
    n_c, n_s = 3, 17
    one = [(x_c, x_s) for x_c in range(n_c + 1) for x_s in range(n_s + 1)]
    paths = np.array(list(itertools.product(one, one)), dtype=float)
    correlation = Correlation(CorrelationBasis.Declared, phi=phi)
    for line, promote in ((LineMargin(1.2, 0.001), False), (LineMargin(1.4, 0.002), True)):
        p_c = line.r * p_s + line.d
        metric = events_metric("e", line, line, options(correlation=correlation))
        many = Many(metric, EventCounts(400, 8), len(paths))
        chance = np.ones(len(paths))
        for i in (0, 1):
            x_c, x_s = paths[:, i, 0], paths[:, i, 1]
            full = np.ones(len(paths))
            many.take(np.stack([n_c * full, x_c, n_s * full, x_s], axis=1))
            chance *= binom.pmf(x_c, n_c, p_c) * binom.pmf(x_s, n_s, p_s)
        assert chance.sum() == pytest.approx(1.0)
        assert chance @ (many.promote() if promote else many.harm()) <= 1.0 + ROUNDING


@pytest.mark.parametrize("shares", [(0.7, 0.2, 0.1), (0.05, 0.05, 0.9), (1.0, 0.0, 0.0), (0.3, 0.4, 0.3)])
def test_a_window_of_buckets_gains_nothing_when_both_arms_are_alike(
    shares: tuple[float, float, float],
) -> None:
    n_c, n_s = 5, 16
    drawn = [
        np.array([(a, b, n - a - b) for a in range(n + 1) for b in range(n + 1 - a)], dtype=float)
        for n in (n_c, n_s)
    ]
    pairs = np.array([np.concatenate(p) for p in itertools.product(drawn[0], drawn[1])])
    chance = multinomial.pmf(pairs[:, :3], n_c, shares) * multinomial.pmf(pairs[:, 3:], n_s, shares)
    for past in ((900.0, 80.0, 20.0), (10.0, 480.0, 510.0)):
        metric = histogram_metric(
            "h", (1.0, 2.0), HistogramMargin(0.0, 1.0), HistogramMargin(0.0, 1.0), options()
        )
        many = Many(metric, HistogramCounts(past), len(pairs)).take(pairs)
        assert chance @ many.harm() <= 1.0 + ROUNDING
        assert chance @ many.promote() <= 1.0 + ROUNDING


def test_a_window_of_scores_gains_nothing_on_the_margin_through_the_whole_engine() -> None:
    # Scores 1 (node 0) and 0 (node 20): the mean of the candidate is lower by exactly the margin.
    n_c, n_s, delta = 4, 17, 0.05
    pairs = list(itertools.product(range(n_c + 1), range(n_s + 1)))
    rows = np.zeros((len(pairs), 48))
    for row, (x_c, x_s) in zip(rows, pairs, strict=True):
        row[[0, 20]] = n_c - x_c, x_c
        row[[24, 44]] = n_s - x_s, x_s
    x_c, x_s = np.array(pairs).T
    for bad in (0.1, 0.3, 0.8):
        chance = binom.pmf(x_c, n_c, bad + delta) * binom.pmf(x_s, n_s, bad)
        metric = score_metric("s", DeltaMargin(delta), DeltaMargin(delta), options())
        many = Many(metric, score_counts([0.8] * 500), len(pairs)).take(rows)
        assert chance @ many.harm() <= 1.0 + ROUNDING
        assert chance @ many.promote() <= 1.0 + ROUNDING


# simulations


def _paired(rng: np.random.Generator, runs: int, n: int, shift: float) -> np.ndarray:
    values = np.clip(rng.normal(shift, 0.25, (runs, n)), -1.0, 1.0)
    moments = np.stack([np.full(runs, n), -values.sum(axis=1), (values**2).sum(axis=1)], axis=1)
    return np.concatenate([moments, np.zeros((runs, 3))], axis=1)


def _scores(
    rng: np.random.Generator, runs: int, n: tuple[int, int], means: tuple[float, float]
) -> np.ndarray:
    arms = []
    for size, mean in zip(n, means, strict=True):
        places = 20.0 * (1.0 - rng.beta(6 * mean, 6 * (1 - mean), (runs, size)))
        low = np.minimum(places.astype(int), 19)
        nodes = np.zeros((runs, 24))
        for part, weight in ((low, 1 - (places - low)), (low + 1, places - low)):
            np.add.at(nodes, (np.arange(runs)[:, None], part), weight)
        arms.append(nodes)
    return np.concatenate(arms, axis=1)


def _latencies(rng: np.random.Generator, runs: int, n: tuple[int, int], factor: float) -> np.ndarray:
    arms = []
    for size, scale in zip(n, (factor, 1.0), strict=True):
        place = np.searchsorted(EDGES, rng.lognormal(math.log(scale), 0.6, (runs, size)))
        buckets = np.zeros((runs, len(EDGES) + 1))
        np.add.at(buckets, (np.arange(runs)[:, None], place), 1.0)
        arms.append(buckets)
    return np.concatenate(arms, axis=1)


RUNS, WINDOWS = 200, 60


def simulate(metric: MetricPlan, seed: Counts | None, draw: object) -> tuple[float, float]:
    """Shares of runs that were ever called harmed, and that ended as non-inferior."""
    rng = np.random.default_rng(11)
    many = Many(metric, seed, RUNS)
    for _ in range(WINDOWS):
        many.take(draw(rng))  # type: ignore[operator]
    level = math.log(20.0)
    return float((many.worst >= level).mean()), float((many.rows[:, Slot.PROMOTE] >= level).mean())


LATENCY_SEED = histogram_counts(np.random.default_rng(0).lognormal(0.0, 0.6, 3000).tolist(), EDGES)
SCORE_SEED = score_counts(np.random.default_rng(0).beta(4.8, 1.2, 2000).tolist())
KINDS = {
    "scores": (
        lambda m: score_metric("s", DeltaMargin(m), DeltaMargin(m), options()),
        SCORE_SEED,
        lambda bad: lambda rng: _scores(rng, RUNS, (12, 48), (0.8 - 0.2 * bad, 0.8)),
    ),
    "latency": (
        lambda m: histogram_metric("l", EDGES, HistogramMargin(m, 1.0 + 5 * m), options=options()),
        LATENCY_SEED,
        lambda bad: lambda rng: _latencies(rng, RUNS, (12, 48), 1.0 + bad),
    ),
    "paired": (
        lambda m: paired_metric("p", DeltaMargin(m), DeltaMargin(m), options()),
        None,
        lambda bad: lambda rng: _paired(rng, RUNS, 20, -0.2 * bad),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_harmless_candidates_are_rarely_called_harmed_even_without_a_margin(kind: str) -> None:
    build, seed, draw = KINDS[kind]
    harmed, _ = simulate(build(0.0), seed, draw(0.0))
    # Three standard errors above 5 % of the runs.
    assert harmed <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)


@pytest.mark.parametrize("kind", KINDS)
def test_bad_candidates_are_found_and_never_called_non_inferior(kind: str) -> None:
    build, seed, draw = KINDS[kind]
    harmed, non_inferior = simulate(build(0.02), seed, draw(0.6))
    assert harmed >= 0.95
    assert non_inferior == 0.0


@pytest.mark.parametrize("kind", ["scores", "paired"])
def test_equal_candidates_are_shown_non_inferior_given_enough_traffic(kind: str) -> None:
    build, seed, draw = KINDS[kind]
    _, non_inferior = simulate(build(0.1), seed, draw(0.0))
    assert non_inferior >= 0.9


# invariances


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(16)), st.integers(0, 1000))
def test_renaming_the_clusters_changes_no_design_effect(order: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    requests, bad = rng.poisson(100.0, (5, 16)).astype(float), rng.poisson(3.0, (5, 16)).astype(float)

    def phi(places: list[int]) -> float:
        state = dispersion.fresh(16)[None]
        for i in range(5):
            body = np.concatenate([requests[i, places], bad[i, places], [bad[i].sum()], np.zeros(33)])
            state = dispersion.absorb(state, np.concatenate([[3600.0 * i, 3600.0 * (i + 1)], body])[None])
        return float(dispersion.design_effect(state, dispersion.Prior())[0])

    assert phi(order) == pytest.approx(phi(list(range(16))), rel=1e-12)


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(6)), st.integers(0, 1000))
def test_the_order_of_metrics_in_the_plan_changes_no_evidence(order: list[int], seed: int) -> None:
    plan, rng = all_kinds_plan(), np.random.default_rng(seed)
    windows = [all_kinds_window(rng, i, 30.0, harm=0.1) for i in range(4)]
    history = all_kinds_seed(np.random.default_rng(1))
    turned = replace(plan, metrics=tuple(plan.metrics[i] for i in order))
    one = fold(plan, Evidence.initial(plan, history), windows)
    other = fold(turned, Evidence.initial(turned, history), windows)
    assert [other.rows[order.index(i)] for i in range(6)] == list(one.rows)
    assert assess(turned, other).harm_log_e == pytest.approx(assess(plan, one).harm_log_e)


def test_a_window_cut_into_pieces_below_the_merging_size_is_one_window() -> None:
    metric = histogram_metric("l", EDGES, options=options())
    plan, rng = AnalysisPlan((metric,)), np.random.default_rng(4)
    pieces = [
        Pair(*(histogram_counts(rng.lognormal(0.0, 0.6, n).tolist(), EDGES) for n in (2, 3)))
        for _ in range(4)
    ]
    arms = [
        HistogramCounts(tuple(np.sum([getattr(p, arm).buckets for p in pieces], axis=0).tolist()))
        for arm in ("candidate", "stable")
    ]
    start = Evidence.initial(plan, {"l": LATENCY_SEED})
    cut = fold(plan, start, [window(i, {"l": piece}) for i, piece in enumerate(pieces)])
    whole = fold(plan, start, [window(3, {"l": Pair(*arms)})])
    assert cut.array(0)[Slot.CLOSED] == whole.array(0)[Slot.CLOSED] == 1.0
    assert cut.array(0)[Slot.HARM] == whole.array(0)[Slot.HARM]
    assert cut.array(0)[Slot.PROMOTE] == whole.array(0)[Slot.PROMOTE]


# what must never get in

odd = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 0.0, 1e9, 1e300, 5e-324]), st.floats(0.0, 1e6)
)


def odd_counts(draw: st.DrawFn, name: str) -> Counts:
    values = [draw(odd) for _ in range(4)]
    match name:
        case "errors" | "resolved":
            return EventCounts(values[0], values[1])
        case "helpful":
            nodes = [0.0] * 21
            nodes[3], nodes[20] = values[0], values[1]
            return ScoreCounts(values[2], tuple(nodes) if draw(st.booleans()) else (), values[2], values[3])
        case "latency":
            return HistogramCounts((values[0], values[1], *([0.0] * (len(EDGES) - 2)), values[2]))
        case "cost":
            return SumCounts(values[0], values[1], values[2] if draw(st.booleans()) else None)
        case _:
            return PairedCounts(values[0], values[1], values[2], values[3], values[3])


@st.composite
def odd_windows(draw: st.DrawFn) -> list[dict[str, Pair]]:
    names = ("errors", "resolved", "helpful", "latency", "cost", "shadow")
    return [
        {name: Pair(odd_counts(draw, name), odd_counts(draw, name)) for name in names}
        for _ in range(draw(st.integers(1, 4)))
    ]


@settings(max_examples=40, deadline=None)
@given(odd_windows())
def test_whatever_is_counted_the_evidence_stays_finite_and_a_verdict_is_given(
    windows: list[dict[str, Pair]],
) -> None:
    plan = all_kinds_plan()
    evidence = Evidence.initial(plan, all_kinds_seed(np.random.default_rng(2)))
    evidence = fold(plan, evidence, [window(i, pairs) for i, pairs in enumerate(windows)])
    for i in range(len(plan.metrics)):
        assert np.isfinite(evidence.array(i)).all(), plan.metrics[i].name
    said = assess(plan, evidence)
    assert said.verdict in Verdict
    assert glance(plan, evidence) is said.verdict


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.02, 0.5]), st.integers(0, 8))
def test_a_glance_gives_the_verdict_of_the_whole_assessment(seed: int, harm: float, count: int) -> None:
    plan, rng = all_kinds_plan(), np.random.default_rng(seed)
    evidence = Evidence.initial(plan, all_kinds_seed(rng))
    evidence = fold(plan, evidence, [all_kinds_window(rng, i, 60.0, harm) for i in range(count)])
    assert glance(plan, evidence) is assess(plan, evidence).verdict
