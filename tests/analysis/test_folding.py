"""What may change evidence, and what may not."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptrollout.analysis import (
    AnalysisPlan,
    ArmRequests,
    EventCounts,
    Evidence,
    FoldItem,
    HistogramCounts,
    LateCounts,
    Pair,
    ProblemCode,
    Role,
    ScoreCounts,
    Verdict,
    Window,
    assess,
    events_metric,
    fold,
    fold_many,
    score_counts,
    score_metric,
)
from promptrollout.analysis.kinds.base import Slot
from tests.analysis.builders import (
    all_kinds_plan,
    all_kinds_seed,
    all_kinds_window,
    event_windows,
    events,
    events_plan,
    harm_log_e,
    options,
    own_state,
    promote_log_e,
    seeded,
    window,
)

PLAN = all_kinds_plan()


def some_windows(seed: int, count: int, mean: float = 30.0) -> list[Window]:
    rng = np.random.default_rng(seed)
    return [all_kinds_window(rng, i, mean, harm=0.0 if seed % 2 else 0.3) for i in range(count)]


def start(seed: int = 0) -> Evidence:
    return Evidence.initial(PLAN, all_kinds_seed(np.random.default_rng(seed)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(1.0, 60.0), st.lists(st.integers(0, 12), max_size=4))
def test_folding_in_pieces_gives_the_same_bits(seed: int, mean: float, cuts: list[int]) -> None:
    windows = some_windows(seed, 12, mean)
    whole = fold(PLAN, start(), windows)
    pieces, last = start(), 0
    for cut in [*sorted(cuts), 12]:
        pieces = fold(PLAN, pieces, windows[last:cut])
        last = cut
    assert pieces == whole


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(1.0, 200.0)), min_size=1, max_size=9))
def test_folding_in_a_batch_gives_the_same_bits_as_alone(rollouts: list[tuple[int, float]]) -> None:
    runs = [some_windows(seed, 1 + i % 3, mean) for i, (seed, mean) in enumerate(rollouts)]
    together = fold_many([FoldItem(PLAN, start(i % 2), windows) for i, windows in enumerate(runs)])
    assert together == [fold(PLAN, start(i % 2), windows) for i, windows in enumerate(runs)]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 9))
def test_a_checkpoint_through_json_and_replay_equals_never_having_stopped(seed: int, stop: int) -> None:
    windows = some_windows(seed, 10, mean=4.0)
    checkpoint = fold(PLAN, start(), windows[:stop]).to_checkpoint()
    # As the API server keeps it: members that are null are dropped.
    stored = json.dumps({key: value for key, value in checkpoint.items() if value is not None})
    # Everything since the start is replayed: what was counted already must not count again.
    again = fold(PLAN, Evidence.from_checkpoint(PLAN, json.loads(stored)), windows)
    assert again == fold(PLAN, start(), windows)


def test_duplicate_and_older_windows_are_ignored() -> None:
    windows = some_windows(1, 6)
    once = fold(PLAN, start(), windows)
    assert fold(PLAN, once, windows) == once
    assert fold(PLAN, start(), [w for w in windows for _ in range(2)]) == once


def test_the_order_in_which_windows_are_handed_over_does_not_matter() -> None:
    windows = some_windows(1, 6)
    assert fold(PLAN, start(), windows[::-1]) == fold(PLAN, start(), windows)


def test_the_order_of_metrics_in_a_window_does_not_matter() -> None:
    windows = some_windows(1, 3)
    turned = [replace(w, metrics=dict(reversed(w.metrics.items()))) for w in windows]
    assert fold(PLAN, start(), turned) == fold(PLAN, start(), windows)


def test_an_overlapping_window_is_refused_and_named() -> None:
    plan = events_plan()
    first = window(0, {"errors": events((10, 1), (90, 2))})
    overlapping = replace(window(1, {"errors": events((10, 1), (90, 2))}), start=30.0)
    before = fold(plan, seeded(plan), [first])
    after = fold(plan, before, [overlapping])
    assert [p.code for p in after.problems] == [ProblemCode.OverlappingWindow]
    assert (after.rows, after.last_end, after.rejected) == (before.rows, 60.0, 1)


def test_a_gap_between_windows_is_no_problem() -> None:
    plan = events_plan()
    after = fold(plan, seeded(plan), [window(0, {}), window(500, {"errors": events((10, 1), (90, 2))})])
    assert after.problems == ()
    assert after.windows == 2


BAD_COUNTS = [
    events((math.nan, 0), (90, 2)),
    events((10, math.inf), (90, 2)),
    events((10, -1), (90, 2)),
    events((10, 11), (90, 2)),
    events((10, "NaN"), (90, 2)),  # type: ignore[arg-type]
    events((10, None), (90, 2)),  # type: ignore[arg-type]
    events((10**400, 2), (90, 2)),
    Pair(EventCounts(10, 1)),
    Pair(HistogramCounts((1.0, 2.0)), HistogramCounts((1.0, 2.0))),
]


@pytest.mark.parametrize("bad", BAD_COUNTS, ids=lambda pair: str(pair)[:60])
def test_bad_counts_are_left_out_and_named_while_others_count(bad: Pair) -> None:
    plan = AnalysisPlan(
        (events_metric("errors", options=options()), events_metric("refusals", options=options()))
    )
    good = events((20, 1), (180, 4))
    initial = seeded(plan)
    after = fold(plan, initial, [window(0, {"errors": bad, "refusals": good})])
    assert after.rows[0] == initial.rows[0]
    assert after.rows[1] == fold(plan, initial, [window(0, {"refusals": good})]).rows[1]
    assert [(p.code, p.metric) for p in after.problems] == [(ProblemCode.InvalidCounts, "errors")]
    assert after.rejected == 1
    # The window has been seen: it is not waited for.
    assert after.last_end == 60.0


@pytest.mark.parametrize(
    "bad",
    [
        ScoreCounts(5.0, (1.0,) * 20),
        ScoreCounts(5.0),
        ScoreCounts(5.0, sum=6.0, sumsq=5.0),
        ScoreCounts(5.0, sum=2.0, sumsq=4.0),
        ScoreCounts(5.0, (math.nan,) * 21),
        ScoreCounts(5.0, (-1.0,) + (1.0,) * 20),
    ],
)
def test_impossible_scores_are_left_out(bad: ScoreCounts) -> None:
    plan = AnalysisPlan((score_metric("helpful", options=options()),))
    initial = Evidence.initial(plan)
    after = fold(plan, initial, [window(0, {"helpful": Pair(bad, score_counts([0.5] * 50))})])
    assert after.rows == initial.rows
    assert after.rejected == 1


@pytest.mark.parametrize(
    "change",
    [
        {"start": math.nan},
        {"end": math.inf},
        {"end": -60.0},
        {"weight": 10_001},
        {"weight": -1},
        {"exposure": -2},
        {"exposure": 1.5},
        {"start": "0"},
    ],
)
def test_a_window_that_makes_no_sense_is_left_out_and_named(change: dict[str, object]) -> None:
    plan = events_plan()
    initial = seeded(plan)
    after = fold(plan, initial, [replace(window(0, {"errors": events((10, 1), (90, 2))}), **change)])  # type: ignore[arg-type]
    assert after == replace(initial, rejected=1)
    assert [p.code for p in after.problems] == [ProblemCode.InvalidWindow]


def test_bad_requests_per_arm_do_not_spoil_the_metrics() -> None:
    plan = events_plan()
    pair = {"errors": events((20, 1), (180, 4))}
    after = fold(plan, seeded(plan), [window(0, pair, requests=ArmRequests(math.nan, 3))])
    assert after.ratio is None
    assert after.rows == fold(plan, seeded(plan), [window(0, pair)]).rows
    assert after.rejected == 1


def test_small_windows_are_merged_until_both_arms_have_twenty_samples() -> None:
    plan = events_plan()
    small = [window(i, {"errors": events((1, 0), (8, 1))}) for i in range(3)]
    two, three = fold(plan, seeded(plan), small[:2]), fold(plan, seeded(plan), small)
    assert two.array(0)[Slot.CLOSED] == 0
    assert three.array(0)[Slot.CLOSED] == 1
    merged = fold(plan, seeded(plan), [window(0, {"errors": events((3, 0), (24, 3))})])
    assert np.array_equal(own_state(three, plan.metrics[0]), own_state(merged, plan.metrics[0]))


def test_a_small_window_closes_when_the_exposure_changes() -> None:
    plan = events_plan()
    first = window(0, {"errors": events((1, 0), (8, 1))})
    second = window(1, {"errors": events((2, 0), (8, 1))}, exposure=2, weight=2000)
    after = fold(plan, seeded(plan), [first, second])
    assert after.array(0)[Slot.CLOSED] == 1
    assert after.array(0)[Slot.EXPOSURE] == 2


def test_evidence_goes_on_over_a_change_of_weight() -> None:
    plan = events_plan()
    windows = event_windows(np.random.default_rng(3), (0.2, 0.02), (30, 270), 4)
    before = fold(plan, seeded(plan), windows[:2])
    after = fold(plan, before, [replace(w, exposure=2, weight=2500) for w in windows[2:]])
    assert harm_log_e(after) > harm_log_e(before) > 0


def test_no_bet_is_placed_before_200_stable_requests() -> None:
    plan = events_plan()
    fresh = Evidence.initial(plan)
    first = fold(plan, fresh, [window(0, {"errors": events((50, 50), (199, 0))})])
    assert harm_log_e(first) == pytest.approx(0.0, abs=1e-12)
    early = fold(plan, first, [window(1, {"errors": events((50, 50), (10, 0))})])
    assert harm_log_e(early) == pytest.approx(0.0, abs=1e-12)
    enough = fold(plan, first, [window(1, {"errors": events((0, 0), (20, 0))})])
    assert harm_log_e(fold(plan, enough, [window(2, {"errors": events((50, 50), (10, 0))})])) > 3


def test_more_bad_candidate_requests_never_lower_the_evidence_of_harm() -> None:
    plan = events_plan()
    values = [
        harm_log_e(fold(plan, seeded(plan), [window(0, {"errors": events((100, x), (900, 18))})]))
        for x in range(101)
    ]
    assert values == sorted(values)


def test_more_bad_candidate_requests_never_raise_the_evidence_of_non_inferiority() -> None:
    plan = events_plan()
    values = [
        promote_log_e(fold(plan, seeded(plan), [window(0, {"errors": events((500, x), (4500, 90))})]))
        for x in range(101)
    ]
    assert values == sorted(values, reverse=True)


EXTREMES = [
    events((1e9, 1e9), (1e9, 0)),
    events((1e9, 0), (1e9, 1e9)),
    events((1e9, 2e7), (1e9, 2e7)),
    events((0, 0), (0, 0)),
    events((50, 50), (50, 50)),
    events((1e9, 5e8), (1, 0)),
    events((1, 1), (1e9, 2e7)),
    events((100, 5), (0, 0)),
    events((0, 0), (100, 5)),
]


@pytest.mark.parametrize("history", [(5000, 0), (5000, 100), (5000, 5000), (1e12, 1e6)])
@pytest.mark.parametrize("pair", EXTREMES, ids=lambda pair: f"{pair.candidate}{pair.stable}")
def test_evidence_stays_finite_at_the_extremes(pair: Pair, history: tuple[float, float]) -> None:
    plan = AnalysisPlan(
        (
            events_metric("errors", options=options(Role.Required)),
            events_metric("resolved", options=options(Role.Required, higher_is_better=True)),
        )
    )
    evidence = seeded(plan, *history)
    for i in range(3):
        evidence = fold(plan, evidence, [window(i, {"errors": pair, "resolved": pair})])
    for position in range(2):
        assert np.isfinite(evidence.array(position)).all()
    assessment = assess(plan, evidence)
    assert math.isfinite(assessment.harm_log_e)
    assert isinstance(assessment.reason, str)


@pytest.mark.parametrize("count", [0.0, 1.0, 1e9])
def test_every_kind_stays_finite_when_one_value_takes_all(count: float) -> None:
    rng = np.random.default_rng(0)
    plain = all_kinds_window(rng, 0)
    worst, best = (0.0,) * 20 + (count,), (count,) + (0.0,) * 20
    tail = (0.0,) * 12 + (count,)
    metrics = dict(plain.metrics)
    metrics["helpful"] = Pair(ScoreCounts(count, worst), ScoreCounts(count, best))
    metrics["latency"] = Pair(HistogramCounts(tail), HistogramCounts(tail[::-1]))
    evidence = start()
    for i in range(3):
        evidence = fold(PLAN, evidence, [replace(plain, start=60.0 * i, end=60.0 * i + 60, metrics=metrics)])
    for position in range(len(PLAN.metrics)):
        assert np.isfinite(evidence.array(position)).all()


def test_evidence_recovers_from_wealth_lost_beyond_the_range_of_floats() -> None:
    plan = events_plan()
    lost = fold(plan, seeded(plan), [window(0, {"errors": events((1e9, 1e7), (1e9, 1e8))})])
    assert np.isfinite(harm_log_e(lost))
    windows = [window(1 + i, {"errors": events((1000, 900), (9000, 900))}) for i in range(5)]
    values = [harm_log_e(fold(plan, lost, windows[:n])) for n in range(6)]
    assert values == sorted(values)


def test_harm_latches_at_the_window_it_crossed_in() -> None:
    plan = events_plan()
    bad = event_windows(np.random.default_rng(1), (0.3, 0.02), (40, 360), 3)
    good = [replace(w, metrics={"errors": events((5000, 0), (5000, 500))}) for w in bad]
    good = [replace(w, start=w.start + 180, end=w.end + 180) for w in good]
    together = fold(plan, seeded(plan), [*bad, *good])
    assert together.harmed is not None
    assert together.harmed.at <= 180.0
    assert harm_log_e(together) < plan.harm_threshold
    assert assess(plan, together).verdict is Verdict.Harmed
    assert assess(plan, together).harmed_at == together.harmed.at
    stored = Evidence.from_checkpoint(plan, together.to_checkpoint())
    assert stored.harmed == together.harmed


def test_harm_of_an_observed_metric_does_not_latch() -> None:
    plan = AnalysisPlan((events_metric("errors", options=options(Role.Observe)),))
    bad = event_windows(np.random.default_rng(1), (0.3, 0.02), (40, 360), 5)
    after = fold(plan, seeded(plan), bad)
    assert harm_log_e(after) > plan.harm_threshold
    assert after.harmed is None
    assert assess(plan, after).verdict is Verdict.Inconclusive


def test_a_guard_without_new_counts_still_counts_in_the_mean() -> None:
    guards = tuple(events_metric(name, options=options()) for name in ("a", "b"))
    plan = AnalysisPlan(guards)
    nearly = events((60, 7), (540, 11))
    evidence = fold(plan, seeded(plan), [window(0, {"a": nearly})])
    # a alone is just past the threshold, the mean of a and b is not.
    assert harm_log_e(evidence) >= plan.harm_threshold
    assert evidence.harmed is None
    later = fold(plan, evidence, [window(1, {"b": nearly})])
    assert later.harmed is not None
    assert later.harmed.at == 120.0


def test_nothing_counts_during_warm_up() -> None:
    plan = replace(events_plan(), warm_up=120.0)
    bad = event_windows(np.random.default_rng(1), (0.9, 0.02), (40, 360), 3)
    idle = replace(window(0, {}, weight=0), start=-60.0, end=0.0)
    warming = fold(plan, seeded(plan), [idle, *bad[:2]])
    assert warming.harmed is None
    # Only the window before the candidate had any weight: it teaches the stable rate.
    assert warming.windows == 1
    assert fold(plan, warming, bad).harmed is not None


def test_a_changed_metric_starts_anew_and_the_others_keep_theirs() -> None:
    windows = some_windows(2, 5)
    evidence = fold(PLAN, start(), windows)
    changed = tuple(
        replace(m, source="another query") if m.name == "helpful" else m for m in reversed(PLAN.metrics)
    )
    new_plan = AnalysisPlan(changed)
    for again in (
        evidence.aligned(new_plan),
        Evidence.from_checkpoint(new_plan, evidence.to_checkpoint()),
    ):
        for i, metric in enumerate(new_plan.metrics):
            old = PLAN.positions[metric.name]
            if metric.name == "helpful":
                assert again.rows[i] == Evidence.initial(new_plan).rows[i]
            else:
                assert again.rows[i] == evidence.rows[old]
        assert again.last_end == evidence.last_end


def test_role_and_weight_can_change_without_losing_evidence() -> None:
    evidence = fold(PLAN, start(), some_windows(2, 5))
    other = AnalysisPlan(tuple(replace(m, role=Role.Observe, weight=3.0) for m in PLAN.metrics))
    assert evidence.aligned(other) is evidence


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"version": 99},
        {"version": 1, "metrics": None},
        {"version": 1, "metrics": {}, "harmed": "x"},
    ],
)
def test_an_unreadable_checkpoint_starts_anew_and_says_so(broken: dict[str, object]) -> None:
    evidence = Evidence.from_checkpoint(PLAN, broken)
    assert evidence == Evidence.initial(PLAN)
    assert [p.code for p in evidence.problems] == [ProblemCode.InvalidCheckpoint]


@pytest.mark.parametrize("data", ["", "AAAA", "not base64!", None, 7])
def test_an_unreadable_metric_in_a_checkpoint_starts_anew_alone(data: object) -> None:
    evidence = fold(PLAN, start(), some_windows(2, 3))
    stored = json.loads(json.dumps(evidence.to_checkpoint()))
    stored["metrics"][PLAN.metrics[2].fingerprint]["data"] = data
    again = Evidence.from_checkpoint(PLAN, stored)
    assert again.rows[2] == Evidence.initial(PLAN).rows[2]
    assert again.rows[:2] + again.rows[3:] == evidence.rows[:2] + evidence.rows[3:]
    assert [p.metric for p in again.problems] == ["helpful"]


def test_a_checkpoint_takes_less_than_two_kilobytes_a_metric() -> None:
    stored = json.dumps(fold(PLAN, start(), some_windows(2, 40)).to_checkpoint())
    assert len(stored) < 2048 * len(PLAN.metrics)


def late_score(exposure: int, candidate: list[float], stable: list[float]) -> LateCounts:
    return LateCounts("helpful", exposure, Pair(score_counts(candidate), score_counts(stable)))


def test_late_scores_are_compared_within_their_own_exposure() -> None:
    plan = AnalysisPlan((score_metric("helpful", options=options()),))
    history = {"helpful": score_counts([0.8] * 900 + [0.3] * 100)}
    pair = Pair(score_counts([0.2] * 10), score_counts([0.8] * 30))
    on_time = fold(plan, Evidence.initial(plan, history), [window(0, {"helpful": pair})])
    item = LateCounts("helpful", 1, pair)
    late = fold(plan, Evidence.initial(plan, history), [window(0, {}, exposure=2, late=(item,))])
    assert np.array_equal(own_state(late, plan.metrics[0]), own_state(on_time, plan.metrics[0]))


def test_late_scores_wait_until_they_make_up_a_window() -> None:
    plan = AnalysisPlan((score_metric("helpful", options=options()),))
    history = {"helpful": score_counts([0.8] * 900 + [0.3] * 100)}
    few = late_score(1, [0.2] * 3, [0.8] * 8)
    evidence = fold(plan, Evidence.initial(plan, history), [window(0, {}, exposure=2, late=(few,))])
    assert evidence.array(0)[Slot.CLOSED] == 0
    assert len(evidence.late) == 1
    stored = Evidence.from_checkpoint(plan, json.loads(json.dumps(evidence.to_checkpoint())))
    assert stored == evidence
    after = fold(plan, stored, [window(1, {}, exposure=2, late=(few,))])
    assert after.array(0)[Slot.CLOSED] == 1
    assert after.late == ()


def test_only_the_latest_exposures_stay_open_for_late_scores() -> None:
    plan = AnalysisPlan((score_metric("helpful", options=options()),))
    evidence = Evidence.initial(plan, {"helpful": score_counts([0.8] * 500)})
    items = tuple(late_score(n, [0.2], [0.8]) for n in range(1, 8))
    after = fold(plan, evidence, [window(0, {}, exposure=9, late=items)])
    assert [p.exposure for p in after.late] == [4, 5, 6, 7]
    assert after.array(0)[Slot.CLOSED] == 3


def test_bad_late_scores_are_left_out_and_named() -> None:
    plan = AnalysisPlan((score_metric("helpful", options=options()),))
    initial = Evidence.initial(plan)
    bad = LateCounts("helpful", 1, Pair(ScoreCounts(5.0, (math.nan,) * 21), score_counts([0.5])))
    after = fold(plan, initial, [window(0, {}, exposure=2, late=(bad,))])
    assert after.rows == initial.rows
    assert [p.metric for p in after.problems] == ["helpful"]
