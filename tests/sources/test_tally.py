"""From series to the windows of the analysis."""

import pytest

from promptrollout.analysis import (
    Counts,
    EventCounts,
    Evidence,
    HistogramCounts,
    ScoreCounts,
    SumCounts,
    Window,
    fold,
)
from promptrollout.analysis.plan import AnalysisPlan, events_metric
from promptrollout.sources.protocol import EventSelectors, MetricQuery, NoData, Reason, SourceError
from promptrollout.sources.strands import Memory, Series
from promptrollout.sources.tally import Reading, assemble
from tests.sources.doubles import ERRORS, requests, sample, series, strands, subject

FLAT = [(90, 0), (105, 0), (120, 0)]


def test_errors_are_the_bad_ones_of_all_outcomes() -> None:
    found = [
        requests("c", [(90, 0), (105, 4), (120, 7)]),
        requests("c", [(90, 0), (105, 0), (120, 2)], outcome="error"),
        requests("s", [(90, 100), (105, 120), (120, 150)]),
        requests("s", [(90, 5), (105, 5), (120, 6)], outcome="error"),
    ]
    (window,) = sample(subject(), (90, 120), found).windows
    assert (window.start, window.end, window.exposure, window.weight) == (90, 120, 3, 500)
    pair = window.metrics["errors"]
    assert (pair.candidate, pair.stable) == (EventCounts(9, 2), EventCounts(51, 1))
    assert window.requests is not None
    assert (window.requests.candidate, window.requests.stable) == (9, 51)
    assert window.late == ()


def test_pods_are_summed_only_after_each_series_own_restart() -> None:
    found = [
        requests("c", [(90, 100), (105, 110), (120, 3)], pod="a"),
        requests("c", [(90, 50), (120, 60)], pod="b"),
        requests("c", [(110, 8), (120, 9)], pod="new"),
        requests("s", FLAT),
    ]
    (window,) = sample(subject(), (90, 120), found).windows
    assert window.metrics["errors"].candidate == EventCounts(10 + 3 + 10 + 9, 0)


def test_many_windows_come_from_one_reading() -> None:
    found = [requests("c", [(30 * i, 2.0 * i) for i in range(5)]), requests("s", [(0, 0), (100, 10)])]
    windows = sample(subject(), (0, 30, 60, 90, 120), found).windows
    assert [w.metrics["errors"].candidate for w in windows] == [EventCounts(2, 0)] * 4
    assert [w.metrics["errors"].stable for w in windows] == [
        EventCounts(0, 0),
        EventCounts(0, 0),
        EventCounts(0, 0),
        EventCounts(10, 0),
    ]


def test_counts_of_another_exposure_are_late_and_leave_the_sample_ratio_alone() -> None:
    found = [
        requests("c", [(90, 0), (120, 10)]),
        requests("s", [(90, 0), (120, 90)]),
        requests("c", [(90, 5), (120, 6)], step="2", outcome="error"),
        requests("s", [(90, 50), (120, 58)], step="2"),
        requests("s", FLAT, step="1"),
    ]
    (window,) = sample(subject(), (90, 120), found).windows
    assert window.metrics["errors"].candidate == EventCounts(10, 0)
    (late,) = window.late
    assert (late.metric, late.exposure) == ("errors", 2)
    assert (late.pair.candidate, late.pair.stable) == (EventCounts(1, 1), EventCounts(8, 0))
    assert window.requests is not None
    assert (window.requests.candidate, window.requests.stable) == (10, 90)


def test_scores_come_as_weights_on_nodes() -> None:
    query = MetricQuery("helpful", preset="sdk/score", score="helpfulness")
    found = []
    for revision in "cs":
        labels = {
            "rollout": "shop/support",
            "revision": revision * 10,
            "step": "3",
            "score": "helpfulness",
        }
        found += [
            series("promptrollout_score_count", [(90, 0), (120, 2)], **labels),
            series("promptrollout_score_sum", [(90, 0), (120, 1.5)], **labels),
            series("promptrollout_score_sumsq", [(90, 0), (120, 1.25)], **labels),
            series("promptrollout_score_nodes_total", [(90, 0), (120, 1)], node="0", **labels),
            series("promptrollout_score_nodes_total", [(90, 0), (120, 1)], node="10", **labels),
            series("promptrollout_score_count", [(90, 0), (120, 9)], **{**labels, "score": "other"}),
        ]
    (window,) = sample(subject(query), (90, 120), found).windows
    nodes = tuple(1.0 if i in (0, 10) else 0.0 for i in range(21))
    assert window.metrics["helpful"].candidate == ScoreCounts(2, nodes, 1.5, 1.25)


def buckets(name: str, revision: str, counts: dict[str, float], pod: str = "a") -> list[object]:
    labels = {"rollout": "shop/support", "revision": revision * 10, "step": "3", "pod": pod}
    return [series(name, [(90, 0), (120, n)], le=le, **labels) for le, n in counts.items()]


LATENCY = "promptrollout_request_duration_seconds_bucket"


def test_a_histogram_is_counted_between_the_queries_edges() -> None:
    query = MetricQuery("latency", preset="sdk/latency", edges=(0.5, 1.0))
    found = buckets(LATENCY, "c", {"0.5": 3, "0.75": 4, "1.0": 7, "+Inf": 8})
    found += buckets(LATENCY, "s", {"0.5": 1, "1": 1, "+Inf": 1})
    (window,) = sample(subject(query), (90, 120), found).windows  # type: ignore[arg-type]
    assert window.metrics["latency"].candidate == HistogramCounts((3, 4, 1))
    assert window.metrics["latency"].stable == HistogramCounts((1, 0, 0))


def test_pods_with_other_buckets_are_no_histogram() -> None:
    query = MetricQuery("latency", preset="sdk/latency", edges=(0.5, 1.0))
    found = buckets(LATENCY, "c", {"0.5": 3, "1.0": 7, "+Inf": 8})
    found += buckets(LATENCY, "c", {"0.5": 3, "2.0": 7, "+Inf": 8}, pod="old")
    found += buckets(LATENCY, "s", {"0.5": 1, "1": 1, "+Inf": 1})
    problem = sample(subject(query), (90, 120), found).problems["latency"]  # type: ignore[arg-type]
    assert isinstance(problem, SourceError)
    assert problem.reason is Reason.INCONSISTENT
    assert "not all pods have the bucket edges 1;" in problem.message


def test_tokens_are_a_sum_over_requests() -> None:
    query = MetricQuery("tokens", preset="sdk/tokens")
    labels = {"rollout": "shop/support", "revision": "c" * 10, "step": "3"}
    found = [
        requests("c", [(90, 0), (120, 4)]),
        requests("s", FLAT),
        series("promptrollout_tokens_total", [(90, 0), (120, 300)], direction="input", **labels),
        series("promptrollout_tokens_total", [(90, 0), (120, 50)], direction="output", **labels),
    ]
    (window,) = sample(subject(query), (90, 120), found).windows
    assert window.metrics["tokens"].candidate == SumCounts(4, 350)
    assert window.metrics["tokens"].stable == SumCounts(0, 0)


OWN = MetricQuery(
    "refusals",
    events=EventSelectors('app_refusals_total{rev="{{revision}}"}', 'app_answers_total{rev="{{revision}}"}'),
)


def own(name: str, revision: str, *points: tuple[float, float]) -> object:
    return series(name, points, rev=revision * 10)


def test_counters_of_ones_own_belong_to_the_exposure_in_force() -> None:
    total = [own("app_answers_total", r, (90, 0), (120, 40)) for r in "cs"]
    bad = [own("app_refusals_total", r, (90, 0), (120, 4)) for r in "cs"]
    reading = Reading.of(subject(OWN))
    memory = Memory()
    strands = {}
    for want in reading.wants():
        mine = bad if "refusals" in want.family.selector else total
        memory.baseline([want], 90, [])
        strands.update(memory.follow([want], (90, 120), mine))  # type: ignore[arg-type]
    (window,) = assemble(reading, (90, 120), strands, {}).windows
    assert (window.exposure, window.metrics["refusals"].candidate) == (3, EventCounts(40, 4))
    assert window.requests is None


def test_an_event_seen_before_its_request_waits_for_it() -> None:
    reading = Reading.of(subject(OWN))
    bad = [own("app_refusals_total", r, (30, 2), (60, 2), (90, 3)) for r in "cs"]
    total = [own("app_answers_total", r, (30, 1), (60, 1), (90, 8)) for r in "cs"]
    memory, strands = Memory(), {}
    for want in reading.wants():
        memory.baseline([want], 0, [])
        mine = bad if "refusals" in want.family.selector else total
        strands.update(memory.follow([want], (0, 30, 60, 90), mine))  # type: ignore[arg-type]
    owed: dict[tuple[str, str, int, str], float] = {}
    windows = assemble(reading, (0, 30, 60, 90), strands, owed).windows
    assert [w.metrics["refusals"].candidate for w in windows] == [
        EventCounts(1, 1),
        EventCounts(0, 0),
        EventCounts(7, 2),
    ]
    assert owed == {}


def test_nothing_from_the_candidate_is_said_with_its_selector() -> None:
    found = sample(subject(), (90, 120), [requests("s", [(90, 0), (120, 50)])])
    problem = found.problems["errors"]
    assert isinstance(problem, NoData)
    assert problem.arm == "candidate"
    assert problem.selector == 'promptrollout_requests_total{rollout="shop/support",revision="cccccccccc"}'
    assert found.windows[0].metrics["errors"].stable == EventCounts(50, 0)
    assert found.unreadable is None


def test_nothing_from_either_arm_leaves_the_metric_out() -> None:
    found = sample(subject(), (90, 120), [])
    problem = found.problems["errors"]
    assert isinstance(problem, NoData)
    assert problem.arm == "both"
    assert 'revision=~"cccccccccc|ssssssssss"' in problem.message
    assert found.windows[0].metrics == {}


def test_a_counter_of_ones_own_that_nobody_has_ever_seen_is_no_zero() -> None:
    """A typing error in the name of the bad events would look like a candidate without any."""
    total = [own("app_answers_total", r, (90, 0), (120, 40)) for r in "cs"]
    reading = Reading.of(subject(OWN))
    memory, strands = Memory(), {}
    for want in reading.wants():
        memory.baseline([want], 90, [])
        mine = [] if "refusals" in want.family.selector else total
        strands.update(memory.follow([want], (90, 120), mine))  # type: ignore[arg-type]
    problem = assemble(reading, (90, 120), strands, {}).problems["refusals"]
    assert isinstance(problem, NoData)
    assert problem.selector.startswith("app_refusals_total{")


def test_an_unreadable_metric_is_absent_and_the_others_go_on() -> None:
    who = subject(ERRORS, MetricQuery("typo", preset="sdk/eror"))
    found = sample(who, (90, 120), [requests("c", FLAT), requests("s", FLAT)])
    problem = found.problems["typo"]
    assert isinstance(problem, SourceError)
    assert problem.reason is Reason.INVALID_QUERY
    assert "sdk/errors" in problem.message
    assert list(found.windows[0].metrics) == ["errors"]
    assert found.unreadable is problem


def test_if_no_metric_can_be_read_there_is_no_window() -> None:
    found = sample(subject(MetricQuery("typo", preset="sdk/eror")), (90, 120), [])
    assert found.windows == ()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_a_series_that_is_no_counter_is_an_error_and_is_not_remembered(bad: float) -> None:
    memory = Memory()
    good = [requests("c", [(90, 0), (120, 5)]), requests("s", FLAT)]
    broken = [*good, requests("c", [(100, bad)], pod="b")]
    problem = sample(subject(), (90, 120), broken, memory).problems["errors"]
    assert isinstance(problem, SourceError)
    assert problem.reason is Reason.NOT_FINITE
    assert 'pod="b"' in problem.message
    again = sample(subject(), (90, 120), good, memory)
    assert again.windows[0].metrics["errors"].candidate == EventCounts(5, 0)


def test_first_events_of_units_come_beside_the_requests() -> None:
    labels = {"rollout": "shop/support", "step": "3", "metric": "errors"}
    found = [requests("c", [(90, 0), (120, 9)]), requests("s", FLAT)]
    for name, n in (("exposure", 8), ("events", 2)):
        found += [
            series(f"promptrollout_unit_{name}_total", [(90, 0), (120, n)], revision=r * 10, **labels)
            for r in "cs"
        ]
    query = MetricQuery("errors", preset="sdk/errors", correlated=True)
    (window,) = sample(subject(query), (90, 120), found).windows
    assert window.metrics["errors"].candidate_units == EventCounts(8, 2)


def test_the_analysis_takes_the_windows_as_they_are() -> None:
    plan = AnalysisPlan((events_metric("errors"),))
    found = [
        requests("c", [(0, 0), (30, 40), (60, 80)]),
        requests("c", [(0, 0), (30, 2), (60, 4)], step="2"),
        requests("s", [(0, 0), (30, 400), (60, 900)]),
    ]
    windows = sample(subject(), (0, 30, 60), found).windows
    evidence = fold(plan, Evidence.initial(plan), windows)
    assert (evidence.rejected, evidence.last_end) == (0, 60)


COVERAGE = MetricQuery("coverage", preset="sdk/score-coverage", score="helpfulness")


def scored(revision: str, points: list[tuple[float, float]]) -> Series:
    labels = {"rollout": "shop/support", "revision": revision * 10, "step": "3", "score": "helpfulness"}
    return series("promptrollout_score_count", points, **labels)


def coverage_of(window: Window) -> tuple[Counts, Counts]:
    pair = window.metrics["coverage"]
    return pair.candidate, pair.stable


def test_answers_wait_for_the_first_score_of_their_step_and_no_longer() -> None:
    found = [
        requests("c", [(0, 0), (10, 4), (50, 8)]),
        requests("s", [(0, 0), (10, 40), (50, 80)]),
        scored("c", [(0, 0)]),
        scored("s", [(0, 0), (30, 30)]),
    ]
    windows = sample(subject(COVERAGE), (0, 20, 40, 60), found).windows
    assert [coverage_of(window) for window in windows] == [
        (EventCounts(0, 0), EventCounts(0, 0)),
        (EventCounts(4, 0), EventCounts(40, 30)),
        (EventCounts(4, 0), EventCounts(40, 0)),
    ]


def test_scores_of_a_step_that_is_over_find_its_answers_over_any_number_of_questions() -> None:
    found = [
        requests("c", [(0, 0), (10, 40)]),
        requests("s", [(0, 0), (10, 40)]),
        scored("c", [(0, 0), (90, 10)]),
        scored("s", [(0, 0), (90, 40)]),
    ]
    memory, owed, seen = Memory(), {}, []  # type: ignore[var-annotated]
    for number, edges in enumerate(((0, 30), (30, 60), (60, 100), (100, 130))):
        reading = Reading.of(subject(COVERAGE, exposure=3 if number == 0 else 4))
        seen += assemble(reading, edges, strands(reading, edges, found, memory), owed).windows
    assert coverage_of(seen[0]) == (EventCounts(0, 0), EventCounts(0, 0))
    (late,) = [late for window in seen for late in window.late]
    assert late.exposure == 3
    assert (late.pair.candidate, late.pair.stable) == (EventCounts(40, 10), EventCounts(40, 40))
